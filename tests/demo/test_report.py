"""The demo's report: one HTML file with all checks and messages."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cwnotify.demo.checks import Check
from cwnotify.demo.report import write_report
from cwnotify.demo.slack import ReceivedMessage

AT = datetime(2026, 11, 22, 15, 16, tzinfo=UTC)


def test_report_shows_checks_and_messages(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    checks = [Check("finished", "one <message>", "one", True), Check("killed", "one", "none within 30 s", False)]
    write_report(path, [ReceivedMessage({"text": "학습이 끝났어요"}, AT)], checks)
    html = path.read_text(encoding="utf-8")
    for text in (
        "1 of 2 checks passed", "one &lt;message&gt;", "none within 30 s", "✓ passed", "✗ failed",
        "학습이 끝났어요", "오후 3:16", "Open in Block Kit Builder", '<th scope="col">Result</th>',
    ):  # fmt: skip
        assert text in html
