"""The rank of this process in a distributed job, and the name of the launch that it belongs to.

Only rank 0 sends alerts, except that a failure on any rank is reported once per machine. Standard library,
`alerts.frozen` and `sidecar.processes` only.
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
    """The variables in which one launcher passes a process its rank.

    Parameters
    ----------
    rank, sizes
        The variable with the rank, and those with the number of processes; the first one that is set counts.
    decides
        A job of one process ends the search: this launcher is started inside the other ones.
    without_size
        A rank above 0 counts also when no size is set.
    """

    rank_variable: str
    size_variables: tuple[str, ...] = ()
    decides: bool = False
    without_size: bool = False


# In this order. LOCAL_RANK and SLURM have rules of their own, see `_find`.
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
    # Lightning's processes beside its first have no RANK: lightning/fabric/strategies/launchers/subprocess_script.py
    LauncherVariables("LOCAL_RANK", ("WORLD_SIZE", "LOCAL_WORLD_SIZE"), without_size=True),
)
_NODES = ("NODE_RANK", "GROUP_RANK")
_STEPS = ("SLURM_STEP_ID", "SLURM_STEPID")
# What differs between two launches, beside the process that launched them.
_LAUNCHES = (
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
_PROCESS = os.getpid()


@frozen
class Rank:
    """A process of a distributed job: its number, what an alert calls it, and the variable that holds it."""

    number: int
    label: str
    variable: str = ""


FIRST_RANK = Rank(0, "rank 0")


def has_launched_ranks() -> bool:
    """Whether this process has the local rank 0, as Lightning's first process after it has launched the other ones.

    It learns of it then, and forgets the number of processes when they are done.
    """
    return os.environ.get("LOCAL_RANK") == "0" and not is_multiprocessing_child() and not _is_kernel()


def get_rank_number(environ: Mapping[str, str] | None = None) -> int | None:
    """Return this process's rank; None if it is not one of several.

    Parameters
    ----------
    environ
        Only these variables count. By default the environment, and what PyTorch says of this process.
    """
    match = find_rank(environ)
    return match.number if match else None


def find_rank(environ: Mapping[str, str] | None = None) -> Rank | None:
    """As `get_rank_number`, with what an alert calls it."""
    if environ is not None:
        return _find(environ)
    return None if _is_kernel() else _initialised() or _find(os.environ)


def _find(environ: Mapping[str, str]) -> Rank | None:
    for launcher in LAUNCHERS:
        number = _number(environ.get(launcher.rank_variable))
        if number is None:
            continue
        size = next((size for name in launcher.size_variables if (size := _size(environ.get(name))) is not None), None)
        if launcher.rank_variable == "LOCAL_RANK":
            match = _local(number, size, environ)
            if match:
                return match
            continue
        if size is not None and number >= max(size, 1):
            continue
        if launcher.rank_variable == "SLURM_PROCID" and number == 0 and not any(environ.get(name) for name in _STEPS):
            # The batch script itself, or a notebook in it: no srun has started several of them.
            continue
        if size is None:
            if launcher.without_size and number > 0:
                return Rank(number, f"rank {number}", launcher.rank_variable)
        elif size > 1:
            return Rank(number, f"rank {number}", launcher.rank_variable)
        elif launcher.decides:
            return None
    return None


def _local(local: int, size: int | None, environ: Mapping[str, str]) -> Rank | None:
    """The rank of a process that knows only its place on its node."""
    node = next((node for name in _NODES if (node := _number(environ.get(name))) is not None), 0)
    if size is not None and size <= 1:
        return None
    if node == 0:
        # Without a size, only a number above 0 proves that there are others.
        return Rank(local, f"rank {local}", "LOCAL_RANK") if local or size else None
    per_node = _number(environ.get("LOCAL_WORLD_SIZE"))
    if per_node and local < per_node:
        number = node * per_node + local
        return Rank(number, f"rank {number}", "LOCAL_RANK")
    return Rank(node + local, f"node {node}, local rank {local}", "LOCAL_RANK")


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _size(text: str | None) -> int | None:
    number = _number(text)
    # TPU_WORKER_HOSTNAMES is a list of names.
    return len(text.split(",")) if number is None and text and "," in text else number


def _is_kernel() -> bool:
    """Whether this process is a notebook's kernel. It can inherit any variables, but is no rank."""
    if os.getpid() != _PROCESS or is_multiprocessing_child():
        return False
    try:
        app: Any = sys.modules.get("ipykernel.kernelapp")
        return bool(app and app.IPKernelApp.initialized()) or os.environ.get("JPY_PARENT_PID") == str(os.getppid())
    except Exception:
        return False


def _initialised() -> Rank | None:
    """What ``torch.distributed`` says, if the program has set it up: some launchers set no variables at all."""
    try:
        torch: Any = sys.modules.get("torch.distributed")
        if torch and torch.is_available() and torch.is_initialized() and torch.get_world_size() > 1:
            return Rank(torch.get_rank(), f"rank {torch.get_rank()}")
    except Exception:
        pass
    return None


def is_multiprocessing_child() -> bool:
    """Whether `multiprocessing`, or a library built on it, started this process."""
    return get_multiprocessing_parent() is not None


def get_multiprocessing_parent() -> int | None:
    """Return the pid of the process whose `multiprocessing` started this one; None for any other process."""
    process: Any = sys.modules.get("multiprocessing.process")
    parent = getattr(process, "_parent_process", None)
    pid = getattr(parent, "_pid", None)
    return pid if isinstance(pid, int) else None


def make_job_id(name: str, ordinal: int, environ: Mapping[str, str] | None = None, is_launcher: bool = False) -> str:
    """Return what all ranks of this launch on this machine call their `ordinal`-th run of that name.

    Parameters
    ----------
    launches
        This process has launched the other ranks itself, as Lightning's first process does.
    """
    from cwnotify.host.processes import ProcessIdentity, identify_process

    environ = os.environ if environ is None else environ
    match = _find(environ)
    pid = os.getpid() if is_launcher else _launcher(match.variable if match else "", environ)
    launcher: ProcessIdentity = identify_process(pid)
    parts = [name, str(ordinal), launcher.boot, launcher.namespace, str(launcher.pid), launcher.start]
    parts += [environ.get(key, "") for key in _LAUNCHES]
    return "job-" + hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:24]


def _launcher(variable: str, environ: Mapping[str, str]) -> int:
    """The nearest ancestor without our rank in its environment: a shell between it and us has the same one."""
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
