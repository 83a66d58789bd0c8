"""What CloudWatch tells: series of datapoints, alarms, and which metrics there are. Asks through `AwsSession`.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import chain, pairwise
from statistics import median_low
from typing import Any

from cwnotify.aws.alarm_actions import RawAlarm, describe_alarms, find_alarms_by_name
from cwnotify.aws.models import CloudWatchAlarm, Metric, MetricSeries
from cwnotify.aws.session import AwsSession
from cwnotify.errors import UsageError

Dimensions = tuple[tuple[str, str], ...]
MAX_SERIES_PER_CALL = 500
MAX_POINTS_PER_CALL = 100_800
_DAY = 86_400
# Seconds. AWS/EC2 measures every five minutes or every one: asked by the minute, it answers with what there is.
_PERIODS = (60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, _DAY, 7 * _DAY)
# Older than so many days, datapoints are kept only for periods of so many seconds.
_KEPT = ((63, 3600), (15, 300))
# What is this close to the limit will be beyond it before AWS looks at it.
_MARGIN = 60.0
# What the CloudWatch agent calls what we have short names for.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/metrics-collected-by-CloudWatch-agent.html
AGENT_METRICS = {
    "gpu": "CWAgent/nvidia_smi_utilization_gpu",
    "mem": "CWAgent/mem_used_percent",
    "disk": "CWAgent/disk_used_percent",
}
_CPU = "AWS/EC2/CPUUtilization"
# File systems that are not on any disk.
_NO_DISKS = {"tmpfs", "devtmpfs", "overlay", "squashfs", "ramfs", "proc", "sysfs"}
# From so many instances on it is cheaper to ask for all metrics of a name, and to pick.
_MANY = 5
# So many gaps between the newest datapoints tell how often they come.
_GAPS = 5

log = logging.getLogger(__name__)


def read_series(
    aws: AwsSession, metrics: Sequence[Metric], start: float, end: float, workers: int = 4
) -> tuple[MetricSeries, ...]:
    """The datapoints of `metrics`, in the same order; one call for each 500 of them.

    Parameters
    ----------
    start, end
        Unix seconds. Datapoints come from the beginning of the period that `start` is in, and as fine as one call may
        give them.
    workers
        How many calls are under way at a time.

    Raises
    ------
    AwsError
        If CloudWatch refuses any of the calls.
    """
    unique = list(dict.fromkeys(metrics))
    batches = [unique[i : i + MAX_SERIES_PER_CALL] for i in range(0, len(unique), MAX_SERIES_PER_CALL)]
    # Made here, lest all workers wait for the one that makes it.
    aws.client("cloudwatch")
    with ThreadPoolExecutor(max(1, min(workers, len(batches))), "cwnotify-cloudwatch") as pool:
        found = pool.map(lambda batch: _read_batch(aws, batch, start, end), batches)
        known = {series.metric: series for series in chain.from_iterable(found)}
    return tuple(known[metric] for metric in metrics)


def choose_period(series: int, start: float, end: float, now: float) -> int:
    """The shortest period in seconds that CloudWatch has for the age of `start`, and that keeps within one call."""
    age = (now - start + _MARGIN) / _DAY
    shortest = next((period for days, period in _KEPT if age > days), _PERIODS[0])
    legal = [period for period in _PERIODS if period >= shortest]
    return next((one for one in legal if series * _slots(start, end, one) <= MAX_POINTS_PER_CALL), legal[-1])


def read_alarms(
    aws: AwsSession, names: Sequence[str] = (), prefixes: Sequence[str] = ()
) -> tuple[CloudWatchAlarm, ...]:
    """The alarms of these names and prefixes; without any, all of the region.

    Raises
    ------
    AwsError
        If CloudWatch refuses.
    """
    asked: list[Iterable[RawAlarm]] = [describe_alarms(aws, AlarmNamePrefix=prefix) for prefix in prefixes]
    if names or not prefixes:
        asked.insert(0, find_alarms_by_name(aws, names) if names else describe_alarms(aws))
    found = (_alarm(one) for one in chain.from_iterable(asked))
    return tuple({one.arn: one for one in found}.values())


def find_metrics(aws: AwsSession, wanted: str, instances: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics that somebody means by `wanted`.

    Parameters
    ----------
    wanted
        ``cpu``; ``gpu``, ``mem`` or ``disk``, of the CloudWatch agent; or ``NAMESPACE/NAME``.
    instances
        Of which instances; without any, all metrics of that name.

    Raises
    ------
    UsageError
        If `wanted` is none of these.
    AwsError
        If CloudWatch refuses.
    """
    namespace, _, name = (_CPU if wanted == "cpu" else AGENT_METRICS.get(wanted, wanted)).rpartition("/")
    if not (namespace and name):
        raise UsageError(f"--metric takes cpu, {', '.join(AGENT_METRICS)} or NAMESPACE/NAME, not {wanted!r}")
    if namespace == "AWS/EC2" and (instances or wanted == "cpu"):
        # EC2's own are always told apart by this alone.
        sets: list[Dimensions] = [(("InstanceId", id),) for id in instances]
    else:
        sets = _finest(_dimension_sets(aws, namespace, name, instances))
    if wanted == "disk":
        sets = [one for one in sets if dict(one).get("fstype") not in _NO_DISKS]
    return tuple(Metric(namespace, name, one, unit=_unit(name)) for one in sets)


