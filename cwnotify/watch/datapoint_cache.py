"""Cache the datapoints of metrics. Datapoints arrive late, and the newest may still change: they are read again."""

from __future__ import annotations

from collections.abc import Iterable

from cwnotify.aws.models import Metric, MetricSeries

REREAD_WINDOW_SECONDS = 1800.0
METRIC_INTERVAL_POLLS = 2  # between two reads of a metric that has a datapoint every minute
BASIC_MONITORING_PERIOD = 300.0  # seconds between two datapoints
# When the first read finds the next datapoint, the read after it is earlier by this share of a poll. One call in about
# fifteen is then too early, which shows that datapoints are still as late as before.
ADVANCE_POLLS = 1 / 15


class DatapointCache:
    """Datapoints by metric, combined from many reads."""

    def __init__(self) -> None:
        self._values: dict[Metric, dict[float, float]] = {}
        self._complete_since: dict[Metric, float] = {}
        self._period: dict[Metric, float] = {}
        self._read_at: dict[Metric, float] = {}
        # The age of a datapoint's timestamp when the datapoint arrives, learned for each metric; at least its period.
        self._arrival_age: dict[Metric, float] = {}

    def is_incomplete(self, metric: Metric, start: float) -> bool:
        """Return True if the datapoints from `start` on were never read, or only in part."""
        return self._complete_since.get(metric, float("inf")) > start

    def choose_read_start(self, metrics: Iterable[Metric], start: float) -> float:
        """Return from when to read, so that the cache has all of `metrics` from `start` (Unix seconds) on."""
        return min((self._read_start(metric, start) for metric in metrics), default=start)

    def _read_start(self, metric: Metric, start: float) -> float:
        values = self._values.get(metric)
        if not values or self.is_incomplete(metric, start):
            return start
        return max(start, max(values) - REREAD_WINDOW_SECONDS)

    def add_series(self, series_list: Iterable[MetricSeries], start: float, now: float, poll_interval: float) -> None:
        """Add what was read from `start` on. A complete series replaces what is cached from then on.

        Parameters
        ----------
        now
            Unix seconds of the read.
        poll_interval
            Seconds between two polls. With `now` it teaches when datapoints arrive.
        """
        for series in series_list:
            self._learn_arrival(series, now, poll_interval)
            self._read_at[series.metric] = now
            values = self._values.get(series.metric, {})
            if series.is_complete:
                values = {at: value for at, value in values.items() if at < start}
                self._complete_since[series.metric] = min(start, self._complete_since.get(series.metric, start))
            else:
                # The next read starts at the same time, because there may be more.
                self._complete_since[series.metric] = float("inf")
            self._values[series.metric] = values | dict(series.points)
            if series.period:
                self._period[series.metric] = series.period

    def prune(self, metrics: Iterable[Metric], before: float) -> None:
        """Remove datapoints older than `before`, and all metrics that are not in `metrics`."""
        needed = set(metrics)
        for metric in list(self._values):
            if metric not in needed:
                for cache in (self._values, self._complete_since, self._period, self._read_at, self._arrival_age):
                    cache.pop(metric, None)
                continue
            if any(at < before for at in self._values[metric]):
                self._values[metric] = {at: value for at, value in self._values[metric].items() if at >= before}
            self._complete_since[metric] = max(self._complete_since[metric], before)

    def get_series(self, metric: Metric) -> MetricSeries:
        """Return all cached datapoints of a metric."""
        points = tuple(sorted(self._values.get(metric, {}).items()))
        return MetricSeries(metric, points, self._period.get(metric, 0.0))

    def next_read_at(self, metric: Metric, poll_interval: float) -> float:
        """Return when to read this metric again, in Unix seconds.

        With basic monitoring that is when the next datapoint is expected, then each poll. The reads become rarer while
        none arrives, as of a stopped instance.
        """
        read_at, expected_at = self._read_at.get(metric, 0.0), self._expect_next(metric)
        if expected_at is None:
            # Half a poll early, because an early poll must not skip the read.
            return read_at + (METRIC_INTERVAL_POLLS - 0.5) * poll_interval
        if read_at < expected_at:
            return expected_at
        return read_at + min(max(poll_interval / 2, (read_at - expected_at) / 2), self._period[metric])

    def _expect_next(self, metric: Metric) -> float | None:
        """Return when the next datapoint should arrive; None if they arrive too often to wait for each."""
        values, period = self._values.get(metric), self._period.get(metric, 0.0)
        if not values or period < BASIC_MONITORING_PERIOD:
            return None
        return max(values) + period + self._arrival_age.get(metric, period)

    def _learn_arrival(self, series: MetricSeries, now: float, poll_interval: float) -> None:
        """Learn from a new datapoint how late datapoints are.

        Its timestamp is the beginning of its period, so its age is at least one period.
        """
        metric, expected_at = series.metric, self._expect_next(series.metric)
        newest = max((at for at, _ in series.points), default=0.0)
        if expected_at is None or newest <= max(self._values[metric]):
            return
        period = self._period[metric]
        # At most one poll per datapoint, because a very late one or a machine that slept says little about the next.
        is_first_read = self._read_at.get(metric, 0.0) < expected_at
        change = -poll_interval * ADVANCE_POLLS if is_first_read else poll_interval
        age = min(now - newest, self._arrival_age.get(metric, period) + change)
        self._arrival_age[metric] = max(age, period)
