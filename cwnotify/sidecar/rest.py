"""When a destination that brings no answer is left alone. Standard library and `alerts` only.

Hundreds of alerts may wait while Slack is down or asks to slow down: one of them tries for all. What comes up
meanwhile may try at once, for Slack may be back, unless Slack itself asked for the rest.
"""

from __future__ import annotations

import math
import time

from cwnotify.alerts.retries import Decision, Delivered, RetryAt


class Rest:
    """The rest of one destination.

    Attributes
    ----------
    failures
        How many attempts in a row came to nothing, with whichever message.
    """

    def __init__(self) -> None:
        self.failures = 0
        # On the clock that is never set.
        self._until = -math.inf
        self._began = 0.0
        self._is_asked = False

    def note(self, decision: Decision, now: float) -> None:
        """Take in what came of an attempt that ended at `now` (Unix seconds)."""
        match decision:
            case Delivered():
                self.failures, self._until = 0, -math.inf
            case RetryAt(_, _, rest, is_asked):
                self.failures += 1
                self._until = time.monotonic() + rest - now
                self._began, self._is_asked = now, is_asked

    def left(self) -> float:
        """Seconds that are left of it; 0 where there is none."""
        return max(self._until - time.monotonic(), 0.0)

    def since(self) -> float:
        """Unix seconds: what is older has to wait. 0 for nothing, infinity for all."""
        if not self.left():
            return 0.0
        return math.inf if self._is_asked else self._began
