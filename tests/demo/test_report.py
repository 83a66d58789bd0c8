"""The demo's report: one file, every check in words."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cwnotify.demo.checks import Check
from cwnotify.demo.report import write_report
from cwnotify.demo.slack import ReceivedMessage

AT = datetime(2026, 11, 22, 15, 16, tzinfo=UTC)


def test_a_report_tells_each_check_in_words_and_shows_the_messages(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    checks = [Check("finished", "one <message>", "one", True), Check("killed", "one", "none within 30 s", False)]
    write_report(path, [ReceivedMessage({"text": "학습이 끝났어요"}, AT)], checks)
    shown = path.read_text(encoding="utf-8")
    for words in (
        "1 of 2 checks passed", "one &lt;message&gt;", "none within 30 s", "✓ as expected", "✗ not as expected",
        "학습이 끝났어요", "오후 3:16", "Open in Block Kit Builder", '<th scope="col">Result</th>',
    ):  # fmt: skip
        assert words in shown
