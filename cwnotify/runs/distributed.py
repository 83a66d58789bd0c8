"""Find this process's rank in a distributed job, and the ID that all ranks of a launch share.

Only rank 0 sends alerts, except that a failure on any rank is reported once per machine. Imports the standard library,
`alerts.light_dataclass` and `host.processes`.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cwnotify.alerts.light_dataclass import frozen


@frozen
class LauncherVariables:
    """The environment variables in which a launcher passes a process its rank.

    Parameters
    ----------
    rank_variable
        Holds the rank.
    size_variables
        Hold the number of processes. The first one that is set counts.
    decides
        Whether a job of one process ends the search. This launcher runs inside the others.
    without_size
        Whether a rank above 0 counts if no size is set.
    """

    rank_variable: str
    size_variables: tuple[str, ...] = ()
    decides: bool = False
    without_size: bool = False


# In order of precedence. `_find_in_environment` has extra rules for LOCAL_RANK and SLURM.
LAUNCHERS = (
    # torchrun, accelerate, DeepSpeed, Ray Train, Composer: https://docs.pytorch.org/docs/stable/elastic/run.html
    LauncherVariables("RANK", ("WORLD_SIZE",), decides=True),
    # https://horovod.readthedocs.io/en/stable/mpi.html, horovod/runner/gloo_run.py
    LauncherVariables("HOROVOD_RANK", ("HOROVOD_SIZE",)),
    # https://docs.open-mpi.org/en/v5.0.x/tuning-apps/environment-var.html
    LauncherVariables("OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_SIZE",)),
    # https://mvapich.cse.ohio-state.edu/userguide/ (MVAPICH2, then MVAPICH 3)
    LauncherVariables("MV2_COMM_WORLD_RANK", ("MV2_COMM_WORLD_SIZE",)),
    LauncherVariables("MVP_COMM_WORLD_RANK", ("MVP_COMM_WORLD_SIZE",)),
    # IBM Spectrum LSF, jsrun: https://www.ibm.com/docs/en/spectrum-lsf
    LauncherVariables("JSM_NAMESPACE_RANK", ("JSM_NAMESPACE_SIZE",)),
    # https://flux-framework.readthedocs.io/projects/flux-core/en/latest/man7/flux-environment.html
    LauncherVariables("FLUX_TASK_RANK", ("FLUX_JOB_SIZE",)),
    # MPICH and Intel MPI (Hydra), Cray MPICH: https://github.com/pmodels/mpich, src/pm/hydra
    LauncherVariables("PMI_RANK", ("PMI_SIZE",)),
    # HPE Cray PALS, man mpiexec(1): it sets no size.
    LauncherVariables("PALS_RANKID", ("PMI_SIZE",), without_size=True),
    # https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES
    LauncherVariables("SLURM_PROCID", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS")),
    # PRRTE (prun): https://docs.prrte.org; it sets no size.
    LauncherVariables("PMIX_RANK", ("PMIX_SIZE",), without_size=True),
    # Cray ALPS, man aprun(1): it sets no size.
    LauncherVariables("ALPS_APP_PE", without_size=True),
    # jax.distributed.initialize: jax/_src/distributed.py
    LauncherVariables("JAX_PROCESS_ID", ("JAX_NUM_PROCESSES",)),
    # torch_xla/core/xla_env_vars.py
    LauncherVariables("XRT_SHARD_ORDINAL", ("XRT_SHARD_WORLD_SIZE",)),
    # https://cloud.google.com/kubernetes-engine/docs/concepts/tpus: the size is the number of host names.
    LauncherVariables("TPU_WORKER_ID", ("TPU_WORKER_HOSTNAMES",)),
    # python -m paddle.distributed.launch
    LauncherVariables("PADDLE_TRAINER_ID", ("PADDLE_TRAINERS_NUM",)),
    # MindSpore on Ascend: https://www.mindspore.cn/docs
    LauncherVariables("RANK_ID", ("RANK_SIZE",)),
    # Lightning sets no RANK for all processes but its first: lightning/fabric/strategies/launchers/subprocess_script.py
    LauncherVariables("LOCAL_RANK", ("WORLD_SIZE", "LOCAL_WORLD_SIZE"), without_size=True),
)
_NODE_VARIABLES = ("NODE_RANK", "GROUP_RANK")
_SLURM_STEP_VARIABLES = ("SLURM_STEP_ID", "SLURM_STEPID")
# Variables that differ between two launches by the same process.
_LAUNCH_VARIABLES = (
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "OMPI_MCA_ess_base_jobid",
    "PMIX_NAMESPACE",
    "PALS_APID",
    "FLUX_JOB_ID",
)
_MAX_ANCESTORS = 16
_IMPORTING_PROCESS = os.getpid()


@frozen
class Rank:
    """The rank of a process: its number, its label in an alert, and the variable that holds it."""

    number: int
    label: str
    variable: str = ""


FIRST_RANK = Rank(0, "rank 0")


def has_launched_ranks() -> bool:
    """Return whether this process has local rank 0, as Lightning's first process after it launched the others.

    Lightning sets the variable at the launch, and removes the number of processes when they have ended.
    """
    return os.environ.get("LOCAL_RANK") == "0" and not _is_multiprocessing_child() and not _is_kernel()


def get_rank_number(environ: Mapping[str, str] | None = None) -> int | None:
    """Return the number of this process's rank; None if it is not one of several processes.

    Parameters
    ----------
    environ
        Variables to use alone. By default `os.environ` and PyTorch's process group.
    """
    rank = find_rank(environ)
    return rank.number if rank else None


def find_rank(environ: Mapping[str, str] | None = None) -> Rank | None:
    """Return this process's rank. As `get_rank_number`, with label and variable."""
    if environ is not None:
        return _find_in_environment(environ)
    return None if _is_kernel() else _find_in_process_group() or _find_in_environment(os.environ)


