"""States of real processes (alive, ended, zombie) and of processes on other machines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cwnotify.host.processes import (
    LOCAL_HEARTBEAT_TIMEOUT,
    REMOTE_HEARTBEAT_TIMEOUT,
    ProcessState,
    get_process_state,
    identify_process,
    is_process_gone,
    read_start_time,
)
from tests.support.waiting import until

Child = subprocess.Popen[bytes]
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture
def child() -> Iterator[Child]:
    """Start a process that waits until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def read_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_running_process_is_alive(child: Child) -> None:
    identity = identify_process(child.pid)

    assert (identity.pid, identity.start) == (child.pid, read_start_time(child.pid))
    assert identity.start
    assert get_process_state(identity, heartbeat_age=1e9) is ProcessState.ALIVE
    assert not is_process_gone(identity, heartbeat_age=1e9)


def test_killed_process_is_gone(child: Child) -> None:
    identity = identify_process(child.pid)

    child.kill()
    child.wait()

    assert read_start_time(child.pid) == ""
    assert get_process_state(identity, heartbeat_age=0.0) is ProcessState.GONE
    assert is_process_gone(identity, heartbeat_age=0.0)


@linux
def test_zombie_is_gone(child: Child) -> None:
    identity = identify_process(child.pid)

    os.kill(child.pid, signal.SIGKILL)
    until(lambda: read_state(child.pid) == "Z", 5, "the zombie")

    assert get_process_state(identity, heartbeat_age=0.0) is ProcessState.GONE


@linux
def test_stopped_process_is_alive(child: Child) -> None:
    identity = identify_process(child.pid)

    os.kill(child.pid, signal.SIGSTOP)
    until(lambda: read_state(child.pid) == "T", 5, "the stop")

    assert get_process_state(identity, heartbeat_age=0.0) is ProcessState.ALIVE


def test_process_with_a_reused_pid_is_gone(child: Child) -> None:
    identity = identify_process(child.pid)

    assert get_process_state(replace(identity, start="1"), heartbeat_age=0.0) is ProcessState.GONE


def test_process_identified_after_its_end_is_gone(child: Child) -> None:
    child.kill()
    child.wait()

    assert get_process_state(identify_process(child.pid), heartbeat_age=0.0) is ProcessState.GONE


def test_start_time_stays_the_same_while_the_process_works() -> None:
    before, cpu_time = read_start_time(os.getpid()), time.process_time()
    while time.process_time() < cpu_time + 0.05:
        pass

    assert read_start_time(os.getpid()) == before


@linux
@pytest.mark.parametrize("name", [b"a) b (c", b"\xea\xb0\x80\xeb", b") Z 1 2 3"], ids=repr)
def test_process_with_any_name_is_alive(name: bytes) -> None:
    script = f"open('/proc/self/comm', 'wb').write({name!r}); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1) as process:
        assert process.stdout
        process.stdout.readline()
        assert Path(f"/proc/{process.pid}/comm").read_bytes().strip() == name

        assert get_process_state(identify_process(process.pid), heartbeat_age=0.0) is ProcessState.ALIVE
        assert read_start_time(process.pid).isdigit()
        process.kill()


def test_process_from_before_a_reboot_is_gone() -> None:
    identity = replace(identify_process(os.getpid()), boot="another boot")

    assert get_process_state(identity, heartbeat_age=0.0) is ProcessState.REBOOTED
    assert is_process_gone(identity, heartbeat_age=0.0)


@pytest.mark.parametrize(
    ("elsewhere", "timeout"),
    [
        pytest.param({"namespace": "pid:[1]"}, LOCAL_HEARTBEAT_TIMEOUT, id="another container of this machine"),
        pytest.param({"boot": "x", "host": "other"}, REMOTE_HEARTBEAT_TIMEOUT, id="another machine"),
    ],
)
def test_process_elsewhere_is_gone_after_the_heartbeat_timeout(elsewhere: dict[str, Any], timeout: float) -> None:
    identity = replace(identify_process(os.getpid()), **elsewhere)

    assert get_process_state(identity, heartbeat_age=timeout) is ProcessState.UNKNOWN
    assert not is_process_gone(identity, heartbeat_age=timeout)
    assert get_process_state(identity, heartbeat_age=timeout + 1) is ProcessState.GONE
