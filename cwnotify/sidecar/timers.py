"""What is to be done later, for a loop that waits for other things meanwhile. Standard library only."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable
from itertools import count

log = logging.getLogger(__name__)


class Timers:
    """Actions and when they are due. One thread only.

    Parameters
    ----------
    clock
        Seconds on a clock that is never set.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._ticket = count()

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Do `action` once, so many seconds from now."""
        heapq.heappush(self._due, (self._clock() + seconds, next(self._ticket), action))

    def wait(self, most: float) -> float:
        """Seconds until the next is due, but no more than `most`."""
        left = self._due[0][0] - self._clock() if self._due else most
        return max(min(left, most), 0.0)

    def run(self) -> None:
        """Do all that is due; one that fails keeps none of the others."""
        while self._due and self._due[0][0] <= self._clock():
            _, _, action = heapq.heappop(self._due)
            try:
                action()
            except Exception:
                log.exception("a timer stumbled")
