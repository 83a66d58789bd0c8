"""What CloudWatch's reason holds of values and thresholds, from its data and from its sentence. Pure.

EventBridge sends an alarm's threshold nowhere else. `recentDatapoints` lists the measured datapoints oldest first,
`evaluatedDatapoints` newest first with their times, those that were missing without a value. The sentence lists the
datapoints that crossed newest first with their times, and in its older form oldest first without them:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
"""

from __future__ import annotations

import re

from cwnotify.alerts.events.alarms import AlarmState, ChildAlarm
from cwnotify.alerts.light_dataclass import frozen
from cwnotify.alerts.parsing.lenient_json import (
    JsonObject,
    as_json_object,
    as_json_objects,
    decode_json_text,
    first_number,
    first_positive_int,
    first_text,
    first_timestamp,
)
from cwnotify.alerts.regions import parse_arn

_MAX_REASON = 2_000  # CloudWatch's own limit is 1023
_MAX_POINTS = 100
_MAX_CHILDREN = 1_000

_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,3})?"
_POINTS = (
    r"(most recent )?(?:datapoints?|query results?)(?: which crossed the threshold)?:? "
    r"(?:\[([^\]]+)\]|\(([^)]+)\))"
)
_POINT = rf"({_NUMBER})(?: \((\d\d)/(\d\d)/(\d\d) (\d\d:\d\d:\d\d)\))?"
_COMPARED = r"(greater|less) than (or equal to )?the (upper |lower )?threshold"
_MISSING_TREATED = r"\bmissing (?:datapoints?|query results?) (?:was|were) treated as \[Breaching\]"
_NOTHING_RECEIVED = (
    r"(?i)\bno (?:datapoints?|data points?|query results?|time series) (?:was|were) (?:received|returned)"
    r"|\bdatapoints? (?:was|were) unknown"
)
_SOMETHING_RECEIVED = r"\b[1-9]\d* (?:(?:out )?of the last \d+ )?(?:datapoints?|query results?)\b(?! \w+ unknown)"


@frozen
class StateReasonDetails:
    """What a reason holds; see `cwnotify.alerts.events.alarms.AlarmStateChange`."""

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
    recent: tuple[float, ...] = ()
    no_data: bool = False


@frozen
class _Point:
    """One measured datapoint, and the anomaly band's edges at its time."""

    value: float
    lower: float | None = None
    upper: float | None = None


def parse_state_reason(
    reason: str, reason_data: object, after: str = "", comparison: str = "", threshold: float | None = None
) -> StateReasonDetails:
    """Read a reason's data (JSON text, or already read) and, for what it lacks, the reason's sentence.

    Parameters
    ----------
    after
        The state that the reason explains: of M datapoints out of N it decides which one to show.
    comparison, threshold
        As the alarm's configuration has them, where it does.
    """
    data = as_json_object(decode_json_text(reason_data))
    sentence = reason[:_MAX_REASON]
    limit = first_number(threshold, data.get("threshold"), _captured(rf"thresholds? \(({_NUMBER})\)", sentence))
    operator = comparison or _comparison(sentence)
    points = _measured(data, sentence)
    shown = _decisive(points, after, operator, limit, bool(re.search(_MISSING_TREATED, sentence)))
    m, n = _m_of_n(sentence)
    return StateReasonDetails(
        value=shown.value if shown else None,
        threshold=limit,
        lower=shown.lower if shown else None,
        upper=shown.upper if shown else None,
        comparison=operator,
        statistic=first_text(data.get("statistic")),
        period=first_number(data.get("period")),
        datapoints_to_alarm=first_positive_int(data.get("queryresultstoalarm"), m),
        evaluation_periods=first_positive_int(data.get("queryresultstoevaluate"), n),
        children=parse_child_alarms(data.get("triggeringalarms")),
        recent=tuple(point.value for point in points[-_MAX_POINTS:]),
        no_data=not points and _says_nothing_measured(data, sentence),
    )


def parse_child_alarms(value: object) -> tuple[ChildAlarm, ...]:
    """The alarms whose change changed a composite one."""
    children = []
    for child in as_json_objects(value)[:_MAX_CHILDREN]:
        arn, state = first_text(child.get("arn")), as_json_object(child.get("state"))
        if arn:
            children.append(
                ChildAlarm(
                    parse_arn(arn).alarm_name or arn,
                    first_text(state.get("value")),
                    first_timestamp(state.get("timestamp")),
                )
            )
    return tuple(children)


def is_threshold_breached(
    value: float, comparison: str, threshold: float | None, lower: float | None = None, upper: float | None = None
) -> bool | None:
    """Whether `value` breaches an alarm's threshold or band; None if that cannot be known."""
    if "LowerThreshold" in comparison or "UpperThreshold" in comparison:
        below = "LessThanLower" in comparison and lower is not None and value < lower
        above = "GreaterThanUpper" in comparison and upper is not None and value > upper
        return None if lower is None and upper is None else below or above
    if threshold is None or not comparison:
        return None
    if value == threshold:
        return "OrEqualTo" in comparison
    return value > threshold if comparison.startswith("Greater") else value < threshold


