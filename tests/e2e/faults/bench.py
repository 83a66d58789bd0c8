"""What counts alerts: a stage for one fault, what was found on it, and the table."""

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
# Run in the kernel: what a registered cell takes beyond the same cell unregistered, both run by IPython.
_TIMED = """
def timed(cell):
    from time import perf_counter
    shell = get_ipython()
    begun = perf_counter()
    assert shell.run_cell(cell, store_history=False).success
    return perf_counter() - begun
for name in {names!r}:
    print(timed("1"), timed(f"%%notify_on_finish {{name}}\\n1"))
"""


@dataclass
class AlertExpectations:
    """What ought to be told, and what was.

    Attributes
    ----------
    truths
        For each name the words of which its alert must say one.
    perhaps
        Names of which it cannot be known whether they must be told: their runs had hardly begun.
    """

    expected_words: dict[str, frozenset[str]] = field(default_factory=dict)
    optional_names: set[str] = field(default_factory=set)

    def expect(self, name: str, *words: str, is_optional: bool = False) -> None:
        """An alert is due that says one of these words."""
        self.expected_words[name] = frozenset(words)
        if is_optional:
            self.optional_names.add(name)

    def count_by_name(self, slack: Slack) -> Counter[str]:
        """How often each name was told."""
        return Counter(alert_subject(payload["text"]) for payload in slack.payloads)

    def missing_alerts(self, slack: Slack) -> list[str]:
        """Names that must be told and were not."""
        told = self.count_by_name(slack)
        return [name for name in self.expected_words if name not in self.optional_names and not told[name]]

    def false_alerts(self, slack: Slack) -> list[str]:
        """Texts of alerts that are not true, or of nothing that was."""
        return [
            payload["text"]
            for payload in slack.payloads
            if _word(payload) not in self.expected_words.get(alert_subject(payload["text"]), ())
        ]

    def to_result(self, fault: str, *slacks: Slack, **more: Any) -> FaultResult:
        """The line of the table; several Slacks are one workspace."""
        told = sum((self.count_by_name(slack) for slack in slacks), Counter[str]())
        due = self.expected_words.keys() - self.optional_names
        return FaultResult(
            fault=fault,
            runs=len(self.expected_words),
            expected=len(due),
            received=sum(bool(told[name]) for name in due),
            duplicates=sum(max(0, count - 1) for count in told.values()),
            false=sum(len(self.false_alerts(slack)) for slack in slacks),
            **more,
        )


def alert_subject(text: str) -> str:
    """Whom an alert's sentence is about."""
    found = _NAME.search(text)
    return found[1] if found else ""


def _word(payload: dict[str, Any]) -> str:
    """A run's outcome, or an alarm's state."""
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
        How many processes of ours were killed; each may double one alert.
    added
        Seconds that registering added to each cell.
    recovered
        Seconds from the fault's end to the last alert; None where it has no end.
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
        """Whether all that is promised was kept."""
        return self.received == self.expected > 0 and self.duplicates <= self.crashes and not self.false

    def table_cells(self) -> tuple[str, ...]:
        """As it stands in the table."""
        numbers = (self.runs, self.expected, self.received, self.duplicates, self.false)
        added = f"{1000 * statistics.median(self.added):.1f} ms" if self.added else ""
        recovered = f"{self.recovered:.1f} s" if self.recovered is not None else ""
        return self.fault, *map(str, numbers), added, recovered


TABLE_HEADER = ("fault", "runs", "expected", "received", "doubled", "false", "added to the cell", "recovered in")


def format_table(lines: list[FaultResult]) -> str:
    """All lines, in Markdown."""
    rows = [TABLE_HEADER, ("---", *["--:"] * (len(TABLE_HEADER) - 1)), *(line.table_cells() for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


class FaultScenario:
    """One fault's Slack, world and kernel, and its count.

    Attributes
    ----------
    added
        Seconds that registering added, for each cell that was timed.
    """

    def __init__(self, fault: str, slack: Slack, world: World, kernel: Kernel) -> None:
        self.fault = fault
        self.slack, self.world, self.kernel = slack, world, kernel
        self.expectations = AlertExpectations()
        self.added: list[float] = []
        self._over: float | None = None

    def run_cells(self, number: int = 5) -> None:
        """Run so many registered cells, each beside the same one unregistered."""
        names = [f"run{len(self.expectations.expected_words) + n}" for n in range(number)]
        for name in names:
            self.expectations.expect(name, "finished")
        result = self.kernel.run(_TIMED.format(names=names))
        assert result.status == "ok", result.outputs
        pairs = [tuple(map(float, line.split())) for line in result.stdout.splitlines() if line[:1].isdigit()]
        self.added += [registered - plain for plain, registered in pairs]

    def wait_for_failed_attempt(self) -> None:
        """Wait until an attempt to deliver has failed."""
        until(
            lambda: any(one.reason for one in self.world.outbox_messages("pending", "dead")),
            60,
            "an attempt that fails",
        )

    def end_fault(self) -> None:
        """The fault ends now."""
        self._over = time.monotonic()

    def finish(self, seconds: float = 60.0, crashes: int = 0) -> FaultResult:
        """Wait until all is told, end the kernel, and see what comes after that."""
        try:
            until(lambda: not self.expectations.missing_alerts(self.slack), seconds)
        except AssertionError:
            # The table tells of it.
            pass
        recovered = None if self._over is None else time.monotonic() - self._over
        self.kernel.kill()
        self.world.wait_for_sidecars_to_exit(30)
        more: dict[str, Any] = {"crashes": crashes, "added": tuple(self.added), "recovered": recovered}
        return self.expectations.to_result(self.fault, self.slack, **more)


@contextmanager
def open_scenario(
    fault: str, folder: Path, url: str = "", python: str | Path = "", **environ: str
) -> Iterator[FaultScenario]:
    """A stage with a kernel that has told one run, so that the sidecar is there."""
    with (
        Slack() as slack,
        World(folder, url or slack.url, **environ) as world,
        Kernel(world, *([python] if python else [])) as kernel,
    ):
        kernel.run("%load_ext cwnotify")
        one = FaultScenario(fault, slack, world, kernel)
        one.expectations.expect("first", "finished")
        kernel.run("%%notify_on_finish first\n1")
        if not url:
            until(lambda: world.outbox_messages("done"), 30, "the first alert, and the note of it")
        yield one


# Does one fault, in a folder of its own.
FaultRunner = Callable[[Path], FaultResult]
