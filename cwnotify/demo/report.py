"""What a demo showed, as one HTML file to keep or to send. Standard library and `cwnotify.preview` only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cwnotify.demo.checks import Check
from cwnotify.demo.slack import ReceivedMessage
from cwnotify.preview import render_page_html
from cwnotify.preview.mrkdwn import escape_html


def write_report(path: Path, messages: Sequence[ReceivedMessage], checks: Sequence[Check]) -> None:
    """Write the checks and the messages to `path`, a document that needs nothing beside itself."""
    passed = sum(check.has_passed for check in checks)
    lead = f"{passed} of {len(checks)} checks passed; {len(messages)} messages arrived."
    shown = [(message.payload, message.received_at) for message in messages]
    document = render_page_html(shown, "What cwnotify sent", subtitle=lead, html_above_messages=_table(checks))
    path.write_text(document, encoding="utf-8")


def _table(checks: Sequence[Check]) -> str:
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Check", "Expected", "Arrived", "Result"))
    rows = "".join(map(_row, checks))
    return f"<h2>Checks</h2><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _row(check: Check) -> str:
    style, word = ("good", "✓ as expected") if check.has_passed else ("bad", "✗ not as expected")
    return (
        f'<tr><th scope="row">{escape_html(check.name)}</th><td>{escape_html(check.expected)}</td>'
        f'<td>{escape_html(check.actual)}</td><td class="{style}">{word}</td></tr>'
    )
