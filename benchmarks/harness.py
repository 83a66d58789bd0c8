"""The tools of all benchmarks: interleaved rounds, medians and quartiles, rows and curves."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Summary:
    """Measured values, reported as their median with quartiles."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile."""
        return self.quantile(0.25), self.quantile(0.75)

    def quantile(self, share: float) -> float:
        """Return the value at this share of the sorted values."""
        ordered = sorted(self.values)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    def format(self, unit: str) -> str:
        """Return the text for the table."""
        low, high = self.quartiles
        spread = "" if len(self.values) < 3 else f" ({format_significant(low)} to {format_significant(high)})"
        return f"{format_significant(self.median)}{spread} {unit}"


def summarize(values: Sequence[float]) -> Summary:
    """Return a summary of `values`."""
    return Summary(tuple(values))


def excess_over_median(values: Sequence[float], base: Sequence[float]) -> Summary:
    """Return how much `values` exceed the median of `base`."""
    median = statistics.median(base)
    return summarize([value - median for value in values])


@dataclass(frozen=True)
class Row:
    """A line of the table: the claim, the measured value, and the values of alternatives."""

    quantity: str
    target: str
    measured: str
    is_met: bool | None = None
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """How a cost grows. Each point is (x, y) or (x, low, median, high)."""

    name: str
    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, ...]]]


@dataclass
class BenchmarkResult:
    """The result of one benchmark. `notes` explain how to read the values."""

    rows: list[Row] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def threshold_row(
    quantity: str,
    ours: Summary,
    unit: str,
    limit: float,
    peers: Mapping[str, Summary | str] | None = None,
    quantile: float = 0.5,
) -> Row:
    """Return a row whose median, or another `quantile`, must be below `limit`.

    Parameters
    ----------
    peers
        The values of alternatives in the same unit, or a text if there is no value.
    """
    if quantile == 0.5:
        value, suffix, measured = ours.median, "", ours.format(unit)
    else:
        value, suffix = ours.quantile(quantile), f" at p{quantile * 100:g}"
        measured = f"{format_significant(value)} {unit}{suffix}, median {format_significant(ours.median)}"
    return Row(
        quantity,
        f"under {format_significant(limit)} {unit}{suffix}",
        measured,
        value < limit,
        tuple(_format_peer(name, peer, ours.median, unit) for name, peer in (peers or {}).items()),
    )


def _format_peer(name: str, peer: Summary | str, ours: float, unit: str) -> str:
    if isinstance(peer, str):
        return f"{name}: {peer}"
    ratio = f", {format_significant(peer.median / ours)} times ours" if ours > 0 and peer.median > 0 else ""
    return f"{name}: {peer.format(unit)}{ratio}"


def measure_interleaved(variants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Summary]:
    """Measure each variant once per round, so that other load on the machine affects all variants equally."""
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            samples[name].append(measure())
    return {name: summarize(values) for name, values in samples.items()}


def format_significant(value: float) -> str:
    """Return `value` with three significant digits, or without decimals from 100 on."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


@contextmanager
def temporary_disk_folder() -> Iterator[Path]:
    """Create a temporary folder on a disk, not in memory."""
    with tempfile.TemporaryDirectory(prefix="cwnotify-bench-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


def process_cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of all threads of a process, from the scheduler (nanosecond resolution)."""
    return sum(thread_cpu_seconds(pid).values())


def thread_cpu_seconds(pid: int) -> dict[int, float]:
    """Return the CPU seconds of each thread of a process."""
    seconds = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            seconds[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            continue
    return seconds


def memory_megabytes(pid: int, kind: str = "Pss") -> float:
    """Return the megabytes of a process. ``Pss`` counts its part of shared pages, ``Rss`` all shared pages."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"/proc/{pid}/smaps_rollup has no {kind}; this needs Linux")


def usable_cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))
