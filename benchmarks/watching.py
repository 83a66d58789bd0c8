"""Polls of the CloudWatch poller, with a strict stand-in for AWS: many instances, and one instance for a day."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from benchmarks.harness import (
    BenchmarkResult,
    Curve,
    Row,
    Summary,
    format_significant,
    summarize,
    temporary_disk_folder,
)
from cwnotify.aws.cloudwatch import MAX_SERIES_PER_CALL, read_series
from cwnotify.aws.models import Metric
from cwnotify.aws.session import AwsSession
from cwnotify.store.alarm_states import AlarmStateStore
from cwnotify.store.api_usage import ApiCallCounter
from cwnotify.store.outbox import Outbox
from cwnotify.view.snapshot import PanelRequest
from cwnotify.watch.alarm_changes import AlarmChangeTracker
from cwnotify.watch.ec2_notices import InstanceMonitor
from cwnotify.watch.poller import POLL_JITTER, AwsPoller
from tests.support.cloudwatch import CloudWatch
from tests.support.datapoints import cpu_metric, wave_datapoints

ROOT = Path(__file__).parents[1]
# Measured latency of CloudWatch for 500 series and for one series, in seconds.
CLOUDWATCH_LATENCY, SINGLE_SERIES_LATENCY = 0.28, 0.085
# Dollars per requested series of GetMetricData, and per call of other operations. https://aws.amazon.com/cloudwatch/pricing/
SERIES_PRICE, CALL_PRICE = 0.01 / 1000, 0.01 / 1000
DAY, WATCH_INTERVAL = 86_400.0, 30.0  # seconds
SIMULATED_HOURS = 2
# A datapoint has the time at which its period of 300 s begins, and arrives a minute after the period ends.
DATAPOINT_DELAY = 300.0 + 60.0
START_TIME = 1_795_300_000.0
INSTANCE_ID = "i-0abc1234def567890"


def measure(quick: bool) -> BenchmarkResult:
    """Measure polls of many instances, then simulate one instance's day poll by poll."""
    result = BenchmarkResult()
    points: list[tuple[float, ...]] = []
    sizes = ((100, 1), (1000, 2)) if quick else ((100, 1), (500, 1), (1000, 2), (3000, 6), (10_000, 20))
    for instances, expected_calls in sizes:
        times, boto3_times, calls = _measure_poll(instances, 2 if quick else 3)
        low, high = times.quartiles
        points.append((instances, low, times.median, high))
        if instances >= 1000:
            in_series = instances * SINGLE_SERIES_LATENCY
            result.rows.append(
                Row(
                    f"{instances:,} instances, one poll",
                    f"{expected_calls} calls, under 1.5 s",
                    f"{calls} calls, {times.format('s')}",
                    calls == expected_calls and times.median < 1.5,
                    (
                        f"boto3 alone, the same calls, four at a time: {boto3_times.format('s')}",
                        f"one call each, in series: {format_significant(in_series)} s, "
                        f"{format_significant(in_series / times.median)} times ours",
                    ),
                )
            )
    result.notes.append(
        f"Instances: the stand-in takes {1000 * CLOUDWATCH_LATENCY:.0f} ms per call, four calls at a time. One call "
        f"each is calculated with {1000 * SINGLE_SERIES_LATENCY:.0f} ms per call."
    )
    lines: dict[str, Sequence[tuple[float, ...]]] = {
        "cwnotify": points,
        "one call each, in series": [(n, n * SINGLE_SERIES_LATENCY) for n, *_ in points if n <= 100],
    }
    result.curves.append(Curve("instances", "Time of one poll", "instances", "s", lines))
    result.rows.append(_simulate_day(1 if quick else SIMULATED_HOURS))
    return result


@contextmanager
def _start_stand_in(instances: int) -> Iterator[str]:
    """Start the stand-in in its own process, so that its CPU time does not count. Yield its URL."""
    command = [sys.executable, "-m", "tests.support.cloudwatch", str(instances), str(CLOUDWATCH_LATENCY)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(10)


@contextmanager
def _set_environ(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _measure_poll(instances: int, rounds: int) -> tuple[Summary, Summary, int]:
    """Return the seconds of a poll, the seconds of the same calls with boto3 alone, and the calls per poll."""
    metrics = [cpu_metric(f"i-{number:017x}") for number in range(instances)]
    with (
        CloudWatch() as local,
        _start_stand_in(instances) as url,
        _set_environ(local.environ() | {"AWS_ENDPOINT_URL": url}),
    ):
        aws, times, boto3_times = AwsSession.with_short_timeouts(), [], []
        client = boto3.client("cloudwatch")
        # The first call creates the client and its connections.
        read_series(aws, metrics, time.time() - 1800, time.time())
        before = aws.call_counts["cloudwatch:GetMetricData"]
        for _ in range(rounds):
            started_at = time.perf_counter()
            series = read_series(aws, metrics, time.time() - 1800, time.time())
            times.append(time.perf_counter() - started_at)
            assert all(metric_series.points for metric_series in series)
            boto3_times.append(_measure_boto3(client, metrics))
        calls = aws.call_counts["cloudwatch:GetMetricData"] - before
    return summarize(times), summarize(boto3_times), calls // rounds


def _measure_boto3(client: Any, metrics: list[Metric]) -> float:
    """Return the seconds of the same calls with boto3 alone, which are the lower limit."""
    end = time.time() // 60 * 60 + 60

    def query(batch: list[Metric]) -> object:
        queries = [
            {
                "Id": f"m{index}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": metric.namespace,
                        "MetricName": metric.name,
                        "Dimensions": [{"Name": name, "Value": value} for name, value in metric.dimensions],
                    },
                    "Period": 60,
                    "Stat": "Average",
                },
            }
            for index, metric in enumerate(batch)
        ]
        return client.get_metric_data(MetricDataQueries=queries, StartTime=end - 1860, EndTime=end)

    started_at = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        starts = range(0, len(metrics), MAX_SERIES_PER_CALL)
        list(pool.map(query, [metrics[start : start + MAX_SERIES_PER_CALL] for start in starts]))
    return time.perf_counter() - started_at


