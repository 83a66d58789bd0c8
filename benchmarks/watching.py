"""Rounds of the watch against a strict stand-in for CloudWatch: many instances, and one instance for a day."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from benchmarks.harness import BenchmarkResult, Curve, Row, format_significant, summarize, temporary_disk_folder
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
# What CloudWatch took for 500 series, and for a single one (seconds).
CLOUDWATCH_LATENCY, SINGLE_SERIES_LATENCY = 0.28, 0.085
# Dollars: GetMetricData by the series asked for, other calls by the call. https://aws.amazon.com/cloudwatch/pricing/
SERIES_PRICE, CALL_PRICE = 0.01 / 1000, 0.01 / 1000
DAY, SIMULATED_HOURS, WATCH_INTERVAL = 86_400.0, 2, 30.0
DATAPOINT_DELAY = 300.0 + 60.0
START_TIME = 1_795_300_000.0


def measure(quick: bool) -> BenchmarkResult:
    """Rounds of a fleet, then one instance's day in steps of a round."""
    found, points = BenchmarkResult(), []
    for instances, calls in (
        ((100, 1), (1000, 2)) if quick else ((100, 1), (500, 1), (1000, 2), (3000, 6), (10_000, 20))
    ):
        times, bare, made = _fleet(instances, 2 if quick else 3)
        each = summarize(times)
        points.append((instances, *((each.quartiles[0], each.median, each.quartiles[1]))))
        if instances >= 1000:
            one_each = instances * SINGLE_SERIES_LATENCY
            found.rows.append(
                Row(
                    f"{instances:,} instances, one round",
                    f"{calls} calls, under 1.5 s",
                    f"{made} calls, {each.format('s')}",
                    made == calls and each.median < 1.5,
                    (
                        f"boto3 alone, the same calls, four at a time: {summarize(bare).format('s')}",
                        f"one call each, in series: {format_significant(one_each)} s, {format_significant(one_each / each.median)} times ours",
                    ),
                )
            )
    found.notes.append(
        f"Instances: the stand-in takes {1000 * CLOUDWATCH_LATENCY:.0f} ms a call; for one call each, {1000 * SINGLE_SERIES_LATENCY:.0f} ms are "
        "reckoned. Four calls are under way at a time."
    )
    lines = {
        "cwnotify": points,
        "one call each, in series": [(n, n * SINGLE_SERIES_LATENCY) for n, *_ in points if n <= 100],
    }
    found.curves.append(Curve("instances", "One round of so many instances", "instances", "s", lines))
    found.rows.append(_day(1 if quick else SIMULATED_HOURS))
    return found


