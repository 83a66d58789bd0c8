"""Messages about alarms, instances and other AWS events: golden files, and Slack's limits."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwnotify.alerts.events.alarms import AlarmStateChange, ChildAlarm, Dimension, Tag, WatchedMetric
from cwnotify.alerts.events.runs import Outcome, Run, RunResult
from cwnotify.alerts.messages.alarm import alarm_message
from cwnotify.alerts.messages.block_kit import Payload
from cwnotify.alerts.messages.render import render_alert
from cwnotify.alerts.messages.run import run_message
from cwnotify.alerts.parsing.envelopes import parse_aws_events
from tests import slack_rules
from tests.alerts.parsing.test_envelopes import EVENTS
from tests.golden import DATA_DIR, assert_golden
from tests.hostile import HOSTILE_STRINGS, any_value, mutated_events

GOLDEN = (
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
    "case_alarm_to_alarm.en",
    "case_alarm_to_alarm.ko",
    "case_below_rds_disk_full.en",
    "case_bytes_unreadable.ko",
    "case_composite_200_wall.en",
    "case_cross_account_metric.en",
    "case_description_markdown.en",
    "case_description_url_broken.en",
    "case_insights_summary_without_names.en",
    "case_log_alarm_query_lost.en",
    "case_log_alarm_query_lost.ko",
    "case_m_of_n_newest_not_breaching.en",
    "case_ok_with_alarming_headline.en",
    "case_ok_with_alarming_headline.ko",
    "case_promql_query_lost.en",
    "case_promql_query_lost.ko",
)
MARKUP = {"<!channel>", "<!here|x>", "<@U123>"}


@pytest.mark.parametrize("name", GOLDEN)
def test_message_matches_golden_file(name: str) -> None:
    stem, lang = name.rsplit(".", 1)
    (event,) = parse_aws_events(EVENTS[stem])
    payload = render_alert(event, lang)
    slack_rules.assert_valid_payload(payload)
    assert_golden(DATA_DIR / "messages" / f"{name}.json", json.dumps(payload, ensure_ascii=False, indent=2) + "\n")


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("name", sorted(EVENTS))
def test_message_of_every_event_is_valid(name: str, lang: str) -> None:
    for event in parse_aws_events(EVENTS[name]):
        slack_rules.assert_valid_payload(render_alert(event, lang, "America/New_York", "#alerts"))


@pytest.mark.parametrize(
    ("partition", "region", "console"),
    [
        ("aws", "ap-northeast-2", "https://ap-northeast-2.console.aws.amazon.com"),
        ("aws-cn", "cn-north-1", "https://cn-north-1.console.amazonaws.cn"),
        ("aws-us-gov", "us-gov-west-1", "https://us-gov-west-1.console.amazonaws-us-gov.com"),
    ],
)
@pytest.mark.parametrize("name", ["train-3-off", "a/b <c> & 100% 'd' | #e?f", "학습 🚀 끝"])
def test_button_opens_the_alarm(name: str, partition: str, region: str, console: str) -> None:
    button = _button(alarm_message(AlarmStateChange(name, "ALARM", region=region, partition=partition), "en"))
    page, _, encoded = button["url"].partition("#alarmsV2:alarm/")
    assert page == f"{console}/cloudwatch/deeplink.js?region={region}"
    assert unquote(encoded) == name
    assert re.fullmatch(r"[\w.~%-]+", encoded, re.ASCII)
    assert button["text"]["text"] == "CloudWatch :eyes:"


def test_invalid_region_cannot_change_the_console_host() -> None:
    for region in ("evil.example/", "EXAMPLE", ""):
        url = _button(alarm_message(AlarmStateChange("a", region=region), "en"))["url"]
        assert url == "https://console.aws.amazon.com/cloudwatch/home#alarmsV2:alarm/a"
    assert _button(alarm_message(AlarmStateChange("a", partition="aws-iso"), "en")) == {}


def test_button_of_too_long_name_opens_all_alarms() -> None:
    payload = alarm_message(AlarmStateChange("🚀" * 255, region="us-east-1"), "en")
    assert _button(payload)["url"].endswith("?region=us-east-1#alarmsV2:")


def test_times_are_in_the_configured_zone() -> None:
    event = AlarmStateChange("a", "ALARM", at=1795328060.236)
    last_lines = {zone: _texts(alarm_message(event, "ko", zone))[-1] for zone in ("", "UTC", "Nowhere/At_All")}
    assert last_lines[""] == "2026-11-22 15:14:20 KST"
    assert last_lines["UTC"] == last_lines["Nowhere/At_All"] == "2026-11-22 06:14:20 UTC"


def test_message_begins_with_state_and_ends_with_reason() -> None:
    event = AlarmStateChange(
        "train-3-busy", "ALARM", "OK", 1795328060.0, "**Look** at [the calendar](https://cal.example/a~b_)", "Crossed",
        account="123456789012", region="us-east-1", value=96.4, threshold=50.0, comparison="GreaterThanThreshold",
        metric="CPUUtilization", namespace="AWS/EC2", dimensions=(Dimension("InstanceId", "i-0abc"),),
        instance="i-0abc", statistic="Average", period=300.0, datapoints_to_alarm=2, evaluation_periods=3,
        recent=(8.1, 71.9, 96.4), tags=(Tag("team", "ml"), Tag("<!here>", "*")),
    )  # fmt: skip
    link = "https://us-east-1.console.aws.amazon.com/ec2/home?region=us-east-1#InstanceDetails:instanceId=i-0abc"
    assert _texts(alarm_message(event, "en")) == [
        ":rotating_light: *train-3-busy* is in ALARM: CPU 96.4 % &gt; 50 %",
        f":fairy: Hi, it's the AWS fairy · <{link}|i-0abc> · us-east-1",
        "*Look* at <https://cal.example/a~b_|the calendar>",
        "▁▅▆ 8.1 → 71.9 → 96.4 %, 5-minute averages, 2 of 3 datapoints",
        "CloudWatch :eyes:",
        "Account 123456789012 · 2026-11-22 06:14:20 UTC · Tags team=ml, &lt;!here&gt;=∗ · Crossed",
    ]
    assert _texts(alarm_message(event, "ko"))[3] == "▁▅▆ 8.1 → 71.9 → 96.4 %, 5분 평균, 데이터 포인트 3개 중 2개"


def test_description_is_bold_only_while_the_alarm_fires() -> None:
    def description(after: str, **fields: Any) -> str:
        payload = alarm_message(AlarmStateChange("a-off", after, description="Too high!\n**Page** us", **fields), "en")
        block = payload["attachments"][0]["blocks"][0]
        # Otherwise Slack reads a plain "@channel" as a mention.
        assert block["text"]["verbatim"] is True
        return str(block["text"]["text"])

    assert description("ALARM") == "*Too high!*\n*Page* us"
    assert (
        description("ALARM", no_data=True)
        == description("OK")
        == description("INSUFFICIENT_DATA")
        == "Too high!\nPage us"
    )


def test_message_shows_metric_limits_and_suppression() -> None:
    event = AlarmStateChange(
        "a", "ALARM", threshold=5.0, comparison="GreaterThanThreshold", metric="Errors", statistic="p99", period=90.0,
        datapoints_to_alarm=3, evaluation_periods=3, treat_missing_data="breaching", query="up{job=\"a\"} < 1 ```",
        log_groups=("/aws/lambda/shop", "/aws/lambda/pay"), log_lines=tuple(f"ERROR <{n}>" for n in range(12)),
        pending_period=300.0, recovery_period=0.0, evaluation_state="PARTIAL_DATA", held_back="WaitPeriod",
        muted_by="nights", muted_until=1795328060.0,
    )  # fmt: skip
    text = "\n".join(_texts(alarm_message(event, "en")))
    for part in (
        "Errors p99, 1 min 30 s, 3 of 3 datapoints, threshold &gt; 5\nmissing data counts as breaching the threshold",
        "*Waits*  5 min before it fires, 0 s before it returns to OK",
        "*Log groups*  `/aws/lambda/shop` · `/aws/lambda/pay`",
        '*Query*\n```\nup{job="a"} &lt; 1 ˋˋˋ\n```',
        "*Log lines*\n```\nERROR &lt;0&gt;\n",
        "ERROR &lt;9&gt;\n… and 2 more\n```",
        "CloudWatch evaluated only part of the data (`PARTIAL_DATA`)",
        "actions were suppressed: WaitPeriod",
        "Muted by `nights` until 2026-11-22 06:14:20 UTC",
    ):
        assert part in text
    slack_rules.assert_valid_payload(alarm_message(event, "ko"))


def test_message_names_account_of_cross_account_metric() -> None:
    metric = WatchedMetric("m1", "Errors", statistic="Sum", period=60.0, account="222233334444")
    event = AlarmStateChange("a", "ALARM", account="123456789012", metric="Errors", metrics=(metric,))
    assert "Errors sum, 1 min (account 222233334444)" in str(alarm_message(event, "en"))
    assert "Errors 합계, 1분 (계정 222233334444)" in str(alarm_message(event, "ko"))


def test_composite_with_many_children_is_summarized() -> None:
    rule = " OR ".join(f"ALARM(node-{n:03})" for n in range(200))
    children = tuple(ChildAlarm(f"node-{n:03}", "ALARM") for n in range(200))
    payload = alarm_message(
        AlarmStateChange("all", "ALARM", "OK", rule=rule, children=children, region="us-east-1"), "en"
    )
    text = "\n".join(_texts(payload))
    assert set(re.findall(r"\|(node-\d+)>", text)) == {"node-000", "node-001", "node-002"}
    assert "… and 197 more" in text
    (shown_rule,) = re.findall("`([^`]*)`", text)
    assert len(shown_rule) == 300
    assert shown_rule.endswith("…")
    few = alarm_message(AlarmStateChange("all", "ALARM", "OK", children=children[:8], region="us-east-1"), "en")
    assert len(re.findall(r"\|node-\d+>", str(few))) == 8


@pytest.mark.parametrize(
    ("period", "statistic", "en", "ko"),
    [
        (60.0, "Average", "1-minute averages", "1분 평균"),
        (90.0, "Sum", "90-second sums", "90초 합계"),
        (3600.0, "Maximum", "1-hour maximums", "1시간 최댓값"),
        (86400.0, "p99", "1-day p99", "1일 p99"),
        (300.0, "", "every 5 min", "5분마다"),
        (None, "Minimum", "minimum", "최솟값"),
        (float("inf"), "tm(10%:90%)", "tm(10%:90%)", "tm(10%:90%)"),
    ],
)
def test_datapoints_show_period_and_statistic(period: float | None, statistic: str, en: str, ko: str) -> None:
    event = AlarmStateChange("a", "ALARM", metric="M", statistic=statistic, period=period, recent=(1.0, -3.0, 2.0))
    for lang, cadence in (("en", en), ("ko", ko)):
        assert f"▅▁▆ 1 → -3 → 2, {cadence}" in _texts(alarm_message(event, lang))


def test_message_with_extreme_datapoints_is_valid() -> None:
    for recent in ((0.0, 0.0), (1e308, -1e308), (5e-324, 0.0), tuple(map(float, range(99)))):
        slack_rules.assert_valid_payload(alarm_message(AlarmStateChange("a", "ALARM", metric="M", recent=recent), "en"))


def test_empty_change_has_only_required_lines() -> None:
    payload = alarm_message(AlarmStateChange("a"), "en")
    slack_rules.assert_valid_payload(payload)
    assert _texts(payload) == [
        ":information_source: *a* changed",
        ":fairy: Hi, it's the AWS fairy",
        "CloudWatch :eyes:",
    ]
    assert "None" not in json.dumps(payload)


def test_message_of_longest_alarm_is_valid() -> None:
    long = "&" * 1_024
    event = AlarmStateChange(
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
        suppression_ended=long,
        contributor=tuple(Dimension(long, long) for _ in range(30)),
        tags=tuple(Tag(long, long) for _ in range(50)),
        query="&" * 9_000,
        log_groups=(long,) * 50,
        log_lines=(long,) * 50,
        evaluation_state=long,
        statistic=long,
        recent=(1.0,) * 99,
    )
    for lang in ("en", "ko"):
        slack_rules.assert_valid_payload(alarm_message(event, lang, now=9e9))


def test_hostile_text_cannot_ping_or_link() -> None:
    for text in HOSTILE_STRINGS:
        event = AlarmStateChange(
            name=text, after=text, before=text, description=text, reason=text, account=text, region=text, metric=text,
            unit=text, value=1.0, statistic=text, period=60.0, treat_missing_data=text, comparison=text, instance=text,
            dimensions=(Dimension(text, text),), rule=text, children=(ChildAlarm(text, text),), held_back=text,
            muted_by=text, suppression_ended=text, tags=(Tag(text, text),), query=text, log_groups=(text,),
            log_lines=(text,), evaluation_state=text, contributor=(Dimension(text, text),), recent=(1.0, 2.0),
        )  # fmt: skip
        payload = alarm_message(event, "en", channel=text)
        slack_rules.assert_valid_payload(payload)
        assert not any(markup in text for markup in MARKUP for text in slack_rules.payload_texts(payload))


def test_run_uses_its_own_language() -> None:
    result = RunResult(Run("id", "resnet50", 0.0), Outcome.FINISHED, 3.0, 3.0)
    assert render_alert(result, "ko") == run_message(result)


@settings(max_examples=150, deadline=None)
@given(mutated_events(EVENTS) | any_value(), st.sampled_from(["en", "ko", "xx"]))
def test_message_of_any_input_is_valid(data: Any, lang: str) -> None:
    for event in parse_aws_events(data):
        payload = render_alert(event, lang, "Asia/Seoul")
        slack_rules.assert_valid_payload(payload)
        assert not any(markup in text for markup in MARKUP for text in slack_rules.payload_texts(payload))


def _button(payload: Payload) -> Payload:
    attachments = payload.get("attachments", [{"blocks": []}])
    actions = [block for block in attachments[0]["blocks"] if block["type"] == "actions"]
    button: Payload = actions[0]["elements"][0] if actions else {}
    return button


def _texts(payload: Payload) -> list[str]:
    """Return the visible texts from top to bottom."""
    blocks = [*payload["blocks"]]
    for attachment in payload.get("attachments", []):
        blocks += attachment["blocks"]
    return [text for block in blocks for text in slack_rules.payload_texts(block)]
