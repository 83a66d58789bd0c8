"""Sample this machine's load each second while a run is open or a panel is watched.

Imports `alerts` and `host.load`.
"""

from __future__ import annotations

from collections.abc import Callable

from cwnotify.alerts.events.runs import LoadSample
from cwnotify.host.load import SAMPLE_INTERVAL, DownsampledSeries, measure_load


class LoadSampler:
    """The CPU series of all open runs.

    Parameters
    ----------
    later
        Calls an action once, after a number of seconds.
    is_watched
        Whether a panel shows this machine's load, even if no run is open.
    sampled
        Called with each sample, and with whether the sample's CPU load covers only the last seconds. After a pause
        the first sample covers the whole pause.
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
        self._is_sampling = False
        self._last_sample_at = 0.0

    def start_run(self, id: str) -> None:
        """Start a CPU series for an open run."""
        self._series.setdefault(id, DownsampledSeries())
        self.ensure_sampling()

    def finish_run(self, id: str) -> tuple[float, ...]:
        """End the CPU series of a run, and return it in percent."""
        series = self._series.pop(id, None)
        return series.values() if series else ()

    def open_run_ids(self) -> list[str]:
        """Return the IDs of the open runs."""
        return list(self._series)

    def cpu_by_run(self) -> dict[str, tuple[float, ...]]:
        """Return the CPU series of each open run, in percent. Any thread may call this."""
        return {id: series.values() for id, series in dict(self._series).items()}

    def ensure_sampling(self) -> None:
        """Start sampling unless it is already running."""
        if not self._is_sampling:
            self._is_sampling = True
            self._later(0.0, self._sample)

    def _sample(self) -> None:
        self._is_sampling = bool(self._series) or self._is_watched()
        if not self._is_sampling:
            return
        sample = measure_load()
        # The CPU load is the average since the previous sample, which may be hours old.
        is_current = sample.at - self._last_sample_at <= 3 * SAMPLE_INTERVAL
        self._last_sample_at = sample.at
        self._sampled(sample, is_current)
        if is_current:
            for series in self._series.values():
                series.add(sample.cpu)
        self._later(SAMPLE_INTERVAL, self._sample)
