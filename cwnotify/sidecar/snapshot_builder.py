"""Build the `Snapshot` that a panel shows. Pure: the caller reads the clock and the outbox."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import median

from cwnotify.alerts.events.alarms import AlarmState, AlarmStateChange
from cwnotify.alerts.messages.alarm_meaning import ChangeKind, Severity, classify_change, is_welcome_alarm, severity_of
from cwnotify.alerts.parsing.envelopes import parse_aws_events
from cwnotify.alerts.regions import alarm_console_url, partition_of_region
from cwnotify.aws import alarm_history
from cwnotify.aws.models import CloudWatchAlarm, Ec2Instance, MetricSeries
from cwnotify.host.load import SAMPLE_INTERVAL
from cwnotify.host.load_history import COARSE_INTERVAL, RECENT_RETENTION, LoadHistory, LoadPoint
from cwnotify.view.snapshot import PanelAlarm, PanelProblem, PanelRun, PlotLine, SlackHealth, Snapshot, WatchedInstance
from cwnotify.watch.observation import PanelObservation

# A plot of more series than this shows their highest, median and lowest values.
MAX_SERIES_LINES = 6
STALE_AFTER_POLLS = 4
MIN_STALE_INTERVAL = 5.0  # seconds a poll counts as at least
DEFAULT_PERIOD = 300.0  # seconds, if datapoints do not show it
METRIC_TITLES = {"cpu": "CPU", "gpu": "GPU", "mem": "Memory", "disk": "Disk"}
MONITORING_BY_PERIOD = {300: "basic", 60: "detailed"}
_NOTES = {
    ChangeKind.WORK_ENDED: "training ended",
    ChangeKind.IDLE: "idle",
    ChangeKind.WELCOME_NO_DATA: "stopped, or not measured",
}


def build_snapshot(
    observation: PanelObservation,
    now: float,
    load_history: LoadHistory,
    runs: Sequence[PanelRun],
    health: SlackHealth,
) -> Snapshot:
    """Return the snapshot for what was observed until `now`."""
    request = observation.request
    start = now - request.span
    lines = [line for line in build_cloudwatch_lines(observation.series, start) if line.points]
    points = load_history.get_points(request.metric, start) if observation.includes_this_host else ()
    host_line = build_live_line(points)
    updated = observation.updated_at if observation.needs_aws else load_history.last_sample_at
    return Snapshot(
        at=now,
        request=request,
        subjects=tuple(_describe_instance(instance, observation) for instance in observation.instances),
        title=METRIC_TITLES.get(request.metric) or request.metric.rpartition("/")[2],
        unit=observation.series[0].metric.unit if observation.series else "%",
        lines=(*lines, *([host_line] if host_line else [])),
        alarms=tuple(_describe_alarm(alarm, observation) for alarm in observation.alarms),
        runs=tuple(runs),
        health=health,
        problems=(*observation.problems, *_explain_missing_data(observation)),
        updated=updated,
        stale=bool(updated) and now - updated > STALE_AFTER_POLLS * max(request.round, MIN_STALE_INTERVAL),
    )


def build_live_line(points: Sequence[LoadPoint]) -> PlotLine | None:
    """Return the line of this host's own load, or None without points."""
    if not points:
        return None
    is_coarse = points[-1][0] - points[0][0] > RECENT_RETENTION
    return PlotLine("this host, live", True, COARSE_INTERVAL if is_coarse else SAMPLE_INTERVAL, tuple(points))


def build_cloudwatch_lines(series: Sequence[MetricSeries], start: float) -> list[PlotLine]:
    """Return a line for each series from `start` on, or three lines that summarize many series."""
    if len(series) > MAX_SERIES_LINES:
        return _summarize_series(series, start)
    return [
        PlotLine(
            _describe_period(one.period) if len(series) == 1 else _label_series(one, series),
            False,
            one.period or DEFAULT_PERIOD,
            _points_since(one, start),
        )
        for one in series
    ]


