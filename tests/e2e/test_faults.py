"""Some faults of `python -m tests.e2e.faults`: every alert arrives, and none is false or repeated."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.faults import aws, day, fuzz, kills, machine, processes, slack
from tests.e2e.faults.__main__ import replace_table
from tests.e2e.faults.bench import FaultResult, FaultRunner, format_table

KILLS = 3  # of each kind; `python -m tests.e2e.faults` kills 20, with --long 500
FUZZ_CASES = 2_500  # of each kind; `python -m tests.e2e.faults fuzz` tries 10,000, with --long a million
FAULTS: dict[str, FaultRunner] = {
    **kills.kill_faults(KILLS),
    # More, because a run that was not yet on disk does not count.
    "both killed": partial(kills.kill_kernels_and_sidecars, 2 * KILLS),
    **{name: slack.FAULTS[name] for name in ("TLS fails", "away for more than a day, then outbox retry")},
    **{name: processes.FAULTS[name] for name in ("sidecar stopped", "a forked child outlives the kernel")},
    **{name: machine.FAULTS[name] for name in ("machine rebooted", "Python gone")},
    "AWS credentials expired": aws.FAULTS["AWS credentials expired"],
    **({"two users": machine.FAULTS["two users"]} if os.geteuid() == 0 else {}),
}


@pytest.mark.flaky(reruns=1)  # each fault affects a kernel
@pytest.mark.parametrize("fault", FAULTS)
def test_promise_holds_under_fault(fault: str, tmp_path: Path) -> None:
    result = FAULTS[fault](tmp_path)

    assert result.has_passed, format_table([result])


def test_bench_detects_missing_repeated_and_false_alerts() -> None:
    good = FaultResult("x", runs=3, expected=3, received=3, duplicates=0, false=0)
    changes = [{"received": 2}, {"duplicates": 1}, {"false": 1}, {"expected": 0, "received": 0}]

    assert good.has_passed
    assert not any(FaultResult(**{**vars(good), **change}).has_passed for change in changes)
    assert FaultResult(**{**vars(good), "duplicates": 1, "crashes": 1}).has_passed


def test_documented_table_is_written_by_bench() -> None:
    document = Path("docs/faults.md").read_text()
    updated = replace_table(
        document,
        format_table([FaultResult("x", runs=3, expected=3, received=3, duplicates=0, false=0)]),
        7.0,
        "2000-01-01",
    )

    assert "| x | 3 | 3 | 3 | 0 | 0 |" in updated
    assert "run of 7 s on 2000-01-01" in updated
    assert "kernel killed at a random moment" not in updated
    assert updated.splitlines()[-5:] == document.splitlines()[-5:]


def test_simulated_day_of_faults_loses_nothing() -> None:
    result = day.simulate_day(seed=1)

    assert not result.violations()
    states = {message.state for message in result.messages}
    # The seed's day contains all of these events.
    assert states == {"done", "dead"}
    assert result.crashes
    assert result.lost_replies


@pytest.mark.parametrize("kind", fuzz.FUZZERS)
def test_fuzzed_inputs_raise_nothing(kind: str) -> None:
    fuzz.FUZZERS[kind](FUZZ_CASES, 1)
