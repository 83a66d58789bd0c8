"""An alarm's changes between two looks, out of a history that may lag, be closed, or hold nonsense."""

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
from cwnotify.aws.alarm_history import HistoryItem
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


def told(
    aws: AwsSession, alarm: CloudWatchAlarm, before: str = "OK", since: float = SINCE
) -> tuple[AlarmStateChange, ...]:
    """The changes, with the history where it can tell any."""
    items = alarm_history.read_alarm_history(aws, alarm.name, since) if alarm.since > since else []
    return alarm_history.collect_alarm_changes(alarm, items, before, since)


def look(aws: AwsSession, before: str = "OK", since: float = SINCE) -> list[tuple[str, str, float]]:
    (alarm,) = cloudwatch.read_alarms(aws, ["busy"])
    found = told(aws, alarm, before, since)
    assert not found or found[-1].at == alarm.since
    return [(one.before, one.after, (one.at or 0.0) - SINCE) for one in found]


def test_all_changes_since_the_last_look_each_told_in_full(busy: CloudWatch, watching: AwsSession) -> None:
    busy.set_state("busy", "ALARM", SINCE + 60, REASON)
    busy.set_state("busy", "OK", SINCE + 120)
    busy.set_state("busy", "INSUFFICIENT_DATA", SINCE + 180)
    (alarm,) = cloudwatch.read_alarms(watching, ["busy"])

    found = told(watching, alarm)

    assert [(one.before, one.after, one.at) for one in found] == [
        ("OK", "ALARM", SINCE + 60),
        ("ALARM", "OK", SINCE + 120),
        ("OK", "INSUFFICIENT_DATA", SINCE + 180),
    ]
    first = found[0]
    assert (first.name, first.arn, first.description) == ("busy", alarm.arn, "CPU above 50 %")
    assert (first.value, first.threshold, first.comparison) == (93.5, 50.0, "GreaterThanThreshold")
    assert (first.metric, first.namespace, first.instance) == ("CPUUtilization", "AWS/EC2", "i-0abc1234def567890")
    assert (first.datapoints_to_alarm, first.evaluation_periods, first.period) == (2, 3, 300.0)
    assert (first.region, first.account, first.reason) == ("ap-northeast-2", "123456789012", REASON)


@pytest.mark.parametrize("drift", [-0.4, 0.0, 0.4])
def test_the_histories_clock_may_differ_a_little(busy: CloudWatch, watching: AwsSession, drift: float) -> None:
    for before, after, at in (("ALARM", "OK", SINCE), ("OK", "ALARM", SINCE + 60)):
        data = json.dumps({"oldState": {"stateValue": before}, "newState": {"stateValue": after}})
        busy.add_history("busy", at + drift, data)
    busy.set_state("busy", "ALARM", SINCE + 60, in_history=False)

    assert look(watching) == [("OK", "ALARM", 60.0)]


def test_a_change_that_the_history_has_not_yet_is_told_from_the_alarm(busy: CloudWatch, watching: AwsSession) -> None:
    busy.set_state("busy", "ALARM", SINCE + 60)
    busy.set_state("busy", "OK", SINCE + 120, in_history=False)

    assert look(watching) == [("OK", "ALARM", 60.0), ("ALARM", "OK", 120.0)]


def test_an_alarm_that_flapped_unseen_says_only_what_is_known(busy: CloudWatch, watching: AwsSession) -> None:
    busy.set_state("busy", "ALARM", SINCE + 60, in_history=False)
    busy.set_state("busy", "OK", SINCE + 120, in_history=False)

    assert look(watching) == [("", "OK", 120.0)]


def test_three_changes_within_a_second(busy: CloudWatch, watching: AwsSession) -> None:
    for after, at in (("ALARM", 60.0), ("OK", 60.25), ("ALARM", 60.5)):
        busy.set_state("busy", after, SINCE + at)

    assert look(watching) == [("OK", "ALARM", 60.0), ("ALARM", "OK", 60.25), ("OK", "ALARM", 60.5)]
    assert look(watching, "ALARM", SINCE + 60.0) == [("ALARM", "OK", 60.25), ("OK", "ALARM", 60.5)]


