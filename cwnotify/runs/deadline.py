"""Asking the user's objects for words, which may take for ever. Standard library and `native` only.

After a cell its objects are asked what they hold (``--show``) and what went wrong (an exception's text). That is the
user's code, and it belongs in the main thread, but nobody who walked away expects it to hold up the next cell.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from cwnotify.sidecar import native_threads

T = TypeVar("T")
USER_CODE_TIMEOUT = 2.0


def call_with_timeout(seconds: float, ask: Callable[[], T]) -> T:
    """What `ask` gives, if it gives it in so many seconds.

    An interrupt ends it, as Jupyter's stop button would. Code that catches even that, or that waits in C without
    heeding signals, is waited for; so it is in other threads than the main one, where there are no signals, and where
    no thread is to be had that could interrupt.

    Raises
    ------
    TimeoutError
        If it took longer.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is None:
        # Somebody's in C: it could not be put back.
        return ask()
    limit = _Limit(seconds)

    def interrupted(number: int, frame: FrameType | None) -> None:
        # The user's interrupt goes where it would have gone.
        if limit.is_reached or before is signal.SIG_DFL:
            raise KeyboardInterrupt
        if callable(before):
            before(number, frame)

    try:
        signal.signal(signal.SIGINT, interrupted)
    except ValueError:
        # Only the main thread may set handlers.
        return ask()
    try:
        limit.begin()
        return ask()
    except KeyboardInterrupt:
        if limit.is_reached:
            raise TimeoutError from None
        raise
    finally:
        limit.end()
        signal.signal(signal.SIGINT, before)


class _Limit:
    """Interrupts the thread that made it once, unless it is ended before."""

    def __init__(self, seconds: float) -> None:
        self.is_reached = False
        self._seconds = seconds
        self._thread = native_threads.get_thread_id()
        self._is_ended = False
        self._changed = native_threads.Condition()

    def begin(self) -> None:
        """Count from now, where a thread can be had: an error that tells of too few threads must still be described."""
        try:
            native_threads.start_thread(self._count, ())
        except RuntimeError:
            pass

    def _count(self) -> None:
        if self._changed.wait_for(lambda: self._is_ended, self._seconds):
            return
        with self._changed:
            if not self._is_ended:
                self.is_reached = True
                signal.pthread_kill(self._thread, signal.SIGINT)

    def end(self) -> None:
        """After this it interrupts nobody: what it has sent has arrived, for we hold its lock."""
        try:
            self._is_ended = True
            self._changed.notify_all()
        except KeyboardInterrupt:
            self._is_ended = True
