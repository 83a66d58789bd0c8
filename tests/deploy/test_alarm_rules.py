"""The rules for existing alarms: any names fit, and names stay in their rules."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.deploy.alarm_rules import MAX_PATTERN_LENGTH, assign_alarms_to_rules, measure_pattern
from cwnotify.deploy.template import build_template, dump_template, parse_alarm_rules
from cwnotify.errors import UsageError


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255), unique=True, max_size=30))
def test_any_names_survive_the_template_and_fit_into_patterns(names: list[str]) -> None:
    rules = assign_alarms_to_rules((), names)
    text = dump_template(build_template((), rules, ["arn"]))
    template = json.loads(text)
    assert text.isascii()
    assert parse_alarm_rules(template) == rules
    assert {name for rule in rules for name in rule.alarms} == set(names)
    for rule in rules:
        pattern = template["Resources"][f"Alarms{rule.number}"]["Properties"]["EventPattern"]
        assert pattern == rule.event_pattern
        assert measure_pattern(pattern) <= MAX_PATTERN_LENGTH


def test_more_names_than_rules_can_hold_are_rejected() -> None:
    with pytest.raises(UsageError, match="use --fleet"):
        assign_alarms_to_rules((), [f"{n}-{'x' * 240}" for n in range(800)])


def test_assigned_name_stays_in_its_rule() -> None:
    names = tuple(f"first-{n:03}-{'x' * 80}" for n in range(40))
    before = assign_alarms_to_rules((), names)
    assert len(before) == 3
    assert assign_alarms_to_rules(before, names) == before
    # The second rule is removed, the third keeps its number, and a new name goes where there is room.
    remaining = [name for name in names if name not in before[1].alarms]
    after = assign_alarms_to_rules(before, [*remaining, "new"])
    assert [rule.number for rule in after] == [1, 3]
    assert set(after[0].alarms) | set(after[1].alarms) == {*remaining, "new"}
