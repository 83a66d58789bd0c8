"""Run ``cwnotify COMMAND`` for ``%cwnotify COMMAND``, in its own process: its imports stay out of the kernel."""

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

_MAIN_SCRIPT = str(Path(__file__).parent.with_name("__main__.py"))


def run_cli_command(subcommand: str, argument_line: str) -> None:
    """Run the command and print its output."""
    try:
        arguments = [subcommand, *shlex.split(argument_line)]
    except ValueError:
        warn(f"unclosed quote in {argument_line!r}")
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
            f"To use the new values, set them before you start Jupyter, or run in a terminal: cwnotify {subcommand}"
        )
    return_code = _run_process(arguments, secret)
    if subcommand == "login" and return_code == 0:
        reset_pinned_webhook()


def _run_process(arguments: list[str], secret: str) -> int:
    """Run cwnotify, print its output and return its exit code.

    The secret goes through a pipe, because every user of the machine can read the arguments of a process.
    """
    with subprocess.Popen(
        [get_python_executable(), "-P", _MAIN_SCRIPT, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=build_child_environment(),
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(secret)
        process.stdin.close()
        for line in process.stdout:
            print(line, end="")
    return process.returncode
