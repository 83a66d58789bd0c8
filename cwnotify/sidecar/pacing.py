"""When a destination that brings no answer is left alone.

Hundreds of alerts may wait while Slack is down or asks to slow down: one of them tries for all. What comes up
meanwhile may try at once, for Slack may be back, unless Slack itself asked for the rest. Who was asked to slow down
sends one a second for a while, which is what Slack takes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from cwnotify.slack.retry_policy import Dead, Decision, Delivered, RetryAt
from cwnotify.store.outbox import Outbox

# Seconds from one message to the next for those who were asked to slow down, and for how many seconds they were.
PACE, PACED = 1.0, 60.0


class Rest:
    """The rest of one destination.

    Parameters
    ----------
    clock
        Seconds on a clock that nobody sets.

    Attributes
    ----------
    failures
        How many attempts in a row brought no verdict of Slack's, with whichever message.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.failures = 0
        self._clock = clock
        self._until = -math.inf
        self._began = 0.0
        self._is_asked = False
        self._paced_until = -math.inf

    def note(self, decision: Decision, began: float, now: float) -> None:
        """Take in what came of an attempt that began and ended then (Unix seconds)."""
        match decision:
            case RetryAt(rest=rest, is_asked=is_asked) | Dead(rest=rest, is_asked=is_asked) if rest:
                self.failures += 1
                self._until = self._clock() + rest - now
                self._began, self._is_asked = began, is_asked
                if is_asked:
                    self._paced_until = self._until + PACED
            case Delivered() if self._clock() < self._paced_until:
                self.failures, self._until, self._is_asked = 0, self._clock() + PACE, True
            case _:
                self.failures, self._until = 0, -math.inf

    def left(self) -> float:
        """Seconds that are left of it; 0 where there is none."""
        return max(self._until - self._clock(), 0.0)

    def since(self) -> float:
        """Unix seconds: what was put before has to wait. 0 where nothing has to, infinity where all has."""
        if not self.left():
            return 0.0
        return math.inf if self._is_asked else self._began

    def next_due(self, outbox: Outbox, destination: str, now: float) -> float | None:
        """When the next message for `destination` can go, or its lease ends; None if none is pending."""
        at = outbox.next_due(destination)
        if at is None or not (left := self.left()):
            return at
        new = outbox.next_due(destination, self.since())
        later = max(at, now + left)
        return later if new is None else min(new, later)
