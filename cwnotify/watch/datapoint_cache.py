"""The datapoints read so far. They come late, and the newest may still change: the last half hour is read anew."""

from __future__ import annotations

from collections.abc import Iterable

from cwnotify.aws.models import Metric, MetricSeries

REREAD_WINDOW_SECONDS = 1800.0
# Between two looks at a metric that is measured every minute, in rounds.
METRIC_INTERVAL_POLLS = 2
# Seconds between two datapoints of basic monitoring.
BASIC_MONITORING_PERIOD = 300.0
# Each time that a datapoint was there when it was first asked for, the next is asked for sooner by this part of a
# round: one call in some fifteen is in vain, and tells that they still come as late as before.
_SOONER = 1 / 15


class DatapointCache:
    """Datapoints by metric, put together from many readings."""

    def __init__(self) -> None:
        self._values: dict[Metric, dict[float, float]] = {}
        self._since: dict[Metric, float] = {}
        self._period: dict[Metric, float] = {}
        self._asked: dict[Metric, float] = {}
        # How old a datapoint's stamp is when it comes: learned for each metric, and never less than its period.
        self._age: dict[Metric, float] = {}

    def is_incomplete(self, metric: Metric, start: float) -> bool:
        """Whether some of it from `start` on was never asked for, or not answered in full."""
        return self._since.get(metric, float("inf")) > start

    def choose_read_start(self, metrics: Iterable[Metric], start: float) -> float:
        """From when to read on, so that all of these metrics are known from `start` (Unix seconds)."""
        return min((self._unknown_from(metric, start) for metric in metrics), default=start)

    def _unknown_from(self, metric: Metric, start: float) -> float:
        values = self._values.get(metric)
        if not values or self.is_incomplete(metric, start):
            return start
        return max(start, max(values) - REREAD_WINDOW_SECONDS)

    def add_series(self, readings: Iterable[MetricSeries], start: float, now: float, round: float) -> None:
        """Put in what was read from `start` on; where it is all that there is, it replaces what was known.

        Parameters
        ----------
        now, round
            When it was read, and the seconds between two rounds: from these it is learned when datapoints come.
        """
        for series in readings:
            self._learn(series, now, round)
            self._asked[series.metric] = now
            known = self._values.get(series.metric, {})
            if series.is_complete:
                known = {at: value for at, value in known.items() if at < start}
                self._since[series.metric] = min(start, self._since.get(series.metric, start))
            else:
                # There may be more: the next round begins where this one did.
                self._since[series.metric] = float("inf")
            self._values[series.metric] = known | dict(series.points)
            if series.period:
                self._period[series.metric] = series.period

    def prune(self, kept: Iterable[Metric], before: float) -> None:
        """Forget what is older than `before`, and all metrics but those that are `kept`."""
        wanted = set(kept)
        for metric in list(self._values):
            if metric not in wanted:
                self._values.pop(metric)
                self._since.pop(metric, None)
                for of_it in (self._period, self._asked, self._age):
                    of_it.pop(metric, None)
                continue
            if any(at < before for at in self._values[metric]):
                self._values[metric] = {at: value for at, value in self._values[metric].items() if at >= before}
            self._since[metric] = max(self._since[metric], before)

    def get_series(self, metric: Metric) -> MetricSeries:
        """All that is known of a metric."""
        points = tuple(sorted(self._values.get(metric, {}).items()))
        return MetricSeries(metric, points, self._period.get(metric, 0.0))

    def next_read_at(self, metric: Metric, round: float) -> float:
        """When to ask for this metric again, in rounds of so many seconds.

        A datapoint that stands for five minutes is asked for when such datapoints come, and in vain each round from
        then on; ever more seldom where none comes, as of an instance that is stopped.
        """
        asked, due = self._asked.get(metric, 0.0), self._expected(metric)
        if due is None:
            # Half a round early, or a round that is early itself would be one too many.
            return asked + (METRIC_INTERVAL_POLLS - 0.5) * round
        if asked < due:
            return due
        return asked + min(max(round / 2, (asked - due) / 2), self._period[metric])

    def _expected(self, metric: Metric) -> float | None:
        """When the next datapoint should be there; None where they come too often to be waited for."""
        values, period = self._values.get(metric), self._period.get(metric, 0.0)
        if not values or period < BASIC_MONITORING_PERIOD:
            return None
        return max(values) + period + self._age.get(metric, period)

    def _learn(self, read: MetricSeries, now: float, round: float) -> None:
        """Learn from a new datapoint how late they are.

        It is stamped with the beginning of what it stands for, so that it is at least one period old.
        """
        metric, due = read.metric, self._expected(read.metric)
        newest = max((at for at, _ in read.points), default=0.0)
        if due is None or newest <= max(self._values[metric]):
            return
        period = self._period[metric]
        # No more than a round at a time: one that was very late, or a machine that slept, tells little of the next.
        change = round if self._asked.get(metric, 0.0) >= due else -round * _SOONER
        age = min(now - newest, self._age.get(metric, period) + change)
        self._age[metric] = max(age, period)
