"""Processes: real ones, alive, dead, dead and not yet buried, and those of other machines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

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

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        yield process
        process.kill()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_process_that_lives_is_alive(child):
    named = identify_process(child.pid)

    assert (named.pid, named.start) == (child.pid, read_start_time(child.pid))
    assert named.start
    assert get_process_state(named, heartbeat_age=1e9) is ProcessState.ALIVE
    assert not is_process_gone(named, heartbeat_age=1e9)


def test_a_process_that_was_killed_and_buried_is_gone(child):
    named = identify_process(child.pid)

    child.kill()
    child.wait()

    assert read_start_time(child.pid) == ""
    assert get_process_state(named, heartbeat_age=0.0) is ProcessState.GONE
    assert is_process_gone(named, heartbeat_age=0.0)


@linux
def test_a_process_that_is_dead_but_not_buried_is_gone(child):
    named = identify_process(child.pid)

    os.kill(child.pid, signal.SIGKILL)
    until(lambda: state_of(child.pid) == "Z", 5, "the zombie")

    assert get_process_state(named, heartbeat_age=0.0) is ProcessState.GONE


@linux
def test_a_process_that_was_stopped_is_alive(child):
    named = identify_process(child.pid)

    os.kill(child.pid, signal.SIGSTOP)
    until(lambda: state_of(child.pid) == "T", 5, "the stop")

    assert get_process_state(named, heartbeat_age=0.0) is ProcessState.ALIVE


def test_another_process_under_the_same_number_is_not_taken_for_the_first(child):
    named = identify_process(child.pid)

    assert get_process_state(replace(named, start="1"), heartbeat_age=0.0) is ProcessState.GONE


def test_a_process_that_was_dead_when_it_was_named_is_gone(child):
    child.kill()
    child.wait()

    assert get_process_state(identify_process(child.pid), heartbeat_age=0.0) is ProcessState.GONE


def test_a_start_never_changes_while_the_process_lives_and_works():
    before, worked = read_start_time(os.getpid()), time.process_time()
    while time.process_time() < worked + 0.05:
        pass

    assert read_start_time(os.getpid()) == before


@linux
@pytest.mark.parametrize("name", [b"a) b (c", b"\xea\xb0\x80\xeb", b") Z 1 2 3"], ids=repr)
def test_a_process_may_have_any_name(name):
    script = f"open('/proc/self/comm', 'wb').write({name!r}); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        assert Path(f"/proc/{process.pid}/comm").read_bytes().strip() == name

        assert get_process_state(identify_process(process.pid), heartbeat_age=0.0) is ProcessState.ALIVE
        assert read_start_time(process.pid).isdigit()
        process.kill()


def test_after_a_reboot_of_this_machine_all_that_ran_before_is_gone():
    before = replace(identify_process(os.getpid()), boot="another boot")

    assert get_process_state(before, heartbeat_age=0.0) is ProcessState.REBOOTED
    assert is_process_gone(before, heartbeat_age=0.0)


@pytest.mark.parametrize(
    ("elsewhere", "patience"),
    [
        pytest.param({"namespace": "pid:[1]"}, LOCAL_HEARTBEAT_TIMEOUT, id="another container of this machine"),
        pytest.param({"boot": "x", "host": "other"}, REMOTE_HEARTBEAT_TIMEOUT, id="another machine"),
    ],
)
def test_elsewhere_only_a_long_silence_tells(elsewhere, patience):
    named = replace(identify_process(os.getpid()), **elsewhere)

    assert get_process_state(named, heartbeat_age=patience) is ProcessState.UNKNOWN
    assert not is_process_gone(named, heartbeat_age=patience)
    assert get_process_state(named, heartbeat_age=patience + 1) is ProcessState.GONE
