"""``cwnotify preview``: a message as it would look in Slack."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TextIO

import click

from cwnotify.errors import UsageError


@click.command()
@click.argument("file", type=click.File("r"))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to write the page.")
def preview(file: TextIO, output: Path | None) -> None:
    """Draw a Slack message (its JSON in FILE, or - for standard input) as an HTML page that looks as in Slack."""
    from cwnotify.preview import builder_link, page

    try:
        payload = json.load(file)
    except ValueError as error:
        raise UsageError(f"{file.name} holds no JSON: {error}") from None
    path = output or Path("preview.html")
    path.write_text(page([(payload, datetime.now().astimezone())], "cwnotify preview"), encoding="utf-8")
    click.echo(f"Written to {path}")
    click.echo(f"In Slack's Block Kit Builder: {builder_link(payload)}")
