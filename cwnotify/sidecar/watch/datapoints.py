"""The datapoints read so far. They come late, and the newest may still change: the last half hour is read anew."""

from __future__ import annotations

from collections.abc import Iterable

from cwnotify.aws.readings import Metric, Series

UNSETTLED = 1800.0


class Datapoints:
    """Datapoints by metric, put together from many readings."""

    def __init__(self) -> None:
        self._values: dict[Metric, dict[float, float]] = {}
        self._since: dict[Metric, float] = {}
        self._period: dict[Metric, float] = {}

    def is_new(self, metric: Metric, start: float) -> bool:
        """Whether some of it from `start` on was never asked for, or not answered in full."""
        return self._since.get(metric, float("inf")) > start

    def ask_from(self, metrics: Iterable[Metric], start: float) -> float:
        """From when to read on, so that all of these metrics are known from `start` (Unix seconds)."""
        return min((self._unknown_from(metric, start) for metric in metrics), default=start)

    def _unknown_from(self, metric: Metric, start: float) -> float:
        values = self._values.get(metric)
        if not values or self.is_new(metric, start):
            return start
        return max(start, max(values) - UNSETTLED)

    def take(self, readings: Iterable[Series], start: float) -> None:
        """Put in what was read from `start` on; where it is all that there is, it replaces what was known."""
        for series in readings:
            known = self._values.get(series.metric, {})
            if series.complete:
                known = {at: value for at, value in known.items() if at < start}
                self._since[series.metric] = min(start, self._since.get(series.metric, start))
            else:
                # There may be more: the next round begins where this one did.
                self._since[series.metric] = float("inf")
            self._values[series.metric] = known | dict(series.points)
            if series.period:
                self._period[series.metric] = series.period

    def forget(self, kept: Iterable[Metric], before: float) -> None:
        """Forget what is older than `before`, and all metrics but those that are `kept`."""
        wanted = set(kept)
        for metric in list(self._values):
            if metric not in wanted:
                self._values.pop(metric)
                self._since.pop(metric, None)
                self._period.pop(metric, None)
                continue
            if any(at < before for at in self._values[metric]):
                self._values[metric] = {at: value for at, value in self._values[metric].items() if at >= before}
            self._since[metric] = max(self._since[metric], before)

    def series(self, metric: Metric) -> Series:
        """All that is known of a metric."""
        points = tuple(sorted(self._values.get(metric, {}).items()))
        return Series(metric, points, self._period.get(metric, 0.0))

    def next_due(self, metric: Metric, asked: float, pause: float) -> float:
        """When to ask for this metric again, `asked` being when it last was.

        A datapoint that stands for five minutes is stamped with their beginning, so the next one cannot be there before
        ten minutes after the last one's stamp: to ask sooner would cost the same and tell nothing.
        """
        values, period = self._values.get(metric), self._period.get(metric, 0.0)
        return max(asked + pause, max(values) + 2 * period) if values and period >= 300 else asked + pause
