"""Ten thousand alarm changes within a minute, on the simulated clock of `benchmarks.storm`."""

from __future__ import annotations

from benchmarks.harness import BenchmarkResult, Curve, Row
from benchmarks.storm import simulate_storm


def measure(quick: bool) -> BenchmarkResult:
    """Simulate one large storm while Slack is up, and smaller ones for the curve."""
    counts = (10, 100, 1000) if quick else (10, 100, 1000, 3000, 10_000)
    storms = {count: simulate_storm(count) for count in counts}
    largest = storms[counts[-1]]
    result = BenchmarkResult()
    result.rows.append(
        Row(
            f"{counts[-1]:,} alarm changes in a minute through the fleet path",
            "all reported within 3 minutes at one message per second",
            f"{len(largest.reported & largest.alarms):,} reported in {largest.message_count} messages, "
            f"the last after {largest.seconds:.0f} s",
            largest.seconds < 180 and largest.reported >= largest.alarms,
            (f"one message each: {counts[-1] / 3600:.1f} h, {counts[-1] / largest.seconds:.0f} times ours",),
        )
    )
    lines = {
        "cwnotify": [(count, storm.seconds) for count, storm in storms.items()],
        "one message each": [(count, float(count)) for count in counts if count <= 1000],
    }
    result.curves.append(Curve("storm", "Time until the last change is reported", "changes in a minute", "s", lines))
    return result
