"""The kind, severity, colour and first line of an alarm's state change."""

from __future__ import annotations

from typing import Any

import pytest

from cwnotify.alerts.events.alarms import AlarmState, AlarmStateChange, ChildAlarm, Dimension, Tag, WatchedMetric
from cwnotify.alerts.locale import to_plain_text
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.messages.alarm import alarm_headline, alarm_message
from cwnotify.alerts.messages.alarm_meaning import (
    ChangeKind,
    Severity,
    classify_change,
    is_welcome_alarm,
    processor_type,
    severity_of,
)

ABOVE, BELOW = "GreaterThanThreshold", "LessThanThreshold"
ALARM, OK, NO_DATA = AlarmState.ALARM, AlarmState.OK, AlarmState.INSUFFICIENT_DATA
RED, GREEN, GREY = "#eb4034", "#30db3f", b.COLOR_NEUTRAL
CPU: dict[str, Any] = {
    "metric": "CPUUtilization", "namespace": "AWS/EC2", "value": 3.2, "threshold": 10.0, "comparison": BELOW,
    "statistic": "Average", "period": 300.0, "evaluation_periods": 3, "datapoints_to_alarm": 3, "region": "us-east-1",
}  # fmt: skip


def off(before: str = OK, after: str = ALARM, name: str = "train-3-off", **fields: Any) -> AlarmStateChange:
    return AlarmStateChange(name, after, before, **{**CPU, **fields})


def first(event: AlarmStateChange, lang: str = "en") -> str:
    """Return the first line as plain text."""
    return to_plain_text(alarm_headline(event, lang))


@pytest.mark.parametrize(
    "name",
    ["train-3-off", "train_off", "off", "OFF", "training OFF", "trainingOff", "HTTPOff", "a.off", "a/off!", "학습-off"],
)
def test_alarm_whose_last_word_is_off_is_welcome(name: str) -> None:
    assert is_welcome_alarm(name)
    assert is_welcome_alarm("x", (Tag("team", "ml"), Tag("cwnotify", "Welcome")))


@pytest.mark.parametrize(
    "name",
    [
        "drop-off-rate-high",
        "office",
        "cutoff",
        "offline",
        "OFFLINE",
        "training OFF (gpu)",
        "switch-off-2",
        "",
        "turnoff",
    ],
)
def test_other_alarms_are_not_welcome(name: str) -> None:
    assert not is_welcome_alarm(name)
    assert not is_welcome_alarm(name, (Tag("cwnotify", "no"), Tag("welcome", "cwnotify")))


@pytest.mark.parametrize("comparison", [ABOVE, BELOW, "LessThanOrEqualToThreshold", "LessThanLowerThreshold", ""])
@pytest.mark.parametrize(
    ("name", "after", "severity", "color"),
    [
        ("db-free-storage", ALARM, Severity.BAD, RED),
        ("db-free-storage", OK, Severity.GOOD, GREEN),
        ("db-free-storage", NO_DATA, Severity.NO_DATA, GREY),
        ("db-free-storage", "MUTED", Severity.NEUTRAL, GREY),
        ("drop-off-rate-high", ALARM, Severity.BAD, RED),
        ("queue-off", ALARM, Severity.GOOD, GREEN),
        ("queue-off", OK, Severity.NEUTRAL, GREY),
        ("queue-off", NO_DATA, Severity.NO_DATA, GREY),
    ],
)
def test_color_follows_state_and_not_comparison(
    comparison: str, name: str, after: str, severity: Severity, color: str
) -> None:
    event = AlarmStateChange(name, after, comparison=comparison, metric="Depth", value=1.0, threshold=2.0)
    assert severity_of(event) == severity
    assert alarm_message(event, "en")["attachments"][0]["color"] == color