def test_what_changes_after_the_alarm_was_read_is_left_to_the_next_look(busy: CloudWatch, watching: AwsSession) -> None:
    busy.set_state("busy", "ALARM", SINCE + 60)
    (alarm,) = cloudwatch.read_alarms(watching, ["busy"])
    busy.set_state("busy", "OK", SINCE + 61)

    assert [one.after for one in told(watching, alarm)] == ["ALARM"]
    assert look(watching, "ALARM", alarm.since) == [("ALARM", "OK", 61.0)]


def test_nothing_is_told_of_an_alarm_that_stays_as_it_is(busy: CloudWatch, watching: AwsSession) -> None:
    assert look(watching) == []
    assert look(watching, "", SINCE + 60) == []
    assert busy.calls["cloudwatch:DescribeAlarmHistory"] == 0


def test_an_alarm_made_anew_with_an_older_time_is_told_nevertheless(busy: CloudWatch, watching: AwsSession) -> None:
    assert look(watching, "ALARM", SINCE + 60) == [("ALARM", "OK", 0.0)]


def test_a_composite_alarm(cloud: CloudWatch, watching: AwsSession) -> None:
    cloud.put_alarm("busy", "OK", SINCE, AlarmRule="ALARM(a) OR ALARM(b)", AlarmDescription="either")
    cloud.set_state("busy", "ALARM", SINCE + 60)
    (alarm,) = cloudwatch.read_alarms(watching, ["busy"])

    (change,) = told(watching, alarm)

    assert (change.after, change.rule, change.description) == ("ALARM", "ALARM(a) OR ALARM(b)", "either")


def test_a_long_history_is_read_to_its_end(busy: CloudWatch, watching: AwsSession) -> None:
    for number in range(250):
        busy.set_state("busy", ("ALARM", "OK")[number % 2], SINCE + 1 + number)

    assert [at for _, _, at in look(watching)] == [1.0 + number for number in range(250)]
    assert busy.calls["cloudwatch:DescribeAlarmHistory"] == 3


def test_recovery_knows_how_long_the_alarm_fired(busy: CloudWatch, watching: AwsSession) -> None:
    busy.set_state("busy", "ALARM", SINCE + 60, REASON)
    busy.set_state("busy", "OK", SINCE + 180)
    (alarm,) = cloudwatch.read_alarms(watching, ["busy"])

    fired, recovered = told(watching, alarm)

    assert (fired.before_since, recovered.before_since) == (SINCE, SINCE + 60)
    assert "is OK again after 2 min" in render_alert(recovered, "en")["text"]
    # Without the history it may have been OK in between.
    (alone,) = alarm_history.collect_alarm_changes(alarm, (), "ALARM", SINCE)
    assert alone.before_since is None


def test_without_its_history_the_last_change_is_known(busy: CloudWatch, watching: AwsSession) -> None:
    busy.set_state("busy", "ALARM", SINCE + 60, REASON)
    (alarm,) = cloudwatch.read_alarms(watching, ["busy"])

    (change,) = alarm_history.collect_alarm_changes(alarm, (), "OK", SINCE)

    assert (change.before, change.after, change.at, change.value) == ("OK", "ALARM", SINCE + 60, 93.5)


@pytest.mark.parametrize(
    ("code", "status"), [("AccessDenied", 403), ("InternalFailure", 500), ("Throttling", 400), ("ExpiredToken", 403)]
)
def test_a_history_that_cannot_be_read_is_an_error(
    busy: CloudWatch, watching: AwsSession, code: str, status: int
) -> None:
    busy.fault = Fault(code, status=status, operation="DescribeAlarmHistory")
    with pytest.raises(AwsError):
        alarm_history.read_alarm_history(watching.best_effort, "busy", SINCE)
    assert busy.calls["cloudwatch:DescribeAlarmHistory"] == 1


