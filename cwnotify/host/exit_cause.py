"""What a dead process left to read: its exit status, and whether memory ran out. Linux; elsewhere nothing is known."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from cwnotify.alerts.events.runs import LossCause, RunLoss
from cwnotify.host.memory_limit import list_memory_cgroups


def read_wait_status(pid: int) -> int | None:
    """The wait status of a zombie, or None once its parent has fetched it (proc(5), field 52, needs no parenthood)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[49]) if fields[0] in "ZX" and len(fields) > 49 else None


def create_oom_kill_counter(
    pid: int, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")
) -> Callable[[], int]:
    """A function that tells how often memory has run out where `pid` lives: its cgroup (v2, v1), else the host."""
    levels = list_memory_cgroups(pid, proc, cgroups)
    candidates = [folder / name for folder in levels for name in ("memory.events", "memory.oom_control")]
    candidates.append(proc / "vmstat")
    source = next((c for c in candidates if _count(c) is not None), None)
    return lambda: (_count(source) or 0) if source else 0


def _count(path: Path) -> int | None:
    try:
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    except (OSError, ValueError):
        pass
    return None


def infer_loss(status: int | None, oom_kills: int, announced_exit: bool) -> RunLoss:
    """Name the cause, from the most certain sign to the least.

    Parameters
    ----------
    status
        Wait status, if it could be read.
    oom_kills
        By how much the counter rose during the run.
    goodbye
        Whether the process said that it was leaving.
    """
    if announced_exit:
        return RunLoss(LossCause.SHUTDOWN)
    number = status & 0x7F if status is not None else 0
    code = status >> 8 if status is not None and not number else None
    name = _signal_name(number) if number else ""
    if oom_kills > 0 and (status is None or name == "SIGKILL"):
        return RunLoss(LossCause.OUT_OF_MEMORY, name, oom_kills=oom_kills)
    if name:
        return RunLoss(LossCause.SIGNAL, name)
    if code is not None:
        return RunLoss(LossCause.EXIT, code=code)
    return RunLoss(LossCause.UNKNOWN)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
