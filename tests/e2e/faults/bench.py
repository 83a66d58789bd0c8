"""Alert counting: the scenario of one fault, its result, and the table."""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.kernel import Kernel, World, alert_outcome
from tests.support.slack import Slack
from tests.support.waiting import until

_NAME = re.compile(r"\*([^*]+)\*")
# Runs in the kernel. Times the same cell with and without registration.
_TIMED = """
def timed(cell):
    from time import perf_counter
    shell = get_ipython()
    start = perf_counter()
    assert shell.run_cell(cell, store_history=False).success
    return perf_counter() - start
for name in {names!r}:
    print(timed("1"), timed(f"%%notify_on_finish {{name}}\\n1"))
"""


@dataclass
class AlertExpectations:
    """The alerts that must arrive.

    Attributes
    ----------
    expected_words
        For each name, the outcomes or states that its alert may report.
    optional_names
        Names whose alert may be missing, because the run had hardly started.
    """

    expected_words: dict[str, frozenset[str]] = field(default_factory=dict)
    optional_names: set[str] = field(default_factory=set)

    def expect(self, name: str, *words: str, is_optional: bool = False) -> None:
        """Expect an alert that reports one of `words`."""
        self.expected_words[name] = frozenset(words)
        if is_optional:
            self.optional_names.add(name)

    def count_by_name(self, slack: Slack) -> Counter[str]:
        """Return the number of alerts for each name."""
        return Counter(alert_subject(payload["text"]) for payload in slack.payloads)

    def missing_alerts(self, slack: Slack) -> list[str]:
        """Return the names whose alert must arrive and did not."""
        counts = self.count_by_name(slack)
        return [name for name in self.expected_words if name not in self.optional_names and not counts[name]]

    def false_alerts(self, slack: Slack) -> list[str]:
        """Return the texts of alerts that are wrong or unexpected."""
        return [
            payload["text"]
            for payload in slack.payloads
            if _word(payload) not in self.expected_words.get(alert_subject(payload["text"]), ())
        ]

    def to_result(self, fault: str, *slacks: Slack, **more: Any) -> FaultResult:
        """Return the line of the table. Several Slacks count as one workspace."""
        counts = sum((self.count_by_name(slack) for slack in slacks), Counter[str]())
        due = self.expected_words.keys() - self.optional_names
        return FaultResult(
            fault=fault,
            runs=len(self.expected_words),
            expected=len(due),
            received=sum(bool(counts[name]) for name in due),
            duplicates=sum(max(0, count - 1) for count in counts.values()),
            false=sum(len(self.false_alerts(slack)) for slack in slacks),
            **more,
        )


def alert_subject(text: str) -> str:
    """Return the run or alarm that an alert is about."""
    match = _NAME.search(text)
    return match[1] if match else ""


def _word(payload: dict[str, Any]) -> str:
    """Return a run's outcome or an alarm's state."""
    state = re.search(r"is (?:still )?(?:in )?(ALARM|OK)\b|has (insufficient data)", payload["text"])
    if state is None:
        return alert_outcome(payload)
    return state[1] or "INSUFFICIENT_DATA"


@dataclass(frozen=True)
class FaultResult:
    """A line of the table.

    Parameters
    ----------
    crashes
        Number of killed cwnotify processes. Each may duplicate one alert.
    added
        Seconds that registration added to each cell.
    recovered
        Seconds from the end of the fault to the last alert. None if the fault has no end.
    """

    fault: str
    runs: int
    expected: int
    received: int
    duplicates: int
    false: int
    crashes: int = 0
    added: tuple[float, ...] = ()
    recovered: float | None = None

    @property
    def has_passed(self) -> bool:
        """Return whether every alert arrived, with no false or unexplained extra one."""
        return self.received == self.expected > 0 and self.duplicates <= self.crashes and not self.false

    def table_cells(self) -> tuple[str, ...]:
        """Return the cells of the line."""
        numbers = (self.runs, self.expected, self.received, self.duplicates, self.false)
        added = f"{1000 * statistics.median(self.added):.1f} ms" if self.added else ""
        recovered = f"{self.recovered:.1f} s" if self.recovered is not None else ""
        return self.fault, *map(str, numbers), added, recovered


TABLE_HEADER = ("fault", "runs", "expected", "received", "doubled", "false", "added to the cell", "recovered in")


def format_table(lines: list[FaultResult]) -> str:
    """Return the table in Markdown."""
    rows = [TABLE_HEADER, ("---", *["--:"] * (len(TABLE_HEADER) - 1)), *(line.table_cells() for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


class FaultScenario:
    """The Slack, world and kernel of one fault, and its expected alerts.

    Attributes
    ----------
    added
        Seconds that registration added to each timed cell.
    """

    def __init__(self, fault: str, slack: Slack, world: World, kernel: Kernel) -> None:
        self.fault = fault
        self.slack, self.world, self.kernel = slack, world, kernel
        self.expectations = AlertExpectations()
        self.added: list[float] = []
        self._ended_at: float | None = None

    def run_cells(self, number: int = 5) -> None:
        """Run `number` registered cells, each after the same cell without registration."""
        names = [f"run{len(self.expectations.expected_words) + n}" for n in range(number)]
        for name in names:
            self.expectations.expect(name, "finished")
        result = self.kernel.run(_TIMED.format(names=names))
        assert result.status == "ok", result.outputs
        pairs = [tuple(map(float, line.split())) for line in result.stdout.splitlines() if line[:1].isdigit()]
        self.added += [registered - plain for plain, registered in pairs]

    def wait_for_failed_attempt(self) -> None:
        """Wait until a delivery attempt has failed."""
        until(
            lambda: any(message.reason for message in self.world.outbox_messages("pending", "dead")),
            60,
            "a failed attempt",
        )

    def end_fault(self) -> None:
        """Record that the fault ends now."""
        self._ended_at = time.monotonic()

    def finish(self, seconds: float = 60.0, crashes: int = 0) -> FaultResult:
        """Wait for the missing alerts, kill the kernel, wait for its sidecar, and return the result."""
        try:
            until(lambda: not self.expectations.missing_alerts(self.slack), seconds)
        except AssertionError:
            # The table shows it.
            pass
        recovered = None if self._ended_at is None else time.monotonic() - self._ended_at
        self.kernel.kill()
        self.world.wait_for_sidecars_to_exit(30)
        more: dict[str, Any] = {"crashes": crashes, "added": tuple(self.added), "recovered": recovered}
        return self.expectations.to_result(self.fault, self.slack, **more)


@contextmanager
def open_scenario(
    fault: str, folder: Path, url: str = "", python: str | Path = "", **environ: str
) -> Iterator[FaultScenario]:
    """Open a scenario whose kernel has reported one run, so that its sidecar runs."""
    with (
        Slack() as slack,
        World(folder, url or slack.url, **environ) as world,
        Kernel(world, *([python] if python else [])) as kernel,
    ):
        kernel.run("%load_ext cwnotify")
        scenario = FaultScenario(fault, slack, world, kernel)
        scenario.expectations.expect("first", "finished")
        kernel.run("%%notify_on_finish first\n1")
        if not url:
            until(lambda: world.outbox_messages("done"), 30, "the delivery of the first alert")
        yield scenario


# Runs one fault in its own folder.
FaultRunner = Callable[[Path], FaultResult]
