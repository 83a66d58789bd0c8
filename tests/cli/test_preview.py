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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cwnotify.cli.preview import preview
from cwnotify.demo.slack_rules import respond_to_webhook
from cwnotify.errors import UsageError
from tests.golden import DATA_DIR
from tests.hostile import any_value

EVENTS = sorted((DATA_DIR / "envelopes").glob("*.json"))
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
    assert [respond_to_webhook(json.dumps(one).encode()).reason for one in payloads] == [""] * len(payloads)

    drawn = run(path.read_bytes(), "--lang", lang)
    assert "Written to preview.html" in drawn.stdout
    assert drawn.stdout.count("https://app.slack.com/block-kit-builder/#") == len(payloads)
    page = (tmp_path / "preview.html").read_text(encoding="utf-8")
    assert page.count('<article class="message"') == len(payloads)


def test_a_message_is_drawn_as_it_is_also_among_events_in_a_list(run: Any) -> None:
    assert json.loads(run(MESSAGE, "--json").stdout) == MESSAGE
    event = json.loads((DATA_DIR / "envelopes" / "sns_two_records.json").read_bytes())
    told = json.loads(run([MESSAGE, event, {"text": "alone"}], "--json").stdout)
    assert len(told) == 4
    assert (told[0], told[3]) == (MESSAGE, {"text": "alone"})


ALARM = {"AlarmName": "a", "NewStateValue": "ALARM", "OldStateValue": "OK"}


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(json.dumps(ALARM | {"AlarmName": name}) for name in "abc").encode(),
        "\r\n\r\n".join(json.dumps(ALARM | {"AlarmName": name}, indent=2) for name in "abc").encode(),
        "".join(json.dumps(ALARM | {"AlarmName": name}) for name in "abc").encode("utf-16"),
        json.dumps([ALARM | {"AlarmName": name} for name in "abc"]).encode("utf-8-sig"),
    ],
    ids=["lines", "one after the other", "UTF-16", "a list"],
)
def test_each_event_of_a_file_is_drawn(content: bytes, run: Any) -> None:
    texts = [payload["text"] for payload in json.loads(run(content, "--json").stdout)]
    assert [name in text for name, text in zip("abc", texts, strict=True)] == [True] * 3


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"The disk of db-1 is full\n", "The disk of db-1 is full"),
        ("학습이 끝났어요".encode(), "학습이 끝났어요"),
        (b"42", "42"),
        (b"null", "null"),
        (b"[2026-11-22 04:07:20] disk full", "[2026-11-22 04:07:20] disk full"),
        (b"[ERROR] disk full", "[ERROR] disk full"),
        (b"{disk} full", "{disk} full"),
        (b'"disk" is full', "disk"),
        (b"<xml>", "&lt;xml&gt;"),
        (b"password=madeUp123", "password=[removed]"),
    ],
)
def test_plain_text_is_drawn_as_the_function_would_send_it(content: bytes, shown: str, run: Any) -> None:
    assert shown in run(content, "--json").stdout


@pytest.mark.parametrize(
    ("name", "alarms"),
    [
        ("cli_describe_alarms", ["db-free-storage", "errors", "all", "logs"]),
        ("cli_history_state_updates", ["train-3-busy", "train-3-busy", "train-3-busy"]),
        ("cli_history_action", ["tg-High-Unhealthy-Hosts"]),
        ("cli_receive_message", ["train-3-busy", "train-3-busy", "no alarm"]),
    ],
)
def test_what_aws_commands_print_is_drawn_alarm_by_alarm(name: str, alarms: list[str], run: Any) -> None:
    told = json.loads(run((DATA_DIR / "envelopes" / f"{name}.json").read_bytes(), "--json").stdout)
    payloads = told if isinstance(told, list) else [told]
    assert [alarm in payload["text"] for alarm, payload in zip(alarms, payloads, strict=True)] == [True] * len(alarms)


def test_many_alarms_that_a_command_lists_are_no_digest(run: Any) -> None:
    alarms = [{"AlarmName": f"train-{n}", "StateValue": "OK", "StateReason": "fine"} for n in range(40)]
    assert len(json.loads(run({"MetricAlarms": alarms}, "--json").stdout)) == 40


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | any_value().map(lambda value: _written(value))
)
def test_whatever_a_file_holds_the_command_ends_in_order(content: bytes, run: Any) -> None:
    done = run(content, "--json")
    assert done.exit_code in (0, 1)
    assert isinstance(done.exception, SystemExit | UsageError | None)


def _written(value: object) -> bytes:
    return json.dumps(value, default=str, skipkeys=True).encode()


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
        (b'{"Records": [', "holds no valid JSON"),
        (b'{"AlarmName": "a"}\n{"AlarmName": \n', "holds no valid JSON: Expecting value: line 2 column 14"),
        (b'[{"AlarmName": "a"},', "holds no valid JSON"),
        (b'{"AlarmName": "a"} {', "holds no valid JSON"),
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
        cwd=DATA_DIR.parents[1],
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
        cwd=DATA_DIR.parents[1],
    )
    assert (done.returncode, "cannot be written: No such file" in done.stderr) == (1, True)
