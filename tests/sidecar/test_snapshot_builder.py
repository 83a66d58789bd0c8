"""What a panel shows for what was observed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cwnotify.alerts.events.runs import LoadSample
from cwnotify.aws.models import CloudWatchAlarm, Ec2Instance, InstanceIdentity, Metric, MetricSeries
from cwnotify.host.load_history import LoadHistory
from cwnotify.sidecar.snapshot_builder import MAX_SERIES_LINES, build_snapshot, downsample_line
from cwnotify.view.snapshot import PanelProblem, PanelRequest, PlotLine, SlackHealth, Snapshot
from cwnotify.watch.observation import PanelObservation

NOW = 1_795_316_400.0
I1, I2 = "i-0abc12f9", "i-0abc12fa"
REGION = "ap-northeast-2"


def cpu_series(instance: str, *values: float, period: float = 300.0) -> MetricSeries:
    metric = Metric("AWS/EC2", "CPUUtilization", (("InstanceId", instance),))
    points = tuple((NOW - period * (len(values) - i), value) for i, value in enumerate(values))
    return MetricSeries(metric, points, period)


def observe(*series: MetricSeries, request: PanelRequest = PanelRequest(), **fields: Any) -> PanelObservation:  # noqa: B008 (frozen)
    """Return an observation of running instances with these series."""
    instances = tuple(Ec2Instance(one.metric.instance_id, state="running") for one in series)
    defaults: dict[str, Any] = {"instances": instances, "region": REGION, "needs_aws": True, "updated_at": NOW - 5}
    return PanelObservation(request, series=series, **(defaults | fields))


def build(observation: PanelObservation, load_history: LoadHistory | None = None) -> Snapshot:
    return build_snapshot(observation, NOW, load_history or LoadHistory(), (), SlackHealth())


def record_load(*cpu: float) -> LoadHistory:
    """Return a history with one sample a second."""
    history = LoadHistory()
    for i, value in enumerate(cpu):
        history.add(LoadSample(NOW - len(cpu) + i, value, 4 << 30, 16 << 30))
    return history


@pytest.mark.parametrize(("period", "monitoring", "label"), [(300.0, "basic", "5 min"), (60.0, "detailed", "1 min")])
def test_monitoring_is_inferred_from_the_datapoint_interval(period: float, monitoring: str, label: str) -> None:
    instances = (Ec2Instance(I1, has_detailed_monitoring=None),)
    snapshot = build(observe(cpu_series(I1, 1, 2, 3, period=period), instances=instances))

    assert snapshot.subjects[0].monitoring == monitoring
    assert [line.label for line in snapshot.lines] == [f"CloudWatch, {label}"]


def test_host_line_is_shown_only_if_this_host_is_watched() -> None:
    own, other = InstanceIdentity(I1, "g5.xlarge", "ap-northeast-2a"), InstanceIdentity(I2)
    load_history = record_load(5, 6)

    with_cloudwatch = build(observe(cpu_series(I1, 1, 2), identity=own), load_history)
    assert [line.live for line in with_cloudwatch.lines] == [False, True]
    assert with_cloudwatch.subjects[0].instance_type == "g5.xlarge"

    of_other = build(observe(cpu_series(I1, 1, 2), identity=other), load_history)
    assert [line.live for line in of_other.lines] == [False]

    without_cloudwatch = build(PanelObservation(PanelRequest()), load_history)
    assert [line.label for line in without_cloudwatch.lines] == ["this host, live"]
    assert not without_cloudwatch.subjects
    assert without_cloudwatch.updated == NOW - 1


def test_initial_snapshot_names_the_requested_instances() -> None:
    snapshot = build(PanelObservation.initial(PanelRequest(instances=(I1,))), record_load(5))

    assert [subject.instance for subject in snapshot.subjects] == [I1]
    assert (snapshot.lines, snapshot.updated) == ((), 0.0)
    of_host = build(PanelObservation.initial(PanelRequest()), record_load(5))
    assert [line.live for line in of_host.lines] == [True]


def test_host_line_exists_for_memory_but_not_for_gpu() -> None:
    of_memory = build(PanelObservation(PanelRequest(metric="mem")), record_load(5))
    of_gpu = build(PanelObservation(PanelRequest(metric="gpu")), record_load(5))

    assert of_memory.lines[0].points == ((NOW - 1, 25.0),)
    assert of_gpu.lines == ()


def test_series_are_labelled_by_instance_and_many_are_summarized() -> None:
    two = build(observe(cpu_series(I1, 1), cpu_series(I2, 2)))
    assert [line.label for line in two.lines] == [I1, I2]

    many = build(observe(*(cpu_series(f"i-{n:08x}", float(n)) for n in range(MAX_SERIES_LINES + 1))))
    assert [(line.label, line.points[-1][1]) for line in many.lines] == [
        ("highest of 7", 6.0),
        ("median of 7", 3.0),
        ("lowest of 7", 0.0),
    ]


def test_alarm_has_a_threshold_only_if_its_metric_is_plotted() -> None:
    busy = CloudWatchAlarm("train-busy", "arn:1", "OK", NOW - 60, "CPUUtilization", "AWS/EC2", threshold=50.0)
    disk = replace(busy, name="disk-off", arn="arn:2", metric_name="disk_used_percent", state="ALARM")

    observation = observe(cpu_series(I1, 1), alarms=(busy, disk), firing_periods={"arn:2": ((NOW - 60, 0.0),)})
    of_busy, of_disk = build(observation).alarms

    assert (of_busy.threshold, of_busy.good, of_busy.periods) == (50.0, False, ())
    assert (of_disk.threshold, of_disk.good, of_disk.periods) == (None, True, ((NOW - 60, 0.0),))
    assert of_busy.url == (
        "https://ap-northeast-2.console.aws.amazon.com/cloudwatch/deeplink.js?region=ap-northeast-2"
        "#alarmsV2:alarm/train-busy"
    )


@pytest.mark.parametrize(
    ("previous_state", "reason", "metric", "good", "note"),
    [
        ("OK", "Threshold Crossed: 1 datapoint [3.2 (22/11/26 06:09:00)] was less than the threshold (10.0).",
         "CPUUtilization", True, "training ended"),
        ("INSUFFICIENT_DATA", "Threshold Crossed: 1 datapoint [3.2] was less than the threshold (10.0).",
         "CPUUtilization", True, "idle"),
        ("", "Threshold Crossed: 1 datapoint [3.2] was less than the threshold.", "CPUUtilization", True, "idle"),
        ("OK", "Threshold Crossed: no datapoints were received for 3 periods and 3 missing datapoints were treated as "
         "[Breaching].", "CPUUtilization", None, "stopped, or not measured"),
        ("OK", "Threshold Crossed: 1 datapoint [0.0] was less than the threshold (1.0).", "Depth", True, ""),
    ],
)  # fmt: skip
def test_alarm_means_the_same_as_in_its_slack_message(
    previous_state: str, reason: str, metric: str, good: bool | None, note: str
) -> None:
    fields = {
        "MetricName": metric, "Namespace": "AWS/EC2", "ComparisonOperator": "LessThanThreshold", "Threshold": 10.0,
        "StateReason": reason, "Period": 300, "EvaluationPeriods": 3,
    }  # fmt: skip
    welcome = CloudWatchAlarm(
        "train-off", "arn:1", "ALARM", NOW - 60, metric, "AWS/EC2", raw_fields=tuple(fields.items())
    )

    def meaning(alarm: CloudWatchAlarm) -> tuple[bool | None, str]:
        observation = observe(cpu_series(I1, 1), alarms=(alarm,), previous_states={"arn:1": previous_state})
        (shown,) = build(observation).alarms
        return shown.good, shown.note

    assert meaning(welcome) == (good, note)
    # Below its threshold, but not good news.
    assert meaning(replace(welcome, name="disk-free")) == (False, "")
    assert meaning(replace(welcome, name="drop-off-rate")) == (False, "")
    assert meaning(replace(welcome, state="OK")) == (True, "")


def test_missing_data_is_explained() -> None:
    def problems(*series: MetricSeries, **fields: Any) -> str:
        return " ".join(problem.text for problem in build(observe(*series, **fields)).problems)

    assert "up to 10 minutes" in problems(cpu_series(I1))
    stopped = (Ec2Instance(I1, state="stopped"),)
    assert "stopped instance sends no data" in problems(cpu_series(I1), instances=stopped)
    of_gpu = problems(instances=(Ec2Instance(I1),), request=PanelRequest(metric="gpu"))
    assert "no metric GPU of i-0abc12f9" in of_gpu
    assert problems(cpu_series(I1, 1.0)) == ""
    # An error of AWS explains the missing data already.
    assert problems(cpu_series(I1), problems=(PanelProblem("denied"),)) == "denied"


def test_snapshot_is_stale_after_several_missed_polls() -> None:
    request = PanelRequest(round=30.0)

    assert not build(observe(cpu_series(I1, 1), request=request, updated_at=NOW - 100)).stale
    assert build(observe(cpu_series(I1, 1), request=request, updated_at=NOW - 130)).stale


def test_downsampled_line_has_the_same_mean_and_last_value() -> None:
    points = tuple((float(i), float(i % 10)) for i in range(1000))

    line = downsample_line(PlotLine("x", False, 1.0, points), 60)

    assert len(line.points) == 60
    assert line.points[-1] == points[-1]
    assert sum(value for _, value in line.points[:-1]) / 59 == pytest.approx(4.5, abs=0.2)
    assert downsample_line(line, 60) is line
