"""Evaluate user code under a time limit. Imports the standard library and `sidecar.native_threads`.

After a cell, ``--show`` evaluates the user's values, and a failure reads the exception's text. Both run user code on
the main thread, which must not delay the next cell.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from cwnotify.sidecar import native_threads

T = TypeVar("T")
USER_CODE_TIMEOUT = 2.0  # seconds


def call_with_timeout(seconds: float, function: Callable[[], T]) -> T:
    """Return what `function` returns, or interrupt it after `seconds`.

    The interrupt is a SIGINT, as from Jupyter's stop button. The limit has no effect if the code catches
    the interrupt, blocks in C, or runs outside the main thread, which alone receives signals, or if no thread can be
    started.

    Raises
    ------
    TimeoutError
        If `function` took longer.
    """
    previous = signal.getsignal(signal.SIGINT)
    if previous is None:
        # The handler was set in C, so it could not be restored.
        return function()
    timer = _InterruptTimer(seconds)

    def handle_interrupt(number: int, frame: FrameType | None) -> None:
        # The user's own interrupt goes to the previous handler.
        if timer.has_fired or previous is signal.SIG_DFL:
            raise KeyboardInterrupt
        if callable(previous):
            previous(number, frame)

    try:
        signal.signal(signal.SIGINT, handle_interrupt)
    except ValueError:
        # Only the main thread may set handlers.
        return function()
    try:
        timer.start()
        return function()
    except KeyboardInterrupt:
        if timer.has_fired:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, previous)


class _InterruptTimer:
    """Interrupts the thread that created it once, unless it is cancelled before."""

    def __init__(self, seconds: float) -> None:
        self.has_fired = False
        self._seconds = seconds
        self._thread = native_threads.get_thread_id()
        self._is_cancelled = False
        self._condition = native_threads.Condition()

    def start(self) -> None:
        """Start to count. Without a free thread nothing happens, because that very error must still be described."""
        try:
            native_threads.start_thread(self._wait, ())
        except RuntimeError:
            pass

    def _wait(self) -> None:
        if self._condition.wait_for(lambda: self._is_cancelled, self._seconds):
            return
        with self._condition:
            if not self._is_cancelled:
                self.has_fired = True
                signal.pthread_kill(self._thread, signal.SIGINT)

    def cancel(self) -> None:
        """Send no more interrupts. An interrupt sent before has arrived, because this takes the timer's lock."""
        try:
            self._is_cancelled = True
            self._condition.notify_all()
        except KeyboardInterrupt:
            self._is_cancelled = True
