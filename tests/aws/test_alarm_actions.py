"""Existing alarms: never written, found whatever their type, and replayed from their history."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import create_loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.stub import ANY, Stubber

import cwnotify
from cwnotify.alerts.events.alarms import AlarmStateChange
from cwnotify.aws.alarm_actions import find_alarms_by_name
from cwnotify.aws.cloudwatch import read_alarms
from cwnotify.aws.session import AwsSession, add_log_alarms_to_model
from cwnotify.deploy.replay import fetch_published_events, send_payloads
from cwnotify.errors import AwsError, CwnotifyError
from cwnotify.settings import NoWebhookError, Secret
from tests.support.aws_wire import Fault
from tests.support.cloudwatch import CloudWatch
from tests.support.slack import WEBHOOK_REMOVED, Slack

ALARM_TYPES = ["MetricAlarm", "CompositeAlarm", "LogAlarm"]
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
ROOT = Path(cwnotify.__file__).parent
LOG: dict[str, Any] = {
    "ScheduledQueryConfiguration": {"QueryString": "filter @message like /ERROR/ | stats count(*)"},
    "QueryResultsToEvaluate": 3,
    "QueryResultsToAlarm": 3,
    "Threshold": 100.0,
    "ComparisonOperator": "GreaterThanThreshold",
}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> AwsSession:
    for name, value in {"AWS_DEFAULT_REGION": "ap-northeast-2", "AWS_ACCESS_KEY_ID": "test"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return AwsSession()


@pytest.fixture
def cloudwatch(aws: AwsSession) -> Iterator[Stubber]:
    with Stubber(aws.client("cloudwatch")) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def add_alarms(cloudwatch: Stubber, alarms: list[dict[str, Any]]) -> None:
    response = {"MetricAlarms": alarms, "CompositeAlarms": []}
    cloudwatch.add_response(
        "describe_alarms", response, {"AlarmTypes": ALARM_TYPES, "AlarmNames": ANY, "MaxRecords": 100}
    )


def add_history(cloudwatch: Stubber, kind: str, *data: str) -> None:
    items = [{"HistoryData": text, "Timestamp": datetime(2026, 11, 22, 10, tzinfo=UTC)} for text in data]
    arguments = {"AlarmName": ANY, "AlarmTypes": ALARM_TYPES, "HistoryItemType": kind, "ScanBy": "TimestampDescending"}
    cloudwatch.add_response("describe_alarm_history", {"AlarmHistoryItems": items}, arguments)


def test_log_alarms_are_found(cloud: CloudWatch) -> None:
    cloud.put_alarm("metric", AlarmActions=[TOPIC])
    cloud.put_alarm("errors", "ALARM", **LOG)
    aws = AwsSession()
    alarms = find_alarms_by_name(aws, ["metric", "errors", "nope"])
    assert [(alarm.name, alarm.alarm_type, alarm.state) for alarm in alarms] == [
        ("metric", "MetricAlarm", "OK"),
        ("errors", "LogAlarm", "ALARM"),
    ]
    assert [alarm.name for alarm in read_alarms(aws, prefixes=["err"])] == ["errors"]
    assert [alarm.name for alarm in read_alarms(aws)] == ["metric", "errors"]
    cloud.set_state("errors", "OK", reason="fine")
    (event,) = fetch_published_events(aws, "errors", 1)
    assert isinstance(event, AlarmStateChange)
    assert (event.name, event.before, event.after) == ("errors", "ALARM", "OK")


@pytest.mark.parametrize(
    ("protocol", "body"),
    [
        ("json", b'{"LogAlarms": [{"AlarmName": "errors", "Threshold": 100.0}]}'),
        (
            "query",
            b"<DescribeAlarmsResponse><DescribeAlarmsResult><LogAlarms><member><AlarmName>errors</AlarmName>"
            b"<Threshold>100.0</Threshold></member></LogAlarms></DescribeAlarmsResult></DescribeAlarmsResponse>",
        ),
    ],
)
def test_boto3_without_log_alarms_reads_them(protocol: str, body: bytes) -> None:
    model = copy.deepcopy(create_loader().load_service_model("cloudwatch", "service-2"))
    del model["shapes"]["DescribeAlarmsOutput"]["members"]["LogAlarms"]
    service = ServiceModel(add_log_alarms_to_model(model))
    shape = service.operation_model("DescribeAlarms").output_shape
    assert shape
    parsed = create_parser(protocol).parse({"status_code": 200, "headers": {}, "body": body}, shape)
    assert parsed["LogAlarms"] == [{"AlarmName": "errors", "Threshold": 100.0}]


def test_endpoint_without_log_alarms_is_queried_for_them_once(cloud: CloudWatch) -> None:
    cloud.alarm_types = {"MetricAlarm", "CompositeAlarm"}
    cloud.put_alarm("metric")
    cloud.set_state("metric", "ALARM", reason="high")
    aws = AwsSession()
    assert [alarm.name for alarm in read_alarms(aws)] == ["metric"]
    assert cloud.calls["cloudwatch:DescribeAlarms"] == 2
    assert [alarm.name for alarm in read_alarms(aws)] == ["metric"]
    assert len(fetch_published_events(aws, "metric", 1)) == 1
    assert not aws.supports_log_alarms
    assert cloud.calls["cloudwatch:DescribeAlarms"] == 4
    # One call for the messages that the alarm published, one for its changes.
    assert cloud.calls["cloudwatch:DescribeAlarmHistory"] == 2


@pytest.mark.parametrize("fault", [Fault("AccessDenied", status=403), Fault("ValidationError", "another reason")])
def test_other_errors_do_not_disable_log_alarms(cloud: CloudWatch, fault: Fault) -> None:
    cloud.fault = fault
    aws = AwsSession()
    with pytest.raises(AwsError):
        read_alarms(aws)
    assert aws.supports_log_alarms


def test_no_source_writes_an_alarm() -> None:
    # The demo plays the owner of alarms. tests/e2e/test_stack.py checks the calls at run time.
    writes = re.compile(r"put_(metric|composite|log)_alarm|able_alarm_actions")
    sources = [path for path in ROOT.rglob("*.py") if path.parent.name != "demo"]
    assert not [path.name for path in sources if writes.search(path.read_text(encoding="utf-8"))]


def test_replay_reads_what_the_alarm_published(aws: AwsSession, cloudwatch: Stubber) -> None:
    add_alarms(cloudwatch, [MATH])
    scaling = json.dumps({"actionState": "Succeeded", "notificationResource": "arn:aws:autoscaling:x"})
    data = json.loads(HISTORY.read_bytes())
    add_history(cloudwatch, "Action", scaling, data if isinstance(data, str) else json.dumps(data), "publishedMessage")
    (event,) = fetch_published_events(aws, "math", 1)
    assert isinstance(event, AlarmStateChange)
    assert event.after


def test_alarm_that_published_nothing_is_replayed_from_its_changes(aws: AwsSession, cloudwatch: Stubber) -> None:
    add_alarms(cloudwatch, [MATH])
    add_history(cloudwatch, "Action")
    state = {"stateValue": "ALARM", "stateReason": "1 datapoint [7.0 (22/11/26 10:00:00)] was greater than ..."}
    add_history(cloudwatch, "StateUpdate", json.dumps({"oldState": {"stateValue": "OK"}, "newState": state}))
    (event,) = fetch_published_events(aws, "math", 5)
    assert isinstance(event, AlarmStateChange)
    assert (event.name, event.before, event.after, event.value) == ("math", "OK", "ALARM", 7.0)
    assert (event.region, event.at) == ("ap-northeast-2", datetime(2026, 11, 22, 10, tzinfo=UTC).timestamp())


def test_replay_of_missing_alarm_is_rejected(aws: AwsSession, cloudwatch: Stubber) -> None:
    add_alarms(cloudwatch, [])
    with pytest.raises(AwsError, match="no alarm named nope"):
        fetch_published_events(aws, "nope", 1)


def test_payloads_are_sent_and_rejections_raised() -> None:
    with Slack() as slack:
        send_payloads([{"text": "again"}], Secret(slack.url))
        assert slack.wait_for(1) == [{"text": "again"}]
        slack.answer = WEBHOOK_REMOVED
        with pytest.raises(CwnotifyError, match="404") as raised:
            send_payloads([{"text": "again"}], Secret(slack.url))
        assert slack.canary not in str(raised.value)
    with pytest.raises(NoWebhookError, match="cwnotify login"):
        send_payloads([], None)
