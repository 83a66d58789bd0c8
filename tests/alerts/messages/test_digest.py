"""Digests: many changes in few messages, each alarm once, worst first, within Slack's limits."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwnotify.alerts.events.alarms import AlarmStateChange, AwsEvent, Dimension, UnrecognizedEvent, deduplicate_events
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.messages.alarm import alarm_message
from cwnotify.alerts.messages.block_kit import Payload
from cwnotify.alerts.messages.digest import MAX_DIGEST_MESSAGE_LENGTH, digest_pages, digest_payloads
from cwnotify.alerts.messages.notice import unrecognized_event_message
from cwnotify.alerts.parsing.envelopes import parse_aws_events
from tests import slack_rules
from tests.alerts.parsing.test_envelopes import EVENTS
from tests.golden import DATA_DIR, assert_golden
from tests.hostile import mutated_events

AT = 1795328400.0


def alarm(name: str, after: str = "ALARM", at: float | None = AT, **fields: Any) -> AlarmStateChange:
    arn = f"arn:aws:cloudwatch:ap-northeast-2:123456789012:alarm:{name}"
    return AlarmStateChange(name, after, at=at, arn=arn, region="ap-northeast-2", **{"before": "OK", **fields})


def fleet(alarms: int) -> list[AlarmStateChange]:
    states = ("ALARM", "OK", "OK", "INSUFFICIENT_DATA")
    return [alarm(f"train-{i:04}-{'off' if i % 7 == 0 else 'busy'}", states[i % 4], AT + i % 30) for i in range(alarms)]


def alarm_names(payloads: tuple[Payload, ...]) -> Counter[str]:
    texts = [text for payload in payloads for text in slack_rules.payload_texts(payload)]
    return Counter(name for text in texts for name in re.findall(r"<https://[^|>]+\|([^>]+)>", text))


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_digest_matches_golden_file(lang: str) -> None:
    changes = [
        *(alarm(f"train-{i:03}-busy", at=AT + i) for i in (17, 2)),
        alarm("train-001-off", at=AT + 3),
        alarm("train-388-disk", "INSUFFICIENT_DATA", AT + 30),
        *(alarm(f"train-{i:03}-busy", "OK", AT + i) for i in range(20, 26)),
        alarm("train-017-busy", "OK", AT + 5),
        alarm("train-017-busy", "ALARM", AT + 29),
        alarm("tables", contributor=(Dimension("TableName", "orders"),), contributor_id="1"),
    ]
    payloads = digest_payloads(changes, 30, lang)
    assert len(payloads) == 1
    slack_rules.assert_valid_payload(payloads[0])
    text = json.dumps(payloads[0], ensure_ascii=False, indent=2) + "\n"
    assert_golden(DATA_DIR / "messages" / f"digest.{lang}.json", text)


@pytest.mark.parametrize("alarms", [2, 137, 412, 3_000])
def test_every_alarm_is_listed_once(alarms: int) -> None:
    changes = fleet(alarms)
    payloads = digest_payloads(changes, 30, "en")
    for payload in payloads:
        slack_rules.assert_valid_payload(payload)
        assert sum(map(len, slack_rules.payload_texts(payload))) < MAX_DIGEST_MESSAGE_LENGTH + 4_000
    assert alarm_names(payloads) == Counter(change.name for change in changes)
    pages = [
        f"Message {number} of {len(payloads)}" in json.dumps(payload) for number, payload in enumerate(payloads, 1)
    ]
    assert all(pages) == (len(payloads) > 1)


def test_groups_are_ordered_worst_first() -> None:
    changes = [alarm("a", "OK"), alarm("b", "INSUFFICIENT_DATA"), alarm("c-off"), alarm("d"), alarm("e", "ODD")]
    changes += [alarm("f-off", no_data=True), alarm("q-off", metric="Depth"), alarm("g-off", "OK", metric="Depth")]
    (payload,) = digest_payloads(changes, 30, "en")
    assert payload["text"] == (
        ":rotating_light: *8 alarms changed*: 1 in ALARM, 2 without data, 1 in ODD, 1 finished training, "
        "1 in ALARM (welcome), 1 OK, 1 OK"
    )
    headings = [attachment["blocks"][0]["text"]["text"].split("\n")[0] for attachment in payload["attachments"]]
    assert list(zip(headings, [attachment["color"] for attachment in payload["attachments"]], strict=True)) == [
        ("*In ALARM (1)*", "#eb4034"),
        ("*Without data (2)*", "#9aa0a6"),
        ("*In ODD (1)*", "#9aa0a6"),
        ("*Training ended (1)*", "#30db3f"),
        ("*In ALARM, welcome (1)*", "#30db3f"),
        ("*OK (1)*", "#9aa0a6"),
        ("*OK (1)*", "#30db3f"),
    ]
    assert list(alarm_names((payload,))) == ["d", "b", "f-off", "e", "c-off", "q-off", "g-off", "a"]


def test_only_welcome_changes_are_green() -> None:
    (payload,) = digest_payloads([alarm("a-off"), alarm("b-off")], 0, "ko")
    assert payload["text"] == ":white_check_mark: *경보 2개* 상태가 바뀌었어요: 학습 종료 2개"
    assert payload["attachments"][0]["color"] == "#30db3f"
    (payload,) = digest_payloads([alarm("disk-low", comparison="LessThanThreshold"), alarm("b")], 0, "en")
    assert payload["attachments"][0]["color"] == "#eb4034"


def test_alarms_are_grouped_by_purpose_rarest_first() -> None:
    names = [f"train-{n:03}-{kind}" for n in range(3) for kind in ("busy", "gpu-lost")] + ["train-017-busy", "db-full"]
    (payload,) = digest_payloads([alarm(name, before="ALARM") for name in names], 0, "en")
    lines = re.sub(r"<[^|]*\|([^>]*)>", r"\1", payload["attachments"][0]["blocks"][0]["text"]["text"]).split("\n")
    assert lines == [
        "*In ALARM (8)*",
        "db-full",
        "gpu-lost 3: train-000-gpu-lost · train-001-gpu-lost · train-002-gpu-lost",
        "busy 4: train-000-busy · train-001-busy · train-002-busy · train-017-busy",
    ]


@pytest.mark.parametrize("name", ["1" * 5_000, "1-" * 2_500, "a1-" * 1_700, "-" * 5_000], ids=lambda name: name[:3])
def test_digest_of_long_names_takes_linear_time(name: str) -> None:
    began = time.process_time()
    digest_payloads([alarm(f"{name}{number}") for number in range(30)], 60, "en")

    assert time.process_time() - began < 1


def test_each_event_is_on_one_page_and_flattened_text_names_every_alarm() -> None:
    changes: list[AwsEvent] = [*fleet(900), alarm("train-0001-busy", "OK", AT + 40), UnrecognizedEvent("x", id="1")]
    pages = digest_pages(changes, 0, "en", now=AT + 60)
    assert len(pages) > 2
    assert Counter(event.id for page in pages for event in page.events) == Counter(event.id for event in changes)
    for page in pages[:-1]:
        assert all(
            event.name in b.flatten_blocks_to_text(page.payload)["text"]
            for event in page.events
            if isinstance(event, AlarmStateChange)
        )


def test_flapping_alarm_is_listed_once_with_its_latest_state() -> None:
    # The changes are out of order, as from a queue.
    changes = [alarm("a", "OK", AT + 20), alarm("a", "ALARM", AT + 10), alarm("b")]
    (payload,) = digest_payloads(changes, 30, "en")
    assert "1 in ALARM, 1 OK" in payload["text"]
    assert alarm_names((payload,)) == Counter("ab")
    assert "|a> ×2" in json.dumps(payload, ensure_ascii=False)


def test_single_alarm_gets_full_message() -> None:
    event = alarm("a")
    assert digest_payloads([event, event], 30, "en", "UTC", "#x") == (alarm_message(event, "en", "UTC", "#x"),)


def test_other_event_gets_its_own_message() -> None:
    plain = UnrecognizedEvent("hello", id="1")
    payloads = digest_payloads([alarm("a"), plain, alarm("b")], 30, "en")
    assert payloads[1:] == (unrecognized_event_message(plain, "en"),)
    assert digest_payloads([], 30, "en") == ()


def test_deduplicate_drops_copies_and_keeps_order() -> None:
    first, second, other = alarm("a"), alarm("a", "OK"), UnrecognizedEvent("a", id="a")
    assert deduplicate_events([first, other, second, first, other]) == (first, other, second)


def test_deduplicate_drops_copies_from_other_sources() -> None:
    events = [
        event
        for name in ("sns_busy", "eventbridge_single_metric", "raw_in_sqs")
        for event in parse_aws_events(EVENTS[name])
    ]
    assert [type(event) for event in deduplicate_events(events)] == [AlarmStateChange, UnrecognizedEvent]


@settings(max_examples=50, deadline=None)
@given(st.lists(mutated_events(EVENTS), min_size=1, max_size=8), st.sampled_from(["en", "ko"]))
def test_digest_of_any_input_is_valid(batch: list[object], lang: str) -> None:
    events: list[AwsEvent] = [event for data in batch for event in parse_aws_events(data)]
    for payload in digest_payloads(events, 30, lang):
        slack_rules.assert_valid_payload(payload)
