"""``cwnotify preview``: any event or message that a file can hold, as a page, as JSON, and as a link."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from click.testing import CliRunner, Result

from cwnotify.cli.preview import preview
from cwnotify.demo.slack_rules import answer
from tests.golden import DATA

EVENTS = sorted((DATA / "envelopes").glob("*.json"))
MESSAGE = {"text": "hello", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "*hello*"}}]}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(content: object, *words: str) -> Result:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        return CliRunner().invoke(preview, ["-", *words], input=data)

    return run


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("lang", ["en", "ko"])
def test_every_event_becomes_a_page_json_and_a_link(path: Path, lang: str, run: Any, tmp_path: Path) -> None:
    printed = run(path.read_bytes(), "--json", "--lang", lang)
    assert printed.exit_code == 0, printed.output
    told = json.loads(printed.stdout)
    payloads = told if isinstance(told, list) else [told]
    assert [answer(json.dumps(one).encode()).why for one in payloads] == [""] * len(payloads)

    drawn = run(path.read_bytes(), "--lang", lang)
    assert "Written to preview.html" in drawn.stdout
    assert drawn.stdout.count("https://app.slack.com/block-kit-builder/#") == len(payloads)
    page = (tmp_path / "preview.html").read_text(encoding="utf-8")
    assert page.count('<article class="message"') == len(payloads)


def test_a_message_is_drawn_as_it_is_also_among_events_in_a_list(run: Any) -> None:
    assert json.loads(run(MESSAGE, "--json").stdout) == MESSAGE
    event = json.loads((DATA / "envelopes" / "sns_two_records.json").read_bytes())
    told = json.loads(run([MESSAGE, event, {"text": "alone"}], "--json").stdout)
    assert len(told) == 4
    assert (told[0], told[3]) == (MESSAGE, {"text": "alone"})


def test_a_storm_is_drawn_as_the_digest_that_it_would_become(run: Any) -> None:
    changes = [{"AlarmName": f"train-{n}", "NewStateValue": "ALARM", "OldStateValue": "OK"} for n in range(40)]
    event = {
        "Records": [
            {"eventSource": "aws:sqs", "messageId": str(n), "body": json.dumps(one)} for n, one in enumerate(changes)
        ]
    }
    told = json.loads(run(event, "--json").stdout)
    assert "40 alarms changed" in told["text"]


def test_the_link_holds_the_message(run: Any) -> None:
    link = run(MESSAGE).stdout.split("Builder: ")[1].strip()
    assert json.loads(unquote(link.partition("#")[2]))["blocks"] == MESSAGE["blocks"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"Ping", "holds no JSON"),
        (b'{"Records": [', "holds no JSON"),
        (b"\x89PNG\r\n\x1a\n\x00", "is no text"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_told_and_nothing_is_written(content: bytes, why: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "cwnotify", "preview", bad, "-o", tmp_path / "page.html"],
        capture_output=True,
        text=True,
        check=False,
        cwd=DATA.parents[1],
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"cwnotify: {bad} ")
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "page.html").exists()


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cwnotify", "preview", EVENTS[0], "-o", tmp_path / "no" / "page.html"],
        capture_output=True,
        text=True,
        check=False,
        cwd=DATA.parents[1],
    )
    assert (done.returncode, "cannot be written: No such file" in done.stderr) == (1, True)
