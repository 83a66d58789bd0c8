"""A part of the fault bench, which is `python -m tests.e2e.faults`: every alert arrives, none is false or doubled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.faults import aws, day, fuzz, kills, machine, processes, slack
from tests.e2e.faults.__main__ import replace_table
from tests.e2e.faults.bench import FaultResult, FaultRunner, format_table

KILLS = 6
SHORT: dict[str, FaultRunner] = {
    **kills.kill_faults(KILLS),
    **{name: slack.FAULTS[name] for name in ("TLS fails", "away for more than a day, then outbox retry")},
    **{name: processes.FAULTS[name] for name in ("sidecar stopped", "a forked child outlives the kernel")},
    **{name: machine.FAULTS[name] for name in ("machine rebooted", "Python gone")},
    "AWS credentials expired": aws.FAULTS["AWS credentials expired"],
    **({"two users": machine.FAULTS["two users"]} if os.geteuid() == 0 else {}),
}


@pytest.mark.flaky(reruns=1)  # each fault befalls a kernel
@pytest.mark.parametrize("fault", SHORT)
def test_promise_holds_under_fault(fault: str, tmp_path: Path) -> None:
    found = SHORT[fault](tmp_path)

    assert found.has_passed, format_table([found])


def test_bench_detects_missing_repeated_and_false_alerts() -> None:
    good = FaultResult("x", runs=3, expected=3, received=3, duplicates=0, false=0)
    bad = [{"received": 2}, {"doubled": 1}, {"false": 1}, {"expected": 0, "received": 0}]

    assert good.has_passed
    assert not any(FaultResult(**{**vars(good), **one}).has_passed for one in bad)
    assert FaultResult(**{**vars(good), "doubled": 1, "crashes": 1}).has_passed


def test_documented_table_is_written_by_bench() -> None:
    document = Path("docs/faults.md").read_text()
    once = replace_table(
        document,
        format_table([FaultResult("x", runs=3, expected=3, received=3, duplicates=0, false=0)]),
        7.0,
        "2000-01-01",
    )

    assert "| x | 3 | 3 | 3 | 0 | 0 |" in once
    assert "run of 7 s on 2000-01-01" in once
    assert "kernel killed at a random moment" not in once
    assert once.splitlines()[-5:] == document.splitlines()[-5:]


def test_simulated_day_of_faults_loses_nothing() -> None:
    lived = day.simulate_day(seed=1)

    assert not lived.violations()
    states = {message.state for message in lived.messages}
    # It was a day on which all of that happened.
    assert states == {"done", "dead"}
    assert lived.crashes
    assert lived.lost_replies


@pytest.mark.parametrize("kind", fuzz.FUZZERS)
def test_fuzzing_ten_thousand_inputs_raises_nothing(kind: str) -> None:
    fuzz.FUZZERS[kind](fuzz.DEFAULT_CASES, 1)
