"""Find out why a process ended: its exit status, and whether the kernel killed it for lack of memory.

Works on Linux; other systems report no status and no kills. Imports the standard library, `alerts` and
`host.memory_limit`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from cwnotify.alerts.events.runs import LossCause, RunLoss
from cwnotify.host.memory_limit import list_memory_cgroups


def read_wait_status(pid: int) -> int | None:
    """Return the wait status of a dead process, or None if it still runs or its parent has already reaped it.

    The status is field 52 of ``/proc/PID/stat``. Only the parent could get it from wait(2).
    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[49]) if fields[0] in "ZX" and len(fields) > 49 else None


def create_oom_kill_counter(
    pid: int, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")
) -> Callable[[], int]:
    """Return a function that counts the out-of-memory kills in the cgroup of `pid` since the cgroup was created.

    It reads the innermost cgroup (v2 or v1) with a counter. If no cgroup has one, it reads the counter of
    the whole machine since boot. If that is missing too, it returns 0.
    """
    levels = list_memory_cgroups(pid, proc, cgroups)
    paths = [folder / name for folder in levels for name in ("memory.events", "memory.oom_control")]
    paths.append(proc / "vmstat")
    source = next((path for path in paths if _read_oom_kills(path) is not None), None)
    return lambda: (_read_oom_kills(source) or 0) if source else 0


def _read_oom_kills(path: Path) -> int | None:
    try:
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    except (OSError, ValueError):
        pass
    return None


def infer_loss(status: int | None, oom_kills: int, announced_exit: bool) -> RunLoss:
    """Infer why a run was lost, from the most certain evidence to the least.

    Parameters
    ----------
    status
        Wait status; None if it could not be read.
    oom_kills
        How many out-of-memory kills were counted during the run.
    announced_exit
        Whether the process reported that it was exiting.
    """
    if announced_exit:
        return RunLoss(LossCause.SHUTDOWN)
    number = status & 0x7F if status is not None else 0
    code = status >> 8 if status is not None and not number else None
    name = _get_signal_name(number) if number else ""
    if oom_kills > 0 and (status is None or name == "SIGKILL"):
        return RunLoss(LossCause.OUT_OF_MEMORY, name, oom_kills=oom_kills)
    if name:
        return RunLoss(LossCause.SIGNAL, name)
    if code is not None:
        return RunLoss(LossCause.EXIT, code=code)
    return RunLoss(LossCause.UNKNOWN)


def _get_signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
