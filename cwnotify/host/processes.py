"""Identify a process across machines, and find out whether it still runs.

Imports the standard library and `alerts.light_dataclass`; psutil where there is no ``/proc``.

Containers may share a home directory, and machines may share a file server, so a state directory may hold processes of
several machines. A process is therefore identified together with its machine, boot and pid namespace.
"""

from __future__ import annotations

import os
import socket
from enum import Enum
from functools import cache
from pathlib import Path

from cwnotify.alerts.light_dataclass import frozen

# How old a heartbeat may be before its process counts as gone, in seconds: on this machine, on another one.
LOCAL_HEARTBEAT_TIMEOUT = 180.0
REMOTE_HEARTBEAT_TIMEOUT = 1800.0


@frozen
class ProcessIdentity:
    """What identifies a process among the processes of all machines."""

    pid: int
    start: str
    host: str
    boot: str
    namespace: str


class ProcessState(Enum):
    """What this process can find out about another one."""

    ALIVE = "alive"
    GONE = "gone"
    REBOOTED = "rebooted"
    UNKNOWN = "unknown"


def is_process_gone(watched: ProcessIdentity, heartbeat_age: float) -> bool:
    """Return whether `watched` has ended; `heartbeat_age` is in seconds."""
    return get_process_state(watched, heartbeat_age) in (ProcessState.GONE, ProcessState.REBOOTED)


def identify_process(pid: int) -> ProcessIdentity:
    """Return the identity of the live process `pid` on this machine."""
    return ProcessIdentity(pid, read_start_time(pid), socket.gethostname(), _get_boot_id(), _get_pid_namespace())


def read_start_time(pid: int) -> str:
    """Return a text for when `pid` started, which stays the same while it lives; empty if it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except FileNotFoundError:
        return "" if Path("/proc/self").exists() else _read_start_time_with_psutil(pid)
    except OSError:
        return ""
    # Fields of proc(5) after the name: 0 is the state, 19 the start in clock ticks since boot. Z and X are dead.
    return "" if fields[0] in "ZX" else fields[19]


def _read_start_time_with_psutil(pid: int) -> str:
    import psutil

    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""


def get_process_state(watched: ProcessIdentity, heartbeat_age: float) -> ProcessState:
    """Return the state of `watched`, whose last heartbeat is `heartbeat_age` seconds old.

    A process on this machine and in this pid namespace is looked up. If this machine has booted since, the process is
    gone. For any other process only the age of its heartbeat counts: its sidecar records one every 60 s.
    """
    own = identify_process(os.getpid())
    if (watched.boot, watched.namespace) == (own.boot, own.namespace):
        # An empty start means that it was dead when it was identified.
        is_alive = watched.start and read_start_time(watched.pid) == watched.start
        return ProcessState.ALIVE if is_alive else ProcessState.GONE
    if watched.host == own.host and watched.boot != own.boot:
        return ProcessState.REBOOTED
    timeout = LOCAL_HEARTBEAT_TIMEOUT if watched.boot == own.boot else REMOTE_HEARTBEAT_TIMEOUT
    return ProcessState.GONE if heartbeat_age > timeout else ProcessState.UNKNOWN


@cache
def _get_boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return f"{psutil.boot_time():.0f}"


@cache
def _get_pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
