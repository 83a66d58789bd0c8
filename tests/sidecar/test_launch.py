"""Whether a sidecar outlives the process that started it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cwnotify.sidecar.launch import ends_with

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
    assert ends_with(max(parents, default=9), environ, proc(tmp_path, namespace, parents)) is ends
