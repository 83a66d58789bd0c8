"""The ``cwnotify`` command line. A command parses its options, calls another package and shows the result.

Each command's module is imported when the command runs. May import every package except `notebook` and `demo`.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

try:
    import click
except ImportError as error:
    # Without click no command could report this.
    sys.exit(f"cwnotify: {error}; install it: {sys.executable} -m pip install click")

from cwnotify import __version__
from cwnotify.errors import CwnotifyError

EPILOG = (
    "Help for a command: COMMAND --help. Version: --version. Exit codes: 0 success, 1 failure, 2 usage error; "
    "run returns the exit code of its command."
)
# Each command's module and summary, in the order of the help.
_COMMANDS = {
    "login": ("webhook", "Store a Slack webhook after testing it"),
    "test": ("webhook", "Send a test message to Slack"),
    "manifest": ("webhook", "Print a Slack app manifest and a link that creates the app"),
    "config": ("config", "Show settings and where they come from"),
    "doctor": ("doctor", "Check the installation, Slack and AWS"),
    "run": ("run", "Run a command and report how it ended"),
    "watch": ("watch", "Watch CPU and alarms from a terminal or a service"),
    "outbox": ("outbox", "List, resend or delete undelivered alerts"),
    "preview": ("preview", "Render a message or an AWS event as in Slack"),
    "deploy": ("stack", "Deploy a stack that sends CloudWatch alarms to Slack"),
    "stack": ("stack", "Show the deployed stack"),
    "teardown": ("stack", "Remove the deployed stack"),
    "replay": ("stack", "Show or resend what an alarm published"),
    "redrive": ("stack", "Resend messages from the dead-letter queue"),
    "policy": ("stack", "Print the least-privilege IAM policies"),
    "bundle": ("stack", "Write the Lambda function's code to a zip file"),
}


class _LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"cwnotify.cli.{_COMMANDS[name][0]}")
        command: click.Command = getattr(module, name)
        return command

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write only the commands. With the options --help and --version the help would not fit on a screen."""
        self.format_commands(context, formatter)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

    def resolve_command(self, context: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from cwnotify.suggestions import closest_match

            match = closest_match(args[0], _COMMANDS)
            hint = f"; did you mean {match}?" if match else ""
            context.fail(f"unknown command {args[0]!r}{hint}")
        return super().resolve_command(context, args)


@click.group(cls=_LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def cwnotify() -> None:
    """Send Slack alerts for runs and CloudWatch alarms."""
    from cwnotify.alerts import locale
    from cwnotify.settings import load_settings

    locale.override_translations(load_settings()[0].words)


def main() -> None:
    """Run the command line, and exit with 1 after an error."""
    try:
        cwnotify()
    except CwnotifyError as error:
        click.echo(f"cwnotify: {error}", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        click.echo(f"cwnotify: {error}; to see what is missing: cwnotify doctor", err=True)
        sys.exit(1)
