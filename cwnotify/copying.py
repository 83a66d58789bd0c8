"""Copying what a command prints, for ``--tail``, without changing what the command sees. Standard library and `tail`.

The command writes to a pipe, and a thread copies that to where the command would have written. Once nobody reads there
any more, the pipe is closed, so that the command gets SIGPIPE as it would have got it. A pipe cannot pass on other
errors, such as a full disk; then the command goes on, and what it prints is only kept for the alert.
"""

from __future__ import annotations

import array
import codecs
import fcntl
import math
import os
import select
import signal
import termios
import threading
import time
from collections.abc import Collection, Iterable

from cwnotify.screen import say
from cwnotify.tail import Tail

SIZE = 1 << 16
# How long to wait for the last words of what the command left running, in seconds.
GRACE = 0.2
# How long the alert waits for a reader that reads slowly, in seconds.
SLOW_READER_TIMEOUT = 1.0
_NAMES = {1: "standard output", 2: "standard error"}


class Copies:
    """The pipes for a command's output.

    Make it before the child is forked, and `begin` after that.

    Parameters
    ----------
    tail
        Gets what is printed.
    closed
        Standard streams that are closed; the command gets none in their place.

    Attributes
    ----------
    streams
        The ends for the command, by the number of the stream.
    """

    def __init__(self, tail: Tail, closed: Collection[int]) -> None:
        self._copiers: list[_Copier] = []
        self.streams: dict[int, int] = {}
        for number in {1, 2} - set(closed):
            if number == 2 and self.streams and os.path.sameopenfile(1, 2):
                # One pipe for both keeps the order of what is printed.
                self.streams[2] = self.streams[1]
                continue
            source, self.streams[number] = os.pipe()
            self._copiers.append(_Copier(source, number, tail))

    @property
    def error(self) -> OSError | None:
        """Why not everything could be copied."""
        return next((copier.error for copier in self._copiers if copier.error), None)

    def begin(self) -> None:
        """Copy, now that the child has its ends."""
        for end in set(self.streams.values()):
            os.close(end)
        for copier in self._copiers:
            copier.start()

    def end(self) -> None:
        """The command has ended: copy what it left in the pipes, but do not wait long for it to be read."""
        for copier in self._copiers:
            copier.end()
        deadline = time.monotonic() + GRACE + SLOW_READER_TIMEOUT
        for copier in self._copiers:
            copier.join(max(deadline - time.monotonic(), 0.0))

    def hand_over(self, signals: Iterable[int], mask: Iterable[int]) -> None:
        """Wait until all is read, or a signal ends us; leave the pipes of programs that go on to another copier."""
        while any(copier.is_alive() for copier in self._copiers):
            if signal.sigtimedwait(signals, GRACE):
                return
        for copier in self._copiers:
            copier.hand_over(mask)


class _Copier(threading.Thread):
    def __init__(self, source: int, sink: int, tail: Tail) -> None:
        super().__init__(name="cwnotify-copy", daemon=True)
        self.error: OSError | None = None
        self._source, self._sink, self._tail = source, sink, tail
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # Closing our end of it wakes the thread.
        self._ended, self._end = os.pipe()

    def end(self) -> None:
        os.close(self._end)

    def run(self) -> None:
        poller = select.poll()
        poller.register(self._source, select.POLLIN)
        # Without any event of its own: it reports that nobody reads any more.
        poller.register(self._sink, 0)
        poller.register(self._ended, 0)
        deadline, left = math.inf, 0
        while self._source >= 0 and (time.monotonic() < deadline or left > 0):
            pause = None if deadline == math.inf else max(deadline - time.monotonic(), 0.0) * 1000
            ready = dict(poller.poll(pause))
            if self._ended in ready:
                poller.unregister(self._ended)
                # What the command itself wrote is copied in any case; what it left running may never stop.
                deadline, left = time.monotonic() + GRACE, self._available()
            if ready.get(self._sink, 0) & (select.POLLERR | select.POLLHUP):
                self._close()
            elif self._source in ready:
                left -= self._copy()

    def _available(self) -> int:
        count = array.array("i", [0])
        fcntl.ioctl(self._source, termios.FIONREAD, count)
        return count[0]

    def _copy(self) -> int:
        """Copy a piece; return its size."""
        piece = os.read(self._source, SIZE)
        self._tail.keep(self._decoder.decode(piece, not piece))
        size = len(piece)
        if not piece:
            self._close()
        try:
            while piece:
                piece = piece[self._write(piece) :]
        except BrokenPipeError:
            self._close()
        except OSError as error:
            if self.error is None:
                self.error = error
                say(f"{_NAMES[self._sink]} cannot be written: {error.strerror}; the command goes on")
        return size

    def _write(self, piece: bytes) -> int:
        try:
            return os.write(self._sink, piece)
        except BlockingIOError:
            # Another program has made our output non-blocking.
            select.select([], [self._sink], [])
            return 0

    def _close(self) -> None:
        os.close(self._source)
        self._source = -1

    def hand_over(self, mask: Iterable[int]) -> None:
        """A daemon that the command left behind goes on printing to where it would have printed."""
        if self._source < 0:
            return
        actions = [(os.POSIX_SPAWN_DUP2, self._source, 0), (os.POSIX_SPAWN_DUP2, self._sink, 1)]
        try:
            os.posix_spawn(
                "/bin/cat", ["cat"], os.environ, file_actions=actions, setsigmask=mask, setsigdef=(signal.SIGPIPE,)
            )
        except OSError:
            # It gets SIGPIPE from now on.
            pass
