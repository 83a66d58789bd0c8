"""Calls that only add to what a poll knows: made in threads of their own, so that none of them delays an alert.

A call that fails or is slow is not waited for. The poll goes on with what it has, and a later poll tries again. A late
answer is kept for the poll that asks the same again. Standard library and `errors` only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from cwnotify.errors import AwsError, AwsErrorKind

T = TypeVar("T")

# Seconds; a call of AWS takes a tenth of that.
MAX_WAIT_PER_POLL = 3.0
# After failures in a row the next call is this many polls away at most.
MAX_BACKOFF_POLLS = 8


class _Kind:
    """Calls of one kind: the one under way, and when the next may be made."""

    def __init__(self, wait: float) -> None:
        self.wait = self.left = wait
        self.failures = 0
        self.next_at = 0.0
        self.thread: threading.Thread | None = None
        self.key: Hashable = None
        self.outcome: list[Any] = []


class BackgroundCalls:
    """Makes such calls, at most one of each kind at a time.

    Parameters
    ----------
    pause
        Returns the seconds between two polls.
    max_wait
        Seconds that a poll waits for all calls of one kind together.
    """

    def __init__(self, pause: Callable[[], float], max_wait: float = MAX_WAIT_PER_POLL) -> None:
        self._pause, self._max_wait = pause, max_wait
        self._kinds: dict[str, _Kind] = {}

    def start_poll(self) -> None:
        """Begin a poll, in which there is time for calls again."""
        for kind in self._kinds.values():
            kind.left = kind.wait

    def fetch(
        self, kind: str, key: Hashable, call: Callable[[], T], wait: float | None = None, use_backoff: bool = True
    ) -> T:
        """Return what `call` returns.

        Parameters
        ----------
        kind
            What is asked; one kind's failures do not hold up another.
        key
            What is asked about: a late answer is for this alone.
        wait
            Seconds that a poll waits for all calls of this kind together, if not `max_wait`.
        backs_off
            Whether polls leave the call out after it has failed, more of them each time.

        Raises
        ------
        AwsError
            If the call fails; with the kind ``late``, if it takes too long or is not made because of that.
        """
        state = self._kinds.setdefault(kind, _Kind(self._max_wait if wait is None else wait))
        if state.thread is not None and state.thread.is_alive():
            raise AwsError(f"AWS ({kind}) has not answered yet", kind=AwsErrorKind.PENDING)
        is_late, state.thread = state.thread is not None, None
        if is_late and state.outcome[1] is None:
            state.failures, state.next_at = 0, 0.0
        if not (is_late and state.key == key):
            if state.left <= 0 or (use_backoff and time.monotonic() < state.next_at):
                raise AwsError(f"AWS ({kind}) is asked again later", kind=AwsErrorKind.PENDING)
            self._make(state, kind, key, call)
        value, error = state.outcome
        if error is not None:
            self._fail(state)
            raise error
        state.failures = 0
        result: T = value
        return result

    def _make(self, state: _Kind, kind: str, key: Hashable, call: Callable[[], Any]) -> None:
        outcome: list[Any] = [None, None]

        def run() -> None:
            try:
                outcome[0] = call()
            except AwsError as error:
                outcome[1] = error
            except Exception as error:
                logging.getLogger(__name__).exception("a lookup failed")
                outcome[1] = AwsError(f"{kind}: {type(error).__name__}")

        began = time.monotonic()
        state.key, state.outcome = key, outcome
        thread = threading.Thread(target=run, name=f"cwnotify-{kind}", daemon=True)
        thread.start()
        thread.join(state.left)
        state.left -= time.monotonic() - began
        if thread.is_alive():
            state.thread = thread
            self._fail(state)
            raise AwsError(f"AWS ({kind}) does not answer in time", kind=AwsErrorKind.PENDING)

    def _fail(self, state: _Kind) -> None:
        state.failures += 1
        # A little less than whole polls, whose lengths vary.
        polls = min(2 ** (state.failures - 1), MAX_BACKOFF_POLLS) - 0.5
        state.next_at = time.monotonic() + polls * self._pause()
