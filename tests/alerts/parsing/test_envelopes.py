"""Every envelope and variation of the corpus becomes the right events, and nothing whatever raises."""

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
def test_an_envelope_becomes_what_its_text_file_says(path: Path) -> None:
    events = parse_aws_events(EVENTS[path.stem])
    assert_golden(path.with_suffix(".txt"), "\n".join(map(format_event, events)))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_an_event_survives_the_outbox(path: Path) -> None:
    for event in parse_aws_events(EVENTS[path.stem]):
        assert from_json_dict(type(event), json.loads(json.dumps(to_json_dict(event)))) == event


def test_one_change_has_one_id_whichever_way_it_came() -> None:
    ways = ("bare_message", "sns_busy", "eventbridge_single_metric", "eventbridge_in_sns", "history_data")
    assert len({parse_aws_events(EVENTS[way])[0].id for way in ways}) == 1


def test_series_that_change_at_once_have_ids_of_their_own() -> None:
    event = EVENTS["eventbridge_contributor"]
    contributor = {"id": "0000000000000000", "attributes": {"TableName": "baskets"}}
    other = event | {"detail": event["detail"] | {"alarmContributor": contributor}}
    assert parse_aws_events(event)[0].id != parse_aws_events(other)[0].id


def _multi(state: str, reason: str, before: str = "OK", contributor: str = "", name: str = "a") -> dict[str, Any]:
    """A change of an alarm on several time series as EventBridge carries it, or that of one of its series."""
    detail: dict[str, Any] = {"alarmName": name, "state": {"value": state, "reason": reason}}
    if contributor:
        detail["alarmContributor"] = {"id": contributor, "attributes": {"TableName": contributor}}
    else:
        detail["previousState"] = {"value": before}
    kind = "Contributor State" if contributor else "State"
    return {"detail-type": f"CloudWatch Alarm {kind} Change", "source": "aws.cloudwatch", "detail": detail}


FOUR_OF_SIX = "4 out of 6 time series evaluated to ALARM"


@pytest.mark.parametrize(
    ("events", "left"),
    [
        ([_multi("ALARM", FOUR_OF_SIX), _multi("ALARM", "x", contributor="t")], [1]),
        ([_multi("ALARM", "x", contributor="t"), _multi("ALARM", "100+ time series evaluated to ALARM")], [0]),
        ([_multi("OK", "6 time series evaluated to OK", "ALARM"), _multi("OK", "x", contributor="t")], [1]),
        # Another state, another alarm, or no count of series: not what the contributor's event says.
        ([_multi("OK", "6 time series evaluated to OK"), _multi("ALARM", "x", contributor="t")], [0, 1]),
        ([_multi("ALARM", FOUR_OF_SIX, name="b"), _multi("ALARM", "x", contributor="t")], [0, 1]),
        (
            [_multi("ALARM", "No time series were returned by the query."), _multi("ALARM", "x", contributor="t")],
            [0, 1],
        ),
        ([_multi("ALARM", FOUR_OF_SIX)], [0]),
    ],
)
def test_a_summary_is_left_out_only_beside_its_contributors(events: list[dict[str, Any]], left: list[int]) -> None:
    parsed = [parse_aws_events(event)[0] for event in events]
    assert deduplicate_events(parsed) == tuple(parsed[index] for index in left)


@pytest.mark.parametrize(
    ("event", "follow"),
    [
        (_multi("ALARM", FOUR_OF_SIX), True),
        (_multi("OK", "6 time series evaluated to OK", "ALARM"), True),
        (_multi("OK", "6 time series evaluated to OK", "INSUFFICIENT_DATA"), False),
        (_multi("INSUFFICIENT_DATA", "No time series were returned by the query."), False),
        (_multi("ALARM", "x", contributor="t"), False),
        ({"alarmData": _multi("ALARM", FOUR_OF_SIX)["detail"]}, False),
        ({"AlarmName": "a", "NewStateValue": "ALARM", "NewStateReason": FOUR_OF_SIX}, False),
        ({"TopicArn": "t", "Message": json.dumps(_multi("ALARM", FOUR_OF_SIX))}, False),
    ],
)
def test_contributors_follow_only_where_a_rule_carries_both(event: dict[str, Any], follow: bool) -> None:
    assert _only_alarm(event).contributors_follow is follow


