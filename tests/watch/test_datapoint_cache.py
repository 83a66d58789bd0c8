"""Datapoints from reads that overlap, change and lack some."""

from __future__ import annotations

import random
from collections.abc import Callable
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.aws.models import Metric, MetricSeries
from cwnotify.watch.datapoint_cache import REREAD_WINDOW_SECONDS, DatapointCache

CPU = Metric("AWS/EC2", "CPUUtilization", (("InstanceId", "i-0abc12f9"),))
GPU = Metric("CWAgent", "nvidia_smi_utilization_gpu")
NOW, POLL_INTERVAL = 10_000.0, 30.0


def add_cpu(
    cache: DatapointCache, points: tuple[tuple[float, float], ...], start: float = 0.0, is_complete: bool = True
) -> None:
    cache.add_series([MetricSeries(CPU, points, 60.0, is_complete)], start, NOW, POLL_INTERVAL)


def test_cached_metric_is_read_from_unsettled_datapoints_on() -> None:
    cache = DatapointCache()
    assert cache.choose_read_start([CPU], 1000.0) == 1000.0

    add_cpu(cache, ((4000.0, 1.0), (9000.0, 2.0)), start=1000.0)

    assert cache.choose_read_start([CPU], 1000.0) == 9000.0 - REREAD_WINDOW_SECONDS
    assert cache.choose_read_start([CPU], 500.0) == 500.0, "a longer plot needs datapoints that were never read"
    assert cache.choose_read_start([CPU, GPU], 1000.0) == 1000.0


def test_changed_and_removed_datapoints_are_replaced() -> None:
    cache = DatapointCache()
    add_cpu(cache, ((100.0, 1.0), (160.0, 2.0), (220.0, 3.0)))

    cache.add_series([MetricSeries(CPU, ((160.0, 2.5),), 0.0)], 150.0, NOW, POLL_INTERVAL)

    assert cache.get_series(CPU) == MetricSeries(CPU, ((100.0, 1.0), (160.0, 2.5)), 60.0)


def test_incomplete_read_removes_nothing_and_is_repeated() -> None:
    cache = DatapointCache()
    add_cpu(cache, ((100.0, 1.0), (160.0, 2.0)))

    add_cpu(cache, ((160.0, 2.5),), is_complete=False)

    assert cache.get_series(CPU).points == ((100.0, 1.0), (160.0, 2.5))
    assert cache.choose_read_start([CPU], 0.0) == 0.0


def test_prune_removes_old_datapoints_and_other_metrics() -> None:
    cache = DatapointCache()
    add_cpu(cache, ((100.0, 1.0), (160.0, 2.0)))
    cache.add_series([MetricSeries(GPU, ((100.0, 1.0),), 60.0)], 0.0, NOW, POLL_INTERVAL)

    cache.prune([CPU], 150.0)

    assert cache.get_series(CPU).points == ((160.0, 2.0),)
    assert cache.get_series(GPU).points == ()
    assert cache.choose_read_start([CPU], 150.0) == 150.0


def simulate_polls(delay: Callable[[float], float], hours: float) -> tuple[int, list[float]]:
    """Return how many polls read, and the seconds from each datapoint's arrival to the read that finds it.

    `delay` gives the seconds from the end of a datapoint's period to its arrival.
    """
    cache, now, count, jitter = DatapointCache(), 0.0, 0, random.Random(6)
    waits: dict[float, float] = {}

    def read(start: float) -> None:
        arrived = [float(at) for at in range(int(start), int(now), 300) if at + 300 + delay(at) <= now]
        waits.update({at: now - (at + 300 + delay(at)) for at in arrived if at >= 0 and at not in waits})
        series = MetricSeries(CPU, tuple((at, 1.0) for at in arrived), 300.0)
        cache.add_series([series], start if now else -7200.0, now, POLL_INTERVAL)

    read(-3600)
    while now < hours * 3600:
        now += POLL_INTERVAL * jitter.uniform(0.9, 1.1)
        if now >= cache.next_read_at(CPU, POLL_INTERVAL):
            count += 1
            read(cache.choose_read_start([CPU], -7200.0))
    return count, list(waits.values())


@pytest.mark.parametrize("delay", [0.0, 20.0, 60.0, 130.0, 290.0])
def test_basic_monitoring_needs_about_one_read_per_datapoint(delay: float) -> None:
    count, waits = simulate_polls(lambda at: delay, 24)

    # The first hour learns the delay, by one poll per datapoint.
    assert 288 <= count < 288 * 1.2
    assert median(waits) <= POLL_INTERVAL
    assert max(waits[12:]) <= 3 * POLL_INTERVAL, "after the delay is learned"


def test_datapoints_are_found_in_time_after_long_delay() -> None:
    _, waits = simulate_polls(lambda at: 1500.0 if 36_000 <= at < 37_800 else 60.0, 24)

    assert median(waits[-100:]) <= POLL_INTERVAL


def test_stopped_instance_is_read_no_more_often_than_running_one() -> None:
    count, _ = simulate_polls(lambda at: 60.0 if at < 3600 else float("inf"), 24)

    assert count < 288 * 1.15


def test_detailed_monitoring_is_read_every_other_poll() -> None:
    cache = DatapointCache()
    assert cache.next_read_at(CPU, POLL_INTERVAL) == 45.0

    cache.add_series([MetricSeries(CPU, ((4740.0, 1.0), (4800.0, 1.0)), 60.0)], 0.0, 5000.0, POLL_INTERVAL)

    assert cache.next_read_at(CPU, POLL_INTERVAL) == 5045.0


@given(st.lists(st.tuples(st.integers(0, 50), st.dictionaries(st.integers(0, 50), st.integers(0, 9))), max_size=8))
def test_cache_has_latest_read_from_its_start_on(reads: list[tuple[int, dict[int, int]]]) -> None:
    cache = DatapointCache()
    expected: dict[float, float] = {}
    for start, values in reads:
        points = {float(at): float(value) for at, value in values.items() if at >= start}
        add_cpu(cache, tuple(sorted(points.items())), start=float(start))
        expected = {at: value for at, value in expected.items() if at < start} | points

    assert dict(cache.get_series(CPU).points) == expected
