"""Every envelope and variation of the corpus becomes the right events, and nothing whatever raises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from cwnotify.alerts.alarm_events import AlarmChanged, AlarmState, Plain
from cwnotify.alerts.envelopes import parse
from cwnotify.alerts.records import from_record, to_record
from tests.golden import DATA, described, holds
from tests.hostile import anything, mutated

CORPUS = sorted((DATA / "envelopes").glob("*.json"))
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
}
TIMES = (
    "2020-01-14T08:45:42.236+0000",
    "2020-01-14T08:45:42.236Z",
    "2020-01-14T08:45:42.236000+00:00",
    "2020-01-14T17:45:42.236+0900",
    "2020-01-14T08: 45: 42.236+0000",
    "2020-01-14T08:45:42.236",
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
        "None  None, None of None"
    ),
    "1 out of the last 2 datapoints [1.0 (22/11/26 04:02:00)] was not greater than the threshold (2.0) (minimum 1 "
    "datapoint for ALARM -> OK transition).": "1.0 GreaterThanThreshold 2.0, 2 of 2",
}


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_an_envelope_becomes_what_its_text_file_says(path: Path) -> None:
    events = parse(EVENTS[path.stem])
    holds(path.with_suffix(".txt"), "\n".join(map(described, events)))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_an_event_survives_the_outbox(path: Path) -> None:
    for event in parse(EVENTS[path.stem]):
        assert from_record(type(event), json.loads(json.dumps(to_record(event)))) == event


def test_one_change_has_one_id_whichever_way_it_came() -> None:
    ways = ("bare_message", "sns_busy", "eventbridge_single_metric", "eventbridge_in_sns", "history_data")
    assert len({parse(EVENTS[way])[0].id for way in ways}) == 1


def test_series_that_change_at_once_have_ids_of_their_own() -> None:
    event = EVENTS["eventbridge_contributor"]
    contributor = {"id": "0000000000000000", "attributes": {"TableName": "baskets"}}
    other = event | {"detail": event["detail"] | {"alarmContributor": contributor}}
    assert parse(event)[0].id != parse(other)[0].id


@pytest.mark.parametrize(("name", "code"), REGIONS.items())
def test_a_region_by_any_name(name: str, code: str) -> None:
    event = {"AlarmName": "a", "NewStateValue": "OK", "Region": name}
    assert _only_alarm(event).region == code


@pytest.mark.parametrize("text", TIMES)
def test_a_time_in_any_spelling(text: str) -> None:
    assert _only_alarm({"AlarmName": "a", "StateChangeTime": text}).at == 1578991542.236


def test_a_time_that_is_none() -> None:
    assert _only_alarm({"AlarmName": "a", "StateChangeTime": "14/01/20 08:45:42"}).at is None


@pytest.mark.parametrize(("reason", "told"), REASONS.items())
def test_what_a_reason_alone_tells(reason: str, told: str) -> None:
    alarm = _only_alarm({"alarmName": "a", "state": {"value": "ALARM", "reason": f"Threshold Crossed: {reason}"}})
    points = f"{alarm.datapoints_to_alarm} of {alarm.evaluation_periods}"
    assert f"{alarm.value} {alarm.comparison} {alarm.threshold}, {points}" == told


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
        (plain,) = parse(event)
        assert isinstance(plain, Plain)
        assert plain.text


def test_deep_nesting_and_circles_are_shown() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    circle: dict[str, Any] = {}
    circle["Records"] = [circle]
    for event in (deep, circle, "[" * 100_000, {"Records": [{"Sns": {"Message": "[" * 100_000}}]}):
        assert isinstance(parse(event)[0], Plain)


@settings(max_examples=200, deadline=None)
@given(anything())
def test_nothing_raises(event: Any) -> None:
    assert len(parse(event)) >= 1


@settings(max_examples=200, deadline=None)
@given(mutated(EVENTS))
def test_nothing_mutated_raises(event: Any) -> None:
    events = parse(event)
    assert events
    assert all(isinstance(one.id, str) for one in events)


def _only_alarm(event: object) -> AlarmChanged:
    (alarm,) = parse(event)
    assert isinstance(alarm, AlarmChanged)
    return alarm
