"""When to send nothing to a destination that fails.

Hundreds of alerts may wait while Slack is down or rate-limits: one of them tries for all. A new alert may try at once,
because Slack may be back, unless Slack itself requested the cooldown. After a rate limit one message a second is sent
for a while, which is what Slack accepts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from cwnotify.slack.retry_policy import Delivered, DeliveryDecision, GiveUp, RetryAt
from cwnotify.store.outbox import Outbox

# In seconds: between two messages after a rate limit, and for how long.
PACED_SEND_INTERVAL, PACING_DURATION = 1.0, 60.0


class DestinationCooldown:
    """The cooldown of one destination.

    Parameters
    ----------
    clock
        Returns seconds by a clock that is never set.

    Attributes
    ----------
    consecutive_failures
        How many attempts in a row brought no verdict from Slack, for any message.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.consecutive_failures = 0
        self._clock = clock
        self._until = -math.inf
        # Unix seconds.
        self._attempt_started = 0.0
        self._is_requested_by_slack = False
        self._paced_until = -math.inf

    def record_attempt(self, decision: DeliveryDecision, began: float, now: float) -> None:
        """Record the result of an attempt that began and ended at these times (Unix seconds)."""
        match decision:
            case (
                RetryAt(backoff_until=until, is_requested_by_slack=is_requested)
                | GiveUp(backoff_until=until, is_requested_by_slack=is_requested)
            ) if until:
                self.consecutive_failures += 1
                self._until = self._clock() + until - now
                self._attempt_started, self._is_requested_by_slack = began, is_requested
                if is_requested:
                    self._paced_until = self._until + PACING_DURATION
            case Delivered() if self._clock() < self._paced_until:
                self.consecutive_failures = 0
                self._until, self._is_requested_by_slack = self._clock() + PACED_SEND_INTERVAL, True
            case _:
                self.consecutive_failures, self._until = 0, -math.inf

    def remaining_seconds(self) -> float:
        """Return the seconds until the cooldown ends, or 0."""
        return max(self._until - self._clock(), 0.0)

    def min_created_at(self) -> float:
        """Return since when a message must exist to be sent now (Unix seconds): 0 for any, infinity for none."""
        if not self.remaining_seconds():
            return 0.0
        return math.inf if self._is_requested_by_slack else self._attempt_started

    def next_due_time(self, outbox: Outbox, destination: str, now: float) -> float | None:
        """Return when the next message can be sent or its lease ends, or None if no message is pending."""
        due = outbox.next_due_time(destination)
        if due is None or not (remaining := self.remaining_seconds()):
            return due
        new_due = outbox.next_due_time(destination, self.min_created_at())
        due = max(due, now + remaining)
        return due if new_due is None else min(new_due, due)
