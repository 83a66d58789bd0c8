"""The load of this host, or of this container, while runs are open; through psutil and `memory`."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from cwnotify.alerts.events.runs import LoadSample
from cwnotify.host.memory_limit import LIMIT_FILES, find_tightest_limit, list_memory_cgroups

MAX_SAMPLES = 120
SAMPLE_INTERVAL = 1.0


class DownsampledSeries:
    """Evenly spaced values of a run of any length, in at most `MAX_SAMPLES` numbers.

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
        if len(self._means) == MAX_SAMPLES:
            self._means = [(a + b) / 2 for a, b in zip(self._means[::2], self._means[1::2], strict=True)]
            self._stride *= 2

    def values(self) -> tuple[float, ...]:
        """All of it, rounded to what an alert can show."""
        rest = [sum(self._open) / len(self._open)] if self._open else []
        return tuple(round(value, 1) for value in [*self._means, *rest])


def measure_load(levels: list[Path] | None = None) -> LoadSample:
    """Measure now; CPU is that since the call before.

    Parameters
    ----------
    levels
        The cgroups whose limit counts where it is less than the machine's memory; by default those of this process,
        which are those of the process that started it.
    """
    import psutil

    memory = psutil.virtual_memory()
    used, total = memory.total - memory.available, memory.total
    own = find_tightest_limit(_own_levels() if levels is None else levels, total)
    used, total = own or (used, total)
    return LoadSample(time.time(), psutil.cpu_percent(), used, total)


@cache
def _own_levels() -> list[Path]:
    return [folder for folder in list_memory_cgroups("self") if any((folder / name).exists() for name in LIMIT_FILES)]
