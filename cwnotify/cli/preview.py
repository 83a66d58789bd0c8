"""``cwnotify preview``: a message, or what an event would become, as it would look in Slack."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import click

from cwnotify import settings
from cwnotify.alerts.events.run_options import LANGUAGES
from cwnotify.alerts.messages.block_kit import Payload
from cwnotify.alerts.parsing.cli_output import parse_cli_listing
from cwnotify.alerts.parsing.lenient_json import as_json_object
from cwnotify.errors import CwnotifyError, UsageError

# "[2026-11-22 04:07:20] disk full" is plain text, and so may be a list of numbers that json refuses.
_IS_JSON = re.compile(r"\{\s*(?:[\"}]|$)|\[\s*(?:[\"{\[\]]|$)")
_BLANK = re.compile(r"\s*")
_WANTED = "give an event or a Slack message as JSON, or plain text"


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to write the page.")
@click.option("--json", "as_json", is_flag=True, help="Print Block Kit's JSON instead of drawing a page.")
@click.option("--lang", type=click.Choice(LANGUAGES), help="The messages' language.")
def preview(file: BinaryIO, output: Path | None, as_json: bool, lang: str | None) -> None:
    """Draw what FILE holds (- for standard input) as it would look in Slack.

    FILE is an event from CloudWatch, SNS, SQS or EventBridge, in whatever envelopes; a Slack message; a list of such,
    or one a line; what `aws sqs receive-message`, `aws cloudwatch describe-alarms` or `describe-alarm-history` print;
    or plain text.
    """
    from cwnotify.preview import build_block_kit_builder_url, render_page_html

    content = _read(file)
    found, troubles = settings.load_settings()
    for trouble in troubles:
        click.echo(f"cwnotify: {trouble}", err=True)
    payloads = _payloads(content, lang or found.lang, found.zone, found.channel)
    if as_json:
        text = json.dumps(payloads[0] if len(payloads) == 1 else payloads, indent=2, ensure_ascii=False)
    else:
        now = datetime.now().astimezone()
        text = render_page_html([(payload, now) for payload in payloads], "cwnotify preview")
        output = output or Path("preview.html")
    if output is None:
        click.echo(text)
        return
    _write(output, text)
    click.echo(f"Written to {output}")
    for payload in payloads:
        click.echo(f"In Slack's Block Kit Builder: {build_block_kit_builder_url(payload)}")


def _payloads(content: object, lang: str, zone: str, channel: str) -> list[Payload]:
    """Messages as they are; an event as the deployed function would send it."""
    from cwnotify.alerts.payloads import render_payloads

    messages: list[Payload] = []
    for item in content if isinstance(content, list) and content else [content]:
        if isinstance(item, dict) and ("blocks" in item or "attachments" in item or item.keys() == {"text"}):
            messages.append(item)
            continue
        # What a command listed never came at once, and so is no digest.
        for event in parse_cli_listing(as_json_object(item)) or [item]:
            messages += render_payloads(event, lang, zone, channel)
    return messages


def _read(file: BinaryIO) -> object:
    data, name = file.read(), getattr(file, "name", "standard input")
    try:
        # What PowerShell's > writes begins with a byte order mark.
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UsageError(f"{name} is no text", hint=f"{_WANTED}") from None
    if not text:
        raise UsageError(f"{name} is empty", hint=f"{_WANTED}")
    if not _IS_JSON.match(text):
        return _scalar(text)
    values = _values(text, name)
    return values[0] if len(values) == 1 else values


def _scalar(text: str) -> object:
    """A number, a quoted text, null and the like; all else is plain text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _values(text: str, name: str) -> list[object]:
    """Each of the JSON values that follow one another, as on the lines of an NDJSON file."""
    decoder, values, start = json.JSONDecoder(), list[object](), 0
    while start < len(text):
        try:
            value, end = decoder.raw_decode(text, start)
        except RecursionError:
            raise UsageError(f"{name} holds JSON that is nested too deeply") from None
        except ValueError as error:
            raise UsageError(f"{name} holds no valid JSON: {error}") from None
        values.append(value)
        blank = _BLANK.match(text, end)
        start = blank.end() if blank else end
    return values


def _write(output: Path, text: str) -> None:
    try:
        # A lone surrogate, which JSON can name, is no character.
        output.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise CwnotifyError(f"{output} cannot be written: {error.strerror}") from None