@pytest.mark.parametrize(
    ("event", "kind", "severity", "en", "ko"),
    [
        (off(), ChangeKind.WORK_ENDED, Severity.GOOD,
         "✅ Training ended · train-3: CPU 3.2 % < 10 %",
         "✅ 학습이 끝났어요 · train-3: CPU 3.2 % < 10 %"),
        (off(before=NO_DATA), ChangeKind.IDLE, Severity.GOOD,
         "💤 train-3 is idle: CPU 3.2 % < 10 %",
         "💤 train-3 쉬는 중이에요: CPU 3.2 % < 10 %"),
        (off(before=""), ChangeKind.IDLE, Severity.GOOD,
         "💤 train-3 is idle: CPU 3.2 % < 10 %",
         "💤 train-3 쉬는 중이에요: CPU 3.2 % < 10 %"),
        (off(no_data=True, value=None), ChangeKind.WELCOME_NO_DATA, Severity.NO_DATA,
         "❔ train-3 status unknown · no CPU data for 15 min (stopped, or not measured)",
         "❔ train-3 상태를 알 수 없어요 · 15분째 CPU 데이터가 없어요 (꺼졌거나 측정되지 않았어요)"),
        (off(before=NO_DATA, no_data=True, value=None, period=None), ChangeKind.WELCOME_NO_DATA, Severity.NO_DATA,
         "❔ train-3 status unknown · no CPU data (stopped, or not measured)",
         "❔ train-3 상태를 알 수 없어요 · CPU 데이터가 없어요 (꺼졌거나 측정되지 않았어요)"),
        # The missing datapoints caused the change, not the measured one.
        (off(value=None, recent=(93.0,)), ChangeKind.WELCOME_NO_DATA, Severity.NO_DATA,
         "❔ train-3 status unknown · CPU data is missing (stopped, or not measured)",
         "❔ train-3 상태를 알 수 없어요 · CPU 데이터가 누락됐어요 (꺼졌거나 측정되지 않았어요)"),
        (off(ALARM, OK, value=88.0), ChangeKind.WORK_RESUMED, Severity.NEUTRAL,
         "ℹ️ train-3 is busy again: CPU 88 % ≥ 10 %",
         "ℹ️ train-3 다시 일하고 있어요: CPU 88 % ≥ 10 %"),
        (off(NO_DATA, OK, value=88.0), ChangeKind.WORK_RESUMED, Severity.NEUTRAL,
         "ℹ️ train-3 is busy: CPU 88 % ≥ 10 %",
         "ℹ️ train-3 일하고 있어요: CPU 88 % ≥ 10 %"),
        (off(OK, NO_DATA, value=None), ChangeKind.NO_DATA, Severity.NO_DATA,
         "❔ train-3-off has insufficient data",
         "❔ train-3-off 경보가 데이터 부족 상태예요"),
        # Missing data counts as within the threshold: the machine may not be busy.
        (off(ALARM, OK, value=None, no_data=True), ChangeKind.RECOVERED, Severity.NEUTRAL,
         "ℹ️ train-3-off is OK again: no CPU data for 15 min",
         "ℹ️ train-3-off 경보가 OK로 돌아왔어요: 15분째 CPU 데이터가 없어요"),
    ],
)  # fmt: skip
def test_headline_says_training_ended_only_if_it_did(
    event: AlarmStateChange, kind: ChangeKind, severity: Severity, en: str, ko: str
) -> None:
    assert (classify_change(event), severity_of(event)) == (kind, severity)
    assert (first(event), first(event, "ko")) == (en, ko)
    assert ("raining ended" in str(alarm_message(event, "en"))) is (kind is ChangeKind.WORK_ENDED)


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        ({"metric": "GPUUtilization", "namespace": "Train"}, True),
        ({"metric": "nvidia_smi_utilization_gpu", "namespace": "CWAgent"}, True),
        ({"metric": "cpu_usage_active", "namespace": "CWAgent"}, True),
        ({"metric": "", "namespace": ""}, True),  # only the name is known
        ({"metric": "cpu_usage_idle", "namespace": "CWAgent"}, False),
        ({"metric": "nvidia_smi_utilization_memory", "namespace": "CWAgent"}, False),
        ({"metric": "CPUCreditUsage"}, False),
        ({"metric": "NetworkIn"}, False),
        ({"namespace": "AWS/RDS"}, False),
        ({"comparison": ABOVE, "value": 95.0}, False),
        ({"metric": "ApproximateNumberOfMessagesVisible", "namespace": "AWS/SQS", "name": "queue-off"}, False),
        ({"metric": "", "rule": "ALARM(a-off) AND ALARM(b-off)", "children": (ChildAlarm("a-off", ALARM),)}, False),
        ({"metric": "", "query": "up == 0"}, False),
        ({"metric": "", "name": "train-3", "tags": (Tag("cwnotify", "welcome"),)}, False),
    ],
)
def test_training_ended_requires_cpu_or_gpu_load(fields: dict[str, Any], ends: bool) -> None:
    event = off(**fields)
    assert ("Training ended" in first(event)) is ends
    assert ("is in ALARM" in first(event)) is not ends
    assert "is idle" not in first(off(NO_DATA, **fields)) or ends
    assert severity_of(event) is Severity.GOOD


