"""``%cwnotify WORD`` -> ``cwnotify WORD``, in a process of its own: what it needs stays out of the kernel."""

from __future__ import annotations

import getpass
import shlex
import subprocess
from pathlib import Path

from IPython.core.error import StdinNotImplementedError

from cwnotify.console import say
from cwnotify.settings import forget_choice
from cwnotify.settings.child_environment import changed_aws, inherited
from cwnotify.settings.paths import python

_PROGRAM = str(Path(__file__).parent.with_name("__main__.py"))


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
    if names := changed_aws():
        say(
            f"{', '.join(names)} changed in this notebook; %cwnotify commands use AWS as the kernel was started. "
            f"To use these, set them before you start Jupyter, or run in a terminal: cwnotify {word}"
        )
    with subprocess.Popen(
        [python(), "-P", _PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=inherited(),
        text=True,
    ) as command:
        assert command.stdin
        assert command.stdout
        command.stdin.write(secret)
        command.stdin.close()
        for line in command.stdout:
            print(line, end="")
    if word == "login" and command.returncode == 0:
        forget_choice()
