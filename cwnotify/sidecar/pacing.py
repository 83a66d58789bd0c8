"""When a destination that brings no answer is left alone.

Hundreds of alerts may wait while Slack is down or asks to slow down: one of them tries for all. What comes up
meanwhile may try at once, for Slack may be back, unless Slack itself asked for the rest. Who was asked to slow down
sends one a second for a while, which is what Slack takes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from cwnotify.slack.retry_policy import Delivered, DeliveryDecision, GiveUp, RetryAt
from cwnotify.store.outbox import Outbox

# Seconds from one message to the next for those who were asked to slow down, and for how many seconds they were.
PACED_SEND_INTERVAL, PACING_DURATION = 1.0, 60.0


class DestinationCooldown:
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
        self.consecutive_failures = 0
        self._clock = clock
        self._until = -math.inf
        self._began = 0.0
        self._is_asked = False
        self._paced_until = -math.inf

    def record_attempt(self, decision: DeliveryDecision, began: float, now: float) -> None:
        """Take in what came of an attempt that began and ended then (Unix seconds)."""
        match decision:
            case (
                RetryAt(backoff_until=rest, is_requested_by_slack=is_asked)
                | GiveUp(backoff_until=rest, is_requested_by_slack=is_asked)
            ) if rest:
                self.consecutive_failures += 1
                self._until = self._clock() + rest - now
                self._began, self._is_asked = began, is_asked
                if is_asked:
                    self._paced_until = self._until + PACING_DURATION
            case Delivered() if self._clock() < self._paced_until:
                self.consecutive_failures, self._until, self._is_asked = 0, self._clock() + PACED_SEND_INTERVAL, True
            case _:
                self.consecutive_failures, self._until = 0, -math.inf

    def remaining_seconds(self) -> float:
        """Seconds that are left of it; 0 where there is none."""
        return max(self._until - self._clock(), 0.0)

    def min_created_at(self) -> float:
        """Unix seconds: what was put before has to wait. 0 where nothing has to, infinity where all has."""
        if not self.remaining_seconds():
            return 0.0
        return math.inf if self._is_asked else self._began

    def next_due_time(self, outbox: Outbox, destination: str, now: float) -> float | None:
        """When the next message for `destination` can go, or its lease ends; None if none is pending."""
        at = outbox.next_due_time(destination)
        if at is None or not (left := self.remaining_seconds()):
            return at
        new = outbox.next_due_time(destination, self.min_created_at())
        later = max(at, now + left)
        return later if new is None else min(new, later)