@pytest.mark.parametrize(("name", "code"), REGIONS.items())
def test_a_region_by_any_name(name: str, code: str) -> None:
    event = {"AlarmName": "a", "NewStateValue": "OK", "Region": name}
    assert _only_alarm(event).region == code


def test_every_region_of_botocore_is_known_by_its_code_and_its_name() -> None:
    from importlib.resources import files

    partitions = json.loads((files("botocore") / "data" / "endpoints.json").read_text())["partitions"]
    for partition in partitions:
        for code, region in partition["regions"].items():
            assert partition_of_region(code) == partition["partition"]
            assert parse_region_code(code.upper()) == code
            # Of the secret ones nobody here knows how CloudWatch calls them.
            assert parse_region_code(region["description"]) == ("" if "iso" in code else code)


def test_the_records_region_stands_in_only_where_the_message_has_none() -> None:
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
        assert _only_alarm(record(**message)).region == region


@pytest.mark.parametrize("text", TIMES)
def test_a_time_in_any_spelling(text: object) -> None:
    assert _only_alarm({"AlarmName": "a", "StateChangeTime": text}).at == 1578991542.236


def test_a_time_that_is_none() -> None:
    assert _only_alarm({"AlarmName": "a", "StateChangeTime": "14/01/20 08:45:42"}).at is None


@pytest.mark.parametrize(("reason", "told"), REASONS.items())
def test_what_a_reason_alone_tells(reason: str, told: str) -> None:
    alarm = _only_alarm({"alarmName": "a", "state": {"value": "ALARM", "reason": f"Threshold Crossed: {reason}"}})
    points = f"{alarm.datapoints_to_alarm} of {alarm.evaluation_periods}"
    assert f"{alarm.value} {alarm.comparison} {alarm.threshold}, {points}" == told


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
def test_a_reason_says_whether_anything_was_measured(reason: str, no_data: bool) -> None:
    alarm = _only_alarm({"AlarmName": "a", "NewStateValue": "ALARM", "NewStateReason": reason})
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
def test_a_reasons_data_says_whether_anything_was_measured(data: object, no_data: bool) -> None:
    written = json.dumps(data) if data else data
    state = {"value": "ALARM", "reason": "Threshold Crossed", "reasonData": written}
    assert _only_alarm({"alarmName": "a", "state": state}).no_data is no_data


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
def test_the_datapoint_that_is_shown_explains_the_state(
    after: str, reason: str, points: list[float], value: float | None
) -> None:
    data = json.dumps({"recentDatapoints": points, "threshold": 90.0 if "90" in reason else 10.0})
    alarm = _only_alarm({"alarmName": "a", "state": {"value": after, "reason": reason, "reasonData": data}})
    assert alarm.value == value
    assert alarm.recent == tuple(point for point in points if isinstance(point, float))


def test_datapoints_in_the_other_order_are_turned_by_their_times() -> None:
    points = [{"timestamp": f"2026-11-20T04:0{minute}:00Z", "value": value} for minute, value in ((2, 9.0), (1, 8.0))]
    data = {"recentDatapoints": [9.0, 8.0], "evaluatedDatapoints": points}
    alarm = _only_alarm({"alarmName": "a", "state": {"value": "ALARM", "reason": "r", "reasonData": data}})
    assert (alarm.recent, alarm.value) == ((8.0, 9.0), 9.0)


