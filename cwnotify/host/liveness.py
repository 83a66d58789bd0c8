"""Measure how long a run has sent no heartbeat, for a run whose process is on another machine or in another container.

Imports the standard library only.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# A run's sidecar records a heartbeat every 60 s. After this long without one, two are missing.
MIN_OBSERVATION_SECONDS = 130.0


class HeartbeatMonitor:
    """Distinguish a missing heartbeat from a changed system clock.

    A heartbeat holds a wall-clock time. If the system clock jumps ahead by a day, the heartbeat of a live run looks a
    day old. So its age counts only after this monitor has itself seen no newer one, by a clock that cannot be set.

    Parameters
    ----------
    steady
        Returns seconds on a monotonic clock.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        # By run: the time of its last heartbeat, and when that was first observed, by the monotonic clock.
        self._observations: dict[str, tuple[float, float]] = {}

    def seconds_since_heartbeat(self, run: str, heartbeat_at: float, now: float) -> float:
        """Return the age of the heartbeat of `run`, in seconds; 0.0 until it was observed long enough.

        `heartbeat_at` and `now` are Unix seconds.
        """
        last, since = self._observations.get(run, (None, 0.0))
        if last != heartbeat_at:
            self._observations[run] = heartbeat_at, self._steady()
            return 0.0
        return now - heartbeat_at if self._steady() - since > MIN_OBSERVATION_SECONDS else 0.0
