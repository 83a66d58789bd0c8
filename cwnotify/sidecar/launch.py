"""How a process that trains starts its sidecar. Standard library and `settings` only."""

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


def _python() -> str:
    """This Python; a program that has one built in, or a cell, may say nothing of where it lies."""
    return sys.executable or f"{sys.exec_prefix}/bin/python3"