def test_a_bands_edges_are_those_of_the_datapoint_that_left_it() -> None:
    reason = (
        "Thresholds Crossed: 2 out of the last 3 datapoints [9.0 (20/11/26 04:01:00), 1.0 (20/11/26 04:00:00)] were "
        "less than the lower thresholds [2.0, 3.0] or greater than the upper thresholds [7.0, 8.0] (minimum 2 "
        "datapoints for OK -> ALARM transition)."
    )
    data = {"recentDatapoints": [1.0, 9.0, 5.0], "recentLowerThresholds": [3.0, 2.0, 4.0]}
    data["recentUpperThresholds"] = [8.0, 7.0, 6.0]
    for reason_data in (None, json.dumps(data)):
        alarm = _only_alarm(
            {"alarmName": "a", "state": {"value": "ALARM", "reason": reason, "reasonData": reason_data}}
        )
        assert (alarm.value, alarm.lower, alarm.upper) == (9.0, 2.0, 7.0)
        assert alarm.recent[:2] == (1.0, 9.0)


@pytest.mark.parametrize(
    "tags",
    [{"cwnotify": "welcome", "Team": "ml"}, [{"Key": "cwnotify", "Value": "welcome"}, {"key": "Team", "value": "ml"}]],
)
def test_tags_in_either_shape(tags: object) -> None:
    wanted = [("cwnotify", "welcome"), ("Team", "ml")]
    for event in (
        {"AlarmName": "a", "NewStateValue": "OK", "AlarmTags": tags, "AlarmTagsStatus": "SUCCESS"},
        {"detail-type": "CloudWatch Alarm State Change", "detail": {"alarmName": "a", "state": {}, "alarmTags": tags}},
        {"alarmArn": "x", "alarmData": {"alarmName": "a", "state": {}}, "alarmTags": tags},
        {"alarmData": {"alarmName": "a", "state": {}, "configuration": {"alarmTags": tags}}},
    ):
        assert [(tag.key, tag.value) for tag in _only_alarm(event).tags] == wanted


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
def test_a_suppression_that_ended(before: dict[str, str], after: dict[str, str], ended: str) -> None:
    suppressor = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:deploys"
    config = {"alarmRule": "ALARM(a)", "actionsSuppressor": suppressor}
    event = {"alarmName": "a", "state": after, "previousState": before, "configuration": config}
    assert _only_alarm(event).suppression_ended == ended


@pytest.mark.parametrize(
    "criteria",
    [
        {"evaluationCriteria": {"promQLCriteria": {"query": "up == 0", "pendingPeriod": 300, "recoveryPeriod": 600}}},
        {"EvaluationCriteria": {"PromQLCriteria": {"Query": "up == 0", "PendingPeriod": 300, "RecoveryPeriod": 600}}},
    ],
)
def test_a_promql_query_by_any_way(criteria: dict[str, Any]) -> None:
    for event in (
        {"AlarmName": "a", "NewStateValue": "ALARM", "Trigger": criteria},
        {"alarmName": "a", "state": {"value": "ALARM"}, "configuration": criteria},
    ):
        alarm = _only_alarm(event)
        assert (alarm.query, alarm.pending_period, alarm.recovery_period) == ("up == 0", 300.0, 600.0)


