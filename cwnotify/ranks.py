"""Which rank of a distributed job this process is (torchrun, SLURM, MPI). Standard library only.

Only rank 0 speaks, except that a failure on any rank is told once. The ranks on a machine share one outbox and so
one alert id, made of what they have in common: their launcher.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

_RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
_SIZES = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_JOBS = (
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "OMPI_MCA_ess_base_jobid",
)


def rank(environ: Mapping[str, str] | None = None) -> int | None:
    """This process's rank; None where it is not one of several."""
    environ = os.environ if environ is None else environ
    for name, size in zip(_RANKS, _SIZES, strict=True):
        if environ.get(name, "").isdecimal():
            # A notebook inside a one-task SLURM allocation is rank 0 of 1: no distributed job.
            return None if environ.get(size) == "1" else int(environ[name])
    return None


def job(name: str, environ: Mapping[str, str] | None = None) -> str:
    """What all ranks of this job on this machine call the failure of their run `name`."""
    from cwnotify.sidecar.processes import Watched, name_process

    environ = os.environ if environ is None else environ
    launcher: Watched = name_process(os.getppid())
    parts = [name, launcher.boot, launcher.namespace, str(launcher.pid), launcher.start]
    parts += [environ.get(key, "") for key in _JOBS]
    return "job-" + hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:24]