class _SteppedPoller(AwsPoller):
    """A poller without its thread. It polls when `step` is called."""

    def begin(self, outbox: Outbox) -> None:
        self._changes = AlarmChangeTracker(AlarmStateStore(outbox), lambda: 3 * self._pause() + 30, self._lookups)
        self._calls = ApiCallCounter(outbox)
        self._session()

    def step(self, now: float) -> AwsSession:
        self._poll(self._requests, now)
        return self._session()


def _simulate_day(hours: int) -> Row:
    """Simulate `hours` of watching one instance with an alarm. Return the calls and the cost of a day."""
    clock, id = [START_TIME], INSTANCE_ID
    points = wave_datapoints(START_TIME - 4 * 3600, START_TIME + hours * 3600, 300)

    def add_arrived_datapoints() -> None:
        arrived = {at: value for at, value in points.items() if at + DATAPOINT_DELAY <= clock[0]}
        cloud.add_datapoints(cpu_metric(id), arrived)

    with CloudWatch(lambda: clock[0]) as cloud, _set_environ(cloud.environ()), temporary_disk_folder() as path:
        add_arrived_datapoints()
        cloud.put_alarm(
            "busy",
            at=START_TIME,
            Namespace="AWS/EC2",
            MetricName="CPUUtilization",
            Dimensions=[{"Name": "InstanceId", "Value": id}],
        )
        cloud.put_instance(id)
        outbox = Outbox(path / "outbox.sqlite3")
        monitor = InstanceMonitor(lambda: outbox, lambda: None)
        poller = _SteppedPoller(lambda: outbox, monitor, lambda: None, lambda: None)
        poller.begin(outbox)
        poller.add_panel("panel", PanelRequest(instances=(id,), round=WATCH_INTERVAL), "slack")
        aws = poller.step(START_TIME)
        # The first poll of a panel reads its whole time range. A day has one such poll.
        first_calls = Counter(aws.call_counts)
        latest, delays, jitter = START_TIME - DATAPOINT_DELAY, list[float](), random.Random(6)
        while clock[0] < START_TIME + hours * 3600:
            clock[0] += WATCH_INTERVAL * jitter.uniform(1 - POLL_JITTER, 1 + POLL_JITTER)
            add_arrived_datapoints()
            aws = poller.step(clock[0])
            newest = max(at for at, _ in poller.observations["panel"].series[0].points)
            if newest > latest:
                latest = newest
                delays.append(clock[0] - newest - DATAPOINT_DELAY)
        outbox.close()
    later_calls = Counter(aws.call_counts) - first_calls
    calls = {name: round(first_calls[name] + later_calls[name] * 24 / hours) for name in aws.call_counts}
    return _day_row(calls, round(aws.requested_series_count * 24 / hours), summarize(delays))


def _day_row(calls: dict[str, int], series: int, delays: Summary) -> Row:
    """Return the row of a day with these calls, requested series and delays of datapoints (seconds)."""
    priced = sum(count for name, count in calls.items() if name.startswith("cloudwatch:") and "GetMetric" not in name)
    cost = series * SERIES_PRICE + priced * CALL_PRICE
    counts = ", ".join(f"{count:,} {name.partition(':')[2]}" for name, count in sorted(calls.items()))
    return Row(
        f"watching one instance for a day, a poll every {WATCH_INTERVAL:.0f} s",
        "calls and dollars per day",
        f"{counts}: ${cost:.3f}",
        None,
        (
            f"GetMetricData, lower limit: {DAY / 300:.0f} per day, one for each datapoint; with one in each poll: "
            f"{DAY / WATCH_INTERVAL:,.0f}",
            f"a datapoint is shown {delays.format('s')} after CloudWatch has it, at most {max(delays.values):.0f} s",
            f"alarms are read in each poll, so a change is reported within {WATCH_INTERVAL:.0f} s",
        ),
    )
