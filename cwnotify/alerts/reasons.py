"""What CloudWatch's reason tells of values and thresholds, from its data and from its sentence. Pure.

EventBridge tells an alarm's threshold nowhere else. The data, where there is any, lists datapoints oldest first; the
sentence lists them newest first with their times, and in its older form oldest first without them:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
"""

from __future__ import annotations

import re

from cwnotify.alerts.alarm_events import ChildAlarm
from cwnotify.alerts.frozen import frozen
from cwnotify.alerts.loose import Node, count, decoded, moment, node, nodes, number, text
from cwnotify.alerts.regions import read_arn

_MOST_REASON = 2_000  # CloudWatch's own limit is 1023

_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,3})?"
_POINTS = (
    r"(most recent )?(?:datapoints?|query results?)(?: which crossed the threshold)?:? "
    r"(?:\[([^\]]+)\]|\(([^)]+)\))"
)
_POINT = rf"({_NUMBER})(?: \((\d\d)/(\d\d)/(\d\d) (\d\d:\d\d:\d\d)\))?"
_COMPARED = r"(greater|less) than (or equal to )?the (upper |lower )?threshold"


@frozen
class Evidence:
    """What a reason tells; see `cwnotify.alerts.alarm_events.AlarmChanged`."""

    value: float | None = None
    threshold: float | None = None
    lower: float | None = None
    upper: float | None = None
    comparison: str = ""
    statistic: str = ""
    period: float | None = None
    datapoints_to_alarm: int | None = None
    evaluation_periods: int | None = None
    children: tuple[ChildAlarm, ...] = ()


def evidence(reason: str, reason_data: object) -> Evidence:
    """Read a reason's data (JSON text, or already read) and, for what it lacks, the reason's sentence."""
    data = node(decoded(reason_data))
    said = reason[:_MOST_REASON]
    m, n = _m_of_n(said)
    return Evidence(
        value=number(_last(data.get("recentdatapoints")), _latest(data), _newest_said(said)),
        threshold=number(data.get("threshold"), _said(rf"thresholds? \(({_NUMBER})\)", said)),
        lower=number(_last(data.get("recentlowerthresholds")), _said(rf"lower thresholds? \[({_NUMBER})", said)),
        upper=number(_last(data.get("recentupperthresholds")), _said(rf"upper thresholds? \[({_NUMBER})", said)),
        comparison=_comparison(said),
        statistic=text(data.get("statistic")),
        period=number(data.get("period")),
        datapoints_to_alarm=count(data.get("queryresultstoalarm"), m),
        evaluation_periods=count(data.get("queryresultstoevaluate"), n),
        children=child_alarms(data.get("triggeringalarms")),
    )


def child_alarms(value: object) -> tuple[ChildAlarm, ...]:
    """The alarms whose change changed a composite one."""
    children = []
    for child in nodes(value):
        arn, state = text(child.get("arn")), node(child.get("state"))
        if arn:
            children.append(
                ChildAlarm(read_arn(arn).alarm or arn, text(state.get("value")), moment(state.get("timestamp")))
            )
    return tuple(children)


def _latest(data: Node) -> float | None:
    """The newest datapoint of those that carry their times, and so may come in any order."""
    timed = [
        (moment(point.get("timestamp")) or 0.0, found)
        for key in ("evaluateddatapoints", "results")
        for point in nodes(data.get(key))
        if (found := number(point.get("value"))) is not None
    ]
    return max(timed)[1] if timed else None


def _last(value: object) -> object:
    return value[-1] if isinstance(value, list) and value else None


def _newest_said(reason: str) -> str:
    for recent, bracketed, bare in re.findall(_POINTS, reason):
        points: list[tuple[str, ...]] = re.findall(_POINT, bracketed or bare)
        if points:
            dated = [(year, month, day, time, value) for value, day, month, year, time in points if time]
            return max(dated)[-1] if dated else points[-1 if recent else 0][0]
    return ""


def _said(pattern: str, reason: str) -> str:
    found = re.search(pattern, reason)
    return found[1] if found else ""


def _comparison(reason: str) -> str:
    found = re.findall(_COMPARED, reason)
    edges = {edge.strip() for _, _, edge in found if edge}
    if edges == {"upper", "lower"}:
        return "LessThanLowerOrGreaterThanUpperThreshold"
    if not found:
        return ""
    than, equal, _ = found[0]
    return f"{than.title()}Than{'OrEqualTo' if equal else ''}{''.join(edges).title()}Threshold"


def _m_of_n(reason: str) -> tuple[str, str]:
    """M is told only on the way to ALARM; a sentence without N means M of M."""
    m = _said(r"minimum (\d{1,6}) datapoints? for \w+ -> ALARM", reason)
    n = _said(r"out of the last (\d{1,6}) ", reason)
    all_of = "" if n else _said(r"Crossed: (\d{1,6}) datapoints? ", reason)
    return m or all_of, n or all_of
