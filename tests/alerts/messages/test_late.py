"""A message about an old event says how late it is and when the event happened."""

from __future__ import annotations

import pytest

from cwnotify.alerts.events.alarms import (
    AlarmStateChange,
    AwsEvent,
    Dimension,
    InstanceNotice,
    NoticeKind,
    UnrecognizedEvent,
)
from cwnotify.alerts.messages.alarm import alarm_message
from cwnotify.alerts.messages.digest import digest_payloads
from cwnotify.alerts.messages.flapping import flapping_message
from cwnotify.alerts.messages.late import LATE_AFTER_SECONDS, add_delivery_delay_note, format_rough_duration, late_line
from cwnotify.alerts.messages.render import render_alert
from tests import slack_rules

AT = 1_795_316_400.0  # 2026-11-22 03:00:00 UTC
DAYS = AT + 3 * 86400 + 5


def change(name: str = "a", at: float | None = AT, after: str = "ALARM") -> AlarmStateChange:
    return AlarmStateChange(name, after, "OK", at, region="us-east-1")


@pytest.mark.parametrize(
    ("seconds", "en", "ko"),
    [(901, "15 minutes", "15분"), (3600, "1 hour", "1시간"), (86399, "23 hours", "23시간"), (86400, "1 day", "1일"),
     (3 * 86400 + 5, "3 days", "3일"), (5, "0 minutes", "0분")],
)  # fmt: skip
def test_rough_duration_uses_the_largest_unit(seconds: float, en: str, ko: str) -> None:
    assert (format_rough_duration(seconds, "en"), format_rough_duration(seconds, "ko")) == (en, ko)


def test_late_line_begins_after_fifteen_minutes() -> None:
    assert late_line(AT, AT + LATE_AFTER_SECONDS, "en", "") == ""
    assert late_line(AT, AT + LATE_AFTER_SECONDS + 1, "en", "") == (
        ":hourglass: 15 minutes late: this happened at 2026-11-22 03:00 UTC"
    )
    assert late_line(AT, DAYS, "ko", "") == ":hourglass: 3일 늦은 알림이에요. 발생 시각은 2026-11-22 12:00 KST예요"
    for at, now in ((None, DAYS), (AT, None), (DAYS, AT)):
        assert late_line(at, now, "en", "") == ""


EVENTS: dict[str, AwsEvent] = {
    "alarm": change(),
    "contributor": AlarmStateChange("a", "OK", "ALARM", AT, contributor=(Dimension("x", "y"),), contributor_id="1"),
    "spot": InstanceNotice(NoticeKind.INTERRUPTION, "i-0abc", "terminate", AT),
    "rebalance": InstanceNotice(NoticeKind.REBALANCE, "i-0abc", "", AT),
    "instance": InstanceNotice(NoticeKind.STATE, "i-0abc", "stopped", AT),
    "plain": UnrecognizedEvent("hello", at=AT),
}


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("name", EVENTS)
def test_every_late_event_shows_its_time(name: str, lang: str) -> None:
    line = late_line(AT, DAYS, lang, "")
    payload = render_alert(EVENTS[name], lang, now=DAYS)
    slack_rules.assert_valid_payload(payload)
    # Slack shows `text` only in the notification.
    assert payload["text"] == payload["blocks"][0]["text"]["text"]
    assert payload["text"].endswith(f"\n{line}")
    for now in (None, AT, AT + 60):
        assert "hourglass" not in str(render_alert(EVENTS[name], lang, now=now))


def test_late_notice_announces_nothing_outdated() -> None:
    spot = EVENTS["spot"]
    assert "in about two minutes" in render_alert(spot, "en", now=AT + 30)["text"]
    # The two minutes end long before the notice counts as late.
    for now in (AT + 121, DAYS):
        assert "announced that it would reclaim" in render_alert(spot, "en", now=now)["text"]
        assert "2분 뒤" not in render_alert(spot, "ko", now=now)["text"]
    assert "is now" not in render_alert(EVENTS["instance"], "en", now=DAYS)["text"]
    assert "may soon" not in render_alert(EVENTS["rebalance"], "en", now=DAYS)["text"]


