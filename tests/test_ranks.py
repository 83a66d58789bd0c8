"""Ranks: which process of a distributed job this is, and what all of them call a failure."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from cwnotify.ranks import job, rank


@pytest.mark.parametrize(
    ("environ", "number"),
    [
        pytest.param({}, None, id="no job"),
        pytest.param({"RANK": "0", "WORLD_SIZE": "8"}, 0, id="torchrun, first"),
        pytest.param({"RANK": "3", "WORLD_SIZE": "8"}, 3, id="torchrun, another"),
        pytest.param({"RANK": "0", "WORLD_SIZE": "1"}, None, id="torchrun of one"),
        pytest.param({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, 2, id="srun"),
        pytest.param({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, None, id="a notebook in an allocation of one task"),
        pytest.param({"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "6"}, 5, id="mpirun"),
        pytest.param({"PMI_RANK": "1", "PMI_SIZE": "2"}, 1, id="mpiexec"),
        pytest.param(
            {"RANK": "3", "WORLD_SIZE": "8", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, 3, id="torchrun under srun"
        ),
        pytest.param({"RANK": "", "SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, 2, id="an empty variable"),
        pytest.param({"RANK": "captain"}, None, id="another meaning of rank"),
        pytest.param({"RANK": "²"}, None, id="a digit that is no number"),
        pytest.param({"RANK": "-1"}, None, id="no rank"),
    ],
)
def test_the_rank_is_found(environ, number):
    assert rank(environ) == number


TELL = "import sys; from cwnotify.ranks import job; print(job(sys.argv[1]))"


def told_by_a_child(name: str = "train", **environ: str) -> str:
    """What a process that we launch calls the failure of `name`."""
    return subprocess.check_output([sys.executable, "-c", TELL, name], env=environ, text=True).strip()


def test_all_ranks_of_one_launcher_call_a_failure_the_same():
    same = {told_by_a_child(RANK=number, WORLD_SIZE="2", TORCHELASTIC_RUN_ID="7") for number in "01"}

    assert len(same) == 1
    assert same.pop().startswith("job-")


def test_ranks_that_are_launched_from_several_threads_share_their_launcher():
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(told_by_a_child())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(found) == 2
    assert len(set(found)) == 1


def test_what_differs_is_told_apart():
    others = [
        told_by_a_child(),
        told_by_a_child("evaluate"),
        told_by_a_child(SLURM_JOB_ID="1"),
        told_by_a_child(SLURM_JOB_ID="2"),
        told_by_a_child(SLURM_JOB_ID="2", SLURM_STEP_ID="1"),
        told_by_a_child(TORCHELASTIC_RESTART_COUNT="1"),
        # Our own launcher is another one than that of our children.
        job("train", {}),
    ]

    assert len(set(others)) == len(others)


def test_any_name_can_be_called(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "\udc80")

    assert job("\ud800 <!channel>").removeprefix("job-").isalnum()
