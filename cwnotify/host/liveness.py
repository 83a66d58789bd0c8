"""How long nothing was heard of a run whose process cannot be looked up from here. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable

# A run's watcher writes every minute. Who has waited so long without a further word has missed two.
MIN_OBSERVATION_SECONDS = 130.0


class HeartbeatMonitor:
    """Tells silence from a clock that was set.

    The watcher's last word bears the time of the wall's clock. Where that was set ahead meanwhile, by a day say, a run
    that lives looks silent: so it counts only once we have listened ourselves, by a clock that nobody sets.

    Parameters
    ----------
    steady
        Gives seconds that only pass.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._heard: dict[str, tuple[float, float]] = {}

    def seconds_since_heartbeat(self, run: str, seen: float, now: float) -> float:
        """Seconds since `run` was heard of at `seen` (both Unix seconds); none before we have listened long enough."""
        last, since = self._heard.get(run, (None, 0.0))
        if last != seen:
            self._heard[run] = seen, self._steady()
            return 0.0
        return now - seen if self._steady() - since > MIN_OBSERVATION_SECONDS else 0.0
