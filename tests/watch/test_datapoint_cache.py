"""Datapoints put together from readings that overlap, change and lack some."""

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
NOW, ROUND = 10_000.0, 30.0


def test_of_a_metric_that_is_known_only_the_unsettled_is_asked_again():
    points = DatapointCache()
    assert points.choose_read_start([CPU], 1000.0) == 1000.0

    points.add_series([MetricSeries(CPU, ((4000.0, 1.0), (9000.0, 2.0)), 60.0)], 1000.0, NOW, ROUND)

    assert points.choose_read_start([CPU], 1000.0) == 9000.0 - REREAD_WINDOW_SECONDS
    assert points.choose_read_start([CPU], 500.0) == 500.0, "a longer plot needs what was never asked for"
    assert points.choose_read_start([CPU, GPU], 1000.0) == 1000.0


def test_a_datapoint_that_changed_or_went_is_shown_as_it_is_now():
    points = DatapointCache()
    points.add_series([MetricSeries(CPU, ((100.0, 1.0), (160.0, 2.0), (220.0, 3.0)), 60.0)], 0.0, NOW, ROUND)

    points.add_series([MetricSeries(CPU, ((160.0, 2.5),), 0.0)], 150.0, NOW, ROUND)

    assert points.get_series(CPU) == MetricSeries(CPU, ((100.0, 1.0), (160.0, 2.5)), 60.0)


def test_of_a_partial_answer_nothing_is_forgotten_and_all_is_asked_again():
    points = DatapointCache()
    points.add_series([MetricSeries(CPU, ((100.0, 1.0), (160.0, 2.0)), 60.0)], 0.0, NOW, ROUND)

    points.add_series([MetricSeries(CPU, ((160.0, 2.5),), 60.0, is_complete=False)], 0.0, NOW, ROUND)

    assert points.get_series(CPU).points == ((100.0, 1.0), (160.0, 2.5))
    assert points.choose_read_start([CPU], 0.0) == 0.0


def test_what_is_old_or_no_longer_wanted_is_forgotten():
    points = DatapointCache()
    points.add_series(
        [MetricSeries(CPU, ((100.0, 1.0), (160.0, 2.0)), 60.0), MetricSeries(GPU, ((100.0, 1.0),), 60.0)],
        0.0,
        NOW,
        ROUND,
    )

    points.prune([CPU], 150.0)

    assert points.get_series(CPU).points == ((160.0, 2.0),)
    assert points.get_series(GPU).points == ()
    assert points.choose_read_start([CPU], 150.0) == 150.0


def _calls(late: Callable[[float], float], hours: float) -> tuple[int, list[float]]:
    """How often a day's rounds ask, and how long after its coming each datapoint is seen, `late` telling how late."""
    points, now, calls, waits, jitter = DatapointCache(), 0.0, 0, {}, random.Random(6)
    read = [at for at in range(-3600, 0, 300) if at + 300 + late(at) <= 0]
    points.add_series([MetricSeries(CPU, tuple((float(at), 1.0) for at in read), 300.0)], -7200.0, 0.0, ROUND)
    while now < hours * 3600:
        now += ROUND * jitter.uniform(0.9, 1.1)
        if now < points.next_read_at(CPU, ROUND):
            continue
        calls += 1
        start = points.choose_read_start([CPU], -7200.0)
        there = [at for at in range(int(start), int(now), 300) if at + 300 + late(at) <= now]
        waits |= {at: now - (at + 300 + late(at)) for at in there if at >= 0 and at not in waits}
        points.add_series([MetricSeries(CPU, tuple((float(at), 1.0) for at in there), 300.0)], start, now, ROUND)
    return calls, list(waits.values())


@pytest.mark.parametrize("late", [0.0, 20.0, 60.0, 130.0, 290.0])
def test_a_day_of_basic_monitoring_takes_little_more_than_a_call_for_each_datapoint(late):
    calls, waits = _calls(lambda at: late, 24)

    # The first hour learns, by a round for each datapoint.
    assert 288 <= calls < 288 * 1.2
    assert median(waits) <= ROUND
    # Once it is learned how late they are.
    assert max(waits[12:]) <= 3 * ROUND


def test_after_datapoints_were_late_for_a_while_they_are_seen_in_time_again():
    _, waits = _calls(lambda at: 1500.0 if 36_000 <= at < 37_800 else 60.0, 24)

    assert median(waits[-100:]) <= ROUND


def test_an_instance_that_sends_no_more_is_asked_for_no_oftener_than_one_that_does():
    calls, _ = _calls(lambda at: 60.0 if at < 3600 else float("inf"), 24)

    assert calls < 288 * 1.15


def test_detailed_monitoring_is_asked_for_each_other_round():
    points = DatapointCache()
    assert points.next_read_at(CPU, ROUND) == 45.0

    points.add_series([MetricSeries(CPU, ((4740.0, 1.0), (4800.0, 1.0)), 60.0)], 0.0, 5000.0, ROUND)

    assert points.next_read_at(CPU, ROUND) == 5045.0


@given(st.lists(st.tuples(st.integers(0, 50), st.dictionaries(st.integers(0, 50), st.integers(0, 9))), max_size=8))
def test_after_any_readings_all_from_the_last_start_on_is_as_last_read(readings):
    points, expected = DatapointCache(), {}
    for start, values in readings:
        read = {float(at): float(value) for at, value in values.items() if at >= start}
        points.add_series([MetricSeries(CPU, tuple(sorted(read.items())), 60.0)], float(start), NOW, ROUND)
        expected = {at: value for at, value in expected.items() if at < start} | read

    assert dict(points.get_series(CPU).points) == expected
