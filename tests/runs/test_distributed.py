"""Ranks: which process of a distributed job this is, and what all ranks of one launch call a run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.runs.distributed import LAUNCHERS, find_rank, get_rank_number, make_job_id

BATCH = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}


@pytest.mark.parametrize(
    ("environ", "number"),
    [
        pytest.param({}, None, id="no job"),
        pytest.param({"RANK": "0", "WORLD_SIZE": "8"}, 0, id="torchrun, first"),
        pytest.param({"RANK": "3", "WORLD_SIZE": "8"}, 3, id="torchrun, another"),
        pytest.param({"RANK": "0", "WORLD_SIZE": "1"}, None, id="torchrun of one"),
        pytest.param({"RANK": "3"}, None, id="a rank without a size"),
        pytest.param({"RANK": "16", "WORLD_SIZE": "8"}, None, id="a rank beyond the size, as of a LoRA"),
        pytest.param({"RANK": "0", "WORLD_SIZE": "0"}, None, id="a size of none"),
        pytest.param({"RANK": "0", "WORLD_SIZE": "auto"}, None, id="a size that is no number"),
        pytest.param({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, 1, id="Lightning, another"),
        pytest.param({"LOCAL_RANK": "0", "NODE_RANK": "0", "WORLD_SIZE": "2"}, 0, id="Lightning, first"),
        pytest.param({"LOCAL_RANK": "0", "WORLD_SIZE": "2"}, 0, id="Lightning without its node"),
        pytest.param({"LOCAL_RANK": "1", "WORLD_SIZE": "1"}, None, id="Lightning of one"),
        pytest.param({"LOCAL_RANK": "1"}, 1, id="a local rank alone"),
        pytest.param({"LOCAL_RANK": "0"}, None, id="a local rank of 0 alone"),
        pytest.param({"LOCAL_RANK": "1", "GROUP_RANK": "1", "LOCAL_WORLD_SIZE": "4"}, 5, id="the second node"),
        pytest.param({"LOCAL_RANK": "0", "NODE_RANK": "1"}, 1, id="the second node, of unknown size"),
        pytest.param({"RANK": "x", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, 1, id="RANK of another meaning"),
        pytest.param(BATCH, None, id="a batch script"),
        pytest.param({**BATCH, "SLURM_NTASKS": "4"}, None, id="a batch script with tasks, but no srun"),
        pytest.param({**STEP, "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, 0, id="srun, first"),
        pytest.param({**STEP, "SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, 2, id="srun, another"),
        pytest.param({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, 2, id="srun without its step"),
        pytest.param({**STEP, "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, None, id="srun of one task"),
        pytest.param(
            {**STEP, "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"},
            None,
            id="one task in an allocation of four",
        ),
        pytest.param(
            {**BATCH, "SLURM_NTASKS": "4", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, 1, id="Lightning in a batch"
        ),
        pytest.param(
            {"RANK": "0", "WORLD_SIZE": "1", **STEP, "SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, None, id="four"
        ),
        pytest.param({"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "6"}, 5, id="Open MPI"),
        pytest.param({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"}, None, id="Open MPI of one"),
        pytest.param({"PMI_RANK": "1", "PMI_SIZE": "2"}, 1, id="MPICH, Intel MPI"),
        pytest.param({"MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_SIZE": "2"}, 1, id="MVAPICH2"),
        pytest.param({"MVP_COMM_WORLD_RANK": "1", "MVP_COMM_WORLD_SIZE": "2"}, 1, id="MVAPICH 3"),
        pytest.param({"PMIX_RANK": "2", "PMIX_NAMESPACE": "x"}, 2, id="PMIx"),
        pytest.param({"PMIX_RANK": "0", "PMIX_NAMESPACE": "x"}, None, id="PMIx, first"),
        pytest.param({"ALPS_APP_PE": "3"}, 3, id="ALPS"),
        pytest.param({"PALS_RANKID": "1"}, 1, id="PALS"),
        pytest.param({"JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_SIZE": "4"}, 1, id="jsrun"),
        pytest.param({"FLUX_TASK_RANK": "1", "FLUX_JOB_SIZE": "4"}, 1, id="Flux"),
        pytest.param({"HOROVOD_RANK": "1", "HOROVOD_SIZE": "2"}, 1, id="Horovod"),
        pytest.param({"JAX_PROCESS_ID": "1", "JAX_NUM_PROCESSES": "2"}, 1, id="JAX"),
        pytest.param({"XRT_SHARD_ORDINAL": "1", "XRT_SHARD_WORLD_SIZE": "8"}, 1, id="XLA"),
        pytest.param({"TPU_WORKER_ID": "1", "TPU_WORKER_HOSTNAMES": "a,b"}, 1, id="a TPU pod"),
        pytest.param({"TPU_WORKER_ID": "0", "TPU_WORKER_HOSTNAMES": "localhost"}, None, id="one TPU host"),
        pytest.param(
            {"RANK": "3", "WORLD_SIZE": "8", **STEP, "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, 3, id="torchrun in srun"
        ),
        pytest.param({"RANK": "", "SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, 2, id="an empty variable"),
        pytest.param({"RANK": "captain", "WORLD_SIZE": "8"}, None, id="another meaning of rank"),
        pytest.param({"RANK": "²", "WORLD_SIZE": "8"}, None, id="a digit that is no number"),
        pytest.param({"RANK": "-1", "WORLD_SIZE": "8"}, None, id="no rank"),
    ],
)
def test_the_rank_follows_from_the_launchers_variables(environ, number):
    assert get_rank_number(environ) == number


NAMES = sorted({name for launcher in LAUNCHERS for name in (launcher.rank_variable, *launcher.size_variables)})
VALUES = st.one_of(st.integers(-2, 12).map(str), st.sampled_from(("", " 1 ", "1.0", "a,b", "9" * 5000)), st.text())


@given(st.dictionaries(st.sampled_from([*NAMES, "NODE_RANK", "GROUP_RANK", "SLURM_STEP_ID"]), VALUES))
def test_in_any_environment_there_is_a_rank_or_none(environ):
    match = find_rank(environ)

    assert match is None or (match.number >= 0 and match.label)


def test_a_rank_that_its_node_does_not_know_is_not_made_up():
    assert find_rank({"LOCAL_RANK": "1", "NODE_RANK": "2", "WORLD_SIZE": "6"}).label == "node 2, local rank 1"


def in_python(code: str, *arguments: str, **environ: str) -> str:
    """What `code` prints in a process that we launch."""
    return subprocess.check_output([sys.executable, "-c", code, *arguments], env=environ, text=True).strip()


KERNEL = """
import os
from ipykernel.kernelapp import IPKernelApp
from cwnotify.runs.distributed import get_rank_number
before = rank()
IPKernelApp.instance()
inside = rank()
if os.fork() == 0:
    print(before, inside, rank(), flush=True)
    os._exit(0)
