"""Exit causes of real processes killed by real signals, and the kernel's counters of out-of-memory kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cwnotify.alerts.events.runs import LossCause, RunLoss
from cwnotify.host.exit_cause import create_oom_kill_counter, infer_loss, read_wait_status
from tests.support.waiting import until

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
SIGNALS = ("SIGKILL", "SIGTERM", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGHUP", "SIGINT", "SIGXCPU", "SIGRTMIN")


@contextmanager
def zombie(script: str) -> Iterator[int]:
    """Yield the pid of a process that ran `script` and has ended, before its status is collected."""
    # Writing a core file would take longer than the test.
    script = "import os, resource, signal; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n" + script
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    try:
        yield until(lambda: is_zombie(process.pid) and process.pid, 10, "the zombie")
    finally:
        process.kill()
        process.wait()


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"


@linux
@pytest.mark.parametrize("name", SIGNALS)
def test_killed_process_reports_its_signal(name: str) -> None:
    script = f"signal.signal(signal.{name}, signal.SIG_DFL)\n" if name != "SIGKILL" else ""
    with zombie(f"{script}os.kill(os.getpid(), signal.{name})") as pid:
        assert infer_loss(read_wait_status(pid), 0, announced_exit=False) == RunLoss(LossCause.SIGNAL, name)


@linux
@pytest.mark.parametrize("code", [0, 1, 3, 137, 255])
def test_exited_process_reports_its_exit_code(code: int) -> None:
    with zombie(f"os._exit({code})") as pid:
        assert infer_loss(read_wait_status(pid), 0, announced_exit=False) == RunLoss(LossCause.EXIT, code=code)


@linux
@pytest.mark.parametrize("name", [b"x) Z (", b"\xea\xb0\x80\xeb"], ids=repr)
def test_wait_status_is_read_whatever_the_process_name(name: bytes) -> None:
    with zombie(f"open('/proc/self/comm', 'wb').write({name!r})\nos._exit(3)") as pid:
        assert read_wait_status(pid) == 3 << 8


def test_live_process_has_no_wait_status() -> None:
    assert read_wait_status(os.getpid()) is None


def test_collected_process_has_no_wait_status() -> None:
    process = subprocess.Popen(["true"])
    process.wait()

    assert read_wait_status(process.pid) is None


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "cgroup").mkdir()
    return tmp_path / "proc"


@pytest.fixture
def cgroups(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


V2 = "0::/user.slice/kernel.scope\n"
V1 = "9:name=systemd:/\n4:cpu,memory:/job\n1:cpu:/\n"
EVENTS = "low 0\nhigh 3\nmax 9\noom 2\noom_kill {}\noom_group_kill 0\n"


def test_oom_counter_reads_the_innermost_cgroup(proc: Path, cgroups: Path) -> None:
    write(proc / "7" / "cgroup", V2)
    own = write(cgroups / "user.slice" / "kernel.scope" / "memory.events", EVENTS.format(1))
    write(cgroups / "memory.events", EVENTS.format(50))
    write(proc / "vmstat", "oom_kill 500\n")
    count = create_oom_kill_counter(7, proc, cgroups)
    assert count() == 1

    own.write_text(EVENTS.format(2))

    assert count() == 2


def test_oom_counter_in_a_container_reads_the_root_cgroup(proc: Path, cgroups: Path) -> None:
    write(proc / "7" / "cgroup", "0::/../../outside\n")
    write(cgroups / "memory.events", EVENTS.format(4))
    write(proc / "vmstat", "oom_kill 500\n")

    assert create_oom_kill_counter(7, proc, cgroups)() == 4


@pytest.mark.parametrize("below", ["memory/job", "memory"])
def test_oom_counter_reads_cgroup_v1(proc: Path, cgroups: Path, below: str) -> None:
    write(proc / "7" / "cgroup", V1)
    write(cgroups / below / "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    write(proc / "vmstat", "oom_kill 500\n")

    assert create_oom_kill_counter(7, proc, cgroups)() == 3


def test_oom_counter_reads_the_version_that_counts_if_both_are_mounted(proc: Path, cgroups: Path) -> None:
    write(proc / "7" / "cgroup", V1 + "0::/\n")
    write(cgroups / "memory" / "job" / "memory.oom_control", "oom_kill 3\n")

    assert create_oom_kill_counter(7, proc, cgroups)() == 3


@pytest.mark.parametrize("text", ["", "high 3\n", "oom_kill many\n", "oom_kill\n"])
def test_oom_counter_without_cgroup_count_reads_the_machine(proc: Path, cgroups: Path, text: str) -> None:
    write(proc / "7" / "cgroup", V2)
    write(cgroups / "memory.events", text)
    write(proc / "vmstat", "nr_free_pages 8\noom_kill 500\n")

    assert create_oom_kill_counter(7, proc, cgroups)() == 500


def test_oom_counter_without_any_count_returns_zero(proc: Path, cgroups: Path) -> None:
    assert create_oom_kill_counter(7, proc, cgroups)() == 0
    write(proc / "7" / "cgroup", V1 + V2)
    assert create_oom_kill_counter(7, proc, cgroups)() == 0


def test_vanished_oom_count_is_no_kill(proc: Path, cgroups: Path) -> None:
    write(proc / "7" / "cgroup", V2)
    events = write(cgroups / "memory.events", EVENTS.format(5))
    count = create_oom_kill_counter(7, proc, cgroups)
    before = count()

    events.unlink()

    assert infer_loss(None, count() - before, announced_exit=False) == RunLoss(LossCause.UNKNOWN)


@linux
def test_oom_counter_works_on_this_machine() -> None:
    assert create_oom_kill_counter(os.getpid())() >= 0


KILLED, ABORTED = int(signal.SIGKILL), int(signal.SIGABRT)
CORE = 0x80


@pytest.mark.parametrize(
    ("status", "oom_kills", "announced_exit", "loss"),
    [
        (KILLED, 1, False, RunLoss(LossCause.OUT_OF_MEMORY, "SIGKILL", oom_kills=1)),
        (None, 2, False, RunLoss(LossCause.OUT_OF_MEMORY, oom_kills=2)),
        (KILLED, 0, False, RunLoss(LossCause.SIGNAL, "SIGKILL")),
        (KILLED, -3, False, RunLoss(LossCause.SIGNAL, "SIGKILL")),
        (ABORTED | CORE, 0, False, RunLoss(LossCause.SIGNAL, "SIGABRT")),
        (int(signal.SIGTERM), 1, False, RunLoss(LossCause.SIGNAL, "SIGTERM")),
        (60, 0, False, RunLoss(LossCause.SIGNAL, "signal 60")),
        (1 << 8, 0, False, RunLoss(LossCause.EXIT, code=1)),
        (1 << 8, 1, False, RunLoss(LossCause.EXIT, code=1)),
        (0, 0, False, RunLoss(LossCause.EXIT, code=0)),
        (None, 0, False, RunLoss(LossCause.UNKNOWN)),
        (None, 0, True, RunLoss(LossCause.SHUTDOWN)),
        (0, 3, True, RunLoss(LossCause.SHUTDOWN)),
    ],
)
def test_loss_follows_the_most_certain_evidence(
    status: int | None, oom_kills: int, announced_exit: bool, loss: RunLoss
) -> None:
    assert infer_loss(status, oom_kills, announced_exit) == loss
