"""Notes from child processes: a process with runs listens for them on a socket. Linux; elsewhere there is none.

However the child was started, it finds the socket by its parent's pid, so nothing is put into the
environment. Both ends check that the other one belongs to the same user. Standard library, `ranks` and
`shorten` only.

A message is one packet, a JSON object: ``run`` (a run's id, or empty for the newest run) and ``shown``, a list of
``[name, value, error]``.
"""

from __future__ import annotations

import _socket
import _thread
import json
import os
import select
import struct
import sys
import types
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from cwnotify.runs import distributed
from cwnotify.sidecar.event_size import encode_within_limit

MAX_PACKET = 200_000  # bytes; Linux sends up to 212,992 at once by default
BACKLOG = 128
PACKET_TIMEOUT = 0.2  # seconds
CHECK_INTERVAL = 5.0  # seconds
# How long the thread waits after an error, such as too many open files, in seconds.
RECEIVE_ERROR_BACKOFF = 1.0
# A child without a run looks for one in its ancestors this often, in seconds, and this far up.
ANCESTOR_SEARCH_INTERVAL = 5.0
MAX_ANCESTORS = 4

NoteMessage = dict[str, Any]


class NoteReceiver:
    """The socket of this process, and the thread that reads it.

    Parameters
    ----------
    receive
        Called with each message, in that thread or in the one that calls `drain`.
    """

    def __init__(self, receive: Callable[[NoteMessage], None]) -> None:
        self.process = os.getpid()
        self._receive = receive
        self._lock = _thread.allocate_lock()
        self._socket: _socket.socket | None = None
        self._file: tuple[int, int] | None = None
        self.is_open = False

    def open(self) -> None:
        """Listen, where that is possible; `is_open` shows whether it worked. It takes microseconds."""
        try:
            if self.is_open and self._is_ours():
                return
            self._let_go()
            # gevent and eventlet put a function of theirs in the place of this one; a thread of theirs would block.
            if not sys.platform.startswith("linux") or type(_thread.start_new_thread) is not types.BuiltinFunctionType:
                return
            listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
            listener.bind(_address(self.process))
            listener.listen(BACKLOG)
            listener.setblocking(False)
            self._socket, self._file = listener, _identity(listener.fileno())
            self.is_open = True
            _thread.start_new_thread(self._listen, (listener, listener.fileno()))
        except (OSError, RuntimeError):
            self._let_go()

    def drain(self) -> None:
        """Take what has arrived by now."""
        if self.process != os.getpid():
            return
        with self._lock:
            while self.is_open and self._is_ours() and self._take():
                pass

    def discard_after_fork(self) -> None:
        """In a forked child: the socket is the parent's. Takes no lock: the thread that held it is not here."""
        self._let_go()

    def _listen(self, listener: _socket.socket, descriptor: int) -> None:
        try:
            self._read(listener, descriptor)
        except Exception:
            # Code that closes all descriptors may do so at any moment. The next run opens another socket.
            return

    def _read(self, listener: _socket.socket, descriptor: int) -> None:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        while self._socket is listener:
            # Not for ever: while it waits for a socket that was closed, its name stays in use.
            ready = poller.poll(CHECK_INTERVAL * 1000)
            with self._lock:
                if self._socket is not listener or not self._is_ours():
                    return
                taken = not ready or self._take()
            if not taken:
                sleep(RECEIVE_ERROR_BACKOFF)

    def _take(self) -> bool:
        """Read one message; return whether there may be more."""
        assert self._socket
        try:
            descriptor, _ = self._socket._accept()  # type: ignore[attr-defined]  # what `socket.accept` calls
        except OSError:
            return False
        try:
            child = _socket.socket(fileno=descriptor)
        except OSError:
            os.close(descriptor)
            return True
        try:
            if _peer(child)[1] == os.geteuid():
                child.settimeout(PACKET_TIMEOUT)
                message = json.loads(child.recv(MAX_PACKET))
                if isinstance(message, dict):
                    self._receive(message)
        except Exception:
            # One that is damaged costs only itself.
            pass
        finally:
            child.close()
        return True

    def _is_ours(self) -> bool:
        """Whether the number is still our socket's: a cell may close all descriptors and open files of its own."""
        return self._socket is not None and _identity(self._socket.fileno()) == self._file

    def _let_go(self) -> None:
        listener, ours = self._socket, self._is_ours()
        self._socket, self._file, self.is_open = None, None, False
        if listener is not None and ours:
            listener.close()
        elif listener is not None:
            listener.detach()


def send_to_process(pid: int, message: NoteMessage) -> bool:
    """Send `message` to the process `pid`; return whether it took it."""
    packet = encode_within_limit(message, MAX_PACKET)
    if len(packet) > MAX_PACKET or not sys.platform.startswith("linux"):
        return False
    try:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    except OSError:
        return False
    try:
        connection.settimeout(PACKET_TIMEOUT)
        connection.connect(_address(pid))
        # Another user's process may have taken the name.
        if _peer(connection) != (pid, os.geteuid()):
            return False
        return connection.send(packet) == len(packet)
    except OSError:
        return False
    finally:
        connection.close()


class AncestorSender:
    """The nearest process around this one that takes notes."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._searched = -ANCESTOR_SEARCH_INTERVAL

    @property
    def has_no_receiver(self) -> bool:
        """Whether there was no such process a moment ago."""
        return self._pid is None and monotonic() - self._searched < ANCESTOR_SEARCH_INTERVAL

    def send(self, message: NoteMessage) -> bool:
        """Send `message` there; return whether a process took it."""
        if self._pid is not None:
            if send_to_process(self._pid, message):
                return True
            self._pid = None
        if self.has_no_receiver:
            return False
        self._searched = monotonic()
        for pid in _ancestors():
            if send_to_process(pid, message):
                self._pid = pid
                return True
        return False


def _ancestors() -> list[int]:
    """The process that started this one through `multiprocessing`, then the parents, nearest first."""
    found = [pid] if (pid := distributed.get_multiprocessing_parent()) else []
    pid = os.getppid()
    while pid > 1 and len(found) < MAX_ANCESTORS:
        if pid not in found:
            found.append(pid)
        try:
            pid = int(_stat(pid)[1])
        except (OSError, ValueError, IndexError):
            break
    return found


def _address(pid: int) -> bytes:
    """An abstract name: no file stays behind. It differs between pid namespaces that share a network."""
    namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (a tenth of the time, while a cell waits)
    return f"\0cwnotify/{os.geteuid()}/{namespace}/{pid}/{_stat(pid)[19]}".encode()


def _stat(pid: int) -> list[str]:
    """The fields of proc(5) behind the name: 1 is the parent, 19 the start in clock ticks since boot."""
    descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096).decode("ascii", "replace").rpartition(")")[2].split()
    finally:
        os.close(descriptor)


def _peer(connection: _socket.socket) -> tuple[int, int]:
    """The pid and the user of the other end."""
    pid, user, _ = struct.unpack("3i", connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
    return pid, user


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino
