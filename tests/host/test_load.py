"""Vitals: a run of any length in few numbers, and what this machine says of itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.host.load import MAX_SAMPLES, DownsampledSeries, measure_load
from cwnotify.host.memory_limit import list_memory_cgroups


def series(values) -> tuple[float, ...]:
    one = DownsampledSeries()
    for value in values:
        one.add(value)
    return one.values()


def test_a_short_run_is_told_value_by_value():
    assert series([]) == ()
    assert series([1.04, 2.06, 3.0]) == (1.0, 2.1, 3.0)


def test_a_long_run_is_told_in_means_of_equal_stretches():
    half = [10.0] * MAX_SAMPLES + [90.0] * MAX_SAMPLES

    values = series(half)

    assert len(values) == MAX_SAMPLES // 2
    assert values == (10.0,) * (MAX_SAMPLES // 4) + (90.0,) * (MAX_SAMPLES // 4)


def test_the_newest_values_are_told_before_their_stretch_is_full():
    values = series([0.0] * MAX_SAMPLES + [50.0])

    assert len(values) == MAX_SAMPLES // 2 + 1
    assert values[-1] == 50.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40), st.sampled_from((1, 7, 60)))
def test_however_long_a_run_is_its_numbers_are_few_and_within_its_values(some, times):
    values = series(some * times)

    assert 1 <= len(values) <= MAX_SAMPLES
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

    vitals = measure_load()

    assert before <= vitals.at <= time.time()
    assert 0 <= vitals.cpu <= 100
    assert 0 < vitals.memory_used < vitals.memory_total


def tree(root: Path, cgroup: str, files: dict[str, str]) -> list[Path]:
    """The cgroups of a process whose ``/proc`` entry says `cgroup`, where these files exist."""
    (root / "proc" / "7").mkdir(parents=True)
    (root / "proc" / "7" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list_memory_cgroups(7, root / "proc", root / "cgroup")


def v2(folder: str, limit: object, used: int, files: int = 0) -> dict[str, str]:
    return {
        f"{folder}memory.max": f"{limit}\n",
        f"{folder}memory.current": f"{used}\n",
        f"{folder}memory.stat": f"anon 1000\ninactive_file {files}\nactive_file 7\n",
    }


def v1(folder: str, limit: int, used: int, files: int = 0) -> dict[str, str]:
    return {
        f"memory/{folder}memory.limit_in_bytes": f"{limit}\n",
        f"memory/{folder}memory.usage_in_bytes": f"{used}\n",
        f"memory/{folder}memory.stat": f"cache 3\ninactive_file 1\ntotal_inactive_file {files}\n",
    }


UNLIMITED = 0x7FFFFFFFFFFFF000
JOB = "system.slice/slurmstepd.scope/job_7/step_0/"
MIB = 1 << 20


@pytest.mark.parametrize(
    ("cgroup", "files", "used", "total"),
    [
        pytest.param("0::/\n", v2("", 256 * MIB, 128 * MIB), 128, 256, id="a container"),
        pytest.param("0::/\n", v2("", 256 * MIB, 128 * MIB, 64 * MIB), 64, 256, id="files that no process uses"),
        pytest.param("0::/docker/abc\n", v2("", 256 * MIB, 128 * MIB), 128, 256, id="a container named as by its host"),
        pytest.param(
            f"0::/{JOB}task_0\n",
            v2("system.slice/slurmstepd.scope/job_7/", 200 * MIB, 150 * MIB) | v2(f"{JOB}task_0/", "max", 3 * MIB),
            150,
            200,
            id="the limit is the job's, the process is in a task",
        ),
        pytest.param(
            "0::/a/b\n",
            v2("a/", 300 * MIB, 299 * MIB) | v2("a/b/", 100 * MIB, 20 * MIB),
            299,
            300,
            id="of two limits the one that is nearly reached",
        ),
        pytest.param("0::/../other\n", v2("", 256 * MIB, 1 * MIB), 1, 256, id="outside its namespace"),
        pytest.param("9:cpu:/x\n4:memory:/\n", v1("", 256 * MIB, 128 * MIB, 28 * MIB), 100, 256, id="v1"),
        pytest.param("4:memory:/docker/abc\n", v1("", 256 * MIB, 8 * MIB), 8, 256, id="v1, named as by its host"),
        pytest.param(
            "4:memory:/slurm/job_7/step_0\n0::/\n",
            v1("slurm/job_7/", 100 * MIB, 90 * MIB) | v1("slurm/job_7/step_0/", UNLIMITED, 5 * MIB) | v2("", "max", 1),
            90,
            100,
            id="v1, nested, beside an empty v2",
        ),
        pytest.param("", v2("", 256 * MIB, 128 * MIB), 128, 256, id="no /proc"),
    ],
)
def test_in_a_container_or_a_job_its_own_limit_counts(tmp_path, cgroup, files, used, total):
    vitals = measure_load(tree(tmp_path, cgroup, files))

    assert (vitals.memory_used / MIB, vitals.memory_total / MIB) == (used, total)


@pytest.mark.parametrize("limit", ["max", str(1 << 60), str(UNLIMITED), "", "lots", "0", "-1"])
def test_without_a_limit_of_its_own_the_machines_counts(tmp_path, limit):
    vitals = measure_load(tree(tmp_path, "0::/\n", v2("", limit, 1)))

    assert vitals.memory_total == measure_load([]).memory_total
    assert vitals.memory_used > 1
