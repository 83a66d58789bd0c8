"""The messages on the pipe between kernel and sidecar, and the pipe itself.

Imports the standard library, `errors`, `sidecar.native_threads` and `sidecar.event_size` only.

A message is one line: a JSON object with a ``kind``. From the kernel:

=========== ========================================================== =======
kind        content                                                    ``id``
=========== ========================================================== =======
hello       the first message: the ``webhook``, and in ``environ`` the no
            variables needed to reach it. In a program ``environ`` is
            None, because the sidecar has the same environment
webhook     the webhook changed; fields as above                       no
started     a run began: ``run`` is a `Run`                            yes
noted       how far a run has come: ``ended`` is a `RunResult`, as if  no
            the run were lost now
waiting     ``run`` waits for the user; ``wait`` is a `WaitReason`,    yes
            ``notebook`` is whether it runs in a notebook
resumed     the run with the id ``run`` waits no longer                no
busy        a cell that may belong to the Run All of a group began     no
            (``busy`` is true) or ended
ended       a run ended: ``ended`` is a `RunResult`. With ``hold`` the yes
            kernel may be shutting down
watch       ``panel`` opened or changed: ``request`` is a              no
            `PanelRequest`, ``environ`` the AWS variables
unwatch     ``panel`` was closed                                       no
refresh     poll AWS now                                               no
greet       send a test message to Slack                               no
mute        send no messages about alarms for ``seconds``              no
drain       the sidecar is killed with the process: send everything    no
            that is due, then answer ``drained``
goodbye     the process exits normally                                 no
=========== ========================================================== =======

The sidecar answers a message that has an ``id`` with ``ack`` once it is on disk. Until then the kernel keeps it, and
sends it to the next sidecar. The other answers are ``ready``, ``delivery`` (the state of an alert after an attempt),
``trouble`` (a text for the user), ``drained``, and ``snapshot``: the `cwnotify.view.snapshot.Snapshot` for ``panel``
with a few of its points and, if the plot changed, ``light`` and ``dark`` as base64 PNG. A snapshot is dropped if the
pipe is full, because only the newest counts.

No message is longer than `MAX_WRITTEN_LINE_BYTES`; what a run shows is cut until it fits. A reader accepts up to
`MAX_READ_LINE_BYTES` from another version. From a longer message it returns a message ``too long`` with what the
beginning and the end contain: ``was`` (its kind), ``id`` and ``outcome``, each empty if unknown.
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

# Without the newline.
MAX_WRITTEN_LINE_BYTES, MAX_READ_LINE_BYTES = 1 << 20, 1 << 24
# How much of the end of a longer line is searched.
MAX_LINE_TAIL_BYTES = 1 << 16
MAX_PIPE_READ_BYTES = 1 << 16

PipeMessage = dict[str, Any]
# A quote inside a JSON text has a backslash before it, so no user text can match these.
_FIELD_PATTERNS = {
    "was": rb'^\s*\{\s*"kind"\s*:\s*"([\w ]{1,40})"',
    "id": rb'(?<!\\)"id"\s*:\s*"([\w +]{1,80})"',
    "outcome": rb'(?<!\\)"outcome"\s*:\s*"(\w{1,20})"',
}


def encode_pipe_message(kind: str, **values: Any) -> bytes:
    """Return a message as one line, cut if it is too long. ASCII, so that lone surrogates survive."""
    return encode_within_limit({"kind": kind, **values}, MAX_WRITTEN_LINE_BYTES) + b"\n"


def decode_pipe_message(line: bytes | bytearray) -> PipeMessage:
    """Return the message in a line.

    Raises
    ------
    ProtocolError
        If it is not a JSON object with a ``kind``.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("the line is not JSON") from None
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise ProtocolError("the line has no kind")
    return value


class PipeMessageReader:
    """Splits bytes into messages. A line that cannot be decoded is dropped and counted."""

    def __init__(self) -> None:
        self.dropped_count = 0
        # The line so far: its beginning, and what came after `MAX_READ_LINE_BYTES`.
        self._head, self._tail = bytearray(), b""

    def feed(self, data: bytes) -> list[PipeMessage]:
        """Add bytes, and return the messages that they complete."""
        first, *others = data.split(b"\n")
        self._append(first)
        messages = []
        for part in others:
            try:
                messages.append(self._decode_line())
            except ProtocolError:
                self.dropped_count += 1
            self._head, self._tail = bytearray(), b""
            self._append(part)
        return messages

    def _append(self, data: bytes) -> None:
        """Add to the line. Only the beginning and the end of a line that is too long are stored."""
        room = MAX_READ_LINE_BYTES + 1 - len(self._head)
        self._head += data[:room]
        self._tail = (self._tail + data[room:])[-MAX_LINE_TAIL_BYTES:]

    def _decode_line(self) -> PipeMessage:
        if len(self._head) <= MAX_READ_LINE_BYTES:
            return decode_pipe_message(self._head)
        # Joined, because a field may be partly in the tail.
        line = bytes(self._head) + self._tail
        matches = {name: re.search(pattern, line) for name, pattern in _FIELD_PATTERNS.items()}
        fields = {name: match[1].decode() if match else "" for name, match in matches.items()}
        if not fields["was"]:
            raise ProtocolError("the line is too long")
        return {"kind": "too long", **fields}


class Pipe:
    """One end of a pipe that never blocks a writer, and that never touches another file under its number.

    A cell may close every descriptor (``os.closerange(3, 4096)``) and open its own files under the same numbers.

    Parameters
    ----------
    descriptor
        An open descriptor.
    is_writer
        Whether it is the writing end, which becomes non-blocking.
    """

    def __init__(self, descriptor: int, is_writer: bool) -> None:
        self._descriptor = descriptor
        self._file_id = _file_id(descriptor)
        self._unsent = bytearray()
        self._lock = native_threads.new_rlock()
        if is_writer:
            os.set_blocking(descriptor, False)

    def fileno(self) -> int:
        """Return the descriptor, or -1 if it is no longer ours."""
        return self._descriptor if self._file_id and _file_id(self._descriptor) == self._file_id else -1

    def send(self, line: bytes) -> None:
        """Write as much as the pipe takes now. The rest is written by the next `send` or `flush`.

        Raises
        ------
        BrokenPipeError
            If the reader is gone, or the descriptor is no longer ours.
        """
        with self._lock:
            self._unsent += line
            self.flush()

    def try_send(self, line: bytes) -> bool:
        """Send only if all earlier lines are written. Return whether it was sent.

        Raises
        ------
        BrokenPipeError
            As `send`.
        """
        with self._lock:
            if not self.flush():
                return False
            self.send(line)
            return True

    def flush(self) -> bool:
        """Write the rest of earlier lines. Return whether all is written.

        Raises
        ------
        BrokenPipeError
            As `send`.
        """
        with self._lock:
            while self._unsent:
                descriptor = self.fileno()
                if descriptor < 0:
                    raise BrokenPipeError(errno.EPIPE, "the pipe was closed")
                try:
                    written = native_threads.write(descriptor, self._unsent)
                except BlockingIOError:
                    return False
                del self._unsent[:written]
            return True

    def read(self) -> bytes:
        """Wait for bytes. Return none at the end of the pipe, or if the descriptor is no longer ours."""
        descriptor = self.fileno()
        return native_threads.read(descriptor, MAX_PIPE_READ_BYTES) if descriptor >= 0 else b""

    def close(self) -> None:
        """Close the descriptor if it is still ours."""
        if self.fileno() >= 0:
            os.close(self._descriptor)
        self._file_id = None


def _file_id(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino
