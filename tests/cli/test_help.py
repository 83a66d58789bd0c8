"""``--help`` of every command fits on a screen of 24 lines by 80 columns and follows one style."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from cwnotify.cli import cwnotify


def iter_command_paths(group: click.Group, *prefix: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command, including those of subcommands."""
    yield prefix
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from iter_command_paths(command, *prefix, name)
        else:
            yield (*prefix, name)


COMMAND_PATHS = list(iter_command_paths(cwnotify))


@pytest.mark.parametrize("path", COMMAND_PATHS, ids=" ".join)
def test_help_fits_on_a_screen(path: tuple[str, ...]) -> None:
    # click subtracts two columns from the screen's width, but not from `terminal_width`.
    result = CliRunner().invoke(cwnotify, [*path, "--help"], prog_name="cwnotify", terminal_width=78)

    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].startswith(" ".join(("Usage: cwnotify", *path)))
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("path", COMMAND_PATHS, ids=" ".join)
def test_option_help_has_no_full_stop(path: tuple[str, ...]) -> None:
    context = click.Context(cwnotify)
    command: click.Command = cwnotify
    for name in path:
        assert isinstance(command, click.Group)
        child = command.get_command(context, name)
        assert child
        command = child
    texts = [option.help or "" for option in command.params if isinstance(option, click.Option)]

    assert [text for text in texts if text.endswith(".")] == (["Show the version and exit."] if not path else [])
