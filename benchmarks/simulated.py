"""A simulated clock. Hours pass in seconds, and threads take turns in a fixed order."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from threading import Event, Thread


class SimulatedClock:
    """Simulated time, and the actors that use it. Only one actor runs at a time, and time stops while it runs.

    Parameters
    ----------
    now
        The start time in Unix seconds.
    """

    def __init__(self, now: float) -> None:
        self.now = now
        self._order = itertools.count()
        self._queue: list[tuple[float, int, Event]] = []
        self._finished = Event()
        self._error: BaseException | None = None

    def time(self) -> float:
        """Return the simulated time in Unix seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let other actors run until `seconds` have passed."""
        turn = self._schedule(seconds)
        self._start_next()
        turn.wait()

    def start_actor(self, act: Callable[[], None]) -> None:
        """Start `act` in a thread when the current actor sleeps or ends."""
        turn = self._schedule(0.0)

        def run_actor() -> None:
            turn.wait()
            try:
                act()
            except BaseException as error:
                self._error = error
                self._finished.set()
                raise
            self._start_next()

        Thread(target=run_actor, daemon=True).start()

    def run(self) -> None:
        """Run until every actor has ended.

        Raises
        ------
        BaseException
            The error of an actor.
        """
        self._start_next()
        self._finished.wait()
        if self._error:
            raise self._error

    def _schedule(self, seconds: float) -> Event:
        turn = Event()
        heapq.heappush(self._queue, (self.now + max(seconds, 0.0), next(self._order), turn))
        return turn

    def _start_next(self) -> None:
        if not self._queue:
            self._finished.set()
            return
        self.now, _, turn = heapq.heappop(self._queue)
        turn.set()
