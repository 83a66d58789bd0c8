"""``%cwnotify WORD`` -> ``cwnotify WORD``, in a process of its own: what it needs stays out of the kernel."""

from __future__ import annotations

import getpass
import shlex
import subprocess
import sys
from pathlib import Path

_PROGRAM = str(Path(__file__).parent.with_name("__main__.py"))


def run_command(word: str, rest: str) -> None:
    """Run the command and show what it says. A webhook goes by a pipe, for every user can read an argv."""
    arguments = [word, *shlex.split(rest)]
    secret = None
    if word == "login":
        secret = getpass.getpass("Slack webhook URL (not shown): ").strip()
        arguments.append("--stdin")
    done = subprocess.run(
        [sys.executable, "-P", _PROGRAM, *arguments],
        input=secret or "",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout, end="")
