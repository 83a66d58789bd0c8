"""Datapoints put together from readings that overlap, change and lack some."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cwnotify.aws.readings import Metric, Series
from cwnotify.sidecar.watch.datapoints import UNSETTLED, Datapoints

CPU = Metric("AWS/EC2", "CPUUtilization", (("InstanceId", "i-0abc12f9"),))
GPU = Metric("CWAgent", "nvidia_smi_utilization_gpu")


def test_of_a_metric_that_is_known_only_the_unsettled_is_asked_again():
    points = Datapoints()
    assert points.ask_from([CPU], 1000.0) == 1000.0

    points.take([Series(CPU, ((4000.0, 1.0), (9000.0, 2.0)), 60.0)], 1000.0)

    assert points.ask_from([CPU], 1000.0) == 9000.0 - UNSETTLED
    assert points.ask_from([CPU], 500.0) == 500.0, "a longer plot needs what was never asked for"
    assert points.ask_from([CPU, GPU], 1000.0) == 1000.0


def test_a_datapoint_that_changed_or_went_is_shown_as_it_is_now():
    points = Datapoints()
    points.take([Series(CPU, ((100.0, 1.0), (160.0, 2.0), (220.0, 3.0)), 60.0)], 0.0)

    points.take([Series(CPU, ((160.0, 2.5),), 0.0)], 150.0)

    assert points.series(CPU) == Series(CPU, ((100.0, 1.0), (160.0, 2.5)), 60.0)


def test_of_a_partial_answer_nothing_is_forgotten_and_all_is_asked_again():
    points = Datapoints()
    points.take([Series(CPU, ((100.0, 1.0), (160.0, 2.0)), 60.0)], 0.0)

    points.take([Series(CPU, ((160.0, 2.5),), 60.0, complete=False)], 0.0)

    assert points.series(CPU).points == ((100.0, 1.0), (160.0, 2.5))
    assert points.ask_from([CPU], 0.0) == 0.0


def test_what_is_old_or_no_longer_wanted_is_forgotten():
    points = Datapoints()
    points.take([Series(CPU, ((100.0, 1.0), (160.0, 2.0)), 60.0), Series(GPU, ((100.0, 1.0),), 60.0)], 0.0)

    points.forget([CPU], 150.0)

    assert points.series(CPU).points == ((160.0, 2.0),)
    assert points.series(GPU).points == ()
    assert points.ask_from([CPU], 150.0) == 150.0


def test_basic_monitoring_is_asked_for_when_a_new_datapoint_can_be_there():
    points = Datapoints()
    assert points.next_due(CPU, 5000.0, 60.0) == 5060.0

    points.take([Series(CPU, ((4500.0, 1.0), (4800.0, 1.0)), 300.0)], 0.0)
    assert points.next_due(CPU, 5000.0, 60.0) == 5400.0

    points.take([Series(CPU, ((4500.0, 1.0), (4800.0, 1.0)), 60.0)], 0.0)
    assert points.next_due(CPU, 5000.0, 60.0) == 5060.0


@given(st.lists(st.tuples(st.integers(0, 50), st.dictionaries(st.integers(0, 50), st.integers(0, 9))), max_size=8))
def test_after_any_readings_all_from_the_last_start_on_is_as_last_read(readings):
    points, expected = Datapoints(), {}
    for start, values in readings:
        read = {float(at): float(value) for at, value in values.items() if at >= start}
        points.take([Series(CPU, tuple(sorted(read.items())), 60.0)], float(start))
        expected = {at: value for at, value in expected.items() if at < start} | read

    assert dict(points.series(CPU).points) == expected
