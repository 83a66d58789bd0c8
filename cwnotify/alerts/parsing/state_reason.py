"""Read values and thresholds from CloudWatch's state reason: from its data, and from its sentence. Pure.

EventBridge sends an alarm's threshold nowhere else. `recentDatapoints` lists measured datapoints, oldest first.
`evaluatedDatapoints` lists all, newest first, with times; missing ones have no value. The sentence lists the datapoints
that crossed the threshold: newest first with times, or in its older form oldest first without times.
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
    as_list,
    decode_json_text,
    first_number,
    first_positive_int,
    first_text,
    first_timestamp,
)
from cwnotify.alerts.regions import parse_arn

_MAX_REASON_LENGTH = 2_000  # CloudWatch's limit is 1023
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
    """The content of a reason; see `cwnotify.alerts.events.alarms.AlarmStateChange`."""

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
    """One measured datapoint, and the edges of the anomaly detection band at its time."""

    value: float
    lower: float | None = None
    upper: float | None = None


def parse_state_reason(
    reason: str, reason_data: object, after: str = "", comparison: str = "", threshold: float | None = None
) -> StateReasonDetails:
    """Return the content of a reason's data (JSON text or its value). The sentence fills the gaps.

    Parameters
    ----------
    after
        The state that the reason explains. It decides which of the datapoints to show.
    comparison, threshold
        From the alarm's configuration, if it has them.
    """
    data = as_json_object(decode_json_text(reason_data))
    sentence = reason[:_MAX_REASON_LENGTH]
    limit = first_number(threshold, data.get("threshold"), _search(rf"thresholds? \(({_NUMBER})\)", sentence))
    operator = comparison or _parse_comparison(sentence)
    points = _parse_points(data, sentence)
    point = _choose_decisive(points, after, operator, limit, bool(re.search(_MISSING_TREATED, sentence)))
    m, n = _parse_m_of_n(sentence)
    return StateReasonDetails(
        value=point.value if point else None,
        threshold=limit,
        lower=point.lower if point else None,
        upper=point.upper if point else None,
        comparison=operator,
        statistic=first_text(data.get("statistic")),
        period=first_number(data.get("period")),
        datapoints_to_alarm=first_positive_int(data.get("queryresultstoalarm"), m),
        evaluation_periods=first_positive_int(data.get("queryresultstoevaluate"), n),
        children=parse_child_alarms(data.get("triggeringalarms")),
        recent=tuple(recent.value for recent in points[-_MAX_POINTS:]),
        no_data=not points and _reports_no_data(data, sentence),
    )


def parse_child_alarms(value: object) -> tuple[ChildAlarm, ...]:
    """Return the alarms that changed a composite alarm."""
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
    """Return whether `value` breaches an alarm's threshold or band; None if that is unknown."""
    if "LowerThreshold" in comparison or "UpperThreshold" in comparison:
        below = "LessThanLower" in comparison and lower is not None and value < lower
        above = "GreaterThanUpper" in comparison and upper is not None and value > upper
        return None if lower is None and upper is None else below or above
    if threshold is None or not comparison:
        return None
    if value == threshold:
        return "OrEqualTo" in comparison
    return value > threshold if comparison.startswith("Greater") else value < threshold


def _choose_decisive(
    points: list[_Point], after: str, comparison: str, threshold: float | None, missing_breaches: bool
) -> _Point | None:
    """Return the newest datapoint that explains the state `after`, or else the newest of all."""
    if not points:
        return None
    breach = {AlarmState.ALARM.value: True, AlarmState.OK.value: False}.get(after)
    verdicts = [is_threshold_breached(point.value, comparison, threshold, point.lower, point.upper) for point in points]
    for point, verdict in zip(reversed(points), reversed(verdicts), strict=True):
        if breach is not None and verdict is breach:
            return point
    # Missing datapoints fired the alarm. A measured one that did not cross would look like the cause.
    return None if breach and missing_breaches else points[-1]


