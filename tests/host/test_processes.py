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
    NEIGHBOUR_SILENCE,
    STRANGER_SILENCE,
    Fate,
    fate,
    is_over,
    name_process,
    start_of,
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
    named = name_process(child.pid)

    assert (named.pid, named.start) == (child.pid, start_of(child.pid))
    assert named.start
    assert fate(named, silent=1e9) is Fate.ALIVE
    assert not is_over(named, silent=1e9)


def test_a_process_that_was_killed_and_buried_is_gone(child):
    named = name_process(child.pid)

    child.kill()
    child.wait()

    assert start_of(child.pid) == ""
    assert fate(named, silent=0.0) is Fate.GONE
    assert is_over(named, silent=0.0)


@linux
def test_a_process_that_is_dead_but_not_buried_is_gone(child):
    named = name_process(child.pid)

    os.kill(child.pid, signal.SIGKILL)
    until(lambda: state_of(child.pid) == "Z", 5, "the zombie")

    assert fate(named, silent=0.0) is Fate.GONE


@linux
def test_a_process_that_was_stopped_is_alive(child):
    named = name_process(child.pid)

    os.kill(child.pid, signal.SIGSTOP)
    until(lambda: state_of(child.pid) == "T", 5, "the stop")

    assert fate(named, silent=0.0) is Fate.ALIVE


def test_another_process_under_the_same_number_is_not_taken_for_the_first(child):
    named = name_process(child.pid)

    assert fate(replace(named, start="1"), silent=0.0) is Fate.GONE


def test_a_process_that_was_dead_when_it_was_named_is_gone(child):
    child.kill()
    child.wait()

    assert fate(name_process(child.pid), silent=0.0) is Fate.GONE


def test_a_start_never_changes_while_the_process_lives_and_works():
    before, worked = start_of(os.getpid()), time.process_time()
    while time.process_time() < worked + 0.05:
        pass

    assert start_of(os.getpid()) == before


@linux
@pytest.mark.parametrize("name", [b"a) b (c", b"\xea\xb0\x80\xeb", b") Z 1 2 3"], ids=repr)
def test_a_process_may_have_any_name(name):
    script = f"open('/proc/self/comm', 'wb').write({name!r}); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        assert Path(f"/proc/{process.pid}/comm").read_bytes().strip() == name

        assert fate(name_process(process.pid), silent=0.0) is Fate.ALIVE
        assert start_of(process.pid).isdigit()
        process.kill()


def test_after_a_reboot_of_this_machine_all_that_ran_before_is_gone():
    before = replace(name_process(os.getpid()), boot="another boot")

    assert fate(before, silent=0.0) is Fate.REBOOTED
    assert is_over(before, silent=0.0)


@pytest.mark.parametrize(
    ("elsewhere", "patience"),
    [
        pytest.param({"namespace": "pid:[1]"}, NEIGHBOUR_SILENCE, id="another container of this machine"),
        pytest.param({"boot": "x", "host": "other"}, STRANGER_SILENCE, id="another machine"),
    ],
)
def test_elsewhere_only_a_long_silence_tells(elsewhere, patience):
    named = replace(name_process(os.getpid()), **elsewhere)

    assert fate(named, silent=patience) is Fate.UNKNOWN
    assert not is_over(named, silent=patience)
    assert fate(named, silent=patience + 1) is Fate.GONE
