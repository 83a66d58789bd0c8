"""``cwnotify COMMAND``. Commands hold no logic: parse, call, show. Each is imported when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import Any

try:
    import click
except ImportError as error:
    # Without it there is no command that could explain this.
    sys.exit(f"cwnotify: {error}; install it: {sys.executable} -m pip install click")

from cwnotify import __version__
from cwnotify.errors import CwnotifyError

EPILOG = (
    "COMMAND --help explains it; --version tells ours. Exit codes: 0 done; 1 not done, or something is wrong; "
    "2 not understood; run: those of what it ran."
)
# By theme: each command's module, and what the list of them says of it.
_COMMANDS = {
    "login": ("webhook", "Keep the Slack webhook, once it has passed a test."),
    "test": ("webhook", "Send Slack a greeting, a sample alarm, or AWS's test event."),
    "manifest": ("webhook", "Make a Slack app with a webhook, in one click."),
    "config": ("config", "Show each setting and where it comes from."),
    "doctor": ("doctor", "Look at everything, and say what to mend."),
    "run": ("run", "Run a command, and tell Slack how it ended."),
    "watch": ("watch", "Watch CPU and alarms from a terminal or a service."),
    "outbox": ("outbox", "See what waits or is dead; send it again."),
    "preview": ("preview", "Draw a message or an AWS event as in Slack."),
    "deploy": ("stack", "Let CloudWatch alarms speak in Slack."),
    "stack": ("stack", "Show what is deployed."),
    "teardown": ("stack", "Remove all that deploy has made."),
    "replay": ("stack", "Show what an alarm really published."),
    "redrive": ("stack", "Send again what lies in the dead-letter queue."),
    "policy": ("stack", "Print the smallest IAM policies."),
    "bundle": ("stack", "Write the function's code as a zip."),
}


class _Lazy(click.Group):
    """A group that imports a command when it is called, and none to list them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"cwnotify.cli.{_COMMANDS[name][0]}")
        command: click.Command = getattr(module, name)
        return command

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Only the commands: with a section for --help and --version this would not fit on a screen."""
        self.format_commands(context, formatter)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

    def resolve_command(self, context: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from cwnotify.suggestions import closest_match

            near = closest_match(args[0], _COMMANDS)
            hint = f"; did you mean {near}?" if near else ""
            context.fail(f"{args[0]!r} is no command{hint}")
        return super().resolve_command(context, args)


@click.group(cls=_Lazy, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def cwnotify() -> None:
    """Slack tells you how your run ended, and what your instance's CPU alarm says."""
    from cwnotify.alerts import locale
    from cwnotify.settings import load_settings

    locale.override_translations(load_settings()[0].words)


def main() -> None:
    """The ``cwnotify`` command."""
    try:
        cwnotify()
    except CwnotifyError as error:
        click.echo(f"cwnotify: {error}", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        click.echo(f"cwnotify: {error}; to see what is missing: cwnotify doctor", err=True)
        sys.exit(1)