@pytest.mark.parametrize(
    ("lines", "shown"),
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
def test_log_lines_in_any_form(lines: object, shown: tuple[str, ...]) -> None:
    for key in ("LogLines", "ActionLogLines", "logEvents"):
        assert _only_alarm({"AlarmName": "a", "NewStateValue": "ALARM", key: lines}).log_lines == shown


def test_log_groups_are_named_also_by_their_arns() -> None:
    groups = ["/aws/lambda/shop", "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/pay:*"]
    config = {"ScheduledQueryConfiguration": {"LogGroupIdentifiers": groups, "QueryString": "stats count(*)"}}
    alarm = _only_alarm({"AlarmName": "a", "NewStateValue": "ALARM", "Trigger": config})
    assert (alarm.log_groups, alarm.query) == (("/aws/lambda/shop", "/ecs/pay"), "stats count(*)")


def test_an_account_is_named_only_where_it_is_another_one() -> None:
    def metric(account: str) -> dict[str, Any]:
        stat = {"metric": {"name": "Errors", "namespace": "AWS/Lambda"}, "stat": "Sum", "period": 60}
        return {"id": "m", "accountId": account, "metricStat": stat, "returnData": True}

    for account, shown in (("222233334444", ["222233334444"]), ("123456789012", [])):
        event = {
            "accountId": "123456789012",
            "alarmData": {"alarmName": "a", "state": {"value": "OK"}, "configuration": {"metrics": [metric(account)]}},
        }
        assert [one.account for one in _only_alarm(event).metrics] == shown


def test_an_evaluation_that_failed_is_named() -> None:
    state = {"value": "INSUFFICIENT_DATA", "evaluationState": "EVALUATION_FAILURE"}
    assert _only_alarm({"alarmName": "a", "state": state}).evaluation_state == "EVALUATION_FAILURE"
    event = {"AlarmName": "a", "NewStateValue": "OK", "EvaluationState": "PARTIAL_DATA"}
    assert _only_alarm(event).evaluation_state == "PARTIAL_DATA"


def test_a_time_after_the_change_is_not_when_the_state_before_began() -> None:
    state = {"value": "OK", "timestamp": "2026-11-20T04:00:00Z"}
    for since, known in (("2026-11-20T03:00:00Z", True), ("2026-11-20T05:00:00Z", False), ("", False)):
        event = {"alarmName": "a", "state": state, "previousState": {"value": "ALARM", "timestamp": since}}
        assert (_only_alarm(event).before_since is not None) is known


def test_a_state_in_small_letters_is_known() -> None:
    assert _only_alarm({"AlarmName": "a", "NewStateValue": "alarm"}).after == AlarmState.ALARM


def test_a_region_is_not_taken_from_a_placeholder() -> None:
    alarm = _only_alarm(EVENTS["blueprint_test_event"])
    assert (alarm.region, alarm.account, alarm.partition) == ("EXAMPLE", "123456789012", "aws")


class Rude(dict[str, Any]):
    """A value whose every method raises."""

    def items(self) -> Any:
        raise RuntimeError("no")

    __repr__ = __iter__ = items


def test_values_that_no_json_makes_are_shown() -> None:
    for event in (Rude(a=1), [Rude(a=1)], 10**4_500, {"AlarmName": 10**4_500, "NewStateValue": "OK"}, b"\xff{", {1, 2}):
        (plain,) = parse_aws_events(event)
        assert isinstance(plain, UnrecognizedEvent)
        assert plain.text


def test_whatever_is_sent_stays_bounded() -> None:
    many, long = 5_000, "x" * 50_000
    child = {"Arn": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:c", "State": {"Value": "ALARM"}}
    alarm = _only_alarm(
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


def test_deep_nesting_and_circles_are_shown() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    circle: dict[str, Any] = {}
    circle["Records"] = [circle]
    for event in (deep, circle, "[" * 100_000, {"Records": [{"Sns": {"Message": "[" * 100_000}}]}):
        assert isinstance(parse_aws_events(event)[0], UnrecognizedEvent)


@settings(max_examples=200, deadline=None)
@given(any_value())
def test_nothing_raises(event: Any) -> None:
    assert len(parse_aws_events(event)) >= 1


@settings(max_examples=200, deadline=None)
@given(mutated_events(EVENTS))
def test_nothing_mutated_raises(event: Any) -> None:
    events = parse_aws_events(event)
    assert events
    assert all(isinstance(one.id, str) for one in events)


def _only_alarm(event: object) -> AlarmStateChange:
    (alarm,) = parse_aws_events(event)
    assert isinstance(alarm, AlarmStateChange)
    return alarm
