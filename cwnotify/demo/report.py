"""Write the demo's checks and messages to one HTML file. Imports the standard library, `demo` and `preview`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cwnotify.demo.checks import Check
from cwnotify.demo.slack import ReceivedMessage
from cwnotify.preview import render_page_html
from cwnotify.preview.mrkdwn import escape_html


def write_report(path: Path, messages: Sequence[ReceivedMessage], checks: Sequence[Check]) -> None:
    """Write the checks and the messages to `path`, as a self-contained document."""
    passed = sum(check.has_passed for check in checks)
    subtitle = f"{passed} of {len(checks)} checks passed; {len(messages)} messages arrived."
    entries = [(message.payload, message.received_at) for message in messages]
    table = _render_table(checks)
    document = render_page_html(entries, "What cwnotify sent", subtitle=subtitle, html_above_messages=table)
    path.write_text(document, encoding="utf-8")


def _render_table(checks: Sequence[Check]) -> str:
    headers = "".join(f'<th scope="col">{header}</th>' for header in ("Check", "Expected", "Received", "Result"))
    rows = "".join(map(_render_row, checks))
    return f"<h2>Checks</h2><table><thead><tr>{headers}</tr></thead><tbody>{rows}</tbody></table>"


def _render_row(check: Check) -> str:
    style, result = ("good", "✓ passed") if check.has_passed else ("bad", "✗ failed")
    return (
        f'<tr><th scope="row">{escape_html(check.name)}</th><td>{escape_html(check.expected)}</td>'
        f'<td>{escape_html(check.actual)}</td><td class="{style}">{result}</td></tr>'
    )
