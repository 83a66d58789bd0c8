"""What is known -> the `Snapshot` that a panel shows. Pure: whoever calls it has read the clock and the outbox."""

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

# With more series than these a plot shows their course as a whole.
MAX_SERIES_LINES = 6
STALE_AFTER_POLLS = 4
METRIC_TITLES = {"cpu": "CPU", "gpu": "GPU", "mem": "Memory", "disk": "Disk"}
MONITORING_BY_PERIOD = {300: "basic", 60: "detailed"}


def build_snapshot(
    sight: PanelObservation, now: float, live: LoadHistory, runs: Sequence[PanelRun], health: SlackHealth
) -> Snapshot:
    """The snapshot for what `sight` sees at `now`."""
    request = sight.request
    start = now - request.span
    lines = [line for line in build_cloudwatch_lines(sight.series, start) if line.points]
    here = build_live_line(live.get_points(request.metric, start)) if sight.includes_this_host else None
    updated = sight.updated_at if sight.needs_aws else live.last_sample_at
    return Snapshot(
        at=now,
        request=request,
        subjects=tuple(_subject(one, sight) for one in sight.instances),
        title=METRIC_TITLES.get(request.metric) or request.metric.rpartition("/")[2],
        unit=sight.series[0].metric.unit if sight.series else "%",
        lines=(*lines, *([here] if here else [])),
        alarms=tuple(_alarm(one, sight) for one in sight.alarms),
        runs=tuple(runs),
        health=health,
        troubles=(*sight.problems, *_silence(sight)),
        updated=updated,
        stale=bool(updated) and now - updated > STALE_AFTER_POLLS * max(request.round, 5.0),
    )


def build_live_line(points: Sequence[LoadPoint]) -> PlotLine | None:
    """Return the line for this host's own load; None without points."""
    if not points:
        return None
    is_coarse = points[-1][0] - points[0][0] > RECENT_RETENTION
    return PlotLine("this host, live", True, COARSE_INTERVAL if is_coarse else SAMPLE_INTERVAL, tuple(points))


def build_cloudwatch_lines(series: Sequence[MetricSeries], start: float) -> list[PlotLine]:
    """A line for each series; of many, the highest, the middle and the lowest of them at each time."""
    if len(series) > MAX_SERIES_LINES:
        return _course(series, start)
    alone = len(series) == 1
    return [
        PlotLine(_cadence(one.period) if alone else _label(one, series), False, one.period or 300.0, _since(one, start))
        for one in series
    ]


