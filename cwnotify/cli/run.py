"""``cwnotify run -- COMMAND``: run a command and report how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from cwnotify.alerts.events.run_options import RUN_OPTION_SPECS, RunOptionSpec
from cwnotify.errors import UsageError
from cwnotify.runs.command import exit_like_command, run_program


def _make_parser(spec: RunOptionSpec) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    def parse(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        if text is None or spec.read is None:
            return text
        try:
            return spec.read(text)
        except UsageError as error:
            raise click.BadParameter(str(error)) from None

    return parse


def _add_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that cells have too, from the same table."""
    for spec in reversed([spec for spec in RUN_OPTION_SPECS if not spec.cell_only]):
        help_text = spec.help[:1].upper() + spec.help[1:]
        option = click.option(spec.flag, spec.field, metavar=spec.metavar, help=help_text, callback=_make_parser(spec))
        command = option(command)
    return command


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--name", default="", metavar="NAME", help="Set the run's name in the alert. Default: the command")
@_add_run_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(command: tuple[str, ...], name: str, **options: Any) -> None:
    """Run COMMAND and report how it ended: cwnotify run -- python train.py

    The command runs unchanged and its exit code is returned. With --tail, its output goes through a pipe unless it is
    redirected to a file.
    """
    exit_like_command(run_program(command, name, options))
