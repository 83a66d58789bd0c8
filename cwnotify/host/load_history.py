"""This host's own load over the last days: every second of the last quarter of an hour, before that every 15 s."""

from __future__ import annotations

from collections import deque

from cwnotify.alerts.events.runs import LoadSample
from cwnotify.view.snapshot import PlotLine, PlotPoint

RECENT_RETENTION = 900.0
COARSE_INTERVAL = 15.0
MAX_COARSE_SAMPLES = 3 * 86400 // 15
HOST_METRICS = ("cpu", "mem")


class LoadHistory:
    """Samples, one a second while there is somebody to see them. One thread adds, others read."""

    def __init__(self) -> None:
        self._recent: deque[LoadSample] = deque()
        self._coarse: deque[LoadSample] = deque(maxlen=MAX_COARSE_SAMPLES)
        self._bucket: list[LoadSample] = []

    @property
    def last_sample_at(self) -> float:
        """When the newest sample was taken; 0.0 if there is none."""
        return self._recent[-1].at if self._recent else 0.0

    def add(self, sample: LoadSample) -> None:
        """Add the next sample."""
        self._recent.append(sample)
        while self._recent[0].at < sample.at - RECENT_RETENTION:
            self._recent.popleft()
        self._bucket.append(sample)
        if sample.at - self._bucket[0].at >= COARSE_INTERVAL:
            cpu = sum(one.cpu for one in self._bucket) / len(self._bucket)
            last = self._bucket[-1]
            self._coarse.append(LoadSample(last.at, cpu, last.memory_used, last.memory_total))
            self._bucket.clear()

    def build_plot_line(self, metric: str, since: float) -> PlotLine | None:
        """What a plot shows of it from `since` on; None for a metric that is not measured here, or not yet."""
        if metric not in HOST_METRICS:
            return None
        recent = list(self._recent)
        coarse = [one for one in list(self._coarse) if since <= one.at and (not recent or one.at < recent[0].at)]
        points = tuple(_point(one, metric) for one in (*coarse, *recent) if one.at >= since)
        return PlotLine("this host, live", True, COARSE_INTERVAL if coarse else 1.0, points) if points else None


def _point(one: LoadSample, metric: str) -> PlotPoint:
    return one.at, one.cpu if metric == "cpu" else 100.0 * one.memory_used / max(one.memory_total, 1)
