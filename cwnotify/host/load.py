"""Measure the CPU and memory load of this machine, or of this container, while runs are open.

Imports `alerts` and `host.memory_limit`; psutil where it is used.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from cwnotify.alerts.events.runs import LoadSample
from cwnotify.host.memory_limit import LIMIT_FILES, find_tightest_limit, list_memory_cgroups

MAX_SAMPLES = 120
SAMPLE_INTERVAL = 1.0  # seconds


class DownsampledSeries:
    """Evenly spaced values of a run of any length, in at most `MAX_SAMPLES` numbers.

    When the series is full, it averages each pair of neighbours. From then on each number covers twice the time.
    """

    def __init__(self) -> None:
        self._means: list[float] = []
        self._stride = 1
        # The values that the next mean covers.
        self._bucket: list[float] = []

    def add(self, value: float) -> None:
        """Add the next value."""
        self._bucket.append(value)
        if len(self._bucket) < self._stride:
            return
        self._means.append(sum(self._bucket) / len(self._bucket))
        self._bucket.clear()
        if len(self._means) == MAX_SAMPLES:
            self._means = [(a + b) / 2 for a, b in zip(self._means[::2], self._means[1::2], strict=True)]
            self._stride *= 2

    def values(self) -> tuple[float, ...]:
        """Return the whole series, rounded to one decimal."""
        newest = [sum(self._bucket) / len(self._bucket)] if self._bucket else []
        return tuple(round(value, 1) for value in [*self._means, *newest])


def measure_load(levels: list[Path] | None = None) -> LoadSample:
    """Measure the load now. The CPU load is the average since the previous call.

    Parameters
    ----------
    levels
        The cgroups whose memory limit counts if it is below the machine's memory. By default those of this process.
    """
    import psutil

    memory = psutil.virtual_memory()
    used, total = memory.total - memory.available, memory.total
    limited = find_tightest_limit(_list_own_cgroups() if levels is None else levels, total)
    used, total = limited or (used, total)
    return LoadSample(time.time(), psutil.cpu_percent(), used, total)


@cache
def _list_own_cgroups() -> list[Path]:
    return [folder for folder in list_memory_cgroups("self") if any((folder / name).exists() for name in LIMIT_FILES)]
