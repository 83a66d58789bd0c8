"""The Lambda function's zip runs in AWS's runtime client without other packages; Slack works or fails."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cwnotify.deploy.bundle import make_zip
from tests.support.lambda_runtime import InvocationResult, LambdaFunction
from tests.support.slack import RATE_LIMITED, WEBHOOK_REMOVED, Answer, Slack

ENVELOPES = Path(__file__).parents[1] / "data" / "envelopes"


@pytest.fixture(scope="module")
def slack() -> Iterator[Slack]:
    with Slack() as slack:
        yield slack


@pytest.fixture(scope="module")
def function(slack: Slack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LambdaFunction]:
    task = tmp_path_factory.mktemp("lambda") / "task"
    zipfile.ZipFile(io.BytesIO(make_zip())).extractall(task)
    with LambdaFunction(task, {"hookUrl": slack.url}) as function:
        yield function


def make_sns_event(id: object) -> dict[str, Any]:
    change = {"AlarmName": f"train-{id}", "NewStateValue": "ALARM", "NewStateReason": "x", "OldStateValue": "OK"}
    return {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(change)}}]}


def test_alarm_arrives(slack: Slack, function: LambdaFunction) -> None:
    assert function.invoke(make_sns_event("first")) == InvocationResult({"messages": 1, "batchItemFailures": []})
    slack.wait_for(lambda payloads: any("train-first" in payload["text"] for payload in payloads))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (WEBHOOK_REMOVED, "404 no_service"),
        (RATE_LIMITED, "429"),
        (Answer(500, "rollup_error"), "500"),
        (Answer(mode="hang"), "no answer in time"),
        (Answer(mode="reset"), "reset"),
    ],
)
def test_alarm_rejected_by_slack_is_error(slack: Slack, function: LambdaFunction, answer: Answer, reason: str) -> None:
    before = len(slack.delivered)
    slack.answer = answer
    began = time.monotonic()
    try:
        result = function.invoke(make_sns_event(reason), seconds=2.5)
    finally:
        slack.answer = Answer()
    assert result.error == "NotDeliveredError"
    assert reason in result.message
    assert time.monotonic() - began < 2.5
    assert slack.canary not in result.message + function.log
    assert len(slack.delivered) == before


def make_sqs_event(**bodies: object) -> dict[str, Any]:
    """Return a batch from SQS of one record for each of `bodies`, by message ID."""
    records = [
        {"eventSource": "aws:sqs", "messageId": id, "receiptHandle": "h", "body": json.dumps(body)}
        for id, body in bodies.items()
    ]
    return {"Records": records}


def make_fleet_alarm(name: str) -> dict[str, Any]:
    """Return the EventBridge event that the fleet's queue receives for the alarm `name`."""
    arn = f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:{name}"
    detail = {"alarmName": name, "state": {"value": "ALARM", "timestamp": "2026-11-17T04:05:00.130+0000"}}
    return {
        "detail-type": "CloudWatch Alarm State Change",
        "source": "aws.cloudwatch",
        "resources": [arn],
        "detail": detail,
    }


@pytest.mark.parametrize("alarms", [4, 7, 100])
def test_batch_retries_only_rejected_records(slack: Slack, function: LambdaFunction, alarms: int) -> None:
    before = len(slack.delivered)
    slack.answer_by_payload = lambda payload: Answer(400, "invalid_blocks") if "poison" in json.dumps(payload) else None
    good = {f"id-{n}": make_fleet_alarm(f"cpu-{n}") for n in range(alarms)}
    try:
        result = function.invoke(
            make_sqs_event(**good, bad={"job": "poison"}, worse=make_fleet_alarm("poison")), seconds=30
        )
        assert not result.error, result.message
        assert result.result["batchItemFailures"] == [{"itemIdentifier": "bad"}, {"itemIdentifier": "worse"}]
        sent = result.result["messages"]
        for _ in range(10):
            retry = function.invoke(make_sqs_event(bad={"job": "poison"}, worse=make_fleet_alarm("poison")))
            assert (retry.error, "400 invalid_blocks" in retry.message) == ("NotDeliveredError", True)
    finally:
        slack.answer_by_payload = lambda payload: None
    texts = json.dumps(slack.wait_for(before + sent)[before:])
    assert len(slack.delivered) == before + sent
    assert all(f"cpu-{n}" in texts for n in range(alarms))


def test_batch_out_of_time_reports_sent_records(slack: Slack, function: LambdaFunction) -> None:
    slack.next_answers.extend([Answer(), Answer(), *[Answer(mode="hang")] * 20])
    began = time.monotonic()
    result = function.invoke(make_sqs_event(**{f"id-{n}": make_fleet_alarm(f"time-{n}") for n in range(5)}), seconds=4)
    slack.next_answers.clear()
    assert result.result["batchItemFailures"] == [{"itemIdentifier": f"id-{n}"} for n in (2, 3, 4)]
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("path", ["/workflows/T0/A0/1/secret", "/triggers/T0/1/secret"])
def test_workflow_webhook_is_rejected_and_event_kept(path: str, tmp_path: Path) -> None:
    task = tmp_path / "task"
    zipfile.ZipFile(io.BytesIO(make_zip())).extractall(task)
    with LambdaFunction(task, {"hookUrl": f"https://hooks.slack.com{path}"}) as function:
        result = function.invoke(make_sns_event("kept"))
    assert result.error == "NotDeliveredError"
    assert "Workflow webhook" in result.message
    assert "cwnotify manifest" in result.message
    assert "secret" not in result.message + function.log


def test_hook_url_accepts_json_and_assignment(slack: Slack, tmp_path: Path) -> None:
    task = tmp_path / "task"
    zipfile.ZipFile(io.BytesIO(make_zip())).extractall(task)
    for number, hook in enumerate(
        (f'{{"url": "{slack.url}", "channel": "#ml"}}', f"\ufeffexport HOOK='{slack.url}'\n")
    ):
        with LambdaFunction(task, {"hookUrl": hook}) as function:
            assert function.invoke(make_sns_event(f"read-{number}")).result == {"messages": 1, "batchItemFailures": []}


def test_every_known_envelope_is_sent(slack: Slack, function: LambdaFunction) -> None:
    for path in sorted(ENVELOPES.glob("*.json")):
        result = function.invoke(json.loads(path.read_bytes()))
        assert not result.error, path.name
        # For a function URL the result is in the response's body.
        summary = json.loads(result.result["body"]) if "body" in result.result else result.result
        assert summary["messages"] >= 1, path.name


def test_both_handler_names_work(function: LambdaFunction) -> None:
    with zipfile.ZipFile(io.BytesIO(make_zip())) as archive:
        assert {"lambda_function.py", "cwnotify/lambda_function.py"} <= set(archive.namelist())