def test_what_was_missed_between_two_states_that_are_known(busy: CloudWatch, watching: AwsSession) -> None:
    for after, at in (("ALARM", 60), ("OK", 120), ("ALARM", 180), ("OK", 240)):
        busy.set_state("busy", after, SINCE + at)
    (alarm,) = cloudwatch.read_alarms(watching, ["busy"])
    items = alarm_history.read_alarm_history(watching, "busy", SINCE)

    def missed(before: str, since: float, after: str, until: float) -> list[tuple[str, float]]:
        found = alarm_history.collect_missed_changes(alarm, items, before, SINCE + since, after, SINCE + until)
        return [(one.after, (one.at or 0.0) - SINCE) for one in found]

    assert missed("OK", 0, "OK", 240) == [("ALARM", 60.0), ("OK", 120.0), ("ALARM", 180.0)]
    assert missed("OK", 0, "OK", 120) == [("ALARM", 60.0)]
    assert missed("OK", 120, "ALARM", 180) == []


@pytest.mark.parametrize("data", ["", "{", "null", "[]", '{"newState": 3}', '{"newState": {"stateValue": null}}'])
def test_history_that_makes_no_sense_is_passed_over(busy: CloudWatch, watching: AwsSession, data: str) -> None:
    busy.add_history("busy", SINCE + 30, data)
    busy.set_state("busy", "ALARM", SINCE + 60, in_history=False)

    assert look(watching) == [("OK", "ALARM", 60.0)]


KEYS = st.sampled_from(["newState", "oldState", "stateValue", "stateReasonData"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
)


@given(JSON.map(json.dumps) | st.text())
def test_any_history_data_is_read_or_passed_over(data: str) -> None:
    item = alarm_history.parse_history_item({"Timestamp": datetime.fromtimestamp(NOW, UTC), "HistoryData": data})

    assert item is None or (item.at, bool(item.after)) == (NOW, True)


STATES = st.sampled_from(["OK", "ALARM", "INSUFFICIENT_DATA"])
ITEMS = st.lists(st.builds(HistoryItem, st.floats(SINCE - 60, NOW + 60), STATES, STATES, st.just({})))


@given(ITEMS, STATES, st.floats(SINCE + 0.001, NOW), STATES | st.just(""))
def test_whatever_the_history_says_the_alarm_itself_has_the_last_word(
    items: list[HistoryItem], state: str, at: float, before: str
) -> None:
    alarm = CloudWatchAlarm("busy", "arn:aws:cloudwatch:ap-northeast-2:1:alarm:busy", state, at)

    found = alarm_history.reconcile_history(items, alarm, before, SINCE)

    assert (found[-1].at, found[-1].after) == (at, state)
    assert all(one.before != one.after for one in found)
    assert [one.at for one in found[:-1]] == sorted(one.at for one in found[:-1])
    assert all(SINCE - 5 <= one.at <= at + 5 for one in found)


@given(st.lists(st.tuples(st.floats(0.001, 60), STATES), min_size=1), st.integers(0, 100), STATES)
def test_whenever_somebody_looks_each_change_is_told_once(steps: list[tuple[float, str]], cut: int, state: str) -> None:
    life, at = [(SINCE, state)], SINCE
    for gap, after in steps:
        at += gap
        if after != life[-1][1]:
            life.append((at, after))
    written = [HistoryItem(at, old, new, {}) for (_, old), (at, new) in pairwise(life)]
    complete = [HistoryItem(at, old, new, {}, began) for (began, old), (at, new) in pairwise(life)]
    middle = life[cut % len(life)]

    found: list[HistoryItem] = []
    for (since, before), (until, after) in ((life[0], middle), (middle, life[-1])):
        if until > since:
            alarm = CloudWatchAlarm("busy", "arn", after, until)
            found += alarm_history.reconcile_history(
                [one for one in written if one.at >= since - 5], alarm, before, since
            )

    assert found == complete


def test_the_last_change_has_the_id_that_every_other_copy_of_it_has(busy: CloudWatch, watching: AwsSession) -> None:
    busy.set_state("busy", "ALARM", SINCE + 60.123, REASON)
    (alarm,) = cloudwatch.read_alarms(watching, ["busy"])
    (noted,) = told(watching, alarm)
    (unnoted,) = alarm_history.collect_alarm_changes(alarm, (), "OK", SINCE)

    assert isinstance(noted, AlarmStateChange)
    assert noted.id == unnoted.id == f"{alarm.arn}|ALARM|{SINCE + 60.123:.3f}"
