"""The machine's CPU over each open run: sampled while one is open or a panel is watched."""

from __future__ import annotations

from collections.abc import Callable

from cwnotify.alerts.events.runs import LoadSample
from cwnotify.host.load import SAMPLE_INTERVAL, DownsampledSeries, measure_load


class LoadSampler:
    """The courses of all open runs.

    Parameters
    ----------
    later
        Calls an action once, a number of seconds from now.
    is_watched
        Whether somebody looks at the machine though no run is open.
    sampled
        Called with each sample and whether it covers a time: the first after a pause only sets the mark.
    """

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], None],
        is_watched: Callable[[], bool],
        sampled: Callable[[LoadSample, bool], None],
    ) -> None:
        self._later = later
        self._is_watched = is_watched
        self._sampled = sampled
        self._series: dict[str, DownsampledSeries] = {}
        self._sampling = False
        self._last = 0.0

    def start_run(self, id: str) -> None:
        """A run is open."""
        self._series.setdefault(id, DownsampledSeries())
        self.ensure_sampling()

    def finish_run(self, id: str) -> tuple[float, ...]:
        """A run ended; gives its course."""
        series = self._series.pop(id, None)
        return series.values() if series else ()

    def open_run_ids(self) -> list[str]:
        """The ids of the open runs."""
        return list(self._series)

    def cpu_by_run(self) -> dict[str, tuple[float, ...]]:
        """CPU over the open runs; other threads may ask too."""
        return {id: series.values() for id, series in dict(self._series).items()}

    def ensure_sampling(self) -> None:
        """Begin to sample, unless that is under way."""
        if not self._sampling:
            self._sampling = True
            self._later(0.0, self._sample)

    def _sample(self) -> None:
        self._sampling = bool(self._series) or self._is_watched()
        if not self._sampling:
            return
        vitals = measure_load()
        # A reading covers the time since the one before, which may be hours.
        covers = vitals.at - self._last <= 3 * SAMPLE_INTERVAL
        self._last = vitals.at
        self._sampled(vitals, covers)
        if covers:
            for series in self._series.values():
                series.add(vitals.cpu)
        self._later(SAMPLE_INTERVAL, self._sample)
