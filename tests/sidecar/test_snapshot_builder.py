"""What is known -> what a panel shows."""

from __future__ import annotations

from dataclasses import replace

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


def cpu(instance: str, *values: float, period: float = 300.0) -> MetricSeries:
    metric = Metric("AWS/EC2", "CPUUtilization", (("InstanceId", instance),))
    points = tuple((NOW - period * (len(values) - i), value) for i, value in enumerate(values))
    return MetricSeries(metric, points, period)


def sight(*series: MetricSeries, request: PanelRequest = PanelRequest(), **more: object) -> PanelObservation:  # noqa: B008 (frozen)
    instances = tuple(Ec2Instance(one.metric.instance_id, state="running") for one in series)
    values = {"instances": instances, "region": REGION, "asks_aws": True, "series": series, "updated": NOW - 5}
    return PanelObservation(request, **(values | more))


def shown(what: PanelObservation, live: LoadHistory | None = None) -> Snapshot:
    return build_snapshot(what, NOW, live or LoadHistory(), (), SlackHealth())


def live(*cpu: float) -> LoadHistory:
    series = LoadHistory()
    for i, value in enumerate(cpu):
        series.add(LoadSample(NOW - len(cpu) + i, value, 4 << 30, 16 << 30))
    return series


@pytest.mark.parametrize(("period", "monitoring", "label"), [(300.0, "basic", "5 min"), (60.0, "detailed", "1 min")])
def test_monitoring_is_told_by_how_datapoints_arrive(period, monitoring, label):
    snapshot = shown(sight(cpu(I1, 1, 2, 3, period=period), instances=(Ec2Instance(I1, has_detailed_monitoring=None),)))

    assert snapshot.subjects[0].monitoring == monitoring
    assert [line.label for line in snapshot.lines] == [f"CloudWatch, {label}"]


def test_this_host_is_shown_beside_cloudwatch_only_where_it_is_what_is_watched():
    mine, other = InstanceIdentity(I1, "g5.xlarge", "ap-northeast-2a"), InstanceIdentity(I2)

    beside = shown(sight(cpu(I1, 1, 2), identity=mine), live(5, 6))
    assert [line.live for line in beside.lines] == [False, True]
    assert beside.subjects[0].instance_type == "g5.xlarge"

    assert [line.live for line in shown(sight(cpu(I1, 1, 2), identity=other), live(5, 6)).lines] == [False]
    alone = shown(PanelObservation(PanelRequest()), live(5, 6))
    assert [line.label for line in alone.lines] == ["this host, live"]
    assert not alone.subjects
    assert alone.updated == NOW - 1


def test_before_anything_was_read_it_names_what_is_watched():
    snapshot = shown(PanelObservation.initial(PanelRequest(instances=(I1,))), live(5))

    assert [one.instance for one in snapshot.subjects] == [I1]
    assert (snapshot.lines, snapshot.updated) == ((), 0.0)
    assert [line.live for line in shown(PanelObservation.initial(PanelRequest()), live(5)).lines] == [True]


def test_memory_is_measured_here_too_but_not_what_only_an_agent_knows():
    assert shown(PanelObservation(PanelRequest(metric="mem")), live(5)).lines[0].points == ((NOW - 1, 25.0),)
    assert shown(PanelObservation(PanelRequest(metric="gpu")), live(5)).lines == ()


def test_instances_are_told_apart_by_their_ids_and_many_are_shown_as_a_whole():
    both = shown(sight(cpu(I1, 1), cpu(I2, 2)))
    assert [line.label for line in both.lines] == [I1, I2]

    many = [cpu(f"i-{n:08x}", float(n)) for n in range(MAX_SERIES_LINES + 1)]
    whole = shown(sight(*many))
    assert [(line.label, line.points[-1][1]) for line in whole.lines] == [
        ("highest of 7", 6.0),
        ("median of 7", 3.0),
        ("lowest of 7", 0.0),
    ]


def test_an_alarms_threshold_is_drawn_where_its_own_metric_is_shown():
    busy = CloudWatchAlarm("train-busy", "arn:1", "OK", NOW - 60, "CPUUtilization", "AWS/EC2", threshold=50.0)
    disk = replace(busy, name="disk-off", arn="arn:2", metric_name="disk_used_percent", state="ALARM")

    one, two = shown(sight(cpu(I1, 1), alarms=(busy, disk), firing={"arn:2": ((NOW - 60, 0.0),)})).alarms

    assert (one.threshold, one.good, one.periods) == (50.0, False, ())
    assert (two.threshold, two.good, two.periods) == (None, True, ((NOW - 60, 0.0),))
    assert one.url == (
        "https://ap-northeast-2.console.aws.amazon.com/cloudwatch/deeplink.js?region=ap-northeast-2"
        "#alarmsV2:alarm/train-busy"
    )


@pytest.mark.parametrize(
    ("before", "reason", "metric", "good", "note"),
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
def test_a_chip_means_what_slacks_message_means(before: str, reason: str, metric: str, good: bool | None, note: str):
    settings = {
        "MetricName": metric, "Namespace": "AWS/EC2", "ComparisonOperator": "LessThanThreshold", "Threshold": 10.0,
        "StateReason": reason, "Period": 300, "EvaluationPeriods": 3,
    }  # fmt: skip
    off = CloudWatchAlarm(
        "train-off", "arn:1", "ALARM", NOW - 60, metric, "AWS/EC2", raw_fields=tuple(settings.items())
    )

    def chip(one: CloudWatchAlarm) -> tuple[bool | None, str]:
        (alarm,) = shown(sight(cpu(I1, 1), alarms=(one,), before={"arn:1": before})).alarms
        return alarm.good, alarm.note

    assert chip(off) == (good, note)
    # Below its threshold, and no good news.
    assert chip(replace(off, name="disk-free")) == (False, "")
    assert chip(replace(off, name="drop-off-rate")) == (False, "")
    assert chip(replace(off, state="OK")) == (True, "")


def test_an_answer_without_data_says_why_that_may_be():
    def troubles(*series: MetricSeries, **more: object) -> str:
        return " ".join(one.text for one in shown(sight(*series, **more)).troubles)

    assert "up to 10 minutes" in troubles(cpu(I1))
    assert "stopped instance sends no data" in troubles(cpu(I1), instances=(Ec2Instance(I1, state="stopped"),))
    gpu = {"instances": (Ec2Instance(I1),), "request": PanelRequest(metric="gpu")}
    assert "no metric GPU of i-0abc12f9" in troubles(**gpu)
    assert troubles(cpu(I1, 1.0)) == ""
    # Where AWS does not answer at all, that is the trouble.
    assert troubles(cpu(I1), troubles=(PanelProblem("denied"),)) == "denied"


def test_what_was_not_read_for_long_is_stale():
    request = PanelRequest(round=30.0)
    assert not shown(sight(cpu(I1, 1), request=request, updated=NOW - 100)).stale
    assert shown(sight(cpu(I1, 1), request=request, updated=NOW - 130)).stale


def test_thinned_lines_keep_their_last_value_and_their_mean():
    points = tuple((float(i), float(i % 10)) for i in range(1000))

    few = downsample_line(PlotLine("x", False, 1.0, points), 60)

    assert len(few.points) == 60
    assert few.points[-1] == points[-1]
    assert sum(value for _, value in few.points[:-1]) / 59 == pytest.approx(4.5, abs=0.2)
    assert downsample_line(few, 60) is few
