"""Send notes from child processes to a process with runs, through a Unix socket. Works on Linux only.

A child finds the socket by its parent's pid, however it was started, so it needs no environment variable. Both ends
check that the other one belongs to the same user. Imports the standard library, `runs.distributed` and
`sidecar.event_size`.

A message is one packet, a JSON object: ``run`` (a run's ID, or empty for the newest run) and ``shown``, a list of
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

MAX_PACKET = 200_000  # bytes; the default limit of Linux is 212,992
BACKLOG = 128
PACKET_TIMEOUT = 0.2  # seconds
CHECK_INTERVAL = 5.0  # seconds
# After an error such as too many open files.
RECEIVE_ERROR_BACKOFF = 1.0  # seconds
# How often, and how far up, a process without a run searches its ancestors for one.
ANCESTOR_SEARCH_INTERVAL = 5.0  # seconds
MAX_ANCESTORS = 4

NoteMessage = dict[str, Any]


class NoteReceiver:
    """The socket of this process, and the thread that reads it.

    Parameters
    ----------
    receive
        Called with each message, in the reading thread or in the thread that calls `drain`.

    Attributes
    ----------
    is_open
        Whether the socket could be opened.
    """

    def __init__(self, receive: Callable[[NoteMessage], None]) -> None:
        self.process = os.getpid()
        self._receive = receive
        self._lock = _thread.allocate_lock()
        self._socket: _socket.socket | None = None
        self._socket_identity: tuple[int, int] | None = None
        self.is_open = False

    def open(self) -> None:
        """Open the socket and start the thread if the system allows it. Takes microseconds."""
        try:
            if self.is_open and self._is_socket_ours():
                return
            self._release_socket()
            # gevent and eventlet replace this function, and their kind of thread would block the program.
            if not sys.platform.startswith("linux") or type(_thread.start_new_thread) is not types.BuiltinFunctionType:
                return
            listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
            listener.bind(_get_address(self.process))
            listener.listen(BACKLOG)
            listener.setblocking(False)
            self._socket, self._socket_identity = listener, _identify_file(listener.fileno())
            self.is_open = True
            _thread.start_new_thread(self._listen, (listener, listener.fileno()))
        except (OSError, RuntimeError):
            self._release_socket()

    def drain(self) -> None:
        """Receive all messages that have arrived."""
        if self.process != os.getpid():
            return
        with self._lock:
            while self.is_open and self._is_socket_ours() and self._receive_one():
                pass

    def discard_after_fork(self) -> None:
        """Release the parent's socket in a forked child. Takes no lock, because its holder may not exist here."""
        self._release_socket()

    def _listen(self, listener: _socket.socket, descriptor: int) -> None:
        try:
            self._receive_until_closed(listener, descriptor)
        except Exception:
            # The user's code may close all descriptors at any moment. The next run opens another socket.
            return

    def _receive_until_closed(self, listener: _socket.socket, descriptor: int) -> None:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        while self._socket is listener:
            # With a timeout, because the address of a closed socket stays in use during the wait.
            ready = poller.poll(CHECK_INTERVAL * 1000)
            with self._lock:
                if self._socket is not listener or not self._is_socket_ours():
                    return
                is_healthy = not ready or self._receive_one()
            if not is_healthy:
                sleep(RECEIVE_ERROR_BACKOFF)

    def _receive_one(self) -> bool:
        """Receive one message; return whether there may be more."""
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
            if _get_peer(child)[1] == os.geteuid():
                child.settimeout(PACKET_TIMEOUT)
                message = json.loads(child.recv(MAX_PACKET))
                if isinstance(message, dict):
                    self._receive(message)
        except Exception:
            # An invalid message must not stop the thread.
            pass
        finally:
            child.close()
        return True

    def _is_socket_ours(self) -> bool:
        """Return whether the descriptor is still our socket. User code may close all descriptors and reuse them."""
        return self._socket is not None and _identify_file(self._socket.fileno()) == self._socket_identity

    def _release_socket(self) -> None:
        listener, is_ours = self._socket, self._is_socket_ours()
        self._socket, self._socket_identity, self.is_open = None, None, False
        if listener is not None and is_ours:
            listener.close()
        elif listener is not None:
            listener.detach()


def send_to_process(pid: int, message: NoteMessage) -> bool:
    """Send `message` to the process `pid`; return whether it was sent."""
    packet = encode_within_limit(message, MAX_PACKET)
    if len(packet) > MAX_PACKET or not sys.platform.startswith("linux"):
        return False
    try:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    except OSError:
        return False
    try:
        connection.settimeout(PACKET_TIMEOUT)
        connection.connect(_get_address(pid))
        # Another user's process may listen at this address.
        if _get_peer(connection) != (pid, os.geteuid()):
            return False
        return connection.send(packet) == len(packet)
    except OSError:
        return False
    finally:
        connection.close()


class AncestorSender:
    """Sends notes to the nearest ancestor process that receives them."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._searched_at = -ANCESTOR_SEARCH_INTERVAL

    @property
    def has_no_receiver(self) -> bool:
        """Whether the last search found no such process, and it is too early for another."""
        return self._pid is None and monotonic() - self._searched_at < ANCESTOR_SEARCH_INTERVAL

    def send(self, message: NoteMessage) -> bool:
        """Send `message`; return whether a process received it."""
        if self._pid is not None:
            if send_to_process(self._pid, message):
                return True
            self._pid = None
        if self.has_no_receiver:
            return False
        self._searched_at = monotonic()
        for pid in _find_ancestors():
            if send_to_process(pid, message):
                self._pid = pid
                return True
        return False


def _find_ancestors() -> list[int]:
    """Return the `multiprocessing` parent, then the parents by pid, nearest first."""
    pids = [pid] if (pid := distributed.get_multiprocessing_parent()) else []
    pid = os.getppid()
    while pid > 1 and len(pids) < MAX_ANCESTORS:
        if pid not in pids:
            pids.append(pid)
        try:
            pid = int(_read_stat(pid)[1])
        except (OSError, ValueError, IndexError):
            break
    return pids


def _get_address(pid: int) -> bytes:
    """Return an abstract socket address, which leaves no file behind. It is unique across pid namespaces."""
    namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (ten times as fast as pathlib, and the cell waits)
    return f"\0cwnotify/{os.geteuid()}/{namespace}/{pid}/{_read_stat(pid)[19]}".encode()


def _read_stat(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` after the name: 1 is the parent, 19 the start in ticks since boot."""
    descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096).decode("ascii", "replace").rpartition(")")[2].split()
    finally:
        os.close(descriptor)


def _get_peer(connection: _socket.socket) -> tuple[int, int]:
    """Return the pid and the user ID of the other end."""
    pid, user, _ = struct.unpack("3i", connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
    return pid, user


def _identify_file(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino
