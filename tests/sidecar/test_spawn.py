"""Whether a sidecar outlives the process that started it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cwnotify.sidecar import spawn
from cwnotify.sidecar.spawn import find_other_sidecars, has_other_sidecar, is_killed_with_process

HOST, CONTAINER = "pid:[4026531836]", "pid:[4026532500]"


def proc(folder: Path, namespace: str, parents: dict[int, int]) -> Path:
    """A /proc with these processes."""
    for pid, parent in parents.items():
        (folder / str(pid)).mkdir()
        (folder / str(pid) / "stat").write_text(f"{pid} (a (name) b) S {parent} 1 1\n")
    (folder / "self" / "ns").mkdir(parents=True)
    (folder / "self" / "ns" / "pid").symlink_to(namespace)
    return folder


@pytest.mark.parametrize(
    ("namespace", "parents", "environ", "ends"),
    [
        (CONTAINER, {1: 0}, {}, True),
        (CONTAINER, {1: 0, 9: 1}, {}, True),
        (CONTAINER, {1: 0, 5: 1, 9: 5}, {}, True),
        # As with `docker exec`: the container does not end with it.
        (CONTAINER, {1: 0, 5: 0, 9: 5}, {}, False),
        # A notebook's server lives on.
        (CONTAINER, {1: 0, 5: 1, 9: 5}, {"JPY_PARENT_PID": "5"}, False),
        (CONTAINER, {1: 0, 9: 1}, {"JPY_PARENT_PID": "1"}, True),
        (HOST, {1: 0, 5: 1, 9: 5}, {}, False),
        (HOST, {1: 0, 5: 1, 9: 5}, {"SLURM_JOB_ID": "7"}, True),
        (HOST, {1: 0, 5: 1, 9: 5}, {"SLURM_JOB_ID": "7", "JPY_PARENT_PID": "5"}, False),
        (HOST, {}, {}, False),
    ],
)
def test_where_a_sidecar_ends_with_its_process(namespace, parents, environ, ends, tmp_path):
    assert is_killed_with_process(max(parents, default=9), environ, proc(tmp_path, namespace, parents)) is ends


PROGRAM = str(Path(spawn.__file__).with_name("__main__.py"))
WAIT = "print('begun', flush=True); input()"


@contextmanager
def process(*before: str, pid: int) -> Iterator[int]:
    """A process with the command line of a sidecar of `pid`, started through `before`; gives its own pid."""
    arguments = (*before, sys.executable, "-c", WAIT, PROGRAM, str(pid), "3", "4", "5")
    running = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert running.stdout
    assert running.stdout.readline() == b"begun\n"
    try:
        yield running.pid
    finally:
        running.communicate(b"\n", 10)


def test_a_second_sidecar_is_one_of_this_user():
    pid = os.getpid()
    with process(pid=pid) as sidecar:
        assert find_other_sidecars(pid) == [sidecar]
        assert has_other_sidecar(pid, None)
        assert not has_other_sidecar(pid + 1, None)

    assert not has_other_sidecar(pid, None)


STRANGERS = {
    "another user": ("setpriv", "--reuid", "65534", "--clear-groups"),
    "the same number in another container": ("unshare", "--pid", "--fork"),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("stranger", STRANGERS)
def test_the_forged_command_line_of_a_stranger_is_no_sidecar(stranger: str):
    if subprocess.run([*STRANGERS[stranger], "true"], check=False).returncode:
        pytest.skip("this machine does not allow it")
    pid = os.getpid()
    with process(*STRANGERS[stranger], pid=pid):
        found = [one for one in find_other_sidecars(pid) if b"unshare" not in Path(f"/proc/{one}/cmdline").read_bytes()]

    assert found == []
