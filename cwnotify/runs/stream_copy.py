"""Capture the last lines that a command prints, for ``--tail``, without changing how the command runs.

If its output is a file, the command writes the file itself, so it notices a full disk. The lines are then read from the
file. Otherwise it writes to a pipe, and a thread copies from there to the original output. When the original output has
no reader, the pipe is closed, so that the command gets SIGPIPE as without cwnotify. Imports the standard library,
`console` and `runs.output_tail`.
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
# How long to copy the output of background processes after the command has ended.
LEFTOVER_OUTPUT_TIMEOUT = 0.2  # seconds
# How long the alert waits for a slow reader of the output.
SLOW_READER_TIMEOUT = 1.0  # seconds
_STREAM_NAMES = {1: "standard output", 2: "standard error"}


class OutputTee:
    """The pipes for a command's output.

    Create it before the child is forked, and call `start` afterwards.

    Parameters
    ----------
    tail
        Receives the output.
    closed
        Standard streams that are closed. They stay closed for the command.

    Attributes
    ----------
    child_streams
        The pipe ends for the command, by stream number.
    """

    def __init__(self, tail: OutputTail, closed: Collection[int]) -> None:
        self._tail = tail
        self._files: list[_OutputFile] = []
        self._copiers: list[_Copier] = []
        self.child_streams: dict[int, int] = {}
        is_shared = not {1, 2} & set(closed) and os.path.sameopenfile(1, 2)
        for number in sorted({1} if is_shared else {1, 2} - set(closed)):
            if _is_written_directly(number):
                if stat.S_ISREG(os.fstat(number).st_mode):
                    self._files.append(_OutputFile(number))
            else:
                source, self.child_streams[number] = os.pipe()
                self._copiers.append(_Copier(source, number, tail))
        if is_shared and self.child_streams:
            # One pipe for both streams keeps the order of the output.
            self.child_streams[2] = self.child_streams[1]

    @property
    def write_error(self) -> OSError | None:
        """The first error while copying, or None."""
        return next((copier.error for copier in self._copiers if copier.error), None)

    def start(self) -> None:
        """Start to copy, after the child has its pipe ends."""
        for end in set(self.child_streams.values()):
            os.close(end)
        for copier in self._copiers:
            copier.start()

    def finish(self) -> None:
        """Copy what the ended command left in the pipes, but do not wait long for a slow reader."""
        for copier in self._copiers:
            copier.finish()
        deadline = time.monotonic() + LEFTOVER_OUTPUT_TIMEOUT + SLOW_READER_TIMEOUT
        for copier in self._copiers:
            copier.join(max(deadline - time.monotonic(), 0.0))
        last_copied = max((copier.last_output_at for copier in self._copiers), default=0.0)
        for file in sorted(self._files, key=lambda file: file.written_at):
            self._tail.add_output(file.read_tail(), prepend=file.written_at < last_copied)

    def hand_over(self, signals: Iterable[int], mask: Iterable[int]) -> None:
        """Wait until all is read or a signal arrives. Leave the pipes of background processes to other copiers."""
        while any(copier.is_alive() for copier in self._copiers):
            if signal.sigtimedwait(signals, LEFTOVER_OUTPUT_TIMEOUT):
                return
        for copier in self._copiers:
            copier.hand_over(mask)


def _is_written_directly(number: int) -> bool:
    """Return whether the command writes the stream itself: a file, or a device that can fail as a disk can."""
    status = os.fstat(number)
    if stat.S_ISREG(status.st_mode):
        return os.access(f"/proc/self/fd/{number}", os.R_OK)
    is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    return is_device and not os.isatty(number) and not os.path.samestat(status, os.stat(os.devnull))  # noqa: PTH116


class _OutputFile:
    """A regular file that the command writes."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._reader = os.open(f"/proc/self/fd/{number}", os.O_RDONLY)
        appends = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_APPEND
        self._begin = os.fstat(number).st_size if appends else os.lseek(number, 0, os.SEEK_CUR)

    @property
    def written_at(self) -> float:
        """When the file was last written, in Unix seconds."""
        return os.fstat(self._reader).st_mtime

    def read_tail(self) -> str:
        """Return the end of the command's output. The command shares its file offset with this process."""
        end = os.lseek(self._number, 0, os.SEEK_CUR)
        begin = max(self._begin if self._begin <= end else 0, end - MAX_BUFFERED_CHARS)
        return os.pread(self._reader, end - begin, begin).decode("utf-8", "replace")


class _Copier(threading.Thread):
    """Copies a pipe to the original output."""

    def __init__(self, source: int, sink: int, tail: OutputTail) -> None:
        super().__init__(name="cwnotify-copy", daemon=True)
        self.error: OSError | None = None
        # Unix seconds
        self.last_output_at = 0.0
        self._source, self._sink, self._tail = source, sink, tail
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # Closing the writer wakes the thread.
        self._finish_reader, self._finish_writer = os.pipe()

    def finish(self) -> None:
        os.close(self._finish_writer)

    def run(self) -> None:
        poller = select.poll()
        poller.register(self._source, select.POLLIN)
        # With no requested events, poll still reports that the reader is gone.
        poller.register(self._sink, 0)
        poller.register(self._finish_reader, 0)
        deadline, remaining = math.inf, 0
        while self._source >= 0 and (time.monotonic() < deadline or remaining > 0):
            pause = None if deadline == math.inf else max(deadline - time.monotonic(), 0.0) * 1000
            ready = dict(poller.poll(pause))
            if self._finish_reader in ready:
                poller.unregister(self._finish_reader)
                # The command's own output is copied in full. Background processes may never stop writing.
                deadline, remaining = time.monotonic() + LEFTOVER_OUTPUT_TIMEOUT, self._count_available()
            if ready.get(self._sink, 0) & (select.POLLERR | select.POLLHUP):
                self._close()
            elif self._source in ready:
                remaining -= self._copy_chunk()

    def _count_available(self) -> int:
        count = array.array("i", [0])
        fcntl.ioctl(self._source, termios.FIONREAD, count)
        return count[0]

    def _copy_chunk(self) -> int:
        """Copy a chunk; return its size in bytes."""
        chunk = os.read(self._source, COPY_CHUNK_SIZE)
        self._tail.add_output(self._decoder.decode(chunk, not chunk))
        size = len(chunk)
        if chunk:
            self.last_output_at = time.time()
        else:
            self._close()
        try:
            while chunk:
                chunk = chunk[self._write(chunk) :]
        except BrokenPipeError:
            self._close()
        except OSError as error:
            if self.error is None:
                self.error = error
                warn(f"{_STREAM_NAMES[self._sink]} cannot be written: {error.strerror}; the command goes on")
        return size

    def _write(self, chunk: bytes) -> int:
        try:
            return os.write(self._sink, chunk)
        except BlockingIOError:
            # Another program has made the output non-blocking.
            select.select([], [self._sink], [])
            return 0

    def _close(self) -> None:
        os.close(self._source)
        self._source = -1

    def hand_over(self, mask: Iterable[int]) -> None:
        """Start a process that goes on copying, for a daemon that the command left behind."""
        if self._source < 0:
            return
        actions = [(os.POSIX_SPAWN_DUP2, self._source, 0), (os.POSIX_SPAWN_DUP2, self._sink, 1)]
        try:
            os.posix_spawn(
                "/bin/cat", ["cat"], os.environ, file_actions=actions, setsigmask=mask, setsigdef=(signal.SIGPIPE,)
            )
        except OSError:
            # The daemon gets SIGPIPE from here on.
            pass
