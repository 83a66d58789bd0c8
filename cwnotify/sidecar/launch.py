"""How a process that trains starts its sidecar, and whether it has. Standard library and `settings` only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cwnotify.settings import WEBHOOK_VARIABLES, state_dir

# A cell may fill the environment until no process can be started with all of it.
LONGEST_VARIABLE = 1 << 15
_PROGRAM = str(Path(__file__).with_name("__main__.py"))
# A cell may empty os.environ; a sidecar started after that still has to find its Python and its state.
_ENVIRONMENT = dict(os.environ)


def launch(pid: int, descriptors: list[int]) -> None:
    """Start the sidecar as nobody's child.

    The shell in between exits at once. Without it, a cell that waits for all its children would wait for ours.
    """
    numbers = [*descriptors, -1][:3]
    environ = os.environ or _ENVIRONMENT
    environment = {
        **{
            name: value
            for name, value in environ.items()
            if name not in WEBHOOK_VARIABLES and len(value) < LONGEST_VARIABLE
        },
        "CWNOTIFY_STATE_DIR": str(state_dir(environ)),
    }
    shell = subprocess.Popen(
        ["/bin/sh", "-c", '"$@" &', "sh", _python(), "-P", _PROGRAM, *map(str, (pid, *numbers))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=environment,
        pass_fds=descriptors,
        start_new_session=True,
    )
    shell.wait()


def has_another(pid: int, status: int | None) -> bool:
    """Whether the process `pid`, which left with this wait status, has a second sidecar.

    One that closes all its descriptors cuts its sidecar off. It starts another as it leaves, and that one knows how the
    last runs ended. A process that was killed starts none.
    """
    if status is not None and status & 0x7F:
        return False
    return bool(others(pid))


def others(pid: int) -> list[int]:
    """The pids of the other sidecars of the process `pid`."""
    # So it stands in the argument list of the shell in between, too.
    asked = b"\0".join((_PROGRAM.encode(), str(pid).encode(), b""))
    found = [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if asked in _command(folder)]
    return [one for one in found if one != os.getpid()]


def _command(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:
        return b""


def _python() -> str:
    """This Python; a program that has one built in, or a cell, may say nothing of where it lies."""
    return sys.executable or f"{sys.exec_prefix}/bin/python3"
