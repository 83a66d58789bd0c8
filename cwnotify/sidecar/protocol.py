"""The lines on the pipe, both ways. Standard library, `errors` and `native` only.

A line is a JSON object with a ``kind``. From the kernel:

=========== ==================================================== =======
kind        what it tells                                        ``id``
=========== ==================================================== =======
hello       who speaks: pid, protocol, the webhook, and in       no
            ``environ`` what it takes to reach it; None in a
            program, whose environment the sidecar has
webhook     the webhook changed; ``environ`` as above            no
started     a `cwnotify.alerts.events.Run` began                 yes
noted       how far a run has come: a `RunEnded`, as if lost now no
waiting     ``run`` waits for a person: ``wait`` names for what, yes
            ``notebook`` whether in a notebook
resumed     the run with the id ``run`` waits no longer          no
busy        a cell began that may belong to the Run All of a     no
            group, or ended
ended       a `cwnotify.alerts.events.RunEnded`                  yes
watch       ``panel`` opened, or asks for something else:        no
            ``request`` is a `cwnotify.sidecar.snapshot.Request`,
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
(words for the screen), ``drained`` and ``snapshot``: for ``panel`` the `cwnotify.sidecar.snapshot.Snapshot` with few of
its points and, where they have changed, ``light`` and ``dark``, its plot as base64 PNG. A snapshot that finds the pipe
still full is left out: only the newest counts.
"""

from __future__ import annotations

import errno
import json
import os
from typing import Any

from cwnotify import native
from cwnotify.errors import ProtocolError

PROTOCOL = 1
LONGEST_LINE = 1 << 20

Line = dict[str, Any]
# Made once: `json.dumps` makes one anew each time that it is asked for anything special.
_dumps = json.JSONEncoder(separators=(",", ":")).encode


def encode(kind: str, **values: Any) -> bytes:
    """One line. ASCII, so that a lone surrogate in some exception's message survives the trip."""
    return _dumps({"kind": kind, **values}).encode("ascii") + b"\n"


def decode(line: bytes) -> Line:
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


class Lines:
    """Bytes in, whole lines out. A line that is too long or cannot be read is dropped and counted."""

    def __init__(self) -> None:
        self.dropped = 0
        self._rest = b""

    def feed(self, data: bytes) -> list[Line]:
        """Take what was read and give the lines that it completes."""
        *whole, rest = (self._rest + data).split(b"\n")
        # Of a line that is too long, no more than shows that it is: its end must not be taken for a line.
        self._rest = rest[: LONGEST_LINE + 1]
        lines = []
        for raw in whole:
            try:
                if len(raw) > LONGEST_LINE:
                    raise ProtocolError("a line that is too long")
                lines.append(decode(raw))
            except ProtocolError:
                self.dropped += 1
        return lines


class Pipe:
    """One end of a pipe that never blocks, and that knows its file from another that took over its number.

    A cell may close every descriptor (``os.closerange(3, 4096)``) and open files of its own under the same numbers:
    nothing of ours may be written there, or read from there.

    Parameters
    ----------
    descriptor
        An open descriptor; it is made non-blocking when `writes`.
    """

    def __init__(self, descriptor: int, writes: bool) -> None:
        self._descriptor = descriptor
        self._file = _identity(descriptor)
        self._unsent = bytearray()
        self._lock = native.new_rlock()
        if writes:
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

    def offer(self, line: bytes) -> bool:
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
                    written = native.write(descriptor, self._unsent)
                except BlockingIOError:
                    return False
                del self._unsent[:written]
            return True

    def read(self) -> bytes:
        """Wait for bytes; empty at the end, or when the descriptor is gone."""
        descriptor = self.fileno()
        return native.read(descriptor, 1 << 16) if descriptor >= 0 else b""

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