def _decisive(
    points: list[_Point], after: str, comparison: str, threshold: float | None, missing_breaches: bool
) -> _Point | None:
    """The newest datapoint that explains the state `after`; without one, the newest of all."""
    if not points:
        return None
    breach = {AlarmState.ALARM.value: True, AlarmState.OK.value: False}.get(after)
    verdicts = [is_threshold_breached(one.value, comparison, threshold, one.lower, one.upper) for one in points]
    for point, verdict in zip(reversed(points), reversed(verdicts), strict=True):
        if breach is not None and verdict is breach:
            return point
    # Missing datapoints fired the alarm: a measured one that did not cross would look like its cause.
    return None if breach and missing_breaches else points[-1]


def _measured(data: JsonObject, sentence: str) -> list[_Point]:
    """The measured datapoints, oldest first: from the data, else those that the sentence names."""
    timed = _timed(data)
    recent = _recent(data)
    if recent and timed and len(recent) == len(timed) and [one.value for one in recent[::-1]] == timed:
        return recent[::-1]
    return recent or [_Point(value) for value in timed] or _named(sentence)


def _recent(data: JsonObject) -> list[_Point]:
    values = data.get("recentdatapoints")
    if not isinstance(values, list):
        return []
    lower, upper = _list(data.get("recentlowerthresholds")), _list(data.get("recentupperthresholds"))
    points = []
    for index, value in enumerate(values):
        measured = first_number(value)
        if measured is not None:
            points.append(
                _Point(measured, first_number(*lower[index : index + 1]), first_number(*upper[index : index + 1]))
            )
    return points


def _timed(data: JsonObject) -> list[float]:
    """The datapoints that carry their times, oldest first."""
    timed = [
        (first_timestamp(point.get("timestamp")) or 0.0, value)
        for key in ("evaluateddatapoints", "results")
        for point in as_json_objects(data.get(key))
        if (value := first_number(point.get("value"))) is not None
    ]
    return [value for _, value in sorted(timed, key=lambda pair: pair[0])]


def _named(sentence: str) -> list[_Point]:
    """The datapoints in a sentence, oldest first; their band's edges are listed in the same order."""
    for most_recent, bracketed, bare in re.findall(_POINTS, sentence):
        listed: list[tuple[str, ...]] = re.findall(_POINT, bracketed or bare)
        if not listed:
            continue
        lower, upper = (_edges(edge, sentence, len(listed)) for edge in ("lower", "upper"))
        points = [
            ((year, month, day, time), _Point(float(value), lower[index], upper[index]))
            for index, (value, day, month, year, time) in enumerate(listed)
        ]
        if not most_recent:
            points.reverse()
        return [point for _, point in sorted(points, key=lambda pair: pair[0])]
    return []


def _edges(edge: str, sentence: str, expected: int) -> list[float | None]:
    listed = _captured(rf"{edge} thresholds? \[([^\]]+)\]", sentence)
    values: list[float | None] = [first_number(value) for value in re.findall(_NUMBER, listed)]
    return [*values[:expected], *[None] * (expected - len(values))]


def _says_nothing_measured(data: JsonObject, sentence: str) -> bool:
    if re.search(_SOMETHING_RECEIVED, sentence):
        return False
    if re.search(_NOTHING_RECEIVED, sentence) or re.search(_MISSING_TREATED, sentence):
        return True
    return any(isinstance(data.get(key), list) for key in ("recentdatapoints", "evaluateddatapoints"))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _captured(pattern: str, sentence: str) -> str:
    match = re.search(pattern, sentence)
    return match[1] if match else ""


def _comparison(sentence: str) -> str:
    matches = re.findall(_COMPARED, sentence)
    edges = {edge.strip() for _, _, edge in matches if edge}
    if edges == {"upper", "lower"}:
        return "LessThanLowerOrGreaterThanUpperThreshold"
    if not matches:
        return ""
    than, equal, _ = matches[0]
    return f"{than.title()}Than{'OrEqualTo' if equal else ''}{''.join(edges).title()}Threshold"


def _m_of_n(sentence: str) -> tuple[int | None, int | None]:
    """M of N. K datapoints of N lead back to OK: M is N - K + 1. A sentence without N means M of M."""
    silent = first_positive_int(_captured(r"\breceived for (\d{1,6}) periods?", sentence))
    if silent:
        return None, silent
    to_alarm = first_positive_int(_captured(r"minimum (\d{1,6}) datapoints? for \w+ -> ALARM", sentence))
    to_ok = first_positive_int(_captured(r"minimum (\d{1,6}) datapoints? for \w+ -> OK", sentence))
    n = first_positive_int(_captured(r"out of the last (\d{1,6}) ", sentence))
    if n is None:
        n = first_positive_int(_captured(r"Crossed: (\d{1,6}) datapoints? ", sentence))
    back = first_positive_int(n - to_ok + 1) if n and to_ok else None
    return to_alarm or back or n, n
