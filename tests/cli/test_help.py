"""Every ``--help`` fits on a screen of 24 lines by 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from cwnotify.cli import cwnotify


def commands(group: click.Group, *before: str) -> Iterator[tuple[str, ...]]:
    """The words that lead to each command, those of groups among them."""
    yield before
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)
        else:
            yield (*before, name)


@pytest.mark.parametrize("words", list(commands(cwnotify)), ids=" ".join)
def test_help_fits_on_a_screen(words: tuple[str, ...]):
    # click leaves two columns of the screen free, but none of a width that it is given.
    shown = CliRunner().invoke(cwnotify, [*words, "--help"], prog_name="cwnotify", terminal_width=78)

    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[0].startswith(" ".join(("Usage: cwnotify", *words)))
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
