"""``cwnotify COMMAND``. Commands hold no logic: parse, call, show. Each is imported when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from cwnotify import __version__
from cwnotify.errors import CwnotifyError

EXIT_CODES = (
    "Exit codes: 0 done; 1 it could not be done, or something is wrong, and the text says what; 2 the command cannot "
    "be understood. run leaves with the exit code of what it ran."
)
_COMMANDS = {
    "login": "webhook",
    "test": "webhook",
    "manifest": "webhook",
    "config": "config",
    "doctor": "doctor",
    "run": "run",
    "watch": "watch",
    "outbox": "outbox",
    "preview": "preview",
    "deploy": "stack",
    "stack": "stack",
    "teardown": "stack",
    "replay": "stack",
    "redrive": "stack",
    "policy": "stack",
    "bundle": "stack",
}


class _Lazy(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"cwnotify.cli.{_COMMANDS[name]}")
        command: click.Command = getattr(module, name)
        return command

    def resolve_command(self, context: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            context.fail(f"{args[0]!r} is no command{hint}")
        return super().resolve_command(context, args)


@click.group(cls=_Lazy, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def cwnotify() -> None:
    """Slack tells you how your run ended, and what your instance's CPU alarm says."""
    from cwnotify.alerts import words
    from cwnotify.settings import gather

    words.amend(gather()[0].words)


def main() -> None:
    """The ``cwnotify`` command."""
    try:
        cwnotify()
    except CwnotifyError as error:
        click.echo(f"cwnotify: {error}", err=True)
        sys.exit(1)
