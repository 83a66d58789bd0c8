"""The zip on every AWS Lambda runtime whose Python is installed here: the messages are the same on each."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.alerts.payloads import render_payloads
from cwnotify.alerts.python310 import StrEnum, normalize_iso_time
from cwnotify.deploy.bundle import RUNTIMES, collect_zip_files, make_zip
from tests.support.interpreters import find_interpreter
from tests.support.slack import Slack

ENVELOPES = Path(__file__).parents[1] / "data" / "envelopes"
VERSIONS = [runtime.removeprefix("python") for runtime in RUNTIMES]
TIMES = (
    *("2026-11-22T06:14:20.391+0000", "2026-11-22T06:14:20Z", "2026-11-22T06:14:20.39Z", "2026-11-22 06:14:20"),
    *("2026-11-22T06:14Z", "2026-11-22T15:14:20.123456789+09:00", "20261122T061420Z", "2026-11-22", "2026-11-22T06+00"),
    *("2026-11-22T12: 56: 46.138+0000", "2026-11-22T06:14:20.5-0330", "2026-13-22T06:14:20Z", "yesterday"),
)
# -I and -S exclude this tree and everything that is installed.
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import lambda_function
from cwnotify.alerts.payloads import render_payloads
print(json.dumps([render_payloads(event, lang) for event in json.load(sys.stdin) for lang in ("en", "ko")]))
"""
HANDLER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import lambda_function
print(json.dumps(lambda_function.lambda_handler(json.load(sys.stdin), None)))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "cwnotify.zip"
    path.write_bytes(make_zip())
    return path


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> Path:
    interpreter = find_interpreter(request.param)
    if interpreter is None:
        pytest.skip(f"this machine has no Python {request.param}")
    return interpreter


def corpus() -> list[Any]:
    """Return every stored event, a storm, and an alarm for each form of a time."""
    stored = [json.loads(path.read_bytes()) for path in sorted(ENVELOPES.glob("*.json"))]
    alarms = [{"AlarmName": f"train-{n}", "NewStateValue": "ALARM", "OldStateValue": "OK"} for n in range(9)]
    storm = {"Records": [{"Sns": {"Message": json.dumps(alarm)}} for alarm in alarms]}
    return [*stored, storm, *({**alarms[0], "StateChangeTime": time} for time in TIMES)]


def run(python: Path, script: str, bundle: Path, event: object, **environ: str) -> Any:
    command: list[str | Path] = [python, "-I", "-S", "-c", script, bundle]
    text = json.dumps(event).encode()
    path = {"PATH": os.environ["PATH"], "PYTHONIOENCODING": "utf-8", **environ}
    process = subprocess.run(command, input=text, env=path, capture_output=True, check=False, timeout=60)
    assert process.returncode == 0, process.stderr.decode()
    return json.loads(process.stdout.splitlines()[-1])


def test_messages_are_the_same_on_every_runtime(python: Path, bundle: Path) -> None:
    events = corpus()
    assert run(python, SCRIPT, bundle, events) == [
        render_payloads(event, lang) for event in events for lang in ("en", "ko")
    ]


def test_handler_sends_an_alarm_on_every_runtime(python: Path, bundle: Path) -> None:
    alarm = {"AlarmName": "train-1", "NewStateValue": "ALARM", "OldStateValue": "OK"}
    with Slack() as slack:
        result = run(python, HANDLER, bundle, alarm, hookUrl=slack.url, lang="ko")
        assert result == {"messages": 1, "batchItemFailures": []}
        assert "train-1" in slack.wait_for(1)[0]["text"]


def test_at_least_one_runtime_is_installed() -> None:
    assert any(find_interpreter(version) for version in VERSIONS)


def test_oldest_runtime_can_parse_every_file() -> None:
    for path, content in collect_zip_files().items():
        ast.parse(content, path, feature_version=(3, 10))


# Forms of a time


@given(
    st.datetimes(min_value=datetime(1000, 1, 1)),
    st.sampled_from([None, UTC, timezone(timedelta(hours=9)), timezone(-timedelta(hours=3, minutes=30))]),
    st.sampled_from(["auto", "seconds", "milliseconds", "microseconds", "minutes", "hours"]),
    st.sampled_from(["T", " "]),
)
def test_normalized_time_is_the_same_time(at: datetime, zone: timezone | None, precision: str, between: str) -> None:
    text = at.replace(tzinfo=zone).isoformat(between, precision)
    for form in (text, text.replace("+00:00", "Z"), text.replace("+00:00", "+0000").replace("+09:00", "+09")):
        assert datetime.fromisoformat(normalize_iso_time(form)) == datetime.fromisoformat(form)


@given(st.text() | st.from_regex(r"\A[0-9]{4}-?[0-9]{2}-?[0-9]{2}[T ]?[0-9:.,+Z-]*\Z"))
def test_normalized_text_parses_like_the_original(text: str) -> None:
    try:
        expected = datetime.fromisoformat(text)
    except ValueError:
        assert normalize_iso_time(normalize_iso_time(text)) == normalize_iso_time(text)
    else:
        assert datetime.fromisoformat(normalize_iso_time(text)) == expected


def test_str_enum_members_are_their_values() -> None:
    class Kind(StrEnum):
        ONE = "one"

    assert (str(Kind.ONE), f"{Kind.ONE}", Kind("one")) == ("one", "one", Kind.ONE)
    assert {"one": 1}[Kind.ONE] == 1
