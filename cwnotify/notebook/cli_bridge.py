"""``%cwnotify WORD`` -> ``cwnotify WORD``, in a process of its own: what it needs stays out of the kernel."""

from __future__ import annotations

import getpass
import shlex
import subprocess
from pathlib import Path

from IPython.core.error import StdinNotImplementedError

from cwnotify.console import warn
from cwnotify.settings import reset_pinned_webhook
from cwnotify.settings.child_environment import build_child_environment, list_ignored_aws_variables
from cwnotify.settings.paths import get_python_executable

_PROGRAM = str(Path(__file__).parent.with_name("__main__.py"))


def run_cli_command(subcommand: str, argument_line: str) -> None:
    """Run the command and show what it says. A webhook goes by a pipe, for every user can read an argv."""
    try:
        arguments = [subcommand, *shlex.split(argument_line)]
    except ValueError:
        warn(f"a quote in {argument_line!r} has no partner")
        return
    secret = ""
    if subcommand == "login":
        try:
            secret = getpass.getpass("Slack webhook URL (not shown): ").strip()
        except StdinNotImplementedError:
            warn("this front end has no field to type into; in a terminal: cwnotify login")
            return
        arguments.append("--stdin")
    if names := list_ignored_aws_variables():
        warn(
            f"{', '.join(names)} changed in this notebook; %cwnotify commands use AWS as the kernel was started. "
            f"To use these, set them before you start Jupyter, or run in a terminal: cwnotify {subcommand}"
        )
    with subprocess.Popen(
        [get_python_executable(), "-P", _PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=build_child_environment(),
        text=True,
    ) as command:
        assert command.stdin
        assert command.stdout
        command.stdin.write(secret)
        command.stdin.close()
        for line in command.stdout:
            print(line, end="")
    if subcommand == "login" and command.returncode == 0:
        reset_pinned_webhook()