def _dimension_sets(aws: AwsSession, namespace: str, name: str, instances: Sequence[str]) -> Iterator[Dimensions]:
    filters: list[list[dict[str, str]]] = [[{"Name": "InstanceId", "Value": id}] for id in instances]
    if len(filters) > _MANY:
        filters = [[{"Name": "InstanceId"}]]
    for some in filters or [[]]:
        found = aws.paginate_items(
            "cloudwatch", "list_metrics", "Metrics", Namespace=namespace, MetricName=name, Dimensions=some
        )
        for one in found:
            dimensions = tuple(sorted((pair["Name"], pair["Value"]) for pair in one.get("Dimensions", ())))
            if not instances or dict(dimensions).get("InstanceId") in instances:
                yield dimensions


def _finest(sets: Iterable[Dimensions]) -> list[Dimensions]:
    """Without those that only sum up others: the agent can send one value under several sets of dimensions."""
    unique = dict.fromkeys(sets)
    by_pair: dict[tuple[str, str], list[set[tuple[str, str]]]] = {}
    for one in unique:
        for pair in one:
            by_pair.setdefault(pair, []).append(set(one))
    return [
        one
        for one in unique
        if not any(
            set(one) < other for other in min((by_pair[pair] for pair in one), key=len, default=map(set, unique))
        )
    ]


def _unit(name: str) -> str:
    """The unit of a metric, which CloudWatch does not tell beside its datapoints."""
    if re.search(r"(?i)utilization|percent", name):
        return "%"
    return "B" if re.search(r"Bytes$|^Network(In|Out)$|_bytes(_|$)", name) else ""


def _read_batch(aws: AwsSession, metrics: Sequence[Metric], start: float, end: float) -> list[MetricSeries]:
    period = choose_period(len(metrics), start, end, aws.clock())
    queries = [_query(f"m{index}", metric, period) for index, metric in enumerate(metrics)]
    first = start // period * period
    pages = aws.paginate(
        "cloudwatch",
        "get_metric_data",
        MetricDataQueries=queries,
        StartTime=_moment(first),
        EndTime=_moment(first + period * _slots(start, end, period)),
        ScanBy="TimestampDescending",
    )
    points, whole = merge_metric_pages(pages)
    return [
        MetricSeries(metric, series, _spacing(series), query["Id"] in whole)
        for metric, query in zip(metrics, queries, strict=True)
        for series in (points.get(query["Id"], ()),)
    ]


def merge_metric_pages(
    pages: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, tuple[tuple[float, float], ...]], set[str]]:
    """Put the pages of an answer of GetMetricData together.

    Returns
    -------
    tuple
        The datapoints by query, oldest first and one for each time, the one told last; and the queries that were
        answered in full.
    """
    values: dict[str, dict[float, float]] = {}
    status: dict[str, str] = {}
    messages: list[str] = []
    for page in pages:
        messages += _messages(page)
        for result in page.get("MetricDataResults", ()):
            told = zip(result.get("Timestamps", ()), result.get("Values", ()), strict=False)
            points = values.setdefault(result["Id"], {})
            points.update((at.timestamp(), value) for at, value in told if math.isfinite(value))
            status[result["Id"]] = result.get("StatusCode", "Complete")
            messages += _messages(result)
    if messages:
        log.warning("CloudWatch says of its datapoints: %s", "; ".join(dict.fromkeys(messages)))
    whole = {id for id, code in status.items() if code == "Complete"}
    return {id: tuple(sorted(points.items())) for id, points in values.items()}, whole


def _messages(told: Mapping[str, Any]) -> Iterator[str]:
    for message in told.get("Messages", ()):
        yield f"{message.get('Code', '')} {message.get('Value', '')}".strip()


def _query(id: str, metric: Metric, period: int) -> dict[str, Any]:
    dimensions = [{"Name": name, "Value": value} for name, value in metric.dimensions]
    which = {"Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimensions}
    return {"Id": id, "MetricStat": {"Metric": which, "Period": period, "Stat": metric.statistic}}


def _slots(start: float, end: float, period: int) -> int:
    """How many periods begin between that of `start` and `end`."""
    return max(1, math.ceil(end / period) - math.floor(start / period))


def _spacing(points: Sequence[tuple[float, float]]) -> float:
    """Seconds between the newest datapoints; some may be missing, and monitoring may have been switched over."""
    times = [at for at, _ in points[-_GAPS - 1 :]]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return median_low(gaps) if len(gaps) > 1 else 0.0


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _alarm(alarm: RawAlarm) -> CloudWatchAlarm:
    told = alarm.raw_fields
    metric, dimensions = _watched(told)
    since = told.get("StateTransitionedTimestamp") or told.get("StateUpdatedTimestamp")
    kinds = ("AlarmActions", "OKActions", "InsufficientDataActions") if told.get("ActionsEnabled", True) else ()
    return CloudWatchAlarm(
        name=alarm.name,
        arn=str(told.get("AlarmArn", "")),
        state=alarm.state,
        since=since.timestamp() if since else 0.0,
        metric_name=str(metric.get("MetricName", "")),
        namespace=str(metric.get("Namespace", "")),
        dimensions=dimensions,
        threshold=told.get("Threshold"),
        comparison=str(told.get("ComparisonOperator", "")),
        action_arns=tuple(dict.fromkeys(action for kind in kinds for action in told.get(kind, ()))),
        raw_fields=tuple(told.items()),
    )


def _watched(told: Mapping[str, Any]) -> tuple[Mapping[str, Any], Dimensions]:
    """The metric that is compared, should it be one, and the dimensions of all that take part."""
    stats = [query["MetricStat"]["Metric"] for query in told.get("Metrics", ()) if "MetricStat" in query]
    metrics = [told] if told.get("MetricName") else stats
    pairs = ((one["Name"], one["Value"]) for metric in metrics for one in metric.get("Dimensions", ()))
    return metrics[0] if len(metrics) == 1 else {}, tuple(dict.fromkeys(pairs))
