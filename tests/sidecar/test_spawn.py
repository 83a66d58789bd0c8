"""Whether a sidecar outlives the process that started it, and which processes are its other sidecars."""

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


def create_proc(folder: Path, namespace: str, parents: dict[int, int]) -> Path:
    """Create a /proc with these processes."""
    for pid, parent in parents.items():
        (folder / str(pid)).mkdir()
        (folder / str(pid) / "stat").write_text(f"{pid} (a (name) b) S {parent} 1 1\n")
    (folder / "self" / "ns").mkdir(parents=True)
    (folder / "self" / "ns" / "pid").symlink_to(namespace)
    return folder


@pytest.mark.parametrize(
    ("namespace", "parents", "environ", "is_killed"),
    [
        (CONTAINER, {1: 0}, {}, True),
        (CONTAINER, {1: 0, 9: 1}, {}, True),
        (CONTAINER, {1: 0, 5: 1, 9: 5}, {}, True),
        # As with `docker exec`: the container does not end with it.
        (CONTAINER, {1: 0, 5: 0, 9: 5}, {}, False),
        # A notebook's server keeps running.
        (CONTAINER, {1: 0, 5: 1, 9: 5}, {"JPY_PARENT_PID": "5"}, False),
        (CONTAINER, {1: 0, 9: 1}, {"JPY_PARENT_PID": "1"}, True),
        (HOST, {1: 0, 5: 1, 9: 5}, {}, False),
        (HOST, {1: 0, 5: 1, 9: 5}, {"SLURM_JOB_ID": "7"}, True),
        (HOST, {1: 0, 5: 1, 9: 5}, {"SLURM_JOB_ID": "7", "JPY_PARENT_PID": "5"}, False),
        (HOST, {}, {}, False),
    ],
)
def test_sidecar_is_killed_with_its_process_in_containers_and_batch_jobs(
    namespace: str, parents: dict[int, int], environ: dict[str, str], is_killed: bool, tmp_path: Path
) -> None:
    proc = create_proc(tmp_path, namespace, parents)

    assert is_killed_with_process(max(parents, default=9), environ, proc) is is_killed


PROGRAM = str(Path(spawn.__file__).with_name("__main__.py"))
WAIT = "print('started', flush=True); input()"


@contextmanager
def fake_sidecar(*prefix: str, pid: int) -> Iterator[int]:
    """Run a process with the command line of a sidecar of `pid`, through the command `prefix`. Yield its own pid."""
    arguments = (*prefix, sys.executable, "-c", WAIT, PROGRAM, str(pid), "3", "4", "5")
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"started\n"
    try:
        yield process.pid
    finally:
        process.communicate(b"\n", 10)


def test_other_sidecar_of_this_user_is_found() -> None:
    pid = os.getpid()
    with fake_sidecar(pid=pid) as sidecar:
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
def test_forged_command_line_of_a_stranger_is_not_a_sidecar(stranger: str) -> None:
    if subprocess.run([*STRANGERS[stranger], "true"], check=False).returncode:
        pytest.skip("this machine does not allow it")
    pid = os.getpid()
    with fake_sidecar(*STRANGERS[stranger], pid=pid):
        pids = find_other_sidecars(pid)
        # `unshare` itself runs as this user, with the same arguments.
        strangers = [other for other in pids if b"unshare" not in Path(f"/proc/{other}/cmdline").read_bytes()]

    assert strangers == []
