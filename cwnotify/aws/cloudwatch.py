"""Read series of datapoints, alarms and metrics from CloudWatch. boto3 through `AwsSession`.

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
# Seconds. EC2 measures every one or five minutes; a request by the minute returns all datapoints of either.
_PERIODS = (60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, _DAY, 7 * _DAY)
# (days, seconds): datapoints older than this many days have at least this period.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#metrics-retention
_RETENTION_PERIODS = ((63, 3600), (15, 300))
# Seconds. An age this close to a limit can be beyond it when AWS handles the request.
_AGE_MARGIN = 60.0
# The CloudWatch agent's names of the metrics that have short names here.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/metrics-collected-by-CloudWatch-agent.html
AGENT_METRICS = {
    "gpu": "CWAgent/nvidia_smi_utilization_gpu",
    "mem": "CWAgent/mem_used_percent",
    "disk": "CWAgent/disk_used_percent",
}
_CPU = "AWS/EC2/CPUUtilization"
# File systems that are not on a disk.
_VIRTUAL_FILE_SYSTEMS = {"tmpfs", "devtmpfs", "overlay", "squashfs", "ramfs", "proc", "sysfs"}
# For more instances than this, one request for all metrics of a name is cheaper than one for each instance.
_MAX_LISTED_INSTANCES = 5
# Gaps between the newest datapoints from which the period is estimated.
_MAX_GAPS = 5

log = logging.getLogger(__name__)


def read_series(
    aws: AwsSession, metrics: Sequence[Metric], start: float, end: float, workers: int = 4
) -> tuple[MetricSeries, ...]:
    """Return the datapoints of `metrics`, in the same order, with one call for each 500 metrics.

    Parameters
    ----------
    start, end
        Unix seconds. Datapoints begin with the period that contains `start`, and have the shortest period that one
        call can return.
    workers
        Calls in flight at a time.

    Raises
    ------
    AwsError
        If CloudWatch rejects any of the calls.
    """
    unique = list(dict.fromkeys(metrics))
    batches = [unique[i : i + MAX_SERIES_PER_CALL] for i in range(0, len(unique), MAX_SERIES_PER_CALL)]
    # Created here, so that the workers do not wait for one another.
    aws.client("cloudwatch")
    with ThreadPoolExecutor(max(1, min(workers, len(batches))), "cwnotify-cloudwatch") as pool:
        results = pool.map(lambda batch: _read_batch(aws, batch, start, end), batches)
        by_metric = {series.metric: series for series in chain.from_iterable(results)}
    return tuple(by_metric[metric] for metric in metrics)


def choose_period(series: int, start: float, end: float, now: float) -> int:
    """Return the shortest period in seconds that CloudWatch stores for the age of `start` and that one call can return.

    Parameters
    ----------
    series
        The number of series in the call.
    start, end, now
        Unix seconds.
    """
    age = (now - start + _AGE_MARGIN) / _DAY
    shortest = next((period for days, period in _RETENTION_PERIODS if age > days), _PERIODS[0])
    periods = [period for period in _PERIODS if period >= shortest]
    return next(
        (period for period in periods if series * _count_periods(start, end, period) <= MAX_POINTS_PER_CALL),
        periods[-1],
    )


def read_alarms(
    aws: AwsSession, names: Sequence[str] = (), prefixes: Sequence[str] = ()
) -> tuple[CloudWatchAlarm, ...]:
    """Return the alarms with these names and prefixes; without any, all alarms of the region.

    Raises
    ------
    AwsError
        If CloudWatch rejects the request.
    """
    results: list[Iterable[RawAlarm]] = [describe_alarms(aws, AlarmNamePrefix=prefix) for prefix in prefixes]
    if names or not prefixes:
        results.insert(0, find_alarms_by_name(aws, names) if names else describe_alarms(aws))
    alarms = map(_to_alarm, chain.from_iterable(results))
    return tuple({alarm.arn: alarm for alarm in alarms}.values())


def find_metrics(aws: AwsSession, selector: str, instances: Sequence[str]) -> tuple[Metric, ...]:
    """Return the metrics that `selector` names.

    Parameters
    ----------
    selector
        ``cpu``; ``gpu``, ``mem`` or ``disk`` of the CloudWatch agent; or ``NAMESPACE/NAME``.
    instances
        The instances that are measured; without any, all metrics of that name.

    Raises
    ------
    UsageError
        If `selector` has another form.
    AwsError
        If CloudWatch rejects the request.
    """
    namespace, _, name = (_CPU if selector == "cpu" else AGENT_METRICS.get(selector, selector)).rpartition("/")
    if not (namespace and name):
        raise UsageError(
            f"--metric {selector!r} is not a metric",
            hint=f"--metric takes cpu, {', '.join(AGENT_METRICS)} or NAMESPACE/NAME",
        )
    if namespace == "AWS/EC2" and (instances or selector == "cpu"):
        # EC2's own metrics have no other dimension.
        sets: list[Dimensions] = [(("InstanceId", id),) for id in instances]
    else:
        sets = _remove_aggregates(_list_dimensions(aws, namespace, name, instances))
    if selector == "disk":
        sets = [dimensions for dimensions in sets if dict(dimensions).get("fstype") not in _VIRTUAL_FILE_SYSTEMS]
    return tuple(Metric(namespace, name, dimensions, unit=_guess_unit(name)) for dimensions in sets)


def _list_dimensions(aws: AwsSession, namespace: str, name: str, instances: Sequence[str]) -> Iterator[Dimensions]:
    filters: list[list[dict[str, str]]] = [[{"Name": "InstanceId", "Value": id}] for id in instances]
    if len(filters) > _MAX_LISTED_INSTANCES:
        filters = [[{"Name": "InstanceId"}]]
    for dimension_filter in filters or [[]]:
        metrics = aws.paginate_items(
            "cloudwatch", "list_metrics", "Metrics", Namespace=namespace, MetricName=name, Dimensions=dimension_filter
        )
        for metric in metrics:
            dimensions = tuple(sorted((pair["Name"], pair["Value"]) for pair in metric.get("Dimensions", ())))
            if not instances or dict(dimensions).get("InstanceId") in instances:
                yield dimensions


def _remove_aggregates(sets: Iterable[Dimensions]) -> list[Dimensions]:
    """Drop sets of dimensions that are part of another one: the agent can send one value under several sets."""
    unique = dict.fromkeys(sets)
    by_pair: dict[tuple[str, str], list[set[tuple[str, str]]]] = {}
    for dimensions in unique:
        for pair in dimensions:
            by_pair.setdefault(pair, []).append(set(dimensions))

    def is_aggregate(dimensions: Dimensions) -> bool:
        # A larger set has all of the pairs, so those with the rarest pair suffice.
        others = min((by_pair[pair] for pair in dimensions), key=len, default=map(set, unique))
        return any(set(dimensions) < other for other in others)

    return [dimensions for dimensions in unique if not is_aggregate(dimensions)]


def _guess_unit(name: str) -> str:
    """Return the unit of a metric, because CloudWatch returns none with its datapoints."""
    if re.search(r"(?i)utilization|percent", name):
        return "%"
    return "B" if re.search(r"Bytes$|^Network(In|Out)$|_bytes(_|$)", name) else ""


def _read_batch(aws: AwsSession, metrics: Sequence[Metric], start: float, end: float) -> list[MetricSeries]:
    period = choose_period(len(metrics), start, end, aws.clock())
    queries = [_build_query(f"m{index}", metric, period) for index, metric in enumerate(metrics)]
    first = start // period * period
    pages = aws.paginate(
        "cloudwatch",
        "get_metric_data",
        MetricDataQueries=queries,
        StartTime=_to_datetime(first),
        EndTime=_to_datetime(first + period * _count_periods(start, end, period)),
        ScanBy="TimestampDescending",
    )
    points, complete = merge_metric_pages(pages)
    return [
        MetricSeries(metric, series, _estimate_period(series), query["Id"] in complete)
        for metric, query in zip(metrics, queries, strict=True)
        for series in (points.get(query["Id"], ()),)
    ]


def merge_metric_pages(
    pages: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, tuple[tuple[float, float], ...]], set[str]]:
    """Merge the pages of a response of GetMetricData.

    Returns
    -------
    tuple
        The datapoints by query, oldest first, the last value for each time; and the IDs of the complete queries.
    """
    values: dict[str, dict[float, float]] = {}
    status: dict[str, str] = {}
    messages: list[str] = []
    for page in pages:
        messages += _format_messages(page)
        for result in page.get("MetricDataResults", ()):
            pairs = zip(result.get("Timestamps", ()), result.get("Values", ()), strict=False)
            points = values.setdefault(result["Id"], {})
            points.update((at.timestamp(), value) for at, value in pairs if math.isfinite(value))
            status[result["Id"]] = result.get("StatusCode", "Complete")
            messages += _format_messages(result)
    if messages:
        log.warning("CloudWatch reports about its datapoints: %s", "; ".join(dict.fromkeys(messages)))
    complete = {id for id, code in status.items() if code == "Complete"}
    return {id: tuple(sorted(points.items())) for id, points in values.items()}, complete


def _format_messages(fields: Mapping[str, Any]) -> Iterator[str]:
    for message in fields.get("Messages", ()):
        yield f"{message.get('Code', '')} {message.get('Value', '')}".strip()


def _build_query(id: str, metric: Metric, period: int) -> dict[str, Any]:
    dimensions = [{"Name": name, "Value": value} for name, value in metric.dimensions]
    fields = {"Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimensions}
    return {"Id": id, "MetricStat": {"Metric": fields, "Period": period, "Stat": metric.statistic}}


def _count_periods(start: float, end: float, period: int) -> int:
    """Return the number of periods that begin from the one that contains `start` until `end`."""
    return max(1, math.ceil(end / period) - math.floor(start / period))


def _estimate_period(points: Sequence[tuple[float, float]]) -> float:
    """Return the usual seconds between the newest datapoints. Some may be missing, and the period may have changed."""
    times = [at for at, _ in points[-_MAX_GAPS - 1 :]]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return median_low(gaps) if len(gaps) > 1 else 0.0


def _to_datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _to_alarm(alarm: RawAlarm) -> CloudWatchAlarm:
    fields = alarm.raw_fields
    metric, dimensions = _find_metric(fields)
    since = fields.get("StateTransitionedTimestamp") or fields.get("StateUpdatedTimestamp")
    actions = ("AlarmActions", "OKActions", "InsufficientDataActions") if fields.get("ActionsEnabled", True) else ()
    return CloudWatchAlarm(
        name=alarm.name,
        arn=str(fields.get("AlarmArn", "")),
        state=alarm.state,
        since=since.timestamp() if since else 0.0,
        metric_name=str(metric.get("MetricName", "")),
        namespace=str(metric.get("Namespace", "")),
        dimensions=dimensions,
        threshold=fields.get("Threshold"),
        comparison=str(fields.get("ComparisonOperator", "")),
        action_arns=tuple(dict.fromkeys(arn for name in actions for arn in fields.get(name, ()))),
        raw_fields=tuple(fields.items()),
    )


def _find_metric(fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], Dimensions]:
    """Return the alarm's metric, empty if there are several, and the dimensions of all its metrics."""
    statistics = [query["MetricStat"]["Metric"] for query in fields.get("Metrics", ()) if "MetricStat" in query]
    metrics = [fields] if fields.get("MetricName") else statistics
    pairs = ((pair["Name"], pair["Value"]) for metric in metrics for pair in metric.get("Dimensions", ()))
    return metrics[0] if len(metrics) == 1 else {}, tuple(dict.fromkeys(pairs))