def _find_in_environment(environ: Mapping[str, str]) -> Rank | None:
    for launcher in LAUNCHERS:
        number = _parse_number(environ.get(launcher.rank_variable))
        if number is None:
            continue
        size = next(
            (size for name in launcher.size_variables if (size := _parse_size(environ.get(name))) is not None), None
        )
        if launcher.rank_variable == "LOCAL_RANK":
            rank = _build_local_rank(number, size, environ)
            if rank:
                return rank
            continue
        if size is not None and number >= max(size, 1):
            continue
        if (
            launcher.rank_variable == "SLURM_PROCID"
            and number == 0
            and not any(environ.get(name) for name in _SLURM_STEP_VARIABLES)
        ):
            # The batch script itself, or a notebook in it: srun has started no tasks.
            continue
        if size is None:
            if launcher.without_size and number > 0:
                return Rank(number, f"rank {number}", launcher.rank_variable)
        elif size > 1:
            return Rank(number, f"rank {number}", launcher.rank_variable)
        elif launcher.decides:
            return None
    return None


def _build_local_rank(local: int, size: int | None, environ: Mapping[str, str]) -> Rank | None:
    """Return the rank of a process that knows only its rank on its node."""
    node = next((node for name in _NODE_VARIABLES if (node := _parse_number(environ.get(name))) is not None), 0)
    if size is not None and size <= 1:
        return None
    if node == 0:
        # Without a size, only a number above 0 proves that there are other processes.
        return Rank(local, f"rank {local}", "LOCAL_RANK") if local or size else None
    per_node = _parse_number(environ.get("LOCAL_WORLD_SIZE"))
    if per_node and local < per_node:
        number = node * per_node + local
        return Rank(number, f"rank {number}", "LOCAL_RANK")
    return Rank(node + local, f"node {node}, local rank {local}", "LOCAL_RANK")


def _parse_number(text: str | None) -> int | None:
    if text is None:
        return None
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _parse_size(text: str | None) -> int | None:
    number = _parse_number(text)
    # TPU_WORKER_HOSTNAMES is a list of names.
    return len(text.split(",")) if number is None and text and "," in text else number


def _is_kernel() -> bool:
    """Return whether this process is a notebook's kernel. It is not a rank, even if it inherits such variables."""
    if os.getpid() != _IMPORTING_PROCESS or _is_multiprocessing_child():
        return False
    try:
        app: Any = sys.modules.get("ipykernel.kernelapp")
        return bool(app and app.IPKernelApp.initialized()) or os.environ.get("JPY_PARENT_PID") == str(os.getppid())
    except Exception:
        return False


def _find_in_process_group() -> Rank | None:
    """Return the rank in ``torch.distributed``, if the program initialized it. Some launchers set no variables."""
    try:
        torch: Any = sys.modules.get("torch.distributed")
        if torch and torch.is_available() and torch.is_initialized() and torch.get_world_size() > 1:
            return Rank(torch.get_rank(), f"rank {torch.get_rank()}")
    except Exception:
        pass
    return None


def _is_multiprocessing_child() -> bool:
    """Return whether `multiprocessing`, or a library built on it, started this process."""
    return get_multiprocessing_parent() is not None


def get_multiprocessing_parent() -> int | None:
    """Return the pid of the parent that started this process through `multiprocessing`; None if none did."""
    process: Any = sys.modules.get("multiprocessing.process")
    parent = getattr(process, "_parent_process", None)
    pid = getattr(parent, "_pid", None)
    return pid if isinstance(pid, int) else None


def make_job_id(name: str, ordinal: int, environ: Mapping[str, str] | None = None, is_launcher: bool = False) -> str:
    """Return an ID that all ranks of this launch on this machine share for a run.

    Parameters
    ----------
    name, ordinal
        The run's name, and how many runs of that name the process has started.
    is_launcher
        Whether this process launched the other ranks, as Lightning's first process does.
    """
    from cwnotify.host.processes import ProcessIdentity, identify_process

    environ = os.environ if environ is None else environ
    rank = _find_in_environment(environ)
    pid = os.getpid() if is_launcher else _find_launcher_pid(rank.variable if rank else "", environ)
    launcher: ProcessIdentity = identify_process(pid)
    parts = [name, str(ordinal), launcher.boot, launcher.namespace, str(launcher.pid), launcher.start]
    parts += [environ.get(key, "") for key in _LAUNCH_VARIABLES]
    return "job-" + hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:24]


def _find_launcher_pid(variable: str, environ: Mapping[str, str]) -> int:
    """Return the nearest ancestor without this rank in its environment. A shell in between inherits the rank."""
    pid = os.getppid()
    entry = f"{variable}={environ.get(variable, '')}".encode("utf-8", "surrogateescape")
    for _ in range(_MAX_ANCESTORS if variable else 0):
        try:
            inherited = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            parent = int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
        if entry not in inherited or parent < 1:
            break
        pid = parent
    return pid
