"""Missed changes: the first line shows the current state."""

from __future__ import annotations

import json

import pytest

from cwnotify.alerts.events.alarms import AlarmStateChange
from cwnotify.alerts.messages.missed_changes import MAX_MISSED_CHANGE_LINES, missed_changes_message
from tests import slack_rules

AT = 1795328400.0
ARN = "arn:aws:cloudwatch:ap-northeast-2:123456789012:alarm:train-busy"


def change(n: int, name: str = "train-busy") -> AlarmStateChange:
    before, after = ("OK", "ALARM") if n % 2 else ("ALARM", "OK")
    return AlarmStateChange(name, after, before, AT + n, arn=ARN, region="ap-northeast-2")


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_message_shows_current_state_and_each_earlier_change(lang: str) -> None:
    payload = missed_changes_message([change(1), change(2)], "ALARM", lang, "UTC", "#ml")
    slack_rules.assert_valid_payload(payload)
    assert "*train-busy*" in payload["text"]
    assert "ALARM" in payload["text"]
    text = json.dumps(payload, ensure_ascii=False)
    assert text.count("OK → ALARM") == text.count("ALARM → OK") == 1
    assert payload["channel"] == "#ml"


def test_message_with_many_changes_and_hostile_names_is_valid() -> None:
    changes = [change(n, "<!channel>`*" * 20) for n in range(1, 500)]
    payload = missed_changes_message(changes, "ODD <!here>", "en")
    slack_rules.assert_valid_payload(payload)
    text = json.dumps(payload, ensure_ascii=False)
    assert f"… +{499 - MAX_MISSED_CHANGE_LINES}" in text
    assert "<!" not in text