@contextmanager
def _stand_in(instances: int) -> Iterator[str]:
    """In a process of its own, so that it does not take our processor's time for ours."""
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
def _environ(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _fleet(instances: int, rounds: int) -> tuple[list[float], list[float], int]:
    """Seconds of each round as it is while a panel is open, and with boto3 alone; and how many calls ours made."""
    metrics = [cpu_metric(f"i-{number:017x}") for number in range(instances)]
    with CloudWatch() as shape, _stand_in(instances) as url, _environ(shape.environ() | {"AWS_ENDPOINT_URL": url}):
        aws, times, bare = AwsSession.with_short_timeouts(), [], []
        alone = boto3.client("cloudwatch")
        # The first makes the client and its connections.
        read_series(aws, metrics, time.time() - 1800, time.time())
        before = aws.call_counts["cloudwatch:GetMetricData"]
        for _ in range(rounds):
            began = time.perf_counter()
            series = read_series(aws, metrics, time.time() - 1800, time.time())
            times.append(time.perf_counter() - began)
            assert all(one.points for one in series)
            bare.append(_bare(alone, metrics))
        return times, bare, (aws.call_counts["cloudwatch:GetMetricData"] - before) // rounds


def _bare(client: Any, metrics: list[Metric]) -> float:
    """Seconds that boto3 takes for the same calls, its answers thrown away: what is left to gain."""
    now = time.time()

    def ask(some: list[Metric]) -> object:
        which = [
            {
                "Namespace": one.namespace,
                "MetricName": one.name,
                "Dimensions": [{"Name": name, "Value": value} for name, value in one.dimensions],
            }
            for one in some
        ]
        queries = [
            {"Id": f"m{index}", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Average"}}
            for index, metric in enumerate(which)
        ]
        span = {"StartTime": now // 60 * 60 - 1800, "EndTime": now // 60 * 60 + 60}
        return client.get_metric_data(MetricDataQueries=queries, **span)

    began = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, [metrics[i : i + MAX_SERIES_PER_CALL] for i in range(0, len(metrics), MAX_SERIES_PER_CALL)]))
    return time.perf_counter() - began


class _Stepped(AwsPoller):
    """A watch whose rounds come when they are told to, at times that are told."""

    def begin(self, outbox: Outbox) -> None:
        self._changes = AlarmChangeTracker(AlarmStateStore(outbox), lambda: 3 * self._pause() + 30, self._lookups)
        self._calls = ApiCallCounter(outbox)
        self._session()

    def step(self, now: float) -> AwsSession:
        self._poll(self._requests, now)
        return self._session()


def _day(hours: int) -> Row:
    """What a day's watching of one instance with an alarm asks of AWS."""
    clock, id = [START_TIME], "i-0abc1234def567890"
    with CloudWatch(lambda: clock[0]) as cloud, _environ(cloud.environ()), temporary_disk_folder() as path:
        points = wave_datapoints(START_TIME - 4 * 3600, START_TIME + hours * 3600, 300)
        # A datapoint bears the time at which its period begins, and comes a minute after its end.
        cloud.add_datapoints(
            cpu_metric(id), {at: value for at, value in points.items() if at + DATAPOINT_DELAY <= START_TIME}
        )
        cloud.put_alarm(
            "busy",
            at=START_TIME,
            Namespace="AWS/EC2",
            MetricName="CPUUtilization",
            Dimensions=[{"Name": "InstanceId", "Value": id}],
        )
        cloud.put_instance(id)
        outbox = Outbox(path / "outbox.sqlite3")
        watch = _Stepped(lambda: outbox, InstanceMonitor(lambda: outbox, lambda: None), lambda: None, lambda: None)
        watch.begin(outbox)
        watch.add_panel("panel", PanelRequest(instances=(id,), round=WATCH_INTERVAL), "slack")
        aws = watch.step(START_TIME)
        # A panel's first round asks for all that it shows: a day has it once.
        first = Counter(aws.call_counts)
        shown, waits, jitter = START_TIME - DATAPOINT_DELAY, [], random.Random(6)
        while clock[0] < START_TIME + hours * 3600:
            clock[0] += WATCH_INTERVAL * jitter.uniform(1 - POLL_JITTER, 1 + POLL_JITTER)
            cloud.add_datapoints(
                cpu_metric(id), {at: value for at, value in points.items() if at + DATAPOINT_DELAY <= clock[0]}
            )
            aws = watch.step(clock[0])
            newest = max(at for at, _ in watch.observations["panel"].series[0].points)
            if newest > shown:
                shown = newest
                waits.append(clock[0] - newest - DATAPOINT_DELAY)
        outbox.close()
        later = Counter(aws.call_counts) - first
        series = aws.requested_series_count
    daily = {name: round(first[name] + later[name] * 24 / hours) for name in aws.call_counts}
    billed = round(series * 24 / hours)
    priced = sum(count for name, count in daily.items() if name.startswith("cloudwatch:") and "GetMetric" not in name)
    cost, least = billed * SERIES_PRICE + priced * CALL_PRICE, DAY / 300
    told = ", ".join(f"{count:,} {name.partition(':')[2]}" for name, count in sorted(daily.items()))
    return Row(
        "one day's watching of one instance, a round each 30 s",
        "told in calls and dollars",
        f"{told}: ${cost:.3f}",
        None,
        (
            f"the least: {least:.0f} GetMetricData a day, one for each datapoint that comes; to ask each round: "
            f"{DAY / WATCH_INTERVAL:,.0f}",
            f"a datapoint is shown {summarize(waits).format('s')} after CloudWatch has it, at most {max(waits):.0f} s",
            "alarms are asked for each round, so that one that changes is told within half a minute",
        ),
    )
