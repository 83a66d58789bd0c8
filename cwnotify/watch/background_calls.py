"""Make optional AWS calls in threads, so that none of them delays an alert. Imports the standard library and `errors`.

A poll does not wait for a call that fails or is slow. It goes on without the result, and a later poll tries again. A
late result is stored for the poll that makes the same call again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from cwnotify.errors import AwsError, AwsErrorKind

T = TypeVar("T")

MAX_WAIT_PER_POLL = 3.0  # seconds; a call to AWS usually takes a tenth of that
MAX_BACKOFF_POLLS = 8

log = logging.getLogger(__name__)


class _CallState:
    """The latest call of one kind, and when the next call may be made."""

    def __init__(self, wait: float) -> None:
        self.wait = self.wait_left = wait
        self.failure_count = 0
        self.next_at = 0.0
        self.thread: threading.Thread | None = None
        self.key: Hashable = None
        # The result and the error. One of them is None.
        self.outcome: list[Any] = []


class BackgroundCalls:
    """Make optional calls, at most one of each kind at a time.

    Parameters
    ----------
    pause
        Returns the seconds between two polls.
    max_wait
        Seconds that a poll waits for all calls of one kind together.
    """

    def __init__(self, pause: Callable[[], float], max_wait: float = MAX_WAIT_PER_POLL) -> None:
        self._pause, self._max_wait = pause, max_wait
        self._states: dict[str, _CallState] = {}

    def start_poll(self) -> None:
        """Begin a poll. Each kind of call has its full time again."""
        for state in self._states.values():
            state.wait_left = state.wait

    def fetch(
        self, kind: str, key: Hashable, call: Callable[[], T], wait: float | None = None, use_backoff: bool = True
    ) -> T:
        """Return what `call` returns.

        Parameters
        ----------
        kind
            The kind of call. Failures of one kind do not delay another.
        key
            The arguments of the call. A late result is returned to a call with the same key only.
        wait
            Seconds that a poll waits for all calls of this kind together; by default `max_wait`.
        use_backoff
            Whether polls skip the call after failures, more polls after each failure.

        Raises
        ------
        AwsError
            If the call fails; with `AwsErrorKind.PENDING` if it is slow, or skipped after failures.
        """
        state = self._states.setdefault(kind, _CallState(self._max_wait if wait is None else wait))
        if state.thread is not None and state.thread.is_alive():
            raise AwsError(f"AWS ({kind}) has not answered yet", kind=AwsErrorKind.PENDING)
        is_late, state.thread = state.thread is not None, None
        if is_late and state.outcome[1] is None:
            state.failure_count, state.next_at = 0, 0.0
        if not (is_late and state.key == key):
            if state.wait_left <= 0 or (use_backoff and time.monotonic() < state.next_at):
                raise AwsError(f"AWS ({kind}) is queried again later", kind=AwsErrorKind.PENDING)
            self._start(state, kind, key, call)
        value, error = state.outcome
        if error is not None:
            self._count_failure(state)
            raise error
        state.failure_count = 0
        result: T = value
        return result

    def _start(self, state: _CallState, kind: str, key: Hashable, call: Callable[[], Any]) -> None:
        outcome: list[Any] = [None, None]

        def run() -> None:
            try:
                outcome[0] = call()
            except AwsError as error:
                outcome[1] = error
            except Exception as error:
                log.exception("background call %s failed", kind)
                outcome[1] = AwsError(f"{kind}: {type(error).__name__}")

        began = time.monotonic()
        state.key, state.outcome = key, outcome
        thread = threading.Thread(target=run, name=f"cwnotify-{kind}", daemon=True)
        thread.start()
        thread.join(state.wait_left)
        state.wait_left -= time.monotonic() - began
        if thread.is_alive():
            state.thread = thread
            self._count_failure(state)
            raise AwsError(f"AWS ({kind}) does not answer in time", kind=AwsErrorKind.PENDING)

    def _count_failure(self, state: _CallState) -> None:
        state.failure_count += 1
        # Half a poll less, because the time between polls varies.
        polls = min(2 ** (state.failure_count - 1), MAX_BACKOFF_POLLS) - 0.5
        state.next_at = time.monotonic() + polls * self._pause()
