"""What a demo showed, as one HTML file to keep or to send. Standard library and `cwnotify.preview` only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cwnotify.demo.checks import Check
from cwnotify.demo.slack import Message
from cwnotify.preview import page
from cwnotify.preview.mrkdwn import escape


def write_report(path: Path, messages: Sequence[Message], checks: Sequence[Check]) -> None:
    """Write the checks and the messages to `path`, a document that needs nothing beside itself."""
    passed = sum(check.ok for check in checks)
    lead = f"{passed} of {len(checks)} checks passed; {len(messages)} messages arrived."
    shown = [(message.payload, message.received) for message in messages]
    document = page(shown, "What cwnotify sent", lead=lead, above=_table(checks))
    path.write_text(document, encoding="utf-8")


def _table(checks: Sequence[Check]) -> str:
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Check", "Expected", "Arrived", "Result"))
    rows = "".join(map(_row, checks))
    return f"<h2>Checks</h2><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _row(check: Check) -> str:
    style, word = ("good", "✓ as expected") if check.ok else ("bad", "✗ not as expected")
    return (
        f'<tr><th scope="row">{escape(check.name)}</th><td>{escape(check.expected)}</td>'
        f'<td>{escape(check.arrived)}</td><td class="{style}">{word}</td></tr>'
    )
