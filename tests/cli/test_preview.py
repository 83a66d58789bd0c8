"""``cwnotify preview``: events, messages and plain text from files, as a page, as JSON and as a link."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
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
RunPreview = Callable[..., Result]
MESSAGE = {"text": "hello", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "*hello*"}}]}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPreview:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def run_preview(content: object, *options: str) -> Result:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        return CliRunner().invoke(preview, ["-", *options], input=data)

    return run_preview


def parse_payloads(output: str) -> list[Any]:
    """Return the messages that the command printed: one alone, or a list."""
    payloads = json.loads(output)
    return payloads if isinstance(payloads, list) else [payloads]


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("lang", ["en", "ko"])
def test_event_becomes_page_json_and_link(path: Path, lang: str, run: RunPreview, tmp_path: Path) -> None:
    printed = run(path.read_bytes(), "--json", "--lang", lang)
    assert printed.exit_code == 0, printed.output
    payloads = parse_payloads(printed.stdout)
    responses = [respond_to_webhook(json.dumps(payload).encode()) for payload in payloads]
    assert [response.reason for response in responses] == [""] * len(payloads)

    rendered = run(path.read_bytes(), "--lang", lang)
    assert "Written to preview.html" in rendered.stdout
    assert rendered.stdout.count("https://app.slack.com/block-kit-builder/#") == len(payloads)
    page = (tmp_path / "preview.html").read_text(encoding="utf-8")
    assert page.count('<article class="message"') == len(payloads)


def test_message_is_unchanged_alone_and_in_a_list_of_events(run: RunPreview) -> None:
    assert json.loads(run(MESSAGE, "--json").stdout) == MESSAGE
    event = json.loads((DATA_DIR / "envelopes" / "sns_two_records.json").read_bytes())
    payloads = json.loads(run([MESSAGE, event, {"text": "alone"}], "--json").stdout)
    assert len(payloads) == 4
    assert (payloads[0], payloads[3]) == (MESSAGE, {"text": "alone"})


ALARM = {"AlarmName": "a", "NewStateValue": "ALARM", "OldStateValue": "OK"}


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(json.dumps(ALARM | {"AlarmName": name}) for name in "abc").encode(),
        "\r\n\r\n".join(json.dumps(ALARM | {"AlarmName": name}, indent=2) for name in "abc").encode(),
        "".join(json.dumps(ALARM | {"AlarmName": name}) for name in "abc").encode("utf-16"),
        json.dumps([ALARM | {"AlarmName": name} for name in "abc"]).encode("utf-8-sig"),
    ],
    ids=["lines", "consecutive", "UTF-16", "list"],
)
def test_every_event_in_a_file_is_rendered(content: bytes, run: RunPreview) -> None:
    texts = [payload["text"] for payload in json.loads(run(content, "--json").stdout)]
    assert [name in text for name, text in zip("abc", texts, strict=True)] == [True] * 3


@pytest.mark.parametrize(
    ("content", "text"),
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
def test_plain_text_is_rendered_as_the_function_sends_it(content: bytes, text: str, run: RunPreview) -> None:
    assert text in run(content, "--json").stdout


@pytest.mark.parametrize(
    ("name", "alarms"),
    [
        ("cli_describe_alarms", ["db-free-storage", "errors", "all", "logs"]),
        ("cli_history_state_updates", ["train-3-busy", "train-3-busy", "train-3-busy"]),
        ("cli_history_action", ["tg-High-Unhealthy-Hosts"]),
        ("cli_receive_message", ["train-3-busy", "train-3-busy", "not an alarm"]),
    ],
)
def test_output_of_aws_commands_is_rendered_per_alarm(name: str, alarms: list[str], run: RunPreview) -> None:
    payloads = parse_payloads(run((DATA_DIR / "envelopes" / f"{name}.json").read_bytes(), "--json").stdout)
    assert [alarm in payload["text"] for alarm, payload in zip(alarms, payloads, strict=True)] == [True] * len(alarms)


def test_listed_alarms_are_not_a_digest(run: RunPreview) -> None:
    alarms = [{"AlarmName": f"train-{n}", "StateValue": "OK", "StateReason": "fine"} for n in range(40)]
    assert len(json.loads(run({"MetricAlarms": alarms}, "--json").stdout)) == 40


def encode_json(value: object) -> bytes:
    return json.dumps(value, default=str, skipkeys=True).encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | any_value().map(encode_json))
def test_any_content_is_rendered_or_rejected(content: bytes, run: RunPreview) -> None:
    result = run(content, "--json")
    assert result.exit_code in (0, 1)
    assert isinstance(result.exception, SystemExit | UsageError | None)


def test_many_changes_in_one_event_become_a_digest(run: RunPreview) -> None:
    changes = [{"AlarmName": f"train-{n}", "NewStateValue": "ALARM", "OldStateValue": "OK"} for n in range(40)]
    records = [
        {"eventSource": "aws:sqs", "messageId": str(n), "body": json.dumps(change)} for n, change in enumerate(changes)
    ]
    payload = json.loads(run({"Records": records}, "--json").stdout)
    assert "40 alarms changed" in payload["text"]


def test_link_contains_the_message(run: RunPreview) -> None:
    link = run(MESSAGE).stdout.split("Builder: ")[1].strip()
    assert json.loads(unquote(link.partition("#")[2]))["blocks"] == MESSAGE["blocks"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b'{"Records": [', "is not valid JSON"),
        (b'{"AlarmName": "a"}\n{"AlarmName": \n', "is not valid JSON: Expecting value: line 2 column 14"),
        (b'[{"AlarmName": "a"},', "is not valid JSON"),
        (b'{"AlarmName": "a"} {', "is not valid JSON"),
        (b"\x89PNG\r\n\x1a\n\x00", "is not text"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_unreadable_input_is_reported_and_writes_nothing(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)

    process = run_process(path, tmp_path / "page.html")

    assert process.returncode == 1
    assert process.stderr.startswith(f"cwnotify: {path} ")
    assert reason in process.stderr
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "page.html").exists()


def test_unwritable_page_is_reported(tmp_path: Path) -> None:
    process = run_process(EVENTS[0], tmp_path / "missing" / "page.html")

    assert (process.returncode, "cannot be written: No such file" in process.stderr) == (1, True)


def run_process(path: Path, output: Path) -> subprocess.CompletedProcess[str]:
    """Run ``cwnotify preview PATH -o OUTPUT`` in a real process."""
    return subprocess.run(
        [sys.executable, "-m", "cwnotify", "preview", path, "-o", output],
        capture_output=True,
        text=True,
        check=False,
        cwd=DATA_DIR.parents[1],
    )
