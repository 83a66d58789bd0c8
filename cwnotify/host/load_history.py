"""Store this machine's load of the last three days: one sample a second for 15 minutes, before that one per 15 s.

Imports the standard library and `alerts` only. A panel draws the points; this module knows nothing of plots.
"""

from __future__ import annotations

from collections import deque

from cwnotify.alerts.events.runs import LoadSample

RECENT_RETENTION = 900.0  # seconds
COARSE_INTERVAL = 15.0  # seconds
MAX_COARSE_SAMPLES = 3 * 86400 // 15
HOST_METRICS = ("cpu", "mem")

LoadPoint = tuple[float, float]  # Unix seconds, percent


class LoadHistory:
    """Load samples, taken each second while a panel is open. One thread may add while others read."""

    def __init__(self) -> None:
        self._recent: deque[LoadSample] = deque()
        self._coarse: deque[LoadSample] = deque(maxlen=MAX_COARSE_SAMPLES)
        self._bucket: list[LoadSample] = []

    @property
    def last_sample_at(self) -> float:
        """When the newest sample was taken, in Unix seconds; 0.0 if there is none."""
        return self._recent[-1].at if self._recent else 0.0

    def add(self, sample: LoadSample) -> None:
        """Add the next sample."""
        self._recent.append(sample)
        while self._recent[0].at < sample.at - RECENT_RETENTION:
            self._recent.popleft()
        self._bucket.append(sample)
        if sample.at - self._bucket[0].at >= COARSE_INTERVAL:
            cpu = sum(sample.cpu for sample in self._bucket) / len(self._bucket)
            last = self._bucket[-1]
            self._coarse.append(LoadSample(last.at, cpu, last.memory_used, last.memory_total))
            self._bucket.clear()

    def get_points(self, metric: str, since: float) -> tuple[LoadPoint, ...]:
        """Return the points of `metric` from `since` (Unix seconds) on, oldest first.

        Points older than `RECENT_RETENTION` are `COARSE_INTERVAL` apart, newer ones a second. Returns no points for a
        metric that is not in `HOST_METRICS`.
        """
        if metric not in HOST_METRICS:
            return ()
        recent = list(self._recent)
        coarse = [sample for sample in list(self._coarse) if not recent or sample.at < recent[0].at]
        return tuple(
            (sample.at, sample.cpu if metric == "cpu" else _memory_percent(sample))
            for sample in (*coarse, *recent)
            if sample.at >= since
        )


def _memory_percent(sample: LoadSample) -> float:
    return 100.0 * sample.memory_used / max(sample.memory_total, 1)
