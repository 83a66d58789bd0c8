"""What is known -> the `Snapshot` that a panel shows. Pure: whoever calls it has read the clock and the outbox."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import median

from cwnotify.alerts.events.alarms import AlarmChanged, AlarmState
from cwnotify.alerts.messages.alarm_meaning import News, Tone, is_welcome, news_of, tone_of
from cwnotify.alerts.parsing.envelopes import parse
from cwnotify.alerts.regions import alarm_link, partition_of
from cwnotify.aws import alarm_history
from cwnotify.aws.models import AlarmReading, InstanceReading, Series
from cwnotify.host.load_history import Live
from cwnotify.view.snapshot import AlarmShown, Health, Line, RunShown, Snapshot, Subject, Trouble
from cwnotify.watch.observation import Sight

# With more series than these a plot shows their course as a whole.
MOST_LINES = 6
STALE_ROUNDS = 4
TITLES = {"cpu": "CPU", "gpu": "GPU", "mem": "Memory", "disk": "Disk"}
MONITORING = {300: "basic", 60: "detailed"}


def compose(sight: Sight, now: float, live: Live, runs: Sequence[RunShown], health: Health) -> Snapshot:
    """The snapshot for what `sight` sees at `now`."""
    request = sight.request
    start = now - request.span
    lines = [line for line in cloud_lines(sight.series, start) if line.points]
    here = live.line(request.metric, start) if sight.shows_this_host else None
    updated = sight.updated if sight.asks_aws else live.last
    return Snapshot(
        at=now,
        request=request,
        subjects=tuple(_subject(one, sight) for one in sight.instances),
        title=TITLES.get(request.metric) or request.metric.rpartition("/")[2],
        unit=sight.series[0].metric.unit if sight.series else "%",
        lines=(*lines, *([here] if here else [])),
        alarms=tuple(_alarm(one, sight) for one in sight.alarms),
        runs=tuple(runs),
        health=health,
        troubles=(*sight.troubles, *_silence(sight)),
        updated=updated,
        stale=bool(updated) and now - updated > STALE_ROUNDS * max(request.round, 5.0),
    )


def cloud_lines(series: Sequence[Series], start: float) -> list[Line]:
    """A line for each series; of many, the highest, the middle and the lowest of them at each time."""
    if len(series) > MOST_LINES:
        return _course(series, start)
    alone = len(series) == 1
    return [
        Line(_cadence(one.period) if alone else _label(one, series), False, one.period or 300.0, _since(one, start))
        for one in series
    ]


def _course(series: Sequence[Series], start: float) -> list[Line]:
    period = max((one.period for one in series), default=0.0) or 300.0
    values: dict[float, list[float]] = {}
    for one in series:
        for at, value in _since(one, start):
            values.setdefault(at // period * period, []).append(value)
    kinds: dict[str, Callable[[list[float]], float]] = {"highest": max, "median": median, "lowest": min}
    return [
        Line(
            f"{word} of {len(series)}",
            False,
            period,
            tuple((at, float(pick(found))) for at, found in sorted(values.items())),
        )
        for word, pick in kinds.items()
    ]


def _since(series: Series, start: float) -> tuple[tuple[float, float], ...]:
    return tuple(point for point in series.points if point[0] >= start)


def _cadence(period: float) -> str:
    return f"CloudWatch, {period / 60:g} min" if period else "CloudWatch"


def _label(one: Series, among: Sequence[Series]) -> str:
    """What tells a series from the others: its instance, else the dimensions in which they differ."""
    if len({other.metric.instance for other in among}) == len(among):
        return one.metric.instance
    shared = set.intersection(*(set(other.metric.dimensions) for other in among))
    return " ".join(value for pair in one.metric.dimensions if pair not in shared for value in pair[1:]) or "CloudWatch"


def _subject(one: InstanceReading, sight: Sight) -> Subject:
    here = sight.identity if one.id == sight.identity.instance else None
    periods = [series.period for series in sight.series if series.metric.instance == one.id and series.period]
    arrives = MONITORING.get(round(periods[0])) if periods else None
    asked = {True: "detailed", False: "basic", None: ""}[one.detailed]
    return Subject(
        instance=one.id,
        name=one.name,
        instance_type=one.type or (here.type if here else ""),
        zone=one.zone or (here.zone if here else ""),
        region=sight.region,
        state=one.state,
        monitoring=arrives or asked,
    )


_NOTES = {News.ENDED: "training ended", News.IDLE: "idle", News.UNKNOWN: "stopped, or not measured"}


def _alarm(one: AlarmReading, sight: Sight) -> AlarmShown:
    good, note = _meaning(one, sight.before.get(one.arn, ""))
    shown = {(series.metric.namespace, series.metric.name) for series in sight.series}
    return AlarmShown(
        name=one.name,
        state=one.state,
        since=one.since,
        good=good,
        note=note,
        threshold=one.threshold if (one.namespace, one.metric) in shown else None,
        url=alarm_link(one.name, sight.region, partition_of(sight.region)),
        periods=sight.firing.get(one.arn, ()),
    )


def _meaning(one: AlarmReading, before: str) -> tuple[bool | None, str]:
    """Whether it is good news that an alarm fires, and what that means; the same as in Slack's message."""
    if one.state != AlarmState.ALARM or not is_welcome(one.name):
        return is_welcome(one.name), ""
    event = _change(one, before)
    return {Tone.GOOD: True, Tone.BAD: False}.get(tone_of(event)), _NOTES.get(news_of(event), "")


def _change(one: AlarmReading, before: str) -> AlarmChanged:
    """The change to the state that an alarm is in."""
    compared = {"MetricName": one.metric, "Namespace": one.namespace, "ComparisonOperator": one.comparison}
    settings = {"AlarmName": one.name, "AlarmArn": one.arn, **(dict(one.settings) or compared)}
    state = {"reason": settings.get("StateReason"), "reasonData": settings.get("StateReasonData")}
    (event,) = parse(alarm_history.as_event(alarm_history.Item(one.since, before, one.state, state), settings))
    return event if isinstance(event, AlarmChanged) else AlarmChanged(one.name, one.state, before)


def _silence(sight: Sight) -> Iterable[Trouble]:
    """Where AWS answers and has nothing to show: why that may be."""
    if not sight.instances or not sight.updated or sight.troubles or any(one.points for one in sight.series):
        return
    names = ", ".join(one.id for one in sight.instances[:3])
    stopped = all(one.state in ("stopped", "stopping", "terminated", "shutting-down") for one in sight.instances)
    if not sight.series:
        wanted = TITLES.get(sight.request.metric, sight.request.metric)
        yield Trouble(
            f"CloudWatch has no metric {wanted} of {names}. Does the CloudWatch agent send it, with InstanceId?"
        )
    elif stopped:
        yield Trouble(f"{names}: {sight.instances[0].state}. A stopped instance sends no data.")
    else:
        yield Trouble(f"CloudWatch has no datapoint of {names} yet. A new instance's first one takes up to 10 minutes.")


def thinned(line: Line, most: int) -> Line:
    """`line` with at most `most` points, each the mean of its neighbours: for words and sparklines."""
    points = line.points
    if len(points) <= most:
        return line
    edges = [round(i * len(points) / most) for i in range(most + 1)]
    means = tuple((points[b - 1][0], sum(value for _, value in points[a:b]) / (b - a)) for a, b in pairwise(edges))
    # The last value is told in words, so it stays as it is.
    return Line(line.label, line.live, line.period, (*means[:-1], points[-1]))
