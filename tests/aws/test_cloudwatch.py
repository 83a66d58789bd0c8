"""Series, alarms and metrics, read by the real boto3 from a fake CloudWatch that rejects invalid requests."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from cwnotify.aws import cloudwatch
from cwnotify.aws.models import Metric, MetricSeries
from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError, AwsErrorKind, UsageError
from tests.aws.conftest import NOW
from tests.support.aws_wire import Fault, Hang
from tests.support.cloudwatch import CloudWatch
from tests.support.datapoints import cpu_metric, wave_datapoints

HOUR, DAY = 3600.0, 86_400.0
ONE = cpu_metric("i-0abc1234def567890")


def read(aws: AwsSession, *metrics: Metric, span: float = 3 * HOUR) -> tuple[MetricSeries, ...]:
    return cloudwatch.read_series(aws, metrics, NOW - span, NOW)


def list_requested_periods(cloud: CloudWatch) -> set[int]:
    requests = [arguments for name, arguments in cloud.requests if name == "cloudwatch:GetMetricData"]
    return {query["MetricStat"]["Period"] for request in requests for query in request.get("MetricDataQueries", ())}


# Series


@pytest.mark.parametrize("period", [60, 300])
def test_period_shows_basic_or_detailed_monitoring(cloud: CloudWatch, watching: AwsSession, period: int) -> None:
    points = wave_datapoints(NOW - 3 * HOUR + period, NOW, period)
    cloud.add_datapoints(ONE, points)

    (series,) = read(watching, ONE)

    assert series == MetricSeries(ONE, tuple(sorted(points.items())), period)
    assert list_requested_periods(cloud) == {60}


def test_missing_datapoint_does_not_change_the_period(cloud: CloudWatch, watching: AwsSession) -> None:
    points = sorted(wave_datapoints(NOW - HOUR, NOW, 60).items())
    cloud.add_datapoints(ONE, points[:-3] + points[-2:])

    assert read(watching, ONE)[0].period == 60


def test_period_follows_a_switch_of_monitoring(cloud: CloudWatch, watching: AwsSession) -> None:
    cloud.add_datapoints(ONE, wave_datapoints(NOW - 3 * HOUR, NOW - 600, 300) | wave_datapoints(NOW - 600, NOW, 60))

    assert read(watching, ONE)[0].period == 60


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_datapoints_give_no_period(cloud: CloudWatch, watching: AwsSession, count: int) -> None:
    cloud.add_datapoints(ONE, sorted(wave_datapoints(NOW - HOUR, NOW, 60).items())[:count])

    (series,) = read(watching, ONE)

    assert (len(series.points), series.period, series.is_complete) == (count, 0.0, True)


def test_unordered_and_repeated_datapoints_are_sorted_and_unique(cloud: CloudWatch, watching: AwsSession) -> None:
    points = wave_datapoints(NOW - 2 * HOUR, NOW, 60)
    cloud.add_datapoints(ONE, points)
    cloud.shuffles_datapoints = True

    assert read(watching, ONE)[0].points == tuple(sorted(points.items()))


def test_late_and_changed_datapoints_appear_in_the_next_poll(cloud: CloudWatch, watching: AwsSession) -> None:
    cloud.add_datapoints(ONE, {NOW - 600: 10.0, NOW - 300: 20.0})
    before = read(watching, ONE)[0].points
    cloud.add_datapoints(ONE, {NOW - 300: 25.0, NOW - 900: 5.0})

    assert before[-1][1] == 20.0
    assert [value for _, value in read(watching, ONE)[0].points] == [5.0, 10.0, 25.0]


def test_pages_are_merged(cloud: CloudWatch, watching: AwsSession) -> None:
    points = wave_datapoints(NOW - 2 * HOUR, NOW, 60)
    metrics = [cpu_metric(f"i-{number:017x}") for number in range(3)]
    for metric in metrics:
        cloud.add_datapoints(metric, points)
    cloud.page_points = 50

    result = read(watching, *metrics)

    assert [series.metric for series in result] == metrics
    assert all(series.is_complete and series.points == tuple(sorted(points.items())) for series in result)
    assert cloud.calls["cloudwatch:GetMetricData"] > 3
    assert watching.call_counts == cloud.calls


def test_partial_data_is_marked_and_logged(
    cloud: CloudWatch, watching: AwsSession, caplog: pytest.LogCaptureFixture
) -> None:
    other = cpu_metric("i-0fedcba9876543210")
    for metric in (ONE, other):
        cloud.add_datapoints(metric, wave_datapoints(NOW - HOUR, NOW, 60))
    cloud.partial_metrics = {other}
    cloud.response_messages = [("MaxMetricsExceeded", "too many metrics match")]

    assert [series.is_complete for series in read(watching, ONE, other)] == [True, False]
    assert "MaxMetricsExceeded too many metrics match" in caplog.text


def test_thousand_series_take_two_calls_and_keep_their_order(cloud: CloudWatch, watching: AwsSession) -> None:
    metrics = [cpu_metric(f"i-{number:017x}") for number in range(1000)]
    random.Random(7).shuffle(metrics)
    for number, metric in enumerate(metrics):
        cloud.add_datapoints(metric, {NOW - 300: float(number)})

    result = read(watching, *metrics, metrics[0])

    assert [series.metric for series in result] == [*metrics, metrics[0]]
    assert [series.points[0][1] for series in result] == [*map(float, range(1000)), 0.0]
    assert cloud.calls == {"cloudwatch:GetMetricData": 2}
    assert watching.requested_series_count == 1000


def test_four_calls_run_at_a_time(cloud: CloudWatch, watching: AwsSession) -> None:
    metrics = [cpu_metric(f"i-{number:017x}") for number in range(2000)]
    read(watching, ONE)
    cloud.latency = 0.5
    start = time.monotonic()
    read(watching, *metrics)

    assert time.monotonic() - start < 3 * cloud.latency


def test_no_metrics_need_no_call(cloud: CloudWatch, watching: AwsSession) -> None:
    assert read(watching) == ()
    assert not cloud.calls


@pytest.mark.parametrize(
    ("count", "span", "period"),
    [
        (1, 3 * HOUR, 60),
        (500, 3 * HOUR, 60),
        (500, 12 * HOUR, 300),
        (1, 3 * DAY, 60),
        (500, 3 * DAY, 1800),
        (1, 14 * DAY, 60),
        (1, 15 * DAY, 300),
        (1, 62 * DAY, 300),
        (1, 63 * DAY, 3600),
        (500, 100 * DAY, 43_200),
        (500, 400 * DAY, 7 * 86_400),
    ],
)
def test_period_is_the_shortest_that_is_stored_and_fits_one_call(
    cloud: CloudWatch, watching: AwsSession, count: int, span: float, period: int
) -> None:
    read(watching, *(cpu_metric(f"i-{number:017x}") for number in range(count)), span=span)

    assert list_requested_periods(cloud) == {period}


@given(st.integers(1, 500), st.floats(0, 400 * DAY), st.floats(1, 455 * DAY))
def test_no_period_exceeds_the_datapoints_of_one_call(count: int, age: float, span: float) -> None:
    start = NOW - age - span
    period = cloudwatch.choose_period(count, start, start + span, NOW)

    assert period % (3600 if age + span > 63 * DAY else 300 if age + span > 15 * DAY else 60) == 0
    assert count * span / period <= cloudwatch.MAX_POINTS_PER_CALL


RESULTS = st.lists(
    st.tuples(
        st.sampled_from(["m0", "m1"]),
        st.lists(st.tuples(st.integers(0, 9), st.floats())),
        st.sampled_from(["Complete", "PartialData", "InternalError"]),
    )
)


@given(RESULTS)
def test_any_pages_are_merged(results: list[tuple[str, list[tuple[int, float]], str]]) -> None:
    def pages() -> Iterator[dict[str, Any]]:
        for id, points, status in results:
            times = [datetime.fromtimestamp(60 * at, UTC) for at, _ in points]
            result = {"Id": id, "Timestamps": times, "Values": [value for _, value in points], "StatusCode": status}
            yield {"MetricDataResults": [result]}

    points, complete = cloudwatch.merge_metric_pages(pages())

    for id in {id for id, _, _ in results}:
        pairs = [(60.0 * at, value) for name, series, _ in results if name == id for at, value in series]
        finite = [(at, value) for at, value in pairs if abs(value) < float("inf")]
        assert points[id] == tuple(sorted(dict(finite).items()))
        assert (id in complete) == ([status for name, _, status in results if name == id][-1] == "Complete")


# Errors


def test_throttled_call_is_repeated(cloud: CloudWatch, watching: AwsSession) -> None:
    cloud.add_datapoints(ONE, {NOW - 300: 1.0})
    cloud.faults = [Fault("Throttling", "Rate exceeded")]

    assert read(watching, ONE)[0].points == ((NOW // 60 * 60 - 300, 1.0),)
    assert cloud.calls["cloudwatch:GetMetricData"] == 2


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (Fault("ThrottlingException", "Rate exceeded"), AwsErrorKind.THROTTLED, "more slowly"),
        (
            Fault("AccessDenied", "no", 403),
            AwsErrorKind.DENIED,
            "AWS denies cloudwatch:GetMetricData; .*cwnotify policy notebook",
        ),
        (Fault("ExpiredTokenException", "expired", 403), AwsErrorKind.EXPIRED, "sign in again"),
        (Fault("InvalidClientTokenId", "unknown", 403), AwsErrorKind.CREDENTIALS, "aws configure"),
        (
            Fault("InvalidSignatureException", "Signature not yet current: 2026", 403),
            AwsErrorKind.CLOCK,
            "clock is wrong",
        ),
        (Fault("SignatureDoesNotMatch", "Signature expired: 2026", 403), AwsErrorKind.CLOCK, "clock is wrong"),
        (Fault("RequestTimeTooSkewed", "too skewed", 403), AwsErrorKind.CLOCK, "clock is wrong"),
        (Fault("InternalFailure", "oh", 500), AwsErrorKind.OFFLINE, "internal error"),
        (Fault("ValidationError", "odd"), AwsErrorKind.OTHER, "odd"),
    ],
)
def test_error_has_the_kind_of_its_cause(
    cloud: CloudWatch, watching: AwsSession, fault: Fault, kind: AwsErrorKind, text: str
) -> None:
    cloud.fault = fault
    with pytest.raises(AwsError, match=text) as raised:
        read(watching, ONE)

    assert (raised.value.kind, raised.value.code) == (kind, fault.code)
    assert raised.value.action == ("cloudwatch:GetMetricData" if kind == AwsErrorKind.DENIED else "")


def test_hanging_call_times_out(cloud: CloudWatch) -> None:
    aws = AwsSession(max_attempts=1, timeouts=(0.3, 0.3))
    cloud.fault = Hang()
    with pytest.raises(AwsError, match="does not answer") as raised:
        read(aws, ONE)

    assert raised.value.kind == AwsErrorKind.OFFLINE


def test_error_of_one_call_among_many_is_raised(cloud: CloudWatch, watching: AwsSession) -> None:
    cloud.faults = [Fault("ValidationError", "odd")]
    with pytest.raises(AwsError, match="odd"):
        read(watching, *(cpu_metric(f"i-{number:017x}") for number in range(1500)))


def test_new_session_finds_new_credentials(cloud: CloudWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.valid_access_key = "AKIDNEW"
    with pytest.raises(AwsError) as raised:
        cloudwatch.read_alarms(AwsSession.with_short_timeouts())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDNEW")

    assert raised.value.kind == AwsErrorKind.CREDENTIALS
    assert cloudwatch.read_alarms(AwsSession.with_short_timeouts()) == ()


# Alarms

DIMENSIONS = [{"Name": "InstanceId", "Value": "i-1"}]


def test_alarm_has_all_fields(cloud: CloudWatch, watching: AwsSession) -> None:
    cloud.put_alarm(
        "busy",
        "ALARM",
        NOW - 60,
        MetricName="CPUUtilization",
        Namespace="AWS/EC2",
        Dimensions=DIMENSIONS,
        Threshold=50.0,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=["arn:a", "arn:b"],
        OKActions=["arn:a"],
    )

    (alarm,) = cloudwatch.read_alarms(watching)

    assert (alarm.name, alarm.state, alarm.since) == ("busy", "ALARM", NOW - 60)
    assert (alarm.namespace, alarm.metric_name, alarm.dimensions) == (
        "AWS/EC2",
        "CPUUtilization",
        (("InstanceId", "i-1"),),
    )
    assert (alarm.threshold, alarm.comparison) == (50.0, "GreaterThanThreshold")
    assert alarm.action_arns == ("arn:a", "arn:b")
    assert dict(alarm.raw_fields)["OKActions"] == ["arn:a"]


def test_math_composite_and_disabled_alarms_are_read(cloud: CloudWatch, watching: AwsSession) -> None:
    stats = [
        {"Id": f"m{i}", "MetricStat": {"Metric": {"Namespace": "N", "MetricName": f"n{i}", "Dimensions": DIMENSIONS}}}
        for i in (1, 2)
    ]
    cloud.put_alarm("math", Metrics=[*stats, {"Id": "e", "Expression": "m1/m2"}])
    cloud.put_alarm("both", AlarmRule="ALARM(math)")
    cloud.put_alarm("mute", ActionsEnabled=False, AlarmActions=["arn:a"])

    alarms = {alarm.name: alarm for alarm in cloudwatch.read_alarms(watching)}

    assert (alarms["math"].metric_name, alarms["math"].dimensions) == ("", (("InstanceId", "i-1"),))
    assert alarms["both"].state == "OK"
    assert alarms["mute"].action_arns == ()


def test_alarms_are_read_by_page_name_and_prefix(cloud: CloudWatch, watching: AwsSession) -> None:
    names = [f"train-{number:03}" for number in range(250)]
    for name in [*names, "other"]:
        cloud.put_alarm(name)

    assert len(cloudwatch.read_alarms(watching)) == 251
    assert cloud.calls["cloudwatch:DescribeAlarms"] == 3
    assert [alarm.name for alarm in cloudwatch.read_alarms(watching, [*names[:150], "none"])] == names[:150]
    assert cloud.calls["cloudwatch:DescribeAlarms"] == 5
    alarms = cloudwatch.read_alarms(watching, ["other", names[0]], ["train-00"])
    assert sorted(alarm.name for alarm in alarms) == ["other", *names[:10]]


# Metrics


def test_ec2_metrics_need_no_call(cloud: CloudWatch, watching: AwsSession) -> None:
    assert cloudwatch.find_metrics(watching, "cpu", ["i-1", "i-2"]) == (cpu_metric("i-1"), cpu_metric("i-2"))
    assert cloudwatch.find_metrics(watching, "cpu", []) == ()
    (received,) = cloudwatch.find_metrics(watching, "AWS/EC2/NetworkIn", ["i-1"])
    assert (received.namespace, received.name, received.unit) == ("AWS/EC2", "NetworkIn", "B")
    assert not cloud.calls


def agent_metric(name: str, /, **dimensions: str) -> Metric:
    return Metric("CWAgent", name, tuple(sorted(dimensions.items())))


def test_agent_metrics_are_found_with_any_dimensions(cloud: CloudWatch, watching: AwsSession) -> None:
    gpus = [agent_metric("nvidia_smi_utilization_gpu", InstanceId="i-1", index=str(i), name="A10G") for i in range(2)]
    memory = agent_metric("mem_used_percent", InstanceId="i-1", InstanceType="g5.xlarge")
    disk = agent_metric("disk_used_percent", InstanceId="i-1", path="/", fstype="ext4")
    others = [
        agent_metric("nvidia_smi_utilization_gpu", InstanceId="i-2", index="0"),
        agent_metric("mem_used_percent", InstanceId="i-1"),
        agent_metric("disk_used_percent", InstanceId="i-1", path="/dev/shm", fstype="tmpfs"),
    ]
    for metric in [*gpus, memory, disk, *others]:
        cloud.add_datapoints(metric, {NOW: 1.0})

    assert set(cloudwatch.find_metrics(watching, "gpu", ["i-1"])) == set(gpus)
    assert cloudwatch.find_metrics(watching, "mem", ["i-1"]) == (memory,)
    assert cloudwatch.find_metrics(watching, "disk", ["i-1"]) == (disk,)


def test_metrics_of_many_instances_take_few_calls(cloud: CloudWatch, watching: AwsSession) -> None:
    ids = [f"i-{number}" for number in range(600)]
    for id in [*ids, "i-other"]:
        cloud.add_datapoints(agent_metric("mem_used_percent", InstanceId=id), {NOW: 1.0})

    assert {metric.instance_id for metric in cloudwatch.find_metrics(watching, "mem", ids)} == set(ids)
    assert cloud.calls["cloudwatch:ListMetrics"] <= 7


def test_custom_metric_is_found_with_and_without_instances(cloud: CloudWatch, watching: AwsSession) -> None:
    for dimensions in ((), (("Queue", "a"),), (("InstanceId", "i-1"), ("Queue", "a"))):
        cloud.add_datapoints(Metric("My/Own", "Depth", dimensions), {NOW: 1.0})

    (metric,) = cloudwatch.find_metrics(watching, "My/Own/Depth", ["i-1"])
    assert (metric.dimensions, metric.unit) == ((("InstanceId", "i-1"), ("Queue", "a")), "")
    assert cloudwatch.find_metrics(watching, "My/Own/Depth", []) == (metric,)


@pytest.mark.parametrize("selector", ["", "gpus", "/x", "x/"])
def test_unknown_metric_is_rejected(watching: AwsSession, selector: str) -> None:
    with pytest.raises(UsageError, match="--metric takes cpu, gpu"):
        cloudwatch.find_metrics(watching, selector, [])


def test_moto_gives_the_same_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_REGION", "ap-northeast-2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-northeast-2")
    now = time.time() // 60 * 60
    with mock_aws():
        client = boto3.client("cloudwatch", region_name="ap-northeast-2")
        dimensions = [{"Name": "InstanceId", "Value": "i-1"}]
        data = [
            {
                "MetricName": "mem_used_percent",
                "Dimensions": dimensions,
                "Timestamp": datetime.fromtimestamp(now - 60 * ago, UTC),
                "Value": float(ago),
            }
            for ago in (1, 2, 3)
        ]
        client.put_metric_data(Namespace="CWAgent", MetricData=data)
        client.put_metric_alarm(
            AlarmName="full",
            MetricName="mem_used_percent",
            Namespace="CWAgent",
            Dimensions=dimensions,
            Period=60,
            EvaluationPeriods=1,
            Threshold=90.0,
            Statistic="Average",
            ComparisonOperator="GreaterThanThreshold",
        )
        aws = AwsSession.with_short_timeouts()
        metrics = cloudwatch.find_metrics(aws, "mem", ["i-1"])
        (series,) = cloudwatch.read_series(aws, metrics, now - HOUR, now + 60)
        (alarm,) = cloudwatch.read_alarms(aws, ["full"])

    assert [(at - now, value) for at, value in series.points] == [(-180.0, 3.0), (-120.0, 2.0), (-60.0, 1.0)]
    assert (series.period, series.is_complete) == (60.0, True)
    assert (alarm.state, alarm.metric_name, alarm.dimensions) == ("OK", "mem_used_percent", (("InstanceId", "i-1"),))
    assert alarm.since > now - HOUR
