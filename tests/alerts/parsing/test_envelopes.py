"""Every envelope of the corpus becomes the right events, and no value raises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from cwnotify.alerts.events.alarms import AlarmState, AlarmStateChange, UnrecognizedEvent, deduplicate_events
from cwnotify.alerts.parsing.envelopes import parse_aws_events
from cwnotify.alerts.regions import parse_region_code, partition_of_region
from cwnotify.alerts.serialization import from_json_dict, to_json_dict
from cwnotify.alerts.text_limits import REDACTION_MARGIN
from tests.golden import DATA_DIR, assert_golden, format_event
from tests.hostile import any_value, mutated_events

CORPUS = sorted((DATA_DIR / "envelopes").glob("*.json"))
EVENTS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in CORPUS}
REGIONS = {
    "EU (Ireland)": "eu-west-1",
    "EU - Ireland": "eu-west-1",
    "Europe (Ireland)": "eu-west-1",
    "eu-west-1": "eu-west-1",
    "US East (N. Virginia)": "us-east-1",
    "US East - N. Virginia": "us-east-1",
    "US West (N. California)": "us-west-1",
    "Asia Pacific (Seoul)": "ap-northeast-2",
    "Asia Pacific (Osaka-Local)": "ap-northeast-3",
    "South America (São Paulo)": "sa-east-1",
    "Canada (Central)": "ca-central-1",
    "Mexico (Central)": "mx-central-1",
    "AWS GovCloud (US)": "us-gov-west-1",
    "China (Ningxia)": "cn-northwest-1",
    "Middle East (UAE)": "me-central-1",
    "The Moon (Copernicus)": "The Moon (Copernicus)",
    "US-East-2": "us-east-2",
    "US_EAST_2": "us-east-2",
    "Us East 2": "us-east-2",
    " AP-NORTHEAST-2 ": "ap-northeast-2",
    "Asia Pacific (Seoul) ap-northeast-2": "ap-northeast-2",
    "ap-northeast-2a": "ap-northeast-2",
    "AWS GovCloud (US-West)": "us-gov-west-1",
    "AWS European Sovereign Cloud (Germany)": "eusc-de-east-1",
    "US ISOB East (Ohio)": "US ISOB East (Ohio)",
    "mars-north-1": "mars-north-1",
}
TIMES = (
    "2020-01-14T08:45:42.236+0000",
    "2020-01-14T08:45:42.236Z",
    "2020-01-14T08:45:42.236000+00:00",
    "2020-01-14T17:45:42.236+0900",
    "2020-01-14T08: 45: 42.236+0000",
    "2020-01-14T08:45:42.236",
    1578991542.236,
    1578991542236,
)
REASONS = {
    "1 datapoint (0.0) was not greater than or equal to the threshold (1.0).": (
        "0.0 GreaterThanOrEqualToThreshold 1.0, 1 of 1"
    ),
    "2 out of the last 5 datapoints [9.5 (31/12/25 23:59:00), 7 (01/01/26 00:00:00)] were less than or equal to the "
    "threshold (1E-2) (minimum 2 datapoints for OK -> ALARM transition).": (
        "7.0 LessThanOrEqualToThreshold 0.01, 2 of 5"
    ),
    "3 datapoints were less than the threshold (5.0). The most recent datapoints: [1.0, -2.5].": (
        "-2.5 LessThanThreshold 5.0, 3 of 3"
    ),
    "3 datapoints [92.3, 89.1, 91.7] were greater than the threshold (80.0).": (
        "92.3 GreaterThanThreshold 80.0, 3 of 3"
    ),
    "no datapoints were received for 3 periods and 3 missing datapoints were treated as [Breaching].": (
        "None  None, None of 3"
    ),
    "1 out of the last 2 datapoints [1.0 (22/11/26 04:02:00)] was not greater than the threshold (2.0) (minimum 1 "
    "datapoint for ALARM -> OK transition).": "1.0 GreaterThanThreshold 2.0, 2 of 2",
}


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_envelope_matches_its_golden_file(path: Path) -> None:
    events = parse_aws_events(EVENTS[path.stem])
    assert_golden(path.with_suffix(".txt"), "\n".join(map(format_event, events)))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_event_survives_serialization(path: Path) -> None:
    for event in parse_aws_events(EVENTS[path.stem]):
        assert from_json_dict(type(event), json.loads(json.dumps(to_json_dict(event)))) == event


def test_change_has_the_same_id_in_every_envelope() -> None:
    names = ("bare_message", "sns_busy", "eventbridge_single_metric", "eventbridge_in_sns", "history_data")
    assert len({parse_aws_events(EVENTS[name])[0].id for name in names}) == 1


def test_contributors_have_different_ids() -> None:
    event = EVENTS["eventbridge_contributor"]
    contributor = {"id": "0000000000000000", "attributes": {"TableName": "baskets"}}
    other = event | {"detail": event["detail"] | {"alarmContributor": contributor}}
    assert parse_aws_events(event)[0].id != parse_aws_events(other)[0].id


def make_multi_series_change(
    state: str, reason: str, before: str = "OK", contributor: str = "", name: str = "a"
) -> dict[str, Any]:
    """Return an EventBridge event for an alarm on several time series, or for one of its series."""
    detail: dict[str, Any] = {"alarmName": name, "state": {"value": state, "reason": reason}}
    if contributor:
        detail["alarmContributor"] = {"id": contributor, "attributes": {"TableName": contributor}}
    else:
        detail["previousState"] = {"value": before}
    kind = "Contributor State" if contributor else "State"
    return {"detail-type": f"CloudWatch Alarm {kind} Change", "source": "aws.cloudwatch", "detail": detail}


FOUR_OF_SIX = "4 out of 6 time series evaluated to ALARM"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (
            [make_multi_series_change("ALARM", FOUR_OF_SIX), make_multi_series_change("ALARM", "x", contributor="t")],
            [1],
        ),
        (
            [
                make_multi_series_change("ALARM", "x", contributor="t"),
                make_multi_series_change("ALARM", "100+ time series evaluated to ALARM"),
            ],
            [0],
        ),
        (
            [
                make_multi_series_change("OK", "6 time series evaluated to OK", "ALARM"),
                make_multi_series_change("OK", "x", contributor="t"),
            ],
            [1],
        ),
        # Another state, another alarm, or no count of series: not a summary of the contributor's event.
        (
            [
                make_multi_series_change("OK", "6 time series evaluated to OK"),
                make_multi_series_change("ALARM", "x", contributor="t"),
            ],
            [0, 1],
        ),
        (
            [
                make_multi_series_change("ALARM", FOUR_OF_SIX, name="b"),
                make_multi_series_change("ALARM", "x", contributor="t"),
            ],
            [0, 1],
        ),
        (
            [
                make_multi_series_change("ALARM", "No time series were returned by the query."),
                make_multi_series_change("ALARM", "x", contributor="t"),
            ],
            [0, 1],
        ),
        ([make_multi_series_change("ALARM", FOUR_OF_SIX)], [0]),
    ],
)
def test_summary_is_dropped_only_with_its_contributors(events: list[dict[str, Any]], expected: list[int]) -> None:
    parsed = [parse_aws_events(event)[0] for event in events]
    assert deduplicate_events(parsed) == tuple(parsed[index] for index in expected)


@pytest.mark.parametrize(
    ("event", "follow"),
    [
        (make_multi_series_change("ALARM", FOUR_OF_SIX), True),
        (make_multi_series_change("OK", "6 time series evaluated to OK", "ALARM"), True),
        (make_multi_series_change("OK", "6 time series evaluated to OK", "INSUFFICIENT_DATA"), False),
        (make_multi_series_change("INSUFFICIENT_DATA", "No time series were returned by the query."), False),
        (make_multi_series_change("ALARM", "x", contributor="t"), False),
        ({"alarmData": make_multi_series_change("ALARM", FOUR_OF_SIX)["detail"]}, False),
        ({"AlarmName": "a", "NewStateValue": "ALARM", "NewStateReason": FOUR_OF_SIX}, False),
        ({"TopicArn": "t", "Message": json.dumps(make_multi_series_change("ALARM", FOUR_OF_SIX))}, False),
    ],
)
def test_contributors_follow_only_in_events_from_rules(event: dict[str, Any], follow: bool) -> None:
    assert parse_alarm(event).contributors_follow is follow


@pytest.mark.parametrize(("name", "code"), REGIONS.items())
def test_region_is_parsed_from_any_name(name: str, code: str) -> None:
    event = {"AlarmName": "a", "NewStateValue": "OK", "Region": name}
    assert parse_alarm(event).region == code


def test_every_botocore_region_is_parsed_from_code_and_name() -> None:
    from importlib.resources import files

    partitions = json.loads((files("botocore") / "data" / "endpoints.json").read_text())["partitions"]
    for partition in partitions:
        for code, region in partition["regions"].items():
            assert partition_of_region(code) == partition["partition"]
            assert parse_region_code(code.upper()) == code
            # The names that CloudWatch uses for the secret partitions are not public.
            assert parse_region_code(region["description"]) == ("" if "iso" in code else code)


def test_record_region_is_used_only_without_a_message_region() -> None:
    def record(**message: str) -> dict[str, Any]:
        body = json.dumps({"AlarmName": "a", "NewStateValue": "OK", **message})
        return {"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": body, "awsRegion": "us-west-2"}]}

    arn = "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:a"
    for message, region in (
        ({}, "us-west-2"),
        ({"Region": "The Moon"}, "us-west-2"),
        ({"Region": "US-East-2"}, "us-east-2"),
        ({"AlarmArn": arn, "Region": "US-East-2"}, "eu-west-1"),
    ):
        assert parse_alarm(record(**message)).region == region


@pytest.mark.parametrize("text", TIMES)
def test_time_is_parsed_in_any_form(text: object) -> None:
    assert parse_alarm({"AlarmName": "a", "StateChangeTime": text}).at == 1578991542.236


def test_invalid_time_is_none() -> None:
    assert parse_alarm({"AlarmName": "a", "StateChangeTime": "14/01/20 08:45:42"}).at is None


@pytest.mark.parametrize(("reason", "summary"), REASONS.items())
def test_reason_without_data_is_parsed(reason: str, summary: str) -> None:
    alarm = parse_alarm({"alarmName": "a", "state": {"value": "ALARM", "reason": f"Threshold Crossed: {reason}"}})
    points = f"{alarm.datapoints_to_alarm} of {alarm.evaluation_periods}"
    assert f"{alarm.value} {alarm.comparison} {alarm.threshold}, {points}" == summary


MISSING = "missing datapoints were treated as [Breaching]."
NO_DATA = {
    f"Threshold Crossed: no datapoints were received for 3 periods and 3 {MISSING}": True,
    "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was treated as "
    "[NonBreaching].": True,
    f"Threshold Crossed: 3 {MISSING}": True,
    "Insufficient Data: 2 datapoints were unknown.": True,
    "No time series were returned by the query. Treat missing data is configured as [Breaching].": True,
    f"Threshold Crossed: 1 datapoint was received for 3 periods and 2 {MISSING}": False,
    f"Threshold Crossed: 2 out of the last 5 datapoints were greater than the threshold (1.0) and 3 {MISSING}": False,
    "Threshold Crossed: 1 datapoint [0.0 (22/11/26 04:02:00)] was less than the threshold (1.0).": False,
    "Unchecked: Initial alarm creation": False,
    "2 out of 5 time series evaluated to ALARM": False,
    "testing": False,
}


@pytest.mark.parametrize(("reason", "no_data"), NO_DATA.items())
def test_reason_reports_missing_data(reason: str, no_data: bool) -> None:
    alarm = parse_alarm({"AlarmName": "a", "NewStateValue": "ALARM", "NewStateReason": reason})
    assert alarm.no_data is no_data
    assert not (alarm.no_data and alarm.value is not None)


@pytest.mark.parametrize(
    ("data", "no_data"),
    [
        ({"recentDatapoints": [], "threshold": 90.0}, True),
        ({"recentDatapoints": [], "evaluatedDatapoints": [{"timestamp": "2026-11-20T04:00:00.000+0000"}]}, True),
        ({"recentDatapoints": [None, None]}, True),
        ({"recentDatapoints": [], "evaluatedDatapoints": [{"timestamp": "2026-11-20T04:00:00Z", "value": 3}]}, False),
        ({"recentDatapoints": [1.0]}, False),
        ({"version": "1.0", "queryDate": "2026-11-20T04:00:00.000+0000"}, False),
        ({"triggeringAlarms": []}, False),
        ("", False),
    ],
)
def test_reason_data_reports_missing_data(data: object, no_data: bool) -> None:
    text = json.dumps(data) if data else data
    state = {"value": "ALARM", "reason": "Threshold Crossed", "reasonData": text}
    assert parse_alarm({"alarmName": "a", "state": state}).no_data is no_data


THREE = "2 out of the last 3 datapoints were {} the threshold ({}) (minimum 2 datapoints for OK -> ALARM transition)."


@pytest.mark.parametrize(
    ("after", "reason", "points", "value"),
    [
        ("ALARM", THREE.format("greater than", 90), [95.0, 96.0, 40.0], 96.0),
        ("ALARM", THREE.format("less than", 10), [3.0, 50.0, 4.0], 4.0),
        ("ALARM", THREE.format("less than or equal to", 10), [10.0, 50.0, 60.0], 10.0),
        ("OK", THREE.format("not greater than", 90), [40.0, 30.0, 95.0], 30.0),
        ("INSUFFICIENT_DATA", THREE.format("greater than", 90), [95.0, 96.0, 40.0], 40.0),
        ("ALARM", "set by hand", [95.0, 96.0, 40.0], 40.0),
        ("ALARM", "1 datapoint was received for 3 periods and 2 " + MISSING, [40.0], None),
        ("OK", "1 datapoint was received for 3 periods and 2 " + MISSING, [40.0], 40.0),
        ("ALARM", "1 datapoint was greater than the threshold (90) and 2 " + MISSING, [40.0], None),
        ("ALARM", THREE.format("greater than", 90), [95.0, None, "x", 40.0], 95.0),
    ],
)
def test_value_is_the_datapoint_that_explains_the_state(
    after: str, reason: str, points: list[float], value: float | None
) -> None:
    data = json.dumps({"recentDatapoints": points, "threshold": 90.0 if "90" in reason else 10.0})
    alarm = parse_alarm({"alarmName": "a", "state": {"value": after, "reason": reason, "reasonData": data}})
    assert alarm.value == value
    assert alarm.recent == tuple(point for point in points if isinstance(point, float))


def test_datapoints_are_sorted_by_time() -> None:
    points = [{"timestamp": f"2026-11-20T04:0{minute}:00Z", "value": value} for minute, value in ((2, 9.0), (1, 8.0))]
    data = {"recentDatapoints": [9.0, 8.0], "evaluatedDatapoints": points}
    alarm = parse_alarm({"alarmName": "a", "state": {"value": "ALARM", "reason": "r", "reasonData": data}})
    assert (alarm.recent, alarm.value) == ((8.0, 9.0), 9.0)


def test_band_edges_belong_to_the_decisive_datapoint() -> None:
    reason = (
        "Thresholds Crossed: 2 out of the last 3 datapoints [9.0 (20/11/26 04:01:00), 1.0 (20/11/26 04:00:00)] were "
        "less than the lower thresholds [2.0, 3.0] or greater than the upper thresholds [7.0, 8.0] (minimum 2 "
        "datapoints for OK -> ALARM transition)."
    )
    data = {"recentDatapoints": [1.0, 9.0, 5.0], "recentLowerThresholds": [3.0, 2.0, 4.0]}
    data["recentUpperThresholds"] = [8.0, 7.0, 6.0]
    for reason_data in (None, json.dumps(data)):
        alarm = parse_alarm(
            {"alarmName": "a", "state": {"value": "ALARM", "reason": reason, "reasonData": reason_data}}
        )
        assert (alarm.value, alarm.lower, alarm.upper) == (9.0, 2.0, 7.0)
        assert alarm.recent[:2] == (1.0, 9.0)


@pytest.mark.parametrize(
    "tags",
    [{"cwnotify": "welcome", "Team": "ml"}, [{"Key": "cwnotify", "Value": "welcome"}, {"key": "Team", "value": "ml"}]],
)
def test_tags_are_parsed_from_dict_and_list(tags: object) -> None:
    expected = [("cwnotify", "welcome"), ("Team", "ml")]
    for event in (
        {"AlarmName": "a", "NewStateValue": "OK", "AlarmTags": tags, "AlarmTagsStatus": "SUCCESS"},
        {"detail-type": "CloudWatch Alarm State Change", "detail": {"alarmName": "a", "state": {}, "alarmTags": tags}},
        {"alarmArn": "x", "alarmData": {"alarmName": "a", "state": {}}, "alarmTags": tags},
        {"alarmData": {"alarmName": "a", "state": {}, "configuration": {"alarmTags": tags}}},
    ):
        assert [(tag.key, tag.value) for tag in parse_alarm(event).tags] == expected


@pytest.mark.parametrize(
    ("before", "after", "ended"),
    [
        ({"value": "ALARM", "actionsSuppressedBy": "WaitPeriod"}, {"value": "ALARM"}, "WaitPeriod"),
        ({"value": "ALARM", "actionsSuppressedBy": "ExtensionPeriod"}, {"value": "ALARM"}, "ExtensionPeriod"),
        ({"value": "ALARM", "actionsSuppressedBy": "Alarm"}, {"value": "ALARM"}, "deploys"),
        ({"value": "OK", "actionsSuppressedBy": "WaitPeriod"}, {"value": "ALARM"}, ""),
        ({"value": "ALARM", "actionsSuppressedBy": "Alarm"}, {"value": "ALARM", "actionsSuppressedBy": "Alarm"}, ""),
        ({"value": "ALARM"}, {"value": "ALARM"}, ""),
    ],
)
def test_ended_suppression_is_reported(before: dict[str, str], after: dict[str, str], ended: str) -> None:
    suppressor = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:deploys"
    config = {"alarmRule": "ALARM(a)", "actionsSuppressor": suppressor}
    event = {"alarmName": "a", "state": after, "previousState": before, "configuration": config}
    assert parse_alarm(event).suppression_ended == ended


@pytest.mark.parametrize(
    "criteria",
    [
        {"evaluationCriteria": {"promQLCriteria": {"query": "up == 0", "pendingPeriod": 300, "recoveryPeriod": 600}}},
        {"EvaluationCriteria": {"PromQLCriteria": {"Query": "up == 0", "PendingPeriod": 300, "RecoveryPeriod": 600}}},
    ],
)
def test_promql_query_is_parsed(criteria: dict[str, Any]) -> None:
    for event in (
        {"AlarmName": "a", "NewStateValue": "ALARM", "Trigger": criteria},
        {"alarmName": "a", "state": {"value": "ALARM"}, "configuration": criteria},
    ):
        alarm = parse_alarm(event)
        assert (alarm.query, alarm.pending_period, alarm.recovery_period) == ("up == 0", 300.0, 600.0)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["ERROR a", "ERROR b"], ("ERROR a", "ERROR b")),
        ([{"timestamp": 1, "message": "ERROR a"}], ("ERROR a",)),
        ([{"@timestamp": "t", "@message": "ERROR a", "@ptr": "p"}], ("ERROR a",)),
        ([[{"field": "@message", "value": "ERROR a"}, {"field": "@ptr", "value": "p"}]], ("ERROR a",)),
        ([{"level": "ERROR", "n": 3}], ("level=ERROR n=3",)),
        ('["ERROR a"]', ("ERROR a",)),
        ("ERROR a", ("ERROR a",)),
        ([], ()),
        (7, ()),
    ],
)
def test_log_lines_are_parsed_in_any_form(lines: object, expected: tuple[str, ...]) -> None:
    for key in ("LogLines", "ActionLogLines", "logEvents"):
        assert parse_alarm({"AlarmName": "a", "NewStateValue": "ALARM", key: lines}).log_lines == expected


def test_log_groups_are_parsed_from_names_and_arns() -> None:
    groups = ["/aws/lambda/shop", "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/pay:*"]
    config = {"ScheduledQueryConfiguration": {"LogGroupIdentifiers": groups, "QueryString": "stats count(*)"}}
    alarm = parse_alarm({"AlarmName": "a", "NewStateValue": "ALARM", "Trigger": config})
    assert (alarm.log_groups, alarm.query) == (("/aws/lambda/shop", "/ecs/pay"), "stats count(*)")


def test_only_foreign_account_is_reported() -> None:
    def metric(account: str) -> dict[str, Any]:
        stat = {"metric": {"name": "Errors", "namespace": "AWS/Lambda"}, "stat": "Sum", "period": 60}
        return {"id": "m", "accountId": account, "metricStat": stat, "returnData": True}

    for account, expected in (("222233334444", ["222233334444"]), ("123456789012", [])):
        event = {
            "accountId": "123456789012",
            "alarmData": {"alarmName": "a", "state": {"value": "OK"}, "configuration": {"metrics": [metric(account)]}},
        }
        assert [metric.account for metric in parse_alarm(event).metrics] == expected


def test_evaluation_state_is_parsed() -> None:
    state = {"value": "INSUFFICIENT_DATA", "evaluationState": "EVALUATION_FAILURE"}
    assert parse_alarm({"alarmName": "a", "state": state}).evaluation_state == "EVALUATION_FAILURE"
    event = {"AlarmName": "a", "NewStateValue": "OK", "EvaluationState": "PARTIAL_DATA"}
    assert parse_alarm(event).evaluation_state == "PARTIAL_DATA"


def test_previous_state_time_after_the_change_is_ignored() -> None:
    state = {"value": "OK", "timestamp": "2026-11-20T04:00:00Z"}
    for since, is_used in (("2026-11-20T03:00:00Z", True), ("2026-11-20T05:00:00Z", False), ("", False)):
        event = {"alarmName": "a", "state": state, "previousState": {"value": "ALARM", "timestamp": since}}
        assert (parse_alarm(event).before_since is not None) is is_used


def test_lower_case_state_is_recognized() -> None:
    assert parse_alarm({"AlarmName": "a", "NewStateValue": "alarm"}).after == AlarmState.ALARM


def test_region_placeholder_is_not_parsed() -> None:
    alarm = parse_alarm(EVENTS["blueprint_test_event"])
    assert (alarm.region, alarm.account, alarm.partition) == ("EXAMPLE", "123456789012", "aws")


class HostileDict(dict[str, Any]):
    """A dict whose methods raise."""

    def items(self) -> Any:
        raise RuntimeError("no")

    __repr__ = __iter__ = items


def test_values_outside_of_json_become_unrecognized_events() -> None:
    for event in (
        HostileDict(a=1),
        [HostileDict(a=1)],
        10**4_500,
        {"AlarmName": 10**4_500, "NewStateValue": "OK"},
        b"\xff{",
        {1, 2},
    ):
        (unrecognized,) = parse_aws_events(event)
        assert isinstance(unrecognized, UnrecognizedEvent)
        assert unrecognized.text


def test_large_alarm_is_bounded() -> None:
    many, long = 5_000, "x" * 50_000
    child = {"Arn": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:c", "State": {"Value": "ALARM"}}
    alarm = parse_alarm(
        {
            "AlarmName": "a",
            "NewStateValue": "ALARM",
            "NewStateReasonData": {"recentDatapoints": [1.0] * many},
            "AlarmDescription": long,
            "TriggeringChildren": [child] * many,
            "AlarmTags": {str(n): long for n in range(many)},
            "LogLines": [long] * many,
            "AlarmContributorAttributes": {str(n): "v" for n in range(many)},
            "Trigger": {
                "Metrics": [{"Id": "m"}] * many,
                "ScheduledQueryConfiguration": {"QueryString": long, "LogGroupIdentifiers": ["g"] * many},
            },
        }
    )
    assert len(repr(alarm)) < 2_500_000
    assert (len(alarm.recent), len(alarm.children), len(alarm.tags), len(alarm.log_lines)) == (100, 1_000, 50, 50)
    assert (len(alarm.log_groups), len(alarm.contributor), len(alarm.query)) == (50, 150, 20_480 - REDACTION_MARGIN)


def test_deep_and_circular_values_become_unrecognized_events() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    circle: dict[str, Any] = {}
    circle["Records"] = [circle]
    for event in (deep, circle, "[" * 100_000, {"Records": [{"Sns": {"Message": "[" * 100_000}}]}):
        assert isinstance(parse_aws_events(event)[0], UnrecognizedEvent)


@settings(max_examples=200, deadline=None)
@given(any_value())
def test_any_value_is_parsed(event: Any) -> None:
    assert len(parse_aws_events(event)) >= 1


@settings(max_examples=200, deadline=None)
@given(mutated_events(EVENTS))
def test_any_mutated_event_is_parsed(event: Any) -> None:
    events = parse_aws_events(event)
    assert events
    assert all(isinstance(event.id, str) for event in events)


def parse_alarm(event: object) -> AlarmStateChange:
    (alarm,) = parse_aws_events(event)
    assert isinstance(alarm, AlarmStateChange)
    return alarm
