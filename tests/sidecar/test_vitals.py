"""Vitals: a run of any length in few numbers, and what this machine says of itself."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.sidecar.vitals import MOST_SAMPLES, Series, take

GIB = 1 << 30


def series(values) -> tuple[float, ...]:
    one = Series()
    for value in values:
        one.add(value)
    return one.values()


def test_a_short_run_is_told_value_by_value():
    assert series([]) == ()
    assert series([1.04, 2.06, 3.0]) == (1.0, 2.1, 3.0)


def test_a_long_run_is_told_in_means_of_equal_stretches():
    half = [10.0] * MOST_SAMPLES + [90.0] * MOST_SAMPLES

    values = series(half)

    assert len(values) == MOST_SAMPLES // 2
    assert values == (10.0,) * (MOST_SAMPLES // 4) + (90.0,) * (MOST_SAMPLES // 4)


def test_the_newest_values_are_told_before_their_stretch_is_full():
    values = series([0.0] * MOST_SAMPLES + [50.0])

    assert len(values) == MOST_SAMPLES // 2 + 1
    assert values[-1] == 50.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40), st.sampled_from((1, 7, 60)))
def test_however_long_a_run_is_its_numbers_are_few_and_within_its_values(some, times):
    values = series(some * times)

    assert 1 <= len(values) <= MOST_SAMPLES
    assert min(some) - 0.051 <= min(values)
    assert max(values) <= max(some) + 0.051


@given(st.integers(1, 3000))
def test_a_series_begins_with_the_beginning_and_ends_with_the_end(length):
    values = series(range(length))

    assert list(values) == sorted(values)
    assert values[0] <= max(length / 60, 0.5)
    assert values[-1] >= length - 1 - length / 60


def test_this_machine_is_measured_now():
    before = time.time()

    vitals = take()

    assert before <= vitals.at <= time.time()
    assert 0 <= vitals.cpu <= 100
    assert 0 < vitals.memory_used < vitals.memory_total


def container(tmp_path, **files: str):
    for name, text in files.items():
        (tmp_path / name.replace("_", ".")).write_text(text)
    return tmp_path


def test_in_a_container_its_own_limit_counts(tmp_path):
    vitals = take(container(tmp_path, memory_max=f"{GIB // 4}\n", memory_current=f"{GIB // 8}\n"))

    assert (vitals.memory_used, vitals.memory_total) == (GIB // 8, GIB // 4)


def test_files_that_the_kernel_keeps_in_memory_until_somebody_needs_it_do_not_count(tmp_path):
    stat = f"anon 1000\ninactive_file {GIB // 16}\nactive_file 7\n"

    vitals = take(container(tmp_path, memory_max=f"{GIB // 4}", memory_current=f"{GIB // 8}", memory_stat=stat))

    assert vitals.memory_used == GIB // 16


@pytest.mark.parametrize("limit", ["max\n", str(1 << 60), "", "lots"])
def test_without_a_limit_of_its_own_the_machines_counts(tmp_path, limit):
    vitals = take(container(tmp_path, memory_max=limit, memory_current="1"))

    assert vitals.memory_total == take(tmp_path / "none").memory_total
    assert vitals.memory_used > 1
