"""This host's load while runs are open, through psutil."""

from __future__ import annotations

import time
from pathlib import Path

from cwnotify.alerts.events import Vitals

MOST_SAMPLES = 120
SAMPLE_PERIOD = 1.0


class Series:
    """Evenly spaced values of a run of any length, in at most `MOST_SAMPLES` numbers.

    When it is full, neighbours are averaged and from then on each number stands for twice the time.
    """

    def __init__(self) -> None:
        self._means: list[float] = []
        self._stride = 1
        self._open: list[float] = []

    def add(self, value: float) -> None:
        """Add the next value."""
        self._open.append(value)
        if len(self._open) < self._stride:
            return
        self._means.append(sum(self._open) / len(self._open))
        self._open.clear()
        if len(self._means) == MOST_SAMPLES:
            self._means = [(a + b) / 2 for a, b in zip(self._means[::2], self._means[1::2], strict=True)]
            self._stride *= 2

    def values(self) -> tuple[float, ...]:
        """All of it, rounded to what an alert can show."""
        rest = [sum(self._open) / len(self._open)] if self._open else []
        return tuple(round(value, 1) for value in [*self._means, *rest])


def take(cgroup: Path = Path("/sys/fs/cgroup")) -> Vitals:
    """Measure now; CPU is that since the call before.

    Parameters
    ----------
    cgroup
        Where this container's own limit stands (cgroup v2). What the kernel keeps of files that nobody uses does not
        count as used, as in ``docker stats``: it goes as soon as somebody needs the room.
    """
    import psutil

    memory = psutil.virtual_memory()
    used, total = memory.total - memory.available, memory.total
    limit, current = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    if limit is not None and current is not None and limit < total:
        used, total = max(current - _unused_files(cgroup), 0), limit
    return Vitals(time.time(), psutil.cpu_percent(), used, total)


def _number(path: Path) -> int | None:
    """The number in a file; None where there is none, or no limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _unused_files(cgroup: Path) -> int:
    try:
        counts = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        return int(counts["inactive_file"])
    except (OSError, ValueError, KeyError):
        return 0
