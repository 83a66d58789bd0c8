"""The lines on the pipe, both ways. Standard library, `errors`, `native` and `shorten` only.

A line is a JSON object with a ``kind``. From the kernel:

=========== ==================================================== =======
kind        what it tells                                        ``id``
=========== ==================================================== =======
hello       who speaks: pid, protocol, the webhook, and in       no
            ``environ`` what it takes to reach it; None in a
            program, whose environment the sidecar has
webhook     the webhook changed; ``environ`` as above            no
started     a `cwnotify.alerts.events.runs.Run` began                 yes
noted       how far a run has come: a `RunEnded`, as if lost now no
waiting     ``run`` waits for a person: ``wait`` names for what, yes
            ``notebook`` whether in a notebook
resumed     the run with the id ``run`` waits no longer          no
busy        a cell began that may belong to the Run All of a     no
            group, or ended
ended       a `cwnotify.alerts.events.runs.RunResult`                  yes
watch       ``panel`` opened, or asks for something else:        no
            ``request`` is a `cwnotify.view.snapshot.PanelRequest`,
            ``environ`` what the environment says of AWS
unwatch     ``panel`` was closed                                 no
refresh     read again now                                       no
greet       send a test message to Slack                         no
mute        say nothing of alarms for so many ``seconds``        no
drain       the sidecar ends with the process: send all that is  no
            due, and answer ``drained``
goodbye     the process leaves in good order                     no
=========== ==================================================== =======

A line with an ``id`` is answered by ``ack`` once it is on disk; until then the kernel keeps it, and sends it again
to the next sidecar. Back come ``ready`` (the sidecar's pid), ``ack``, ``told`` (what became of an alert), ``trouble``
(words for the screen), ``drained`` and ``snapshot``: for ``panel`` the `cwnotify.view.snapshot.Snapshot` with few of
its points and, where they have changed, ``light`` and ``dark``, its plot as base64 PNG. A snapshot that finds the pipe
still full is left out: only the newest counts.

No line that is written exceeds `MAX_WRITTEN_LINE_BYTES`: what a run shows is shortened until it fits. A reader takes longer ones, as
another version may write them, up to `MAX_READ_LINE_BYTES`. Of one beyond that, it still gives a line ``too long`` with what its
beginning and its end say: ``was`` (its kind), ``id`` and ``outcome``, each empty if unknown.
"""

from __future__ import annotations

import errno
import json
import os
import re
from typing import Any

from cwnotify.errors import ProtocolError
from cwnotify.sidecar import native_threads
from cwnotify.sidecar.event_size import encode_within_limit

PROTOCOL_VERSION = 1
# In bytes, without the newline.
MAX_WRITTEN_LINE_BYTES, MAX_READ_LINE_BYTES = 1 << 20, 1 << 24
# How much of the end of a line beyond `MAX_READ_LINE_BYTES` is kept.
MAX_LINE_TAIL_BYTES = 1 << 16

PipeMessage = dict[str, Any]
# Quotes inside of a JSON text have a backslash before them, so no text of a user's can look like one of these.
_PARTS = {
    "was": rb'^\s*\{\s*"kind"\s*:\s*"([\w ]{1,40})"',
    "id": rb'(?<!\\)"id"\s*:\s*"([\w +]{1,80})"',
    "outcome": rb'(?<!\\)"outcome"\s*:\s*"(\w{1,20})"',
}


def encode_pipe_message(kind: str, **values: Any) -> bytes:
    """One line, shortened where it is too long. ASCII, so that a lone surrogate in some message survives the trip."""
    return encode_within_limit({"kind": kind, **values}, MAX_WRITTEN_LINE_BYTES) + b"\n"


def decode_pipe_message(line: bytes | bytearray) -> PipeMessage:
    """Read one line.

    Raises
    ------
    ProtocolError
        If it is no JSON object with a ``kind``.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("a line that is no JSON") from None
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise ProtocolError("a line without a kind")
    return value


class PipeMessageReader:
    """Bytes in, whole lines out. A line that cannot be read is dropped and counted; one beyond `MAX_READ_LINE_BYTES` is named."""

    def __init__(self) -> None:
        self.dropped_count = 0
        self._rest, self._end = bytearray(), b""

    def feed(self, data: bytes) -> list[PipeMessage]:
        """Take what was read and give the lines that it completes."""
        first, *others = data.split(b"\n")
        self._add(first)
        lines = []
        for following in others:
            try:
                lines.append(self._line())
            except ProtocolError:
                self.dropped_count += 1
            self._rest, self._end = bytearray(), b""
            self._add(following)
        return lines

    def _add(self, data: bytes) -> None:
        """Of a line that is too long, keep the beginning and the end: its end must not be taken for a line."""
        room = MAX_READ_LINE_BYTES + 1 - len(self._rest)
        self._rest += data[:room]
        self._end = (self._end + data[room:])[-MAX_LINE_TAIL_BYTES:]

    def _line(self) -> PipeMessage:
        if len(self._rest) <= MAX_READ_LINE_BYTES:
            return decode_pipe_message(self._rest)
        # The end may continue the beginning.
        known = bytes(self._rest) + self._end
        matches = {name: re.search(pattern, known) for name, pattern in _PARTS.items()}
        line = {name: match[1].decode() if match else "" for name, match in matches.items()}
        if not line["was"]:
            raise ProtocolError("a line that is too long")
        return {"kind": "too long", **line}


class Pipe:
    """One end of a pipe that never blocks, and that knows its file from another that took over its number.

    A cell may close every descriptor (``os.closerange(3, 4096)``) and open files of its own under the same numbers:
    nothing of ours may be written there, or read from there.

    Parameters
    ----------
    descriptor
        An open descriptor; it is made non-blocking when `writes`.
    """

    def __init__(self, descriptor: int, is_writer: bool) -> None:
        self._descriptor = descriptor
        self._file = _identity(descriptor)
        self._unsent = bytearray()
        self._lock = native_threads.new_rlock()
        if is_writer:
            os.set_blocking(descriptor, False)

    def fileno(self) -> int:
        """The descriptor, or -1 when it is no longer ours."""
        return self._descriptor if self._file and _identity(self._descriptor) == self._file else -1

    def send(self, line: bytes) -> None:
        """Write at once what the pipe takes; the rest goes with the next `send` or `flush`.

        Raises
        ------
        BrokenPipeError
            If nobody reads any more, or the descriptor is gone.
        """
        with self._lock:
            self._unsent += line
            self.flush()

    def try_send(self, line: bytes) -> bool:
        """As `send`, but only if all that was sent before is gone; tells whether it was sent."""
        with self._lock:
            if not self.flush():
                return False
            self.send(line)
            return True

    def flush(self) -> bool:
        """Write what is left; tells whether all is written."""
        with self._lock:
            while self._unsent:
                descriptor = self.fileno()
                if descriptor < 0:
                    raise BrokenPipeError(errno.EPIPE, "the pipe is gone")
                try:
                    written = native_threads.write(descriptor, self._unsent)
                except BlockingIOError:
                    return False
                del self._unsent[:written]
            return True

    def read(self) -> bytes:
        """Wait for bytes; empty at the end, or when the descriptor is gone."""
        descriptor = self.fileno()
        return native_threads.read(descriptor, 1 << 16) if descriptor >= 0 else b""

    def close(self) -> None:
        """Close it, if it is still ours."""
        if self.fileno() >= 0:
            os.close(self._descriptor)
        self._file = None


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino
