"""The rank of a process in a distributed job, and the job ID that all ranks of a launch share."""

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
        pytest.param({"RANK": "16", "WORLD_SIZE": "8"}, None, id="a rank beyond the size, as of LoRA"),
        pytest.param({"RANK": "0", "WORLD_SIZE": "0"}, None, id="a size of 0"),
        pytest.param({"RANK": "0", "WORLD_SIZE": "auto"}, None, id="a size that is no number"),
        pytest.param({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, 1, id="Lightning, another"),
        pytest.param({"LOCAL_RANK": "0", "NODE_RANK": "0", "WORLD_SIZE": "2"}, 0, id="Lightning, first"),
        pytest.param({"LOCAL_RANK": "0", "WORLD_SIZE": "2"}, 0, id="Lightning without its node"),
        pytest.param({"LOCAL_RANK": "1", "WORLD_SIZE": "1"}, None, id="Lightning of one"),
        pytest.param({"LOCAL_RANK": "1"}, 1, id="a local rank alone"),
        pytest.param({"LOCAL_RANK": "0"}, None, id="a local rank of 0 alone"),
        pytest.param({"LOCAL_RANK": "1", "GROUP_RANK": "1", "LOCAL_WORLD_SIZE": "4"}, 5, id="the second node"),
        pytest.param({"LOCAL_RANK": "0", "NODE_RANK": "1"}, 1, id="the second node, of unknown size"),
        pytest.param({"RANK": "x", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, 1, id="RANK with another meaning"),
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
            {"RANK": "0", "WORLD_SIZE": "1", **STEP, "SLURM_PROCID": "2", "SLURM_NTASKS": "4"},
            None,
            id="torchrun of one in srun of four",
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
        pytest.param({"RANK": "captain", "WORLD_SIZE": "8"}, None, id="RANK with another meaning alone"),
        pytest.param({"RANK": "²", "WORLD_SIZE": "8"}, None, id="a digit that is no number"),
        pytest.param({"RANK": "-1", "WORLD_SIZE": "8"}, None, id="a negative rank"),
    ],
)
def test_rank_follows_from_the_launcher_variables(environ: dict[str, str], number: int | None) -> None:
    assert get_rank_number(environ) == number


NAMES = sorted({name for launcher in LAUNCHERS for name in (launcher.rank_variable, *launcher.size_variables)})
VALUES = st.one_of(st.integers(-2, 12).map(str), st.sampled_from(("", " 1 ", "1.0", "a,b", "9" * 5000)), st.text())


@given(st.dictionaries(st.sampled_from([*NAMES, "NODE_RANK", "GROUP_RANK", "SLURM_STEP_ID"]), VALUES))
def test_any_environment_gives_a_valid_rank_or_none(environ: dict[str, str]) -> None:
    rank = find_rank(environ)

    assert rank is None or (rank.number >= 0 and rank.label)


def test_rank_on_a_node_of_unknown_size_is_labelled_by_node() -> None:
    rank = find_rank({"LOCAL_RANK": "1", "NODE_RANK": "2", "WORLD_SIZE": "6"})

    assert rank
    assert rank.label == "node 2, local rank 1"


def run_python(code: str, *arguments: str, **environ: str) -> str:
    """Return what `code` prints in a new process with only the variables `environ`."""
    return subprocess.check_output([sys.executable, "-c", code, *arguments], env=environ, text=True).strip()


KERNEL = """
import os
from ipykernel.kernelapp import IPKernelApp
from cwnotify.runs.distributed import get_rank_number
before = get_rank_number()
IPKernelApp.instance()
inside = get_rank_number()
if os.fork() == 0:
    print(before, inside, get_rank_number(), flush=True)
    os._exit(0)
os.wait()
"""
TORCH = """
import sys, types
from cwnotify.runs.distributed import get_rank_number
torch = sys.modules["torch.distributed"] = types.ModuleType("torch.distributed")
torch.is_available = torch.is_initialized = lambda: True
torch.get_world_size, torch.get_rank = lambda: 4, lambda: 3
print(get_rank_number(), end=" ")
torch.get_rank = None
print(get_rank_number(), get_rank_number({}))
"""


def test_kernel_is_no_rank_but_its_forked_child_may_be() -> None:
    assert run_python(KERNEL, RANK="1", WORLD_SIZE="2", HOME="/nonexistent") == "1 None 1"


def test_process_group_of_the_program_gives_the_rank() -> None:
    assert run_python(TORCH) == "3 None None"


MAKE_JOB_ID = (
    "import sys; from cwnotify.runs.distributed import make_job_id; print(make_job_id(sys.argv[1], int(sys.argv[2])))"
)


def launch(name: str = "train", ordinal: int = 1, **environ: str) -> str:
    """Return the job ID in a new process."""
    return run_python(MAKE_JOB_ID, name, str(ordinal), **environ)


def test_all_ranks_of_a_launch_share_a_job_id() -> None:
    ids = {launch(RANK=number, WORLD_SIZE="2", TORCHELASTIC_RUN_ID="7") for number in "01"}

    assert len(ids) == 1
    assert ids.pop().startswith("job-")


def test_shell_between_launcher_and_rank_keeps_the_job_id() -> None:
    shell = ["/bin/sh", "-c", '"$@"; true', "sh", sys.executable, "-c", MAKE_JOB_ID, "train", "1"]
    variables = {"RANK": "1", "WORLD_SIZE": "2"}

    assert subprocess.check_output(shell, env=variables, text=True).strip() == launch(RANK="0", WORLD_SIZE="2")


def test_ranks_launched_from_several_threads_share_a_job_id() -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(launch())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_different_launches_have_different_job_ids() -> None:
    ids = [
        launch(),
        launch("evaluate"),
        launch(ordinal=2),
        launch(SLURM_JOB_ID="1"),
        launch(SLURM_JOB_ID="2"),
        launch(SLURM_JOB_ID="2", SLURM_STEP_ID="1"),
        launch(TORCHELASTIC_RESTART_COUNT="1"),
        launch(MASTER_PORT="29501"),
        # The launcher of this process differs from the launcher of its children.
        make_job_id("train", 1, {}),
    ]

    assert len(set(ids)) == len(ids)


def test_first_process_of_lightning_shares_the_job_id_of_its_children() -> None:
    child = launch(PATH=os.environ["PATH"], LOCAL_RANK="1", WORLD_SIZE="2")

    assert make_job_id("train", 1, {"LOCAL_RANK": "0", "WORLD_SIZE": "2"}, is_launcher=True) == child


def test_job_id_takes_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "\udc80")

    assert make_job_id("\ud800 <!channel>", 1).removeprefix("job-").isalnum()
