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

from cwnotify.deploy.bundle import make_zip
from tests.support.lambda_runtime import InvocationResult, LambdaFunction
from tests.support.slack import RATE_LIMITED, WEBHOOK_REMOVED, Answer, Slack

ENVELOPES = Path(__file__).parents[1] / "data" / "envelopes"


@pytest.fixture(scope="module")
def slack() -> Iterator[Slack]:
    with Slack() as running:
        yield running


@pytest.fixture(scope="module")
def function(slack: Slack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LambdaFunction]:
    task = tmp_path_factory.mktemp("lambda") / "task"
    zipfile.ZipFile(io.BytesIO(make_zip())).extractall(task)
    with LambdaFunction(task, {"hookUrl": slack.url}) as running:
        yield running


def event(id: object) -> dict[str, Any]:
    change = {"AlarmName": f"train-{id}", "NewStateValue": "ALARM", "NewStateReason": "x", "OldStateValue": "OK"}
    return {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(change)}}]}


def test_alarm_arrives(slack: Slack, function: LambdaFunction) -> None:
    assert function.invoke(event("first")) == InvocationResult({"messages": 1, "batchItemFailures": []})
    slack.wait_for(lambda payloads: any("train-first" in one["text"] for one in payloads))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (WEBHOOK_REMOVED, "404 no_service"),
        (RATE_LIMITED, "429"),
        (Answer(500, "rollup_error"), "500"),
        (Answer(mode="hang"), "no answer in time"),
        (Answer(mode="reset"), "reset"),
    ],
)
def test_alarm_rejected_by_slack_is_error(slack: Slack, function: LambdaFunction, answer: Answer, why: str) -> None:
    before = len(slack.delivered)
    slack.answer = answer
    began = time.monotonic()
    try:
        ended = function.invoke(event(why), seconds=2.5)
    finally:
        slack.answer = Answer()
    assert ended.error == "NotDeliveredError"
    assert why in ended.message
    assert time.monotonic() - began < 2.5
    assert slack.canary not in ended.message + function.log
    assert len(slack.delivered) == before


def queued(**bodies: object) -> dict[str, Any]:
    """A batch from SQS, as ``ReportBatchItemFailures`` wants its answer."""
    records = [
        {"eventSource": "aws:sqs", "messageId": id, "receiptHandle": "h", "body": json.dumps(body)}
        for id, body in bodies.items()
    ]
    return {"Records": records}


def fleet_alarm(name: str) -> dict[str, Any]:
    """What EventBridge puts into the fleet's queue."""
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
    good = {f"id-{n}": fleet_alarm(f"cpu-{n}") for n in range(alarms)}
    try:
        ended = function.invoke(queued(**good, bad={"job": "poison"}, worse=fleet_alarm("poison")), seconds=30)
        assert not ended.error, ended.message
        assert ended.result["batchItemFailures"] == [{"itemIdentifier": "bad"}, {"itemIdentifier": "worse"}]
        sent = ended.result["messages"]
        for _ in range(10):
            again = function.invoke(queued(bad={"job": "poison"}, worse=fleet_alarm("poison")))
            assert (again.error, "400 invalid_blocks" in again.message) == ("NotDeliveredError", True)
    finally:
        slack.answer_by_payload = lambda payload: None
    said = json.dumps(slack.wait_for(before + sent)[before:])
    assert len(slack.delivered) == before + sent
    assert all(f"cpu-{n}" in said for n in range(alarms))


def test_batch_out_of_time_reports_sent_records(slack: Slack, function: LambdaFunction) -> None:
    slack.next_answers.extend([Answer(), Answer(), *[Answer(mode="hang")] * 20])
    began = time.monotonic()
    ended = function.invoke(queued(**{f"id-{n}": fleet_alarm(f"time-{n}") for n in range(5)}), seconds=4)
    slack.next_answers.clear()
    assert ended.result["batchItemFailures"] == [{"itemIdentifier": f"id-{n}"} for n in (2, 3, 4)]
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("path", ["/workflows/T0/A0/1/secret", "/triggers/T0/1/secret"])
def test_workflow_webhook_is_rejected_and_event_kept(path: str, tmp_path: Path) -> None:
    task = tmp_path / "task"
    zipfile.ZipFile(io.BytesIO(make_zip())).extractall(task)
    with LambdaFunction(task, {"hookUrl": f"https://hooks.slack.com{path}"}) as function:
        ended = function.invoke(event("kept"))
    assert ended.error == "NotDeliveredError"
    assert "Workflow webhook" in ended.message
    assert "cwnotify manifest" in ended.message
    assert "secret" not in ended.message + function.log


def test_hook_url_accepts_json_and_assignment(slack: Slack, tmp_path: Path) -> None:
    task = tmp_path / "task"
    zipfile.ZipFile(io.BytesIO(make_zip())).extractall(task)
    for number, hook in enumerate(
        (f'{{"url": "{slack.url}", "channel": "#ml"}}', f"\ufeffexport HOOK='{slack.url}'\n")
    ):
        with LambdaFunction(task, {"hookUrl": hook}) as function:
            assert function.invoke(event(f"read-{number}")).result == {"messages": 1, "batchItemFailures": []}


def test_every_known_envelope_is_sent(slack: Slack, function: LambdaFunction) -> None:
    for path in sorted(ENVELOPES.glob("*.json")):
        ended = function.invoke(json.loads(path.read_bytes()))
        assert not ended.error, path.name
        # Over HTTPS the result is the response's body.
        result = json.loads(ended.result["body"]) if "body" in ended.result else ended.result
        assert result["messages"] >= 1, path.name


def test_both_handler_names_work(function: LambdaFunction) -> None:
    with zipfile.ZipFile(io.BytesIO(make_zip())) as archive:
        assert {"lambda_function.py", "cwnotify/lambda_function.py"} <= set(archive.namelist())
