"""``%cwnotify WORD`` -> ``cwnotify WORD``, in a process of its own: what it needs stays out of the kernel."""

from __future__ import annotations

import getpass
import shlex
import subprocess
import sys
from pathlib import Path

from IPython.core.error import StdinNotImplementedError

from cwnotify.screen import say
from cwnotify.settings import environ_of_commands
from cwnotify.settings.places import started

_PROGRAM = str(Path(__file__).parent.with_name("__main__.py"))


def _environ() -> dict[str, str]:
    """A cell may have set a PYTHONHOME in which no Python starts."""
    environ, home = environ_of_commands(), started().get("PYTHONHOME")
    if (changed := environ.pop("PYTHONHOME", None)) != home:
        say(f"PYTHONHOME was changed in this notebook, to {changed}; Python processes, also the sidecar, may not start")
    return environ if home is None else {**environ, "PYTHONHOME": home}


def run_command(word: str, rest: str) -> None:
    """Run the command and show what it says. A webhook goes by a pipe, for every user can read an argv."""
    try:
        arguments = [word, *shlex.split(rest)]
    except ValueError:
        say(f"a quote in {rest!r} has no partner")
        return
    secret = ""
    if word == "login":
        try:
            secret = getpass.getpass("Slack webhook URL (not shown): ").strip()
        except StdinNotImplementedError:
            say("this front end has no field to type into; in a terminal: cwnotify login")
            return
        arguments.append("--stdin")
    with subprocess.Popen(
        [sys.executable, "-P", _PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environ(),
        text=True,
    ) as command:
        assert command.stdin
        assert command.stdout
        command.stdin.write(secret)
        command.stdin.close()
        for line in command.stdout:
            print(line, end="")
