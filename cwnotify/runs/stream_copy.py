"""The last lines that a command prints, for ``--tail``, without changing what the command sees.

Standard library, `screen` and `tail` only.

Into a file the command writes itself, and the lines are read from there: a full disk is its own to notice. Otherwise it
writes to a pipe, and a thread copies that to where the command would have written. Once there is no reader any more,
the pipe is closed, so the command gets SIGPIPE as it would have without us.
"""

from __future__ import annotations

import array
import codecs
import fcntl
import math
import os
import select
import signal
import stat
import termios
import threading
import time
from collections.abc import Collection, Iterable

from cwnotify.console import warn
from cwnotify.runs.output_tail import MAX_BUFFERED_CHARS, OutputTail

COPY_CHUNK_SIZE = 1 << 16
# How long to wait for the last words of what the command left running, in seconds.
LEFTOVER_OUTPUT_TIMEOUT = 0.2
# How long the alert waits for a reader that reads slowly, in seconds.
SLOW_READER_TIMEOUT = 1.0
_NAMES = {1: "standard output", 2: "standard error"}


class OutputTee:
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

    def __init__(self, tail: OutputTail, closed: Collection[int]) -> None:
        self._tail = tail
        self._files: list[_File] = []
        self._copiers: list[_Copier] = []
        self.child_streams: dict[int, int] = {}
        both = not {1, 2} & set(closed) and os.path.sameopenfile(1, 2)
        for number in sorted({1} if both else {1, 2} - set(closed)):
            if _is_file(number):
                self._files += _File.of(number)
            else:
                source, self.child_streams[number] = os.pipe()
                self._copiers.append(_Copier(source, number, tail))
        if both and self.child_streams:
            # One pipe for both keeps the order of what is printed.
            self.child_streams[2] = self.child_streams[1]

    @property
    def write_error(self) -> OSError | None:
        """Why not everything could be copied."""
        return next((copier.error for copier in self._copiers if copier.error), None)

    def start(self) -> None:
        """Copy, now that the child has its ends."""
        for end in set(self.child_streams.values()):
            os.close(end)
        for copier in self._copiers:
            copier.start()

    def finish(self) -> None:
        """The command has ended: copy what it left in the pipes, but do not wait long for it to be read."""
        for copier in self._copiers:
            copier.end()
        deadline = time.monotonic() + LEFTOVER_OUTPUT_TIMEOUT + SLOW_READER_TIMEOUT
        for copier in self._copiers:
            copier.join(max(deadline - time.monotonic(), 0.0))
        last_copied = max((copier.at for copier in self._copiers), default=0.0)
        for file in sorted(self._files, key=lambda file: file.written_at):
            self._tail.add_output(file.text(), prepend=file.written_at < last_copied)

    def hand_over(self, signals: Iterable[int], mask: Iterable[int]) -> None:
        """Wait until all is read, or a signal ends us; leave the pipes of programs that go on to another copier."""
        while any(copier.is_alive() for copier in self._copiers):
            if signal.sigtimedwait(signals, LEFTOVER_OUTPUT_TIMEOUT):
                return
        for copier in self._copiers:
            copier.hand_over(mask)


def _is_file(number: int) -> bool:
    """Return whether the command writes there itself: into a file, or into a device that may fail as a disk may."""
    status = os.fstat(number)
    if stat.S_ISREG(status.st_mode):
        return os.access(f"/proc/self/fd/{number}", os.R_OK)
    is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    return is_device and not os.isatty(number) and not os.path.samestat(status, os.stat(os.devnull))  # noqa: PTH116


class _File:
    """A file that the command writes into."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._reader = os.open(f"/proc/self/fd/{number}", os.O_RDONLY)
        appends = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_APPEND
        self._begin = os.fstat(number).st_size if appends else os.lseek(number, 0, os.SEEK_CUR)

    @classmethod
    def of(cls, number: int) -> list[_File]:
        """The file of a stream, if there is something to be read from it."""
        return [cls(number)] if stat.S_ISREG(os.fstat(number).st_mode) else []

    @property
    def written_at(self) -> float:
        """When something was written into it, in Unix seconds."""
        return os.fstat(self._reader).st_mtime

    def text(self) -> str:
        """The end of what the command has written: our offset in the file is its own."""
        end = os.lseek(self._number, 0, os.SEEK_CUR)
        begin = max(self._begin if self._begin <= end else 0, end - MAX_BUFFERED_CHARS)
        return os.pread(self._reader, end - begin, begin).decode("utf-8", "replace")


class _Copier(threading.Thread):
    def __init__(self, source: int, sink: int, tail: OutputTail) -> None:
        super().__init__(name="cwnotify-copy", daemon=True)
        self.error: OSError | None = None
        # When something was printed last, in Unix seconds.
        self.at = 0.0
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
                deadline, left = time.monotonic() + LEFTOVER_OUTPUT_TIMEOUT, self._available()
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
        piece = os.read(self._source, COPY_CHUNK_SIZE)
        self._tail.add_output(self._decoder.decode(piece, not piece))
        size = len(piece)
        if piece:
            self.at = time.time()
        else:
            self._close()
        try:
            while piece:
                piece = piece[self._write(piece) :]
        except BrokenPipeError:
            self._close()
        except OSError as error:
            if self.error is None:
                self.error = error
                warn(f"{_NAMES[self._sink]} cannot be written: {error.strerror}; the command goes on")
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