os.wait()
"""
TORCH = """
import sys, types
from cwnotify.runs.distributed import get_rank_number
torch = sys.modules["torch.distributed"] = types.ModuleType("torch.distributed")
torch.is_available = torch.is_initialized = lambda: True
torch.get_world_size, torch.get_rank = lambda: 4, lambda: 3
print(rank(), end=" ")
torch.get_rank = None
print(rank(), rank({}))
"""


def test_a_kernel_is_no_rank_but_what_it_forks_may_be():
    assert in_python(KERNEL, RANK="1", WORLD_SIZE="2", HOME="/nonexistent") == "1 None 1"


def test_a_process_group_that_the_program_made_itself_counts():
    assert in_python(TORCH) == "3 None None"


LAUNCH = "import sys; from cwnotify.runs.distributed import make_job_id; print(launch(sys.argv[1], int(sys.argv[2])))"


def launched(name: str = "train", ordinal: int = 1, **environ: str) -> str:
    """What a process that we launch calls its run."""
    return in_python(LAUNCH, name, str(ordinal), **environ)


def test_all_ranks_of_one_launch_call_a_run_the_same():
    same = {launched(RANK=number, WORLD_SIZE="2", TORCHELASTIC_RUN_ID="7") for number in "01"}

    assert len(same) == 1
    assert same.pop().startswith("job-")


def test_a_shell_between_the_launcher_and_a_rank_changes_nothing():
    shell = ["/bin/sh", "-c", '"$@"; true', "sh", sys.executable, "-c", LAUNCH, "train", "1"]
    variables = {"RANK": "1", "WORLD_SIZE": "2"}

    assert subprocess.check_output(shell, env=variables, text=True).strip() == launched(RANK="0", WORLD_SIZE="2")


def test_ranks_that_are_launched_from_several_threads_share_their_launcher():
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(launched())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(found) == 2
    assert len(set(found)) == 1


def test_launches_that_differ_have_different_names():
    others = [
        launched(),
        launched("evaluate"),
        launched(ordinal=2),
        launched(SLURM_JOB_ID="1"),
        launched(SLURM_JOB_ID="2"),
        launched(SLURM_JOB_ID="2", SLURM_STEP_ID="1"),
        launched(TORCHELASTIC_RESTART_COUNT="1"),
        launched(MASTER_PORT="29501"),
        # Our own launcher is another one than that of our children.
        make_job_id("train", 1, {}),
    ]

    assert len(set(others)) == len(others)


def test_the_first_process_of_lightning_has_launched_the_other_ones():
    assert make_job_id("train", 1, {"LOCAL_RANK": "0", "WORLD_SIZE": "2"}, is_launcher=True) == in_python(
        LAUNCH, "train", "1", **{name: os.environ[name] for name in ("PATH",)}, LOCAL_RANK="1", WORLD_SIZE="2"
    )


def test_any_name_can_be_called(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "\udc80")

    assert make_job_id("\ud800 <!channel>", 1).removeprefix("job-").isalnum()