def _course(series: Sequence[MetricSeries], start: float) -> list[PlotLine]:
    period = max((one.period for one in series), default=0.0) or 300.0
    values: dict[float, list[float]] = {}
    for one in series:
        for at, value in _since(one, start):
            values.setdefault(at // period * period, []).append(value)
    kinds: dict[str, Callable[[list[float]], float]] = {"highest": max, "median": median, "lowest": min}
    return [
        PlotLine(
            f"{word} of {len(series)}",
            False,
            period,
            tuple((at, float(pick(found))) for at, found in sorted(values.items())),
        )
        for word, pick in kinds.items()
    ]


def _since(series: MetricSeries, start: float) -> tuple[tuple[float, float], ...]:
    return tuple(point for point in series.points if point[0] >= start)


def _cadence(period: float) -> str:
    return f"CloudWatch, {period / 60:g} min" if period else "CloudWatch"


def _label(one: MetricSeries, among: Sequence[MetricSeries]) -> str:
    """What tells a series from the others: its instance, else the dimensions in which they differ."""
    if len({other.metric.instance_id for other in among}) == len(among):
        return one.metric.instance_id
    shared = set.intersection(*(set(other.metric.dimensions) for other in among))
    return " ".join(value for pair in one.metric.dimensions if pair not in shared for value in pair[1:]) or "CloudWatch"


def _subject(one: Ec2Instance, sight: PanelObservation) -> WatchedInstance:
    here = sight.identity if one.id == sight.identity.instance_id else None
    periods = [series.period for series in sight.series if series.metric.instance_id == one.id and series.period]
    arrives = MONITORING_BY_PERIOD.get(round(periods[0])) if periods else None
    asked = {True: "detailed", False: "basic", None: ""}[one.has_detailed_monitoring]
    return WatchedInstance(
        instance=one.id,
        name=one.name,
        instance_type=one.instance_type or (here.instance_type if here else ""),
        zone=one.availability_zone or (here.availability_zone if here else ""),
        region=sight.region,
        state=one.state,
        monitoring=arrives or asked,
    )


_NOTES = {
    ChangeKind.WORK_ENDED: "training ended",
    ChangeKind.IDLE: "idle",
    ChangeKind.WELCOME_NO_DATA: "stopped, or not measured",
}


def _alarm(one: CloudWatchAlarm, sight: PanelObservation) -> PanelAlarm:
    good, note = _meaning(one, sight.previous_states.get(one.arn, ""))
    shown = {(series.metric.namespace, series.metric.name) for series in sight.series}
    return PanelAlarm(
        name=one.name,
        state=one.state,
        since=one.since,
        good=good,
        note=note,
        threshold=one.threshold if (one.namespace, one.metric_name) in shown else None,
        url=alarm_console_url(one.name, sight.region, partition_of_region(sight.region)),
        periods=sight.firing_periods.get(one.arn, ()),
    )


def _meaning(one: CloudWatchAlarm, before: str) -> tuple[bool | None, str]:
    """Whether it is good news that an alarm fires, and what that means; the same as in Slack's message."""
    if one.state != AlarmState.ALARM or not is_welcome_alarm(one.name):
        return is_welcome_alarm(one.name), ""
    event = _change(one, before)
    return {Severity.GOOD: True, Severity.BAD: False}.get(severity_of(event)), _NOTES.get(classify_change(event), "")


def _change(one: CloudWatchAlarm, before: str) -> AlarmStateChange:
    """The change to the state that an alarm is in."""
    compared = {"MetricName": one.metric_name, "Namespace": one.namespace, "ComparisonOperator": one.comparison}
    settings = {"AlarmName": one.name, "AlarmArn": one.arn, **(dict(one.raw_fields) or compared)}
    state = {"reason": settings.get("StateReason"), "reasonData": settings.get("StateReasonData")}
    (event,) = parse_aws_events(
        alarm_history.to_eventbridge_event(alarm_history.HistoryItem(one.since, before, one.state, state), settings)
    )
    return event if isinstance(event, AlarmStateChange) else AlarmStateChange(one.name, one.state, before)


def _silence(sight: PanelObservation) -> Iterable[PanelProblem]:
    """Where AWS answers and has nothing to show: why that may be."""
    if not sight.instances or not sight.updated_at or sight.problems or any(one.points for one in sight.series):
        return
    names = ", ".join(one.id for one in sight.instances[:3])
    stopped = all(one.state in ("stopped", "stopping", "terminated", "shutting-down") for one in sight.instances)
    if not sight.series:
        wanted = METRIC_TITLES.get(sight.request.metric, sight.request.metric)
        yield PanelProblem(
            f"CloudWatch has no metric {wanted} of {names}. Does the CloudWatch agent send it, with InstanceId?"
        )
    elif stopped:
        yield PanelProblem(f"{names}: {sight.instances[0].state}. A stopped instance sends no data.")
    else:
        yield PanelProblem(
            f"CloudWatch has no datapoint of {names} yet. A new instance's first one takes up to 10 minutes."
        )


def downsample_line(line: PlotLine, most: int) -> PlotLine:
    """`line` with at most `most` points, each the mean of its neighbours: for words and sparklines."""
    points = line.points
    if len(points) <= most:
        return line
    edges = [round(i * len(points) / most) for i in range(most + 1)]
    means = tuple((points[b - 1][0], sum(value for _, value in points[a:b]) / (b - a)) for a, b in pairwise(edges))
    # The last value is told in words, so it stays as it is.
    return PlotLine(line.label, line.live, line.period, (*means[:-1], points[-1]))
