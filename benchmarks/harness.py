"""What every benchmark here measures with: interleaved rounds, medians and quartiles, rows and curves."""

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
    """Measured values, as they are told: the median with the quartiles around it."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Half of the values lie below."""
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the values lies below the first, a quarter above the second."""
        return self.quantile(0.25), self.quantile(0.75)

    def quantile(self, share: float) -> float:
        """The value below which this share of the values lies; with few values, that of the nearest one above."""
        ordered = sorted(self.values)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    def format(self, unit: str) -> str:
        """As it stands in the table."""
        low, high = self.quartiles
        spread = "" if len(self.values) < 3 else f" ({format_significant(low)} to {format_significant(high)})"
        return f"{format_significant(self.median)}{spread} {unit}"


def summarize(values: Sequence[float]) -> Summary:
    """The spread of these values."""
    return Summary(tuple(values))


def excess_over_median(values: Sequence[float], base: Sequence[float]) -> Summary:
    """By how much values exceed the median of `base`."""
    usual = statistics.median(base)
    return summarize([value - usual for value in values])


@dataclass(frozen=True)
class Row:
    """A line of the table: what is claimed, what was measured, and what a user would have had instead."""

    quantity: str
    target: str
    measured: str
    is_met: bool | None = None
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """How a cost grows: for each line (x, y) or, with a spread, (x, low, median, high)."""

    name: str
    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, ...]]]


@dataclass
class BenchmarkResult:
    """What one theme found; `notes` say what a reader must know to believe it."""

    rows: list[Row] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def threshold_row(
    what: str,
    ours: Summary,
    unit: str,
    limit: float,
    peers: Mapping[str, Summary | str] | None = None,
    quantile: float = 0.5,
) -> Row:
    """A row whose figure must be below `limit` at its median, or at another `share` of the values.

    Parameters
    ----------
    peers
        What others take for the same, in the same unit; words where it could not be measured.
    """
    figure = ours.quantile(quantile) if quantile != 0.5 else ours.median
    where = "" if quantile == 0.5 else f" at p{quantile * 100:g}"
    told = (
        ours.format(unit)
        if quantile == 0.5
        else f"{format_significant(figure)} {unit}{where}, median {format_significant(ours.median)}"
    )
    return Row(
        what,
        f"under {format_significant(limit)} {unit}{where}",
        told,
        figure < limit,
        tuple(_against(name, peer, ours.median, unit) for name, peer in (peers or {}).items()),
    )


def _against(name: str, peer: Summary | str, ours: float, unit: str) -> str:
    if isinstance(peer, str):
        return f"{name}: {peer}"
    ratio = f", {format_significant(peer.median / ours)} times ours" if ours > 0 and peer.median > 0 else ""
    return f"{name}: {peer.format(unit)}{ratio}"


def measure_interleaved(variants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Summary]:
    """Measure each variant once a round, so that what else the machine does falls on all of them alike."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            found[name].append(measure())
    return {name: summarize(values) for name, values in found.items()}


def format_significant(value: float) -> str:
    """Three figures at most that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


@contextmanager
def temporary_disk_folder() -> Iterator[Path]:
    """A folder that goes when it is no longer needed, on a disk and not in memory."""
    with tempfile.TemporaryDirectory(prefix="cwnotify-bench-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


def process_cpu_seconds(pid: int) -> float:
    """CPU that a process has used in all its threads, from the scheduler's own account (nanoseconds)."""
    return sum(thread_cpu_seconds(pid).values())


def thread_cpu_seconds(pid: int) -> dict[int, float]:
    """CPU that each thread of a process has used."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            continue
    return found


def memory_megabytes(pid: int, kind: str = "Pss") -> float:
    """Megabytes of a process: its own pages, and its share of those that it shares (``Rss``: all of those too)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no {kind}: this needs Linux")


def usable_cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))
