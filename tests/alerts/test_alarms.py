"""What Slack is told of alarms, instances and whatever else AWS sends: as it reads, and within Slack's limits."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwnotify.alerts import blocks as b
from cwnotify.alerts.alarm_events import AlarmChanged, AlarmState, ChildAlarm, Dimension
from cwnotify.alerts.alarms import Tone, alarm_message, sentence, tone_of
from cwnotify.alerts.blocks import Payload
from cwnotify.alerts.envelopes import parse
from cwnotify.alerts.events import Outcome, Run, RunEnded
from cwnotify.alerts.render import render
from cwnotify.alerts.runs import run_message
from tests import slack_rules
from tests.alerts.test_envelopes import EVENTS
from tests.golden import DATA, holds
from tests.hostile import NASTY, anything, mutated

ABOVE, BELOW = "GreaterThanThreshold", "LessThanThreshold"
SHOWN = (
    "sns_training_ended.ko",
    "sns_busy.en",
    "sns_busy.ko",
    "sns_back_to_ok.ko",
    "sns_no_data.ko",
    "sns_stopped_counts_as_off.en",
    "sns_composite.en",
    "eventbridge_composite_muted.ko",
    "eventbridge_contributor.en",
    "sns_metric_math.en",
    "sns_anomaly.ko",
    "sns_null_fields.en",
    "sns_unknown_state.ko",
    "sns_china.en",
    "spot_interruption.ko",
    "spot_interruption.en",
    "rebalance_recommendation.ko",
    "instance_stopped.en",
    "sns_plain_text.ko",
    "eventbridge_configuration_change.en",
    "empty_object.en",
)
MARKUP = {"<!channel>", "<!here|x>", "<@U123>", "<https://evil.example|click>"}


@pytest.mark.parametrize("name", SHOWN)
def test_a_message_reads_as_its_file_does(name: str) -> None:
    stem, lang = name.rsplit(".", 1)
    (event,) = parse(EVENTS[stem])
    payload = render(event, lang)
    slack_rules.check(payload)
    holds(DATA / "messages" / f"{name}.json", json.dumps(payload, ensure_ascii=False, indent=2) + "\n")


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_message_is_one_that_slack_takes(name: str, lang: str) -> None:
    for event in parse(EVENTS[name]):
        slack_rules.check(render(event, lang, "America/New_York", "#alerts"))


@pytest.mark.parametrize(
    ("name", "comparison", "after", "tone", "colour"),
    [
        ("train-3-busy", ABOVE, AlarmState.ALARM, Tone.BAD, "#eb4034"),
        ("train-3-busy", ABOVE, AlarmState.OK, Tone.GOOD, "#30db3f"),
        ("train-3-busy", ABOVE, AlarmState.INSUFFICIENT_DATA, Tone.NO_DATA, b.NO_DATA),
        ("train-3-off", ABOVE, AlarmState.ALARM, Tone.GOOD, "#30db3f"),
        ("train-3-off", "", AlarmState.OK, Tone.CALM, b.NO_DATA),
        ("train_off", "", AlarmState.ALARM, Tone.GOOD, "#30db3f"),
        ("training OFF (gpu)", "", AlarmState.ALARM, Tone.GOOD, "#30db3f"),
        ("TrainingOff", "", AlarmState.ALARM, Tone.GOOD, "#30db3f"),
        ("off", "", AlarmState.ALARM, Tone.GOOD, "#30db3f"),
        ("office-cutoff-offline", ABOVE, AlarmState.ALARM, Tone.BAD, "#eb4034"),
        ("idle", BELOW, AlarmState.ALARM, Tone.GOOD, "#30db3f"),
        ("idle", "LessThanOrEqualToThreshold", AlarmState.ALARM, Tone.GOOD, "#30db3f"),
        ("idle", BELOW, AlarmState.OK, Tone.CALM, b.NO_DATA),
        ("odd", "LessThanLowerThreshold", AlarmState.ALARM, Tone.GOOD, "#30db3f"),
        ("odd", "LessThanLowerOrGreaterThanUpperThreshold", AlarmState.ALARM, Tone.BAD, "#eb4034"),
        ("new", ABOVE, "MUTED", Tone.CALM, b.NO_DATA),
    ],
)
def test_colour_follows_the_meaning(name: str, comparison: str, after: str, tone: Tone, colour: str) -> None:
    event = AlarmChanged(name, after, comparison=comparison)
    assert tone_of(event) == tone
    assert alarm_message(event, "en")["attachments"][0]["color"] == colour


@pytest.mark.parametrize(
    ("partition", "region", "console"),
    [
        ("aws", "ap-northeast-2", "https://ap-northeast-2.console.aws.amazon.com"),
        ("aws-cn", "cn-north-1", "https://cn-north-1.console.amazonaws.cn"),
        ("aws-us-gov", "us-gov-west-1", "https://us-gov-west-1.console.amazonaws-us-gov.com"),
    ],
)
@pytest.mark.parametrize("name", ["train-3-off", "a/b <c> & 100% 'd' | #e?f", "학습 🚀 끝"])
def test_the_button_opens_that_very_alarm(name: str, partition: str, region: str, console: str) -> None:
    button = _button(alarm_message(AlarmChanged(name, "ALARM", region=region, partition=partition), "en"))
    where, _, encoded = button["url"].partition("#alarmsV2:alarm/")
    assert where == f"{console}/cloudwatch/deeplink.js?region={region}"
    assert unquote(encoded) == name
    assert re.fullmatch(r"[\w.~%-]+", encoded, re.ASCII)
    assert button["text"]["text"] == "CloudWatch :eyes:"
    assert button["style"] == "primary"


def test_a_region_that_is_none_cannot_forge_a_host() -> None:
    for region in ("evil.example/", "EXAMPLE", ""):
        url = _button(alarm_message(AlarmChanged("a", region=region), "en"))["url"]
        assert url == "https://console.aws.amazon.com/cloudwatch/home#alarmsV2:alarm/a"
    assert _button(alarm_message(AlarmChanged("a", partition="aws-iso"), "en")) == {}


def test_a_name_too_long_for_a_link_leads_to_all_alarms() -> None:
    payload = alarm_message(AlarmChanged("🚀" * 255, region="us-east-1"), "en")
    assert _button(payload)["url"].endswith("?region=us-east-1#alarmsV2:")


def test_times_are_in_the_readers_zone() -> None:
    event = AlarmChanged("a", "ALARM", at=1795328060.236)
    fields = {zone: "\n".join(_fields(alarm_message(event, "ko", zone))) for zone in ("", "UTC", "Nowhere/At_All")}
    assert "2026-11-22 15:14:20 KST" in fields[""]
    assert "2026-11-22 06:14:20 UTC" in fields["UTC"]
    assert "2026-11-22 06:14:20 UTC" in fields["Nowhere/At_All"]


def test_the_sentence_says_it_all() -> None:
    event = AlarmChanged(
        "train-3-off",
        "ALARM",
        "OK",
        value=3.2,
        threshold=10.0,
        comparison=BELOW,
        metric="CPUUtilization",
        namespace="AWS/EC2",
        instance="i-0abc",
    )
    assert sentence(event, "en") == "*train-3-off* went from OK to ALARM: CPUUtilization 3.2 % &lt; 10 % (`i-0abc`)"
    assert sentence(event, "ko") == (
        "*train-3-off* 경보가 OK에서 ALARM 상태로 바뀌었어요: CPUUtilization 3.2 % &lt; 10 % (`i-0abc`)"
    )


def test_a_message_begins_with_the_fairy_and_the_description() -> None:
    event = AlarmChanged("a", "ALARM", description="학습이 끝났어요\n\n* 확인 *", reason="Threshold Crossed")
    for lang, fairy in (("en", "AWS fairy"), ("ko", "AWS 요정")):
        section, divider, context = alarm_message(event, lang)["blocks"]
        greeting, *rest = section["text"]["text"].split("\n")
        assert greeting.startswith(":female_fairy: ")
        assert fairy in greeting
        assert rest == ["*학습이 끝났어요*", "*∗ 확인 ∗*"]
        assert divider == {"type": "divider"}
        assert context["elements"][0]["text"] == "Threshold Crossed"


def test_what_is_missing_leaves_no_hole() -> None:
    payload = alarm_message(AlarmChanged("a"), "en")
    slack_rules.check(payload)
    assert [block["type"] for block in payload["blocks"]] == ["section"]
    assert _fields(payload) == ["*Alarm*\na"]
    assert "None" not in json.dumps(payload)


def test_the_longest_alarm_fits() -> None:
    long = "&" * 1_024
    event = AlarmChanged(
        name="&" * 255,
        after=long,
        before=long,
        description="\n".join(["&" * 100] * 100),
        reason=long,
        account=long,
        region=long,
        metric=long,
        dimensions=tuple(Dimension(long, long) for _ in range(30)),
        instance=long,
        rule="&" * 10_240,
        children=tuple(ChildAlarm("&" * 255, long) for _ in range(100)),
        held_back=long,
        muted_by=long,
    )
    for lang in ("en", "ko"):
        payload = alarm_message(event, lang)
        slack_rules.check(payload)
        assert len(_fields(payload)) <= 10


def test_hostile_text_neither_pings_nor_links() -> None:
    for text in NASTY:
        event = AlarmChanged(
            name=text, after=text, before=text, description=text, reason=text, account=text, region=text, metric=text,
            unit=text, value=1.0, statistic=text, period=60.0, treat_missing_data=text, comparison=text, instance=text,
            dimensions=(Dimension(text, text),), rule=text, children=(ChildAlarm(text, text),), held_back=text,
            muted_by=text,
        )  # fmt: skip
        payload = alarm_message(event, "en", channel=text)
        slack_rules.check(payload)
        assert not any(markup in shown for markup in MARKUP for shown in slack_rules.texts(payload))


def test_a_run_is_rendered_by_its_own_language() -> None:
    ended = RunEnded(Run("id", "resnet50", 0.0), Outcome.FINISHED, 3.0, 3.0)
    assert render(ended, "ko") == run_message(ended)


@settings(max_examples=150, deadline=None)
@given(mutated(EVENTS) | anything(), st.sampled_from(["en", "ko", "xx"]))
def test_whatever_comes_slack_takes_what_is_said_of_it(event: Any, lang: str) -> None:
    for one in parse(event):
        payload = render(one, lang, "Asia/Seoul")
        slack_rules.check(payload)
        assert not any(markup in shown for markup in MARKUP for shown in slack_rules.texts(payload))


def _button(payload: Payload) -> Payload:
    actions = [block for block in payload["attachments"][0]["blocks"] if block["type"] == "actions"]
    button: Payload = actions[0]["elements"][0] if actions else {}
    return button


def _fields(payload: Payload) -> list[str]:
    return [field["text"] for block in payload["attachments"][0]["blocks"] for field in block.get("fields", [])]
