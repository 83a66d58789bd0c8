"""Alarms that exist already: attached without loss, and told from their history. boto3's stubber checks each call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from cwnotify.alerts.alarm_events import AlarmChanged
from cwnotify.aws.alarms import attach, detach
from cwnotify.aws.client import Aws
from cwnotify.aws.replay import replay, send
from cwnotify.errors import AwsError, CwnotifyError
from cwnotify.settings import Secret
from tests.support.slack import REMOVED, Slack

KINDS = ["MetricAlarm", "CompositeAlarm"]
TOPIC = "arn:aws:sns:ap-northeast-2:123456789012:cwnotify"
OTHER = "arn:aws:sns:ap-northeast-2:123456789012:other"
HISTORY = Path(__file__).parents[1] / "data" / "envelopes" / "history_data.json"
MATH = {
    "AlarmName": "math",
    "AlarmArn": "arn:aws:cloudwatch:ap-northeast-2:123456789012:alarm:math",
    "StateValue": "OK",
    "StateReason": "fine",
    "ActionsEnabled": False,
    "OKActions": [],
    "AlarmActions": [OTHER],
    "InsufficientDataActions": [],
    "Dimensions": [],
    "EvaluationPeriods": 3,
    "DatapointsToAlarm": 2,
    "Threshold": 0.0,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "ignore",
    "Metrics": [{"Id": "e1", "Expression": "a/b", "ReturnData": True}],
}
KEPT = {
    key: MATH[key]
    for key in (
        *("AlarmName", "ActionsEnabled", "EvaluationPeriods", "DatapointsToAlarm", "Threshold"),
        *("ComparisonOperator", "TreatMissingData", "Metrics"),
    )
}
COMPOSITE = {"AlarmName": "both", "AlarmRule": "ALARM(a) AND ALARM(b)", "ActionsEnabled": True, "AlarmActions": [TOPIC]}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    for name, value in {"AWS_DEFAULT_REGION": "ap-northeast-2", "AWS_ACCESS_KEY_ID": "test"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return Aws()


@pytest.fixture
def cloudwatch(aws: Aws) -> Iterator[Stubber]:
    with Stubber(aws.client("cloudwatch")) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def found(cloudwatch: Stubber, metric: list[dict[str, Any]], composite: list[dict[str, Any]]) -> None:
    answer = {"MetricAlarms": metric, "CompositeAlarms": composite}
    cloudwatch.add_response("describe_alarms", answer, {"AlarmTypes": KINDS, "AlarmNames": ANY, "MaxRecords": 100})


def history(cloudwatch: Stubber, kind: str, *data: str) -> None:
    items = [{"HistoryData": one, "Timestamp": datetime(2026, 11, 22, 10, tzinfo=UTC)} for one in data]
    asked = {"AlarmName": ANY, "AlarmTypes": KINDS, "HistoryItemType": kind, "ScanBy": "TimestampDescending"}
    cloudwatch.add_response("describe_alarm_history", {"AlarmHistoryItems": items}, asked)


def test_an_alarm_on_metric_math_keeps_all_but_its_actions(aws: Aws, cloudwatch: Stubber) -> None:
    found(cloudwatch, [MATH], [])
    cloudwatch.add_response("put_metric_alarm", {}, {**KEPT, "AlarmActions": [OTHER, TOPIC], "OKActions": [TOPIC]})
    attach(aws, "math", TOPIC)


def test_a_composite_alarm_is_let_go(aws: Aws, cloudwatch: Stubber) -> None:
    found(cloudwatch, [], [COMPOSITE])
    none: dict[str, list[str]] = {"AlarmActions": [], "OKActions": [], "InsufficientDataActions": []}
    cloudwatch.add_response("put_composite_alarm", {}, {**COMPOSITE, **none})
    detach(aws, "both", TOPIC)


def test_what_an_alarm_really_published(aws: Aws, cloudwatch: Stubber) -> None:
    found(cloudwatch, [MATH], [])
    scaling = json.dumps({"actionState": "Succeeded", "notificationResource": "arn:aws:autoscaling:x"})
    data = json.loads(HISTORY.read_bytes())
    history(cloudwatch, "Action", scaling, data if isinstance(data, str) else json.dumps(data), "publishedMessage")
    (event,) = replay(aws, "math", 1)
    assert isinstance(event, AlarmChanged)
    assert event.after


def test_an_alarm_that_published_nothing_is_told_from_its_changes(aws: Aws, cloudwatch: Stubber) -> None:
    found(cloudwatch, [MATH], [])
    history(cloudwatch, "Action")
    state = {"stateValue": "ALARM", "stateReason": "1 datapoint [7.0 (22/11/26 10:00:00)] was greater than ..."}
    history(cloudwatch, "StateUpdate", json.dumps({"oldState": {"stateValue": "OK"}, "newState": state}))
    (event,) = replay(aws, "math", 5)
    assert isinstance(event, AlarmChanged)
    assert (event.name, event.before, event.after, event.value) == ("math", "OK", "ALARM", 7.0)
    assert (event.region, event.at) == ("ap-northeast-2", datetime(2026, 11, 22, 10, tzinfo=UTC).timestamp())


def test_an_alarm_that_is_not_there(aws: Aws, cloudwatch: Stubber) -> None:
    found(cloudwatch, [], [])
    with pytest.raises(AwsError, match="no alarm named nope"):
        replay(aws, "nope", 1)


def test_sending_again() -> None:
    with Slack() as slack:
        send([{"text": "again"}], Secret(slack.url))
        assert slack.wait_for(1) == [{"text": "again"}]
        slack.answer = REMOVED
        with pytest.raises(CwnotifyError, match="404") as raised:
            send([{"text": "again"}], Secret(slack.url))
        assert slack.canary not in str(raised.value)
    with pytest.raises(CwnotifyError, match="cwnotify login"):
        send([], None)