def _summarize_series(series: Sequence[MetricSeries], start: float) -> list[PlotLine]:
    """Return the highest, the median and the lowest value at each time."""
    period = max((one.period for one in series), default=0.0) or DEFAULT_PERIOD
    values_by_time: dict[float, list[float]] = {}
    for one in series:
        for at, value in _points_since(one, start):
            values_by_time.setdefault(at // period * period, []).append(value)
    statistics: dict[str, Callable[[list[float]], float]] = {"highest": max, "median": median, "lowest": min}
    lines = []
    for name, compute in statistics.items():
        points = tuple((at, float(compute(values))) for at, values in sorted(values_by_time.items()))
        lines.append(PlotLine(f"{name} of {len(series)}", False, period, points))
    return lines


def _points_since(series: MetricSeries, start: float) -> tuple[tuple[float, float], ...]:
    return tuple(point for point in series.points if point[0] >= start)


def _describe_period(period: float) -> str:
    return f"CloudWatch, {period / 60:g} min" if period else "CloudWatch"


def _label_series(series: MetricSeries, all_series: Sequence[MetricSeries]) -> str:
    """Return what distinguishes a series: its instance, or the dimensions in which the series differ."""
    if len({other.metric.instance_id for other in all_series}) == len(all_series):
        return series.metric.instance_id
    shared = set.intersection(*(set(other.metric.dimensions) for other in all_series))
    values = [value for name, value in series.metric.dimensions if (name, value) not in shared]
    return " ".join(values) or "CloudWatch"


def _describe_instance(instance: Ec2Instance, observation: PanelObservation) -> WatchedInstance:
    identity = observation.identity if instance.id == observation.identity.instance_id else None
    periods = [one.period for one in observation.series if one.metric.instance_id == instance.id and one.period]
    # The interval of datapoints shows what is in effect; EC2 only says what is configured.
    effective = MONITORING_BY_PERIOD.get(round(periods[0])) if periods else None
    configured = {True: "detailed", False: "basic", None: ""}[instance.has_detailed_monitoring]
    return WatchedInstance(
        instance=instance.id,
        name=instance.name,
        instance_type=instance.instance_type or (identity.instance_type if identity else ""),
        zone=instance.availability_zone or (identity.availability_zone if identity else ""),
        region=observation.region,
        state=instance.state,
        monitoring=effective or configured,
    )


def _describe_alarm(alarm: CloudWatchAlarm, observation: PanelObservation) -> PanelAlarm:
    good, note = _explain_firing(alarm, observation.previous_states.get(alarm.arn, ""))
    plotted_metrics = {(one.metric.namespace, one.metric.name) for one in observation.series}
    return PanelAlarm(
        name=alarm.name,
        state=alarm.state,
        since=alarm.since,
        good=good,
        note=note,
        threshold=alarm.threshold if (alarm.namespace, alarm.metric_name) in plotted_metrics else None,
        url=alarm_console_url(alarm.name, observation.region, partition_of_region(observation.region)),
        periods=observation.firing_periods.get(alarm.arn, ()),
    )


def _explain_firing(alarm: CloudWatchAlarm, previous_state: str) -> tuple[bool | None, str]:
    """Return whether it is good news that an alarm fires, and what it means, as in the message to Slack."""
    if alarm.state != AlarmState.ALARM or not is_welcome_alarm(alarm.name):
        return is_welcome_alarm(alarm.name), ""
    change = _last_change(alarm, previous_state)
    is_good = {Severity.GOOD: True, Severity.BAD: False}.get(severity_of(change))
    return is_good, _NOTES.get(classify_change(change), "")


def _last_change(alarm: CloudWatchAlarm, previous_state: str) -> AlarmStateChange:
    """Return the change to the alarm's current state."""
    fields = dict(alarm.raw_fields) or {
        "MetricName": alarm.metric_name,
        "Namespace": alarm.namespace,
        "ComparisonOperator": alarm.comparison,
    }
    fields = {"AlarmName": alarm.name, "AlarmArn": alarm.arn, **fields}
    state = {"reason": fields.get("StateReason"), "reasonData": fields.get("StateReasonData")}
    item = alarm_history.HistoryItem(alarm.since, previous_state, alarm.state, state)
    (event,) = parse_aws_events(alarm_history.to_eventbridge_event(item, fields))
    return event if isinstance(event, AlarmStateChange) else AlarmStateChange(alarm.name, alarm.state, previous_state)


def _explain_missing_data(observation: PanelObservation) -> Iterable[PanelProblem]:
    """Yield why AWS may have no data, if it answers without any."""
    instances, series = observation.instances, observation.series
    if not instances or not observation.updated_at or observation.problems or any(one.points for one in series):
        return
    names = ", ".join(instance.id for instance in instances[:3])
    if not series:
        metric = METRIC_TITLES.get(observation.request.metric, observation.request.metric)
        yield PanelProblem(
            f"CloudWatch has no metric {metric} of {names}. Does the CloudWatch agent send it, with InstanceId?"
        )
    elif all(instance.state in ("stopped", "stopping", "terminated", "shutting-down") for instance in instances):
        yield PanelProblem(f"{names}: {instances[0].state}. A stopped instance sends no data.")
    else:
        yield PanelProblem(
            f"CloudWatch has no datapoint of {names} yet. A new instance's first one takes up to 10 minutes."
        )


def downsample_line(line: PlotLine, max_points: int) -> PlotLine:
    """Return `line` with at most `max_points` points, each the mean of its neighbours. For texts and sparklines."""
    points = line.points
    if len(points) <= max_points:
        return line
    edges = [round(i * len(points) / max_points) for i in range(max_points + 1)]
    means = tuple((points[b - 1][0], sum(value for _, value in points[a:b]) / (b - a)) for a, b in pairwise(edges))
    # The last value is shown as a number, so it stays exact.
    return PlotLine(line.label, line.live, line.period, (*means[:-1], points[-1]))
