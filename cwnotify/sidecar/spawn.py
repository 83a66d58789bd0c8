"""Start a process's sidecar, find its other sidecars, and determine whether the sidecar outlives it.

Imports the standard library and `settings` only.
"""

from __future__ import annotations

import os
import posix
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from cwnotify.settings import WEBHOOK_VARIABLES, get_state_dir
from cwnotify.settings.child_environment import build_child_environment
from cwnotify.settings.paths import get_python_executable, is_running_in_ipython

# A cell may set longer variables, until no process can be started with them.
MAX_VARIABLE_LENGTH = 1 << 15
_PROGRAM = str(Path(__file__).with_name("__main__.py"))
# Until the sidecar has its own handlers, a signal to the whole service must not end it.
_SCRIPT = 'cd /; trap "" TERM HUP; "$@" &'
# A cell may empty os.environ. A sidecar started after that still needs its Python and its state directory.
_INITIAL_ENVIRONMENT = dict(os.environ)
_BATCH_JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")
# PROC_PID_INIT_INO: https://github.com/torvalds/linux/blob/master/include/linux/proc_ns.h
_HOST_NAMESPACE = "pid:[4026531836]"


def launch_sidecar(pid: int, lines: int, answers: int, pidfd: int, errors: int) -> None:
    """Start the sidecar through a shell that exits at once.

    Without the shell the sidecar would be a child of this process, and a cell that waits for all its children would
    wait for it.

    Parameters
    ----------
    pid, pidfd
        The process to watch. The pidfd is -1 if the system has none.
    lines, answers, errors
        The sidecar's ends of the pipes; `errors` becomes its standard error. All descriptors are above 2.
    """
    sources = [number for number in (lines, answers, pidfd) if number >= 0]
    # Other numbers than here: with older glibcs, a descriptor copied to its own number stays closed on exec.
    targets = [number for number in range(3, 12) if number not in (*sources, errors)][: len(sources)]
    numbers = [*targets, -1][:3]
    environ = build_child_environment() or _INITIAL_ENVIRONMENT
    environment = {
        **{
            name: value
            for name, value in environ.items()
            if name not in WEBHOOK_VARIABLES and len(value) < MAX_VARIABLE_LENGTH
        },
        "CWNOTIFY_STATE_DIR": str(get_state_dir(environ)),
    }
    # Not `subprocess`: gevent and eventlet replace it with one that works in one thread only.
    shell = posix.posix_spawn(
        "/bin/sh",
        ["/bin/sh", "-c", _SCRIPT, "sh", _python_path(), "-P", _PROGRAM, *map(str, (pid, *numbers))],
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, errors, 2),
            *((os.POSIX_SPAWN_DUP2, *pair) for pair in zip(sources, targets, strict=True)),
        ],
        setsid=True,
        # `cwnotify run` blocks signals, and Python ignores some. The sidecar starts with the defaults.
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD),
    )
    try:
        posix.waitpid(shell, 0)
    except ChildProcessError:
        # The user's event loop has reaped it, or SIGCHLD is ignored here.
        pass


def _python_path() -> str:
    """Return the path of this Python. A program that embeds Python may not set ``sys.executable``."""
    if is_running_in_ipython():
        return get_python_executable()
    return sys.executable or f"{sys.exec_prefix}/bin/python3"


def has_other_sidecar(pid: int, status: int | None) -> bool:
    """Return whether the process `pid`, which exited with this wait status, has a second sidecar.

    A process that closes all its descriptors loses its sidecar. It starts another when it exits, and that one knows how
    the last runs ended. A process that was killed starts none.
    """
    if status is not None and status & 0x7F:
        return False
    return bool(find_other_sidecars(pid))


def find_other_sidecars(pid: int) -> list[int]:
    """Return the pids of the other sidecars of the process `pid`.

    Any user can give a process any command line, so only processes of this user in this pid namespace count.
    """
    # The shell in between has these in its arguments too.
    arguments = b"\0".join((_PROGRAM.encode(), str(pid).encode(), b""))
    folders = [folder for folder in Path("/proc").glob("[0-9]*") if int(folder.name) != os.getpid()]
    return [int(folder.name) for folder in folders if arguments in _read_command(folder) and _is_own(folder)]


def _read_command(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:
        return b""


def _is_own(folder: Path) -> bool:
    """Return whether a process is this user's and in this pid namespace. Another namespace has its own users."""
    try:
        namespace = os.readlink(folder / "ns" / "pid")  # noqa: PTH115 (a name, not a path)
        return namespace == _read_namespace(Path("/proc")) and folder.stat().st_uid == os.geteuid()
    except OSError:
        return False


def is_killed_with_process(pid: int, environ: Mapping[str, str], proc: Path = Path("/proc")) -> bool:
    """Return whether the sidecar of `pid` is killed soon after `pid` ends.

    A container ends with its first process, which is `pid` or waits for it through shells and wrappers. A batch system
    kills what a job leaves behind. A notebook's server keeps running when a kernel ends.
    """
    parent = _read_parent(pid, proc)
    if 1 in (pid, parent):
        return True
    if environ.get("JPY_PARENT_PID"):
        return False
    if any(environ.get(name) for name in _BATCH_JOB_VARIABLES):
        return True
    if _read_namespace(proc) in ("", _HOST_NAMESPACE):
        return False
    while parent > 1:
        parent = _read_parent(parent, proc)
    return parent == 1


def _read_parent(pid: int, proc: Path) -> int:
    """Return the parent of `pid`, or 0 if it is outside this container or unknown."""
    try:
        return int((proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _read_namespace(proc: Path) -> str:
    try:
        return os.readlink(proc / "self" / "ns" / "pid")  # noqa: PTH115 (a name, not a path)
    except OSError:
        return ""