def test_metric_math_over_cpu_metrics_is_cpu_load() -> None:
    cpu = WatchedMetric("m1", "CPUUtilization", "AWS/EC2")
    network = WatchedMetric("m2", "NetworkIn", "AWS/EC2")
    maximum = WatchedMetric("e1", expression="MAX(METRICS())", label="busiest")
    query = WatchedMetric("q1", expression='SELECT AVG(CPUUtilization) FROM SCHEMA("AWS/EC2", InstanceId)')
    assert processor_type(off(metric="busiest", metrics=(maximum, cpu))) == "CPU"
    assert processor_type(off(metric="busiest", metrics=(maximum, cpu, network))) == ""
    assert processor_type(off(metric=query.expression, metrics=(query,))) == "CPU"
    assert "Training ended · train-3: busiest 3.2 < 10" in first(off(metric="busiest", metrics=(maximum, cpu)))


@pytest.mark.parametrize(
    ("event", "en", "ko"),
    [
        (AlarmStateChange("busy", ALARM, OK, reason="Threshold Crossed: 2 out of the last 3 datapoints [96.4 ...",
                      **CPU | {"value": 96.4, "threshold": 50.0, "comparison": ABOVE}),
         "🚨 busy is in ALARM: CPU 96.4 % > 50 % (2 of the last 3 datapoints)",
         "🚨 busy 경보가 ALARM 상태예요: CPU 96.4 % > 50 % (최근 데이터 포인트 3개 중 2개)"),
        (AlarmStateChange("busy", OK, ALARM, at=4000.0, before_since=1480.0, **CPU | {"comparison": ABOVE}),
         "✅ busy is OK again after 42 min: CPU 3.2 % ≤ 10 %",
         "✅ busy 경보가 42분 만에 OK로 돌아왔어요: CPU 3.2 % ≤ 10 %"),
        (AlarmStateChange("busy", OK, ALARM), "✅ busy is OK again", "✅ busy 경보가 OK로 돌아왔어요"),
        (AlarmStateChange("busy", OK, NO_DATA), "✅ busy is OK", "✅ busy 경보가 OK 상태예요"),
        (AlarmStateChange("busy", OK), "✅ busy is OK", "✅ busy 경보가 OK 상태예요"),
        (AlarmStateChange("busy", NO_DATA, ALARM),
         "❔ busy has insufficient data", "❔ busy 경보가 데이터 부족 상태예요"),
        (AlarmStateChange("busy", NO_DATA, OK, no_data=True, reason="Insufficient Data: 2 datapoints were unknown.",
                      **CPU | {"value": None}),
         "❔ busy has insufficient data: no CPU data for 10 min",
         "❔ busy 경보가 데이터 부족 상태예요: 10분째 CPU 데이터가 없어요"),
        (AlarmStateChange("busy", ALARM, ALARM), "🚨 busy is still in ALARM", "🚨 busy 경보가 계속 ALARM 상태예요"),
        (AlarmStateChange("busy", "ODD", OK), "ℹ️ busy is in ODD", "ℹ️ busy 경보가 ODD 상태예요"),
        (AlarmStateChange("busy"), "ℹ️ busy changed", "ℹ️ busy 경보 상태가 바뀌었어요"),
        (AlarmStateChange("busy", ALARM, OK, no_data=True, **CPU | {"value": None, "namespace": "AWS/RDS"}),
         "🚨 busy is in ALARM: no CPU data for 15 min",
         "🚨 busy 경보가 ALARM 상태예요: 15분째 CPU 데이터가 없어요"),
        (AlarmStateChange("shop", ALARM, ALARM, suppression_ended="WaitPeriod"),
         "🚨 shop is still in ALARM; its actions are no longer suppressed by WaitPeriod and run now",
         "🚨 shop 경보가 계속 ALARM 상태예요. WaitPeriod 때문에 억제됐던 작업이 이제 실행돼요"),
        (AlarmStateChange("shop", OK, OK, suppression_ended="deploys"),
         "✅ shop is still OK; its actions are no longer suppressed by deploys and run now",
         "✅ shop 경보가 계속 OK 상태예요. deploys 때문에 억제됐던 작업이 이제 실행돼요"),
        (AlarmStateChange("lat", ALARM, contributor=(Dimension("service", "checkout"), Dimension("le", "0.5"))),
         "🚨 lat (service checkout, le 0.5) is in ALARM",
         "🚨 lat (service checkout, le 0.5) 경보가 ALARM 상태예요"),
        (AlarmStateChange("lat", ALARM, contributor_id="0a1b"),
         "🚨 lat (0a1b) is in ALARM", "🚨 lat (0a1b) 경보가 ALARM 상태예요"),
        (AlarmStateChange("all", ALARM, children=tuple(ChildAlarm(f"node-{n:03}", ALARM) for n in range(1_200))),
         "🚨 all is in ALARM: 1,200 alarms: node-000, node-001, node-002 and 1,197 more",
         "🚨 all 경보가 ALARM 상태예요: 경보 1,200개: node-000, node-001, node-002 외 1,197개"),
        (AlarmStateChange("all", ALARM, children=(ChildAlarm("web", ALARM), ChildAlarm("deploys", OK))),
         "🚨 all is in ALARM: 2 alarms: web, deploys (OK)",
         "🚨 all 경보가 ALARM 상태예요: 경보 2개: web, deploys (OK)"),
        (AlarmStateChange("all", OK, ALARM, children=(ChildAlarm("web", OK),)),
         "✅ all is OK again: web", "✅ all 경보가 OK로 돌아왔어요: web"),
        (AlarmStateChange("idle-tables", OK, ALARM, reason="6 time series evaluated to OK"),
         "✅ idle-tables is OK again: 6 time series", "✅ idle-tables 경보가 OK로 돌아왔어요: 시계열 6개"),
        (AlarmStateChange("idle-tables", ALARM, OK, reason="1 out of 7 time series evaluated to ALARM"),
         "🚨 idle-tables is in ALARM: 1 of 7 time series",
         "🚨 idle-tables 경보가 ALARM 상태예요: 시계열 7개 중 1개"),
    ],
)  # fmt: skip
def test_first_line_says_what_is_true_now(event: AlarmStateChange, en: str, ko: str) -> None:
    assert (first(event), first(event, "ko")) == (en, ko)
    for lang in ("en", "ko"):
        payload = alarm_message(event, lang)
        assert payload["text"] == payload["blocks"][0]["text"]["text"] == alarm_headline(event, lang)