def test_watch_gap_is_shown_in_its_own_line() -> None:
    payload = alarm_message(change(), "en", watch_gap=(AT - 60, DAYS), now=DAYS)
    assert "3 days late" in payload["text"]
    assert payload["blocks"][2]["elements"][0]["text"] == (
        ":hourglass: No watch was running from 2026-11-22 02:59:00 UTC to 2026-11-25 03:00:05 UTC"
    )


def test_flapping_message_is_late_if_its_last_change_is() -> None:
    changes = [change(at=AT + n, after="OK" if n % 2 else "ALARM") for n in range(9)]
    assert "hourglass" not in str(flapping_message(changes, "en", now=AT + 600))
    payload = flapping_message(changes, "en", now=DAYS)
    assert payload["text"].endswith(":hourglass: 2 days late: this happened at 2026-11-22 03:00 UTC")
    assert payload["text"] == payload["blocks"][0]["text"]["text"]


def test_digest_shows_when_its_changes_happened() -> None:
    changes = [change(f"cpu-{n}", AT + n) for n in range(7)]
    (fresh,) = digest_payloads(changes, 0, "en", now=AT + 60)
    assert fresh["text"] == ":rotating_light: *7 alarms changed* within 6 s: 7 in ALARM"
    assert fresh["blocks"][1]["elements"][0]["text"].endswith(" · 03:00:00 – 03:00:06 UTC")
    (late,) = digest_payloads(changes, 0, "en", now=DAYS + 6)
    assert late["text"] == (
        ":rotating_light: *7 alarms changed* within 6 s: 7 in ALARM\n"
        ":hourglass: 3 days late: this happened at 2026-11-22 03:00 UTC"
    )
    assert late["blocks"][1]["elements"][0]["text"].endswith(" · 2026-11-22 03:00:00 – 03:00:06 UTC")
    assert late["text"] == late["blocks"][0]["text"]["text"]


def test_digest_of_old_and_new_changes_shows_times_of_old_ones() -> None:
    (payload,) = digest_payloads([change("old"), change("new", DAYS - 5)], 0, "en", now=DAYS)
    assert "Up to 3 days late: the first of these happened at 2026-11-22 03:00 UTC" in payload["text"]
    names = payload["attachments"][0]["blocks"][0]["text"]["text"]
    assert "|old> [2026-11-22 03:00 UTC]" in names
    assert names.count("[") == 1


def test_digest_without_times_shows_none() -> None:
    (payload,) = digest_payloads([change("a", None), change("b", None)], 30, "en", now=DAYS)
    assert payload["text"] == ":rotating_light: *2 alarms changed* within 30 s: 2 in ALARM"
    assert "UTC" not in str(payload)


@pytest.mark.parametrize(("lang", "line"), [
    ("en", ":hourglass: Delivered 3 hours late: written at 2026-11-22 03:00 UTC"),
    ("ko", ":hourglass: 3시간 늦게 전달됐어요. 작성 시각은 2026-11-22 12:00 KST예요"),
])  # fmt: skip
def test_delayed_message_says_when_it_was_written(lang: str, line: str) -> None:
    written = render_alert(EVENTS["spot"], lang, now=AT)
    assert add_delivery_delay_note(written, AT, AT + 60, lang, "") == written

    late = add_delivery_delay_note(written, AT, AT + 3 * 3600, lang, "")

    slack_rules.assert_valid_payload(late)
    assert late["text"] == f"{written['text']}\n{line}"
    assert late["blocks"][0]["text"]["text"].endswith(f"\n{line}")
    assert (late["blocks"][1:], late.get("attachments")) == (written["blocks"][1:], written.get("attachments"))


def test_delayed_message_without_blocks_or_room_stays_within_limits() -> None:
    for payload in ({"text": "x" * 40_000}, {"text": "x", "blocks": [{"type": "divider"}]}):
        late = add_delivery_delay_note(payload, AT, DAYS, "en", "")
        assert late["text"].endswith("written at 2026-11-22 03:00 UTC")
        assert len(late["text"]) <= 40_000
