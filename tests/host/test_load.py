"""The downsampled series of a run, and the load of this machine or container."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.host.load import MAX_SAMPLES, DownsampledSeries, measure_load
from cwnotify.host.memory_limit import list_memory_cgroups


def downsample(values: Iterable[float]) -> tuple[float, ...]:
    series = DownsampledSeries()
    for value in values:
        series.add(value)
    return series.values()


def test_short_series_holds_each_value() -> None:
    assert downsample([]) == ()
    assert downsample([1.04, 2.06, 3.0]) == (1.0, 2.1, 3.0)


def test_long_series_holds_means_of_equal_intervals() -> None:
    values = downsample([10.0] * MAX_SAMPLES + [90.0] * MAX_SAMPLES)

    assert len(values) == MAX_SAMPLES // 2
    assert values == (10.0,) * (MAX_SAMPLES // 4) + (90.0,) * (MAX_SAMPLES // 4)


def test_newest_values_count_before_their_interval_is_full() -> None:
    values = downsample([0.0] * MAX_SAMPLES + [50.0])

    assert len(values) == MAX_SAMPLES // 2 + 1
    assert values[-1] == 50.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40), st.sampled_from((1, 7, 60)))
def test_series_of_any_length_is_short_and_within_range(sample: list[float], times: int) -> None:
    values = downsample(sample * times)

    assert 1 <= len(values) <= MAX_SAMPLES
    assert min(sample) - 0.051 <= min(values)
    assert max(values) <= max(sample) + 0.051


@given(st.integers(1, 3000))
def test_series_spans_the_whole_run(length: int) -> None:
    values = downsample(range(length))

    assert list(values) == sorted(values)
    assert values[0] <= max(length / 60, 0.5)
    assert values[-1] >= length - 1 - length / 60


def test_load_of_this_machine_is_measured() -> None:
    before = time.time()

    sample = measure_load()

    assert before <= sample.at <= time.time()
    assert 0 <= sample.cpu <= 100
    assert 0 < sample.memory_used < sample.memory_total


def create_cgroups(root: Path, cgroup: str, files: dict[str, str]) -> list[Path]:
    """Create `files` in a cgroup tree; return the cgroups of a process whose ``/proc`` entry is `cgroup`."""
    (root / "proc" / "7").mkdir(parents=True)
    (root / "proc" / "7" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list_memory_cgroups(7, root / "proc", root / "cgroup")


def v2(folder: str, limit: object, used: int, cached: int = 0) -> dict[str, str]:
    return {
        f"{folder}memory.max": f"{limit}\n",
        f"{folder}memory.current": f"{used}\n",
        f"{folder}memory.stat": f"anon 1000\ninactive_file {cached}\nactive_file 7\n",
    }


def v1(folder: str, limit: int, used: int, cached: int = 0) -> dict[str, str]:
    return {
        f"memory/{folder}memory.limit_in_bytes": f"{limit}\n",
        f"memory/{folder}memory.usage_in_bytes": f"{used}\n",
        f"memory/{folder}memory.stat": f"cache 3\ninactive_file 1\ntotal_inactive_file {cached}\n",
    }


UNLIMITED = 0x7FFFFFFFFFFFF000
JOB = "system.slice/slurmstepd.scope/job_7/step_0/"
MIB = 1 << 20


@pytest.mark.parametrize(
    ("cgroup", "files", "used", "total"),
    [
        pytest.param("0::/\n", v2("", 256 * MIB, 128 * MIB), 128, 256, id="a container"),
        pytest.param("0::/\n", v2("", 256 * MIB, 128 * MIB, 64 * MIB), 64, 256, id="cached files"),
        pytest.param(
            "0::/docker/abc\n", v2("", 256 * MIB, 128 * MIB), 128, 256, id="a container with the path on its host"
        ),
        pytest.param(
            f"0::/{JOB}task_0\n",
            v2("system.slice/slurmstepd.scope/job_7/", 200 * MIB, 150 * MIB) | v2(f"{JOB}task_0/", "max", 3 * MIB),
            150,
            200,
            id="limit of the job around a task",
        ),
        pytest.param(
            "0::/a/b\n",
            v2("a/", 300 * MIB, 299 * MIB) | v2("a/b/", 100 * MIB, 20 * MIB),
            299,
            300,
            id="two limits, one almost reached",
        ),
        pytest.param("0::/../other\n", v2("", 256 * MIB, 1 * MIB), 1, 256, id="outside its namespace"),
        pytest.param("9:cpu:/x\n4:memory:/\n", v1("", 256 * MIB, 128 * MIB, 28 * MIB), 100, 256, id="v1"),
        pytest.param("4:memory:/docker/abc\n", v1("", 256 * MIB, 8 * MIB), 8, 256, id="v1 with the path on its host"),
        pytest.param(
            "4:memory:/slurm/job_7/step_0\n0::/\n",
            v1("slurm/job_7/", 100 * MIB, 90 * MIB) | v1("slurm/job_7/step_0/", UNLIMITED, 5 * MIB) | v2("", "max", 1),
            90,
            100,
            id="v1 nested, beside v2 without limit",
        ),
        pytest.param("", v2("", 256 * MIB, 128 * MIB), 128, 256, id="no /proc"),
    ],
)
def test_memory_limit_of_a_container_or_job_counts(
    tmp_path: Path, cgroup: str, files: dict[str, str], used: int, total: int
) -> None:
    sample = measure_load(create_cgroups(tmp_path, cgroup, files))

    assert (sample.memory_used / MIB, sample.memory_total / MIB) == (used, total)


@pytest.mark.parametrize("limit", ["max", str(1 << 60), str(UNLIMITED), "", "lots", "0", "-1"])
def test_memory_of_the_machine_counts_without_a_limit(tmp_path: Path, limit: str) -> None:
    sample = measure_load(create_cgroups(tmp_path, "0::/\n", v2("", limit, 1)))

    assert sample.memory_total == measure_load([]).memory_total
    assert sample.memory_used > 1
