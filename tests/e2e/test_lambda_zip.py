"""The zip as AWS runs it: awslambdaric, in an environment that holds nothing else, and Slack good and bad."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cwnotify.aws.bundle import make_zip
from tests.support.lambda_runtime import Ended, Function
from tests.support.slack import RATE_LIMITED, REMOVED, Answer, Slack

ENVELOPES = Path(__file__).parents[1] / "data" / "envelopes"


@pytest.fixture(scope="module")
def slack() -> Iterator[Slack]:
    with Slack() as running:
        yield running


@pytest.fixture(scope="module")
def function(slack: Slack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    task = tmp_path_factory.mktemp("lambda") / "task"
    zipfile.ZipFile(io.BytesIO(make_zip())).extractall(task)
    with Function(task, {"hookUrl": slack.url}) as running:
        yield running


def event(id: object) -> dict[str, Any]:
    change = {"AlarmName": f"train-{id}", "NewStateValue": "ALARM", "NewStateReason": "x", "OldStateValue": "OK"}
    return {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(change)}}]}


def test_an_alarm_arrives(slack: Slack, function: Function) -> None:
    assert function.call(event("first")) == Ended({"messages": 1, "batchItemFailures": []})
    slack.wait_for(lambda payloads: any("train-first" in one["text"] for one in payloads))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (REMOVED, "404 no_service"),
        (RATE_LIMITED, "429"),
        (Answer(500, "rollup_error"), "500"),
        (Answer(mode="hang"), "no answer in time"),
        (Answer(mode="reset"), "dropped"),
    ],
)
def test_an_alarm_that_slack_did_not_take_is_an_error(
    slack: Slack, function: Function, answer: Answer, why: str
) -> None:
    before = len(slack.delivered)
    slack.answer = answer
    began = time.monotonic()
    try:
        ended = function.call(event(why), seconds=2.5)
    finally:
        slack.answer = Answer()
    assert ended.error == "NotDeliveredError"
    assert why in ended.message
    assert time.monotonic() - began < 2.5
    assert slack.canary not in ended.message + function.log
    assert len(slack.delivered) == before


def test_every_envelope_known_is_told(slack: Slack, function: Function) -> None:
    for path in sorted(ENVELOPES.glob("*.json")):
        ended = function.call(json.loads(path.read_bytes()))
        assert not ended.error, path.name
        assert ended.result["messages"] >= 1, path.name


def test_both_ways_to_name_the_handler(function: Function) -> None:
    with zipfile.ZipFile(io.BytesIO(make_zip())) as archive:
        assert {"lambda_function.py", "cwnotify/aws/lambda_function.py"} <= set(archive.namelist())
