"""An alarm's changes between two polls, from a history that may lag, be denied, or contain nonsense."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.alerts.events.alarms import AlarmStateChange
from cwnotify.alerts.messages.render import render_alert
from cwnotify.aws import alarm_history, cloudwatch
from cwnotify.aws.alarm_history import TIME_TOLERANCE, HistoryItem
from cwnotify.aws.models import CloudWatchAlarm
from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError
from tests.aws.conftest import NOW
from tests.support.aws_wire import Fault
from tests.support.cloudwatch import CloudWatch

SINCE = NOW - 600
SETTINGS = {
    "AlarmDescription": "CPU above 50 %",
    "MetricName": "CPUUtilization",
    "Namespace": "AWS/EC2",
    "Dimensions": [{"Name": "InstanceId", "Value": "i-0abc1234def567890"}],
    "Statistic": "Average",
    "Period": 300,
    "EvaluationPeriods": 3,
    "DatapointsToAlarm": 2,
    "Threshold": 50.0,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "missing",
}
REASON = "Threshold Crossed: 1 datapoint [93.5 (14/11/26 10:00:00)] was greater than the threshold (50.0)."


@pytest.fixture
def busy(cloud: CloudWatch) -> CloudWatch:
    cloud.put_alarm("busy", "OK", SINCE, **SETTINGS)
    return cloud


def collect_changes(
    aws: AwsSession, alarm: CloudWatchAlarm, before: str = "OK", since: float = SINCE
) -> tuple[AlarmStateChange, ...]:
    """Return the changes, using the history if the alarm has changed."""
    items = alarm_history.read_alarm_history(aws, alarm.name, since) if alarm.since > since else []
    return alarm_history.collect_alarm_changes(alarm, items, before, since)


def poll(aws: AwsSession, before: str = "OK", since: float = SINCE) -> list[tuple[str, str, float]]:
    """Return the changes of the alarm "busy": the states and the seconds after SINCE."""
    (alarm,) = cloudwatch.read_alarms(aws, ["busy"])
    changes = collect_changes(aws, alarm, before, since)
    assert not changes or changes[-1].at == alarm.since
    return [(change.before, change.after, (change.at or 0.0) - SINCE) for change in changes]


def test_all_changes_since_the_last_poll_are_complete(busy: CloudWatch, watching: AwsSession) -> None:
    busy.set_state("busy", "ALARM", SINCE + 60, REASON)
    busy.set_state("busy", "OK", SINCE + 120)
    busy.set_state("busy", "INSUFFICIENT_DATA", SINCE + 180)
    (alarm,) = cloudwatch.read_alarms(watching, ["busy"])

    changes = collect_changes(watching, alarm)

    assert [(change.before, change.after, change.at) for change in changes] == [
        ("OK", "ALARM", SINCE + 60),
        ("ALARM", "OK", SINCE + 120),
        ("OK", "INSUFFICIENT_DATA", SINCE + 180),
    ]
    first = changes[0]
    assert (first.name, first.arn, first.description) == ("busy", alarm.arn, "CPU above 50 %")
    assert (first.value, first.threshold, first.comparison) == (93.5, 50.0, "GreaterThanThreshold")
    assert (first.metric, first.namespace, first.instance) == ("CPUUtilization", "AWS/EC2", "i-0abc1234def567890")
    assert (first.datapoints_to_alarm, first.evaluation_periods, first.period) == (2, 3, 300.0)
    assert (first.region, first.account, first.reason) == ("ap-northeast-2", "123456789012", REASON)


@pytest.mark.parametrize("drift", [-0.4, 0.0, 0.4])
def test_clock_of_the_history_may_differ_slightly(busy: CloudWatch, watching: AwsSession, drift: float) -> None:
    for before, after, at in (("ALARM", "OK", SINCE), ("OK", "ALARM", SINCE + 60)):
        data = json.dumps({"oldState": {"stateValue": before}, "newState": {"stateValue": after}})
        busy.add_history("busy", at + drift, data)
    busy.set_state("busy", "ALARM", SINCE + 60, in_history=False)

    assert poll(watching) == [("OK", "ALARM", 60.0)]


def test_change_missing_in_the_history_comes_from_the_alarm(busy: CloudWatch, watching: AwsSession) -> None:
    busy.set_state("busy", "ALARM", SINCE + 60)
    busy.set_state("busy", "OK", SINCE + 120, in_history=False)

    assert poll(watching) == [("OK", "ALARM", 60.0), ("ALARM", "OK", 120.0)]


def test_unrecorded_flapping_gives_one_change_without_previous_state(busy: CloudWatch, watching: AwsSession) -> None:
    busy.set_state("busy", "ALARM", SINCE + 60, in_history=False)
    busy.set_state("busy", "OK", SINCE + 120, in_history=False)

    assert poll(watching) == [("", "OK", 120.0)]


def test_changes_within_a_second_are_distinct(busy: CloudWatch, watching: AwsSession) -> None:
    for after, at in (("ALARM", 60.0), ("OK", 60.25), ("ALARM", 60.5)):
        busy.set_state("busy", after, SINCE + at)

    assert poll(watching) == [("OK", "ALARM", 60.0), ("ALARM", "OK", 60.25), ("OK", "ALARM", 60.5)]
    assert poll(watching, "ALARM", SINCE + 60.0) == [("ALARM", "OK", 60.25), ("OK", "ALARM", 60.5)]


def test_change_after_the_alarm_was_read_belongs_to_the_next_poll(busy: CloudWatch, watching: AwsSession) -> None:
    busy.set_state("busy", "ALARM", SINCE + 60)
    (alarm,) = cloudwatch.read_alarms(watching, ["busy"])
    busy.set_state("busy", "OK", SINCE + 61)

    assert [change.after for change in collect_changes(watching, alarm)] == ["ALARM"]
    assert poll(watching, "ALARM", alarm.since) == [("ALARM", "OK", 61.0)]


def test_unchanged_alarm_has_no_changes(busy: CloudWatch, watching: AwsSession) -> None:
    assert poll(watching) == []
    assert poll(watching, "", SINCE + 60) == []
    assert busy.calls["cloudwatch:DescribeAlarmHistory"] == 0


def test_recreated_alarm_with_an_older_time_is_a_change(busy: CloudWatch, watching: AwsSession) -> None:
    assert poll(watching, "ALARM", SINCE + 60) == [("ALARM", "OK", 0.0)]


def test_change_of_composite_alarm_has_its_rule(cloud: CloudWatch, watching: AwsSession) -> None:
    cloud.put_alarm("busy", "OK", SINCE, AlarmRule="ALARM(a) OR ALARM(b)", AlarmDescription="either")
    cloud.set_state("busy", "ALARM", SINCE + 60)
    (alarm,) = cloudwatch.read_alarms(watching, ["busy"])

    (change,) = collect_changes(watching, alarm)

    assert (change.after, change.rule, change.description) == ("ALARM", "ALARM(a) OR ALARM(b)", "either")


def test_long_history_is_read_completely(busy: CloudWatch, watching: AwsSession) -> None:
    for number in range(250):
        busy.set_state("busy", ("ALARM", "OK")[number % 2], SINCE + 1 + number)

    assert [at for _, _, at in poll(watching)] == [1.0 + number for number in range(250)]
    assert busy.calls["cloudwatch:DescribeAlarmHistory"] == 3


def test_recovery_contains_how_long_the_alarm_fired(busy: CloudWatch, watching: AwsSession) -> None:
    busy.set_state("busy", "ALARM", SINCE + 60, REASON)
    busy.set_state("busy", "OK", SINCE + 180)
    (alarm,) = cloudwatch.read_alarms(watching, ["busy"])

    fired, recovered = collect_changes(watching, alarm)

    assert (fired.before_since, recovered.before_since) == (SINCE, SINCE + 60)
    assert "is OK again after 2 min" in render_alert(recovered, "en")["text"]
    # Without the history, the alarm may have been OK in between.
    (alone,) = alarm_history.collect_alarm_changes(alarm, (), "ALARM", SINCE)
    assert alone.before_since is None


def test_last_change_needs_no_history(busy: CloudWatch, watching: AwsSession) -> None:
    busy.set_state("busy", "ALARM", SINCE + 60, REASON)
    (alarm,) = cloudwatch.read_alarms(watching, ["busy"])

    (change,) = alarm_history.collect_alarm_changes(alarm, (), "OK", SINCE)

    assert (change.before, change.after, change.at, change.value) == ("OK", "ALARM", SINCE + 60, 93.5)


@pytest.mark.parametrize(
    ("code", "status"), [("AccessDenied", 403), ("InternalFailure", 500), ("Throttling", 400), ("ExpiredToken", 403)]
)
def test_unreadable_history_is_an_error(busy: CloudWatch, watching: AwsSession, code: str, status: int) -> None:
    busy.fault = Fault(code, status=status, operation="DescribeAlarmHistory")
    with pytest.raises(AwsError):
        alarm_history.read_alarm_history(watching.best_effort, "busy", SINCE)
    assert busy.calls["cloudwatch:DescribeAlarmHistory"] == 1


def test_missed_changes_lie_between_two_observed_states(busy: CloudWatch, watching: AwsSession) -> None:
    for after, at in (("ALARM", 60), ("OK", 120), ("ALARM", 180), ("OK", 240)):
        busy.set_state("busy", after, SINCE + at)
    (alarm,) = cloudwatch.read_alarms(watching, ["busy"])
    items = alarm_history.read_alarm_history(watching, "busy", SINCE)

    def collect_missed(before: str, since: float, after: str, until: float) -> list[tuple[str, float]]:
        changes = alarm_history.collect_missed_changes(alarm, items, before, SINCE + since, after, SINCE + until)
        return [(change.after, (change.at or 0.0) - SINCE) for change in changes]

    assert collect_missed("OK", 0, "OK", 240) == [("ALARM", 60.0), ("OK", 120.0), ("ALARM", 180.0)]
    assert collect_missed("OK", 0, "OK", 120) == [("ALARM", 60.0)]
    assert collect_missed("OK", 120, "ALARM", 180) == []


@pytest.mark.parametrize("data", ["", "{", "null", "[]", '{"newState": 3}', '{"newState": {"stateValue": null}}'])
def test_malformed_history_item_is_skipped(busy: CloudWatch, watching: AwsSession, data: str) -> None:
    busy.add_history("busy", SINCE + 30, data)
    busy.set_state("busy", "ALARM", SINCE + 60, in_history=False)

    assert poll(watching) == [("OK", "ALARM", 60.0)]


KEYS = st.sampled_from(["newState", "oldState", "stateValue", "stateReasonData"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
)


@given(JSON.map(json.dumps) | st.text())
def test_any_history_data_is_parsed_or_skipped(data: str) -> None:
    item = alarm_history.parse_history_item({"Timestamp": datetime.fromtimestamp(NOW, UTC), "HistoryData": data})

    assert item is None or (item.at, bool(item.after)) == (NOW, True)


STATES = st.sampled_from(["OK", "ALARM", "INSUFFICIENT_DATA"])
ITEMS = st.lists(st.builds(HistoryItem, st.floats(SINCE - 60, NOW + 60), STATES, STATES, st.just({})))


@given(ITEMS, STATES, st.floats(SINCE + 0.001, NOW), STATES | st.just(""))
def test_last_change_always_comes_from_the_alarm(items: list[HistoryItem], state: str, at: float, before: str) -> None:
    alarm = CloudWatchAlarm("busy", "arn:aws:cloudwatch:ap-northeast-2:1:alarm:busy", state, at)

    changes = alarm_history.reconcile_history(items, alarm, before, SINCE)

    assert (changes[-1].at, changes[-1].after) == (at, state)
    assert all(change.before != change.after for change in changes)
    assert [change.at for change in changes[:-1]] == sorted(change.at for change in changes[:-1])
    assert all(SINCE - TIME_TOLERANCE <= change.at <= at + TIME_TOLERANCE for change in changes)


@given(st.lists(st.tuples(st.floats(0.001, 60), STATES), min_size=1), st.integers(0, 100), STATES)
def test_each_change_is_returned_once_whenever_polls_happen(
    steps: list[tuple[float, str]], cut: int, state: str
) -> None:
    timeline, at = [(SINCE, state)], SINCE
    for gap, after in steps:
        at += gap
        if after != timeline[-1][1]:
            timeline.append((at, after))
    recorded = [HistoryItem(at, old, new, {}) for (_, old), (at, new) in pairwise(timeline)]
    complete = [HistoryItem(at, old, new, {}, began) for (began, old), (at, new) in pairwise(timeline)]
    middle = timeline[cut % len(timeline)]

    changes: list[HistoryItem] = []
    for (since, before), (until, after) in ((timeline[0], middle), (middle, timeline[-1])):
        if until > since:
            alarm = CloudWatchAlarm("busy", "arn", after, until)
            items = [item for item in recorded if item.at >= since - TIME_TOLERANCE]
            changes += alarm_history.reconcile_history(items, alarm, before, since)

    assert changes == complete


def test_change_has_the_same_id_with_and_without_history(busy: CloudWatch, watching: AwsSession) -> None:
    busy.set_state("busy", "ALARM", SINCE + 60.123, REASON)
    (alarm,) = cloudwatch.read_alarms(watching, ["busy"])
    (from_history,) = collect_changes(watching, alarm)
    (from_alarm,) = alarm_history.collect_alarm_changes(alarm, (), "OK", SINCE)

    assert isinstance(from_history, AlarmStateChange)
    assert from_history.id == from_alarm.id == f"{alarm.arn}|ALARM|{SINCE + 60.123:.3f}"
