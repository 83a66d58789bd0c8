"""``cwnotify preview``: a message, or what an event would become, as it would look in Slack."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import click

from cwnotify import settings
from cwnotify.alerts.blocks import Payload
from cwnotify.alerts.options import LANGUAGES
from cwnotify.errors import CwnotifyError, UsageError


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to write the page.")
@click.option("--json", "as_json", is_flag=True, help="Print Block Kit's JSON instead of drawing a page.")
@click.option("--lang", type=click.Choice(LANGUAGES), help="The messages' language.")
def preview(file: BinaryIO, output: Path | None, as_json: bool, lang: str | None) -> None:
    """Draw what FILE holds (- for standard input) as it would look in Slack.

    FILE is JSON: an event from CloudWatch, SNS, SQS or EventBridge, in whatever envelopes; a Slack message; or a list
    of such.
    """
    from cwnotify.preview import builder_link, page

    content = _read(file)
    found, troubles = settings.gather()
    for trouble in troubles:
        click.echo(f"cwnotify: {trouble}", err=True)
    payloads = _payloads(content, lang or found.lang, found.zone, found.channel)
    if as_json:
        text = json.dumps(payloads[0] if len(payloads) == 1 else payloads, indent=2, ensure_ascii=False)
    else:
        now = datetime.now().astimezone()
        text = page([(payload, now) for payload in payloads], "cwnotify preview")
        output = output or Path("preview.html")
    if output is None:
        click.echo(text)
        return
    _write(output, text)
    click.echo(f"Written to {output}")
    for payload in payloads:
        click.echo(f"In Slack's Block Kit Builder: {builder_link(payload)}")


def _payloads(content: object, lang: str, zone: str, channel: str) -> list[Payload]:
    """Messages as they are; an event as the deployed function would tell it."""
    from cwnotify.aws.lambda_function import payloads

    items = content if isinstance(content, list) and content else [content]
    told: list[Payload] = []
    for item in items:
        if isinstance(item, dict) and ("blocks" in item or "attachments" in item or item.keys() == {"text"}):
            told.append(item)
        else:
            told += payloads(item, lang, zone, channel)
    return told


def _read(file: BinaryIO) -> object:
    data = file.read()
    if not data.strip():
        raise UsageError(f"{file.name} is empty; give an event or a Slack message, as JSON")
    try:
        return json.loads(data)
    except UnicodeDecodeError:
        raise UsageError(f"{file.name} is no text; give an event or a Slack message, as JSON") from None
    except RecursionError:
        raise UsageError(f"{file.name} holds JSON that is nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{file.name} holds no JSON: {error}") from None


def _write(output: Path, text: str) -> None:
    try:
        # A lone surrogate, which JSON can name, is no character.
        output.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise CwnotifyError(f"{output} cannot be written: {error.strerror}") from None