def _parse_points(data: JsonObject, sentence: str) -> list[_Point]:
    """Return the measured datapoints, oldest first: from the data, or else from the sentence."""
    timed = _parse_timed_values(data)
    recent = _parse_recent_points(data)
    if recent and timed and len(recent) == len(timed) and [point.value for point in recent[::-1]] == timed:
        return recent[::-1]
    return recent or [_Point(value) for value in timed] or _parse_sentence_points(sentence)


def _parse_recent_points(data: JsonObject) -> list[_Point]:
    lower, upper = as_list(data.get("recentlowerthresholds")), as_list(data.get("recentupperthresholds"))
    points = []
    for index, value in enumerate(as_list(data.get("recentdatapoints"))):
        measured = first_number(value)
        if measured is not None:
            points.append(
                _Point(measured, first_number(*lower[index : index + 1]), first_number(*upper[index : index + 1]))
            )
    return points


def _parse_timed_values(data: JsonObject) -> list[float]:
    """Return the datapoints that have times, oldest first."""
    timed = [
        (first_timestamp(point.get("timestamp")) or 0.0, value)
        for key in ("evaluateddatapoints", "results")
        for point in as_json_objects(data.get(key))
        if (value := first_number(point.get("value"))) is not None
    ]
    return [value for _, value in sorted(timed, key=lambda pair: pair[0])]


def _parse_sentence_points(sentence: str) -> list[_Point]:
    """Return the datapoints in a sentence, oldest first. The sentence lists band edges in the same order."""
    for most_recent, bracketed, bare in re.findall(_POINTS, sentence):
        matches: list[tuple[str, ...]] = re.findall(_POINT, bracketed or bare)
        if not matches:
            continue
        lower, upper = (_parse_band_edges(edge, sentence, len(matches)) for edge in ("lower", "upper"))
        points = [
            ((year, month, day, time), _Point(float(value), lower[index], upper[index]))
            for index, (value, day, month, year, time) in enumerate(matches)
        ]
        if not most_recent:
            points.reverse()
        return [point for _, point in sorted(points, key=lambda pair: pair[0])]
    return []


def _parse_band_edges(edge: str, sentence: str, expected: int) -> list[float | None]:
    captured = _search(rf"{edge} thresholds? \[([^\]]+)\]", sentence)
    values: list[float | None] = [first_number(value) for value in re.findall(_NUMBER, captured)]
    return [*values[:expected], *[None] * (expected - len(values))]


def _reports_no_data(data: JsonObject, sentence: str) -> bool:
    if re.search(_SOMETHING_RECEIVED, sentence):
        return False
    if re.search(_NOTHING_RECEIVED, sentence) or re.search(_MISSING_TREATED, sentence):
        return True
    return any(isinstance(data.get(key), list) for key in ("recentdatapoints", "evaluateddatapoints"))


def _search(pattern: str, sentence: str) -> str:
    match = re.search(pattern, sentence)
    return match[1] if match else ""


def _parse_comparison(sentence: str) -> str:
    matches = re.findall(_COMPARED, sentence)
    edges = {edge.strip() for _, _, edge in matches if edge}
    if edges == {"upper", "lower"}:
        return "LessThanLowerOrGreaterThanUpperThreshold"
    if not matches:
        return ""
    than, equal, _ = matches[0]
    return f"{than.title()}Than{'OrEqualTo' if equal else ''}{''.join(edges).title()}Threshold"


def _parse_m_of_n(sentence: str) -> tuple[int | None, int | None]:
    """Return M and N of "M out of N datapoints". If K of N lead back to OK, M is N - K + 1. Without N, N is M."""
    missing_periods = first_positive_int(_search(r"\breceived for (\d{1,6}) periods?", sentence))
    if missing_periods:
        return None, missing_periods
    to_alarm = first_positive_int(_search(r"minimum (\d{1,6}) datapoints? for \w+ -> ALARM", sentence))
    to_ok = first_positive_int(_search(r"minimum (\d{1,6}) datapoints? for \w+ -> OK", sentence))
    n = first_positive_int(_search(r"out of the last (\d{1,6}) ", sentence))
    if n is None:
        n = first_positive_int(_search(r"Crossed: (\d{1,6}) datapoints? ", sentence))
    back = first_positive_int(n - to_ok + 1) if n and to_ok else None
    return to_alarm or back or n, n
