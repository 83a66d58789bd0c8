"""A clock that stands still while anybody works: hours go by in seconds, and threads take turns in one fixed order."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from threading import Event, Thread


class SimulatedClock:
    """Simulated time (Unix seconds), and the actors that live by it. One of them acts at any moment.

    Parameters
    ----------
    now
        Where it begins.
    """

    def __init__(self, now: float) -> None:
        self.now = now
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, Event]] = []
        self._over = Event()
        self._error: BaseException | None = None

    def time(self) -> float:
        """Now."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let others act until so many seconds have gone by."""
        turn = self._enter(seconds)
        self._pass_on()
        turn.wait()

    def start_actor(self, act: Callable[[], None]) -> None:
        """Let an actor begin when the time is next handed on."""
        turn = self._enter(0.0)

        def live() -> None:
            turn.wait()
            try:
                act()
            except BaseException as error:
                self._error = error
                self._over.set()
                raise
            self._pass_on()

        Thread(target=live, daemon=True).start()

    def run(self) -> None:
        """Let time go by until every actor has come to its end.

        Raises
        ------
        BaseException
            What an actor raised.
        """
        self._pass_on()
        self._over.wait()
        if self._error:
            raise self._error

    def _enter(self, seconds: float) -> Event:
        turn = Event()
        heapq.heappush(self._waiting, (self.now + max(seconds, 0.0), next(self._order), turn))
        return turn

    def _pass_on(self) -> None:
        if not self._waiting:
            self._over.set()
            return
        self.now, _, turn = heapq.heappop(self._waiting)
        turn.set()
