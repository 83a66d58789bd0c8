"""``cwnotify run -- COMMAND``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from cwnotify.alerts.events.run_options import RUN_OPTION_SPECS, RunOptionSpec
from cwnotify.errors import UsageError
from cwnotify.runs.command import exit_like_command, run_program


def _reader(option: RunOptionSpec) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    def read(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        if text is None or option.read is None:
            return text
        try:
            return option.read(text)
        except UsageError as error:
            raise click.BadParameter(str(error)) from None

    return read


def _run_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that cells have too, out of the same table."""
    for option in reversed([option for option in RUN_OPTION_SPECS if not option.cell_only]):
        command = click.option(
            option.flag, option.field, metavar=option.metavar, help=option.help, callback=_reader(option)
        )(command)
    return command


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--name", default="", metavar="NAME", help="what the alert calls it (default: the command)")
@_run_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(command: tuple[str, ...], name: str, **asked: Any) -> None:
    """Run COMMAND and tell Slack how it ended: cwnotify run -- python train.py

    It runs as it would without cwnotify, and its exit status is passed on. With --tail what it prints passes through
    a pipe, except into a file.
    """
    exit_like_command(run_program(command, name, asked))
