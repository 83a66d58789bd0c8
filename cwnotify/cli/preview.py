"""``cwnotify preview``: render a message or an AWS event as it would look in Slack."""

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

# "[2026-11-22 04:07:20] disk full" is plain text, so a bracket alone does not mean JSON.
_JSON_START = re.compile(r"\{\s*(?:[\"}]|$)|\[\s*(?:[\"{\[\]]|$)")
_BLANKS = re.compile(r"\s*")
_INPUT_HINT = "pass an event or a Slack message as JSON, or plain text"


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file. Default: preview.html",
)
@click.option("--json", "as_json", is_flag=True, help="Print Block Kit JSON instead of writing a page")
@click.option("--lang", type=click.Choice(LANGUAGES), help="Write messages in this language")
def preview(file: BinaryIO, output: Path | None, as_json: bool, lang: str | None) -> None:
    """Render the content of FILE (- for standard input) as it would look in Slack.

    FILE contains an event from CloudWatch, SNS, SQS or EventBridge, in any envelope; a Slack message; several of these,
    as a list or one per line; the output of `aws sqs receive-message`, `aws cloudwatch describe-alarms` or
    `describe-alarm-history`; or plain text.
    """
    from cwnotify.preview import build_block_kit_builder_url, render_page_html

    content = _read_content(file)
    options, problems = settings.load_settings()
    for problem in problems:
        click.echo(f"cwnotify: {problem}", err=True)
    payloads = _render_payloads(content, lang or options.lang, options.zone, options.channel)
    if as_json:
        text = json.dumps(payloads[0] if len(payloads) == 1 else payloads, indent=2, ensure_ascii=False)
    else:
        now = datetime.now().astimezone()
        text = render_page_html([(payload, now) for payload in payloads], "cwnotify preview")
        output = output or Path("preview.html")
    if output is None:
        click.echo(text)
        return
    _write_output(output, text)
    click.echo(f"Written to {output}")
    for payload in payloads:
        click.echo(f"In Slack's Block Kit Builder: {build_block_kit_builder_url(payload)}")


def _render_payloads(content: object, lang: str, zone: str, channel: str) -> list[Payload]:
    """Return Slack messages unchanged, and events as the deployed function would send them."""
    from cwnotify.alerts.payloads import render_payloads

    payloads: list[Payload] = []
    for item in content if isinstance(content, list) and content else [content]:
        if isinstance(item, dict) and ("blocks" in item or "attachments" in item or item.keys() == {"text"}):
            payloads.append(item)
            continue
        # Alarms from a listing did not arrive together, so they never become a digest.
        for event in parse_cli_listing(as_json_object(item)) or [item]:
            payloads += render_payloads(event, lang, zone, channel)
    return payloads


def _read_content(file: BinaryIO) -> object:
    data, name = file.read(), getattr(file, "name", "standard input")
    try:
        # PowerShell's > writes UTF-16 with a byte order mark.
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not text", hint=_INPUT_HINT) from None
    if not text:
        raise UsageError(f"{name} is empty", hint=_INPUT_HINT)
    if not _JSON_START.match(text):
        return _parse_scalar(text)
    values = _parse_values(text, name)
    return values[0] if len(values) == 1 else values


def _parse_scalar(text: str) -> object:
    """Parse a JSON number, string or constant. Return any other text unchanged."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _parse_values(text: str, name: str) -> list[object]:
    """Parse consecutive JSON values, such as the lines of an NDJSON file."""
    decoder, values, start = json.JSONDecoder(), list[object](), 0
    while start < len(text):
        try:
            value, end = decoder.raw_decode(text, start)
        except RecursionError:
            raise UsageError(f"{name} contains JSON that is nested too deeply") from None
        except ValueError as error:
            raise UsageError(f"{name} is not valid JSON: {error}") from None
        values.append(value)
        blanks = _BLANKS.match(text, end)
        start = blanks.end() if blanks else end
    return values


def _write_output(output: Path, text: str) -> None:
    try:
        # JSON can contain lone surrogates, which UTF-8 cannot encode.
        output.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise CwnotifyError(f"{output} cannot be written: {error.strerror}") from None
