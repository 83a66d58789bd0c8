"""Which process on which machine, and whether it is still there.

Standard library and `alerts.frozen` only; psutil where there is no /proc.

A state directory may be shared: by containers with one home, by machines with one file server. So a process is
named together with the machine, its boot and its pid namespace, and a verdict is given only where it can be known.
"""

from __future__ import annotations

import os
import socket
from enum import Enum
from functools import cache
from pathlib import Path

from cwnotify.alerts.light_dataclass import frozen

LOCAL_HEARTBEAT_TIMEOUT = 180.0
REMOTE_HEARTBEAT_TIMEOUT = 1800.0


@frozen
class ProcessIdentity:
    """A process, named so that no other process anywhere is taken for it."""

    pid: int
    start: str
    host: str
    boot: str
    namespace: str


class ProcessState(Enum):
    """What can be said of a watched process from here."""

    ALIVE = "alive"
    GONE = "gone"
    REBOOTED = "rebooted"
    UNKNOWN = "unknown"


def is_process_gone(watched: ProcessIdentity, heartbeat_age: float) -> bool:
    """Whether `watched` is known to be gone, for whatever reason."""
    return get_process_state(watched, heartbeat_age) in (ProcessState.GONE, ProcessState.REBOOTED)


def identify_process(pid: int) -> ProcessIdentity:
    """Name the live process `pid` of this machine."""
    return ProcessIdentity(pid, read_start_time(pid), socket.gethostname(), _boot(), _namespace())


def read_start_time(pid: int) -> str:
    """When `pid` started, in a form that never changes while it lives; empty if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except FileNotFoundError:
        return "" if Path("/proc/self").exists() else _start_without_proc(pid)
    except OSError:
        return ""
    # Fields of proc(5) after the name: 0 is the state, 19 the start in clock ticks since boot. Z and X are dead.
    return "" if fields[0] in "ZX" else fields[19]


def _start_without_proc(pid: int) -> str:
    import psutil

    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""


def get_process_state(watched: ProcessIdentity, heartbeat_age: float) -> ProcessState:
    """What became of `watched`, which was last heard of `silent` seconds ago.

    On this machine and in this pid namespace it is looked up. Where the same host has booted since, it is gone with
    certainty. Elsewhere only a long silence tells: a neighbour container's watcher writes every minute.
    """
    here = identify_process(os.getpid())
    if (watched.boot, watched.namespace) == (here.boot, here.namespace):
        # Without a start it was dead already when it was named.
        return (
            ProcessState.ALIVE if watched.start and read_start_time(watched.pid) == watched.start else ProcessState.GONE
        )
    if watched.host == here.host and watched.boot != here.boot:
        return ProcessState.REBOOTED
    patience = LOCAL_HEARTBEAT_TIMEOUT if watched.boot == here.boot else REMOTE_HEARTBEAT_TIMEOUT
    return ProcessState.GONE if heartbeat_age > patience else ProcessState.UNKNOWN


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return f"{psutil.boot_time():.0f}"


@cache
def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
