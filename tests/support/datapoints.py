"""How CloudWatch aggregates datapoints, and which queries it rejects. Pure.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html and
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricStat.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from cwnotify.aws.models import Datapoint, Metric
from tests.support.aws_wire import Fault, RequestParameters

MAX_SERIES = 500
MAX_DATAPOINTS = 100_800
_DAY = 86_400
_STATISTICS: dict[str, Callable[[list[float]], float]] = {
    "Average": lambda values: sum(values) / len(values),
    "Sum": sum,
    "Minimum": min,
    "Maximum": max,
    "SampleCount": len,
}
MetricKey = tuple[str, str, frozenset[tuple[str, str]]]


def cpu_metric(instance: str) -> Metric:
    """Return the CPUUtilization metric of an instance."""
    return Metric("AWS/EC2", "CPUUtilization", (("InstanceId", instance),))


def wave_datapoints(start: float, end: float, period: int) -> dict[float, float]:
    """Return datapoints of a load that rises and falls, one per `period` (seconds)."""
    first = int(start // period * period)
    return {float(at): 50.0 + 40.0 * ((at // period) % 7 - 3) / 3 for at in range(first, int(end), period)}


def metric_key(metric: Metric) -> MetricKey:
    """Return the identity of a metric, which does not depend on the order of its dimensions."""
    return metric.namespace, metric.name, frozenset(metric.dimensions)


def metric_from_query(metric: RequestParameters) -> Metric:
    """Return the metric of a query's ``Metric`` field."""
    dimensions = tuple((dimension["Name"], dimension["Value"]) for dimension in metric["Dimensions"])
    return Metric(metric["Namespace"], metric["MetricName"], dimensions)


def aggregate_datapoints(
    points: Mapping[float, float], stat: RequestParameters, start: float, end: float
) -> list[Datapoint]:
    """Return one datapoint for each period that has any, oldest first."""
    period, slots = stat["Period"], dict[float, list[float]]()
    for at, value in points.items():
        if start <= at < end:
            slots.setdefault(at // period * period, []).append(value)
    return sorted((at, _STATISTICS[stat["Stat"]](values)) for at, values in slots.items())


def validate_query(queries: Sequence[RequestParameters], start: float, end: float, now: float) -> None:
    """Reject the queries that CloudWatch rejects.

    Raises
    ------
    Fault
        With CloudWatch's error code.
    """
    ids = [query["Id"] for query in queries]
    if not queries or len(queries) > MAX_SERIES:
        raise Fault("ValidationError", "The collection MetricDataQueries must not have a size greater than 500.")
    if len(set(ids)) < len(ids) or not all(re.fullmatch(r"[a-z][a-zA-Z0-9_]{0,254}", id) for id in ids):
        raise Fault("ValidationError", "The values for parameter id in MetricDataQueries are not valid or not unique.")
    if start >= end:
        raise Fault("ValidationError", "The parameter StartTime must be less than the parameter EndTime.")
    age = (now - start) / _DAY
    unit = 3600 if age > 63 else 300 if age > 15 else 60 if age > 3 / 24 else 1
    periods = [query["MetricStat"]["Period"] for query in queries]
    if any(period % unit or (period % 60 and period not in (1, 5, 10, 20, 30)) for period in periods):
        raise Fault("ValidationError", f"Period must be a multiple of {unit} seconds.")
    points = sum((end - start) / period for period in periods)
    if points > MAX_DATAPOINTS:
        raise Fault(
            "ValidationError", f"You have requested up to {points:.0f} datapoints; the limit is {MAX_DATAPOINTS}."
        )
    if any(query["MetricStat"]["Stat"] not in _STATISTICS for query in queries):
        raise Fault("ValidationError", "The value for parameter Stat is not valid.")
