"""What things cost, in numbers that do not vary with the machine: imports, writes, starts, queries, bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cwnotify.store.outbox import Outbox
from tests.support.kernel import Kernel, World
from tests.support.slack import Slack
from tests.support.waiting import until
from tests.test_imports import in_a_fresh_interpreter

LOADED = {
    "cwnotify",
    "cwnotify.notebook",
    "cwnotify.notebook.cell_hooks",
    "cwnotify.notebook.executions",
    "cwnotify.notebook.ipython_patches",
    "cwnotify.notebook.magics",
    "cwnotify.console",
    "cwnotify.runs",
    "cwnotify.runs.input_detection",
}

CELLS = """
import os
os.environ |= {environ!r}

def writes():
    with open("/proc/thread-self/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("syscw"))

shell = a_shell()
begun = set(sys.modules)
run(shell, "%load_ext cwnotify")
loaded = set(sys.modules) - begun
run(shell, "%%notify_on_finish first\\nx = 1")
first = set(sys.modules) - begun - loaded
run(shell, "%%notify_on_finish second\\nx = 2")
known, started[:] = set(sys.modules), []
before = writes()
run(shell, "x = 3")
plain = writes() - before
before = writes()
run(shell, "%%notify_on_finish third\\nx = 3")
told(
    loaded=sorted(loaded), first=sorted(first), later=sorted(set(sys.modules) - known),
    writes=writes() - before - plain, starts=list(started),
)
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a kernel's shell went through with three registered cells."""
    folder = tmp_path_factory.mktemp("cells")
    with Slack() as slack:
        environ = {"CWNOTIFY_WEBHOOK_URL": slack.url, "CWNOTIFY_STATE_DIR": str(folder / "state")}
        yield in_a_fresh_interpreter(CELLS.format(environ=environ), folder)
        slack.wait_for(3)


def ours(names: list[str]) -> set[str]:
    return {name for name in names if name.partition(".")[0] == "cwnotify"}


def test_loading_the_extension_imports_nine_modules_of_ours(seen: dict[str, Any]) -> None:
    assert ours(seen["loaded"]) == LOADED


def test_the_first_registered_cell_imports_only_what_it_needs(seen: dict[str, Any]) -> None:
    first = ours(seen["first"])

    assert "cwnotify.sidecar.client" in first
    assert len(first) <= 34, sorted(first)
    # What only a panel, a distributed job or a failure needs.
    assert not first & {"cwnotify.view.snapshot", "cwnotify.host.processes", "cwnotify.notebook.panel"}


def test_a_further_registered_cell_imports_nothing_and_starts_nothing(seen: dict[str, Any]) -> None:
    assert seen["later"] == []
    assert seen["starts"] == []


def test_a_registered_cell_costs_two_writes(seen: dict[str, Any]) -> None:
    """One as it begins and one as it ends, both into the pipe."""
    assert seen["writes"] == 2


# The outbox

FULL = 500


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """One with many delivered messages."""
    outbox = Outbox(tmp_path / "outbox.sqlite3", durable=False)
    with outbox.transaction():
        for row in range(FULL):
            outbox.enqueue(f"old {row}", "slack", {}, 1.0)
            outbox.mark_delivered(f"old {row}", 2.0)
    yield outbox
    outbox.close()


def statements_of(outbox: Outbox, work: Any) -> list[str]:
    """The SQL that `work` runs, with its values."""
    found: list[str] = []
    outbox.connection.set_trace_callback(found.append)
    try:
        work()
    finally:
        outbox.connection.set_trace_callback(None)
    return found


@pytest.mark.parametrize(
    "work",
    [
        lambda outbox: outbox.enqueue("new", "slack", {}, 10.0),
        lambda outbox: outbox.claim_next("slack", "me", 11.0),
        lambda outbox: outbox.next_due_time("slack"),
        lambda outbox: outbox.mark_delivered("old 1", 12.0),
    ],
    ids=["put", "claim", "next due", "done"],
)
def test_each_step_is_one_statement_that_reads_no_whole_table(outbox: Outbox, work: Any) -> None:
    statements = statements_of(outbox, lambda: work(outbox))

    assert len(statements) == 1
    plan = [row["detail"] for row in outbox.connection.execute(f"EXPLAIN QUERY PLAN {statements[0]}")]
    assert not [step for step in plan if step.startswith("SCAN")], plan


# The panel

VIEW = """
import comm, json
from comm.base_comm import BaseComm
sent = []

class Counted(BaseComm):
    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        sent.append((msg_type, len(json.dumps(data, default=str)) + sum(len(one) for one in buffers or ())))

comm.create_comm = Counted
from dataclasses import replace
from cwnotify.notebook.panel_widgets import PanelWidgets
from tests.support.panel_feed import healthy_snapshot

view = View(lambda name: None)
scene, light, dark = well(1795400647.0), b"L" * 20_000, b"D" * 20_000
counts = []
for snapshot in (scene, scene, replace(scene, at=scene.at + 5)):
    sent.clear()
    view.show(snapshot, light, dark, [], "3h")
    counts.append([size for kind, size in sent if kind == "comm_msg"])
told(counts=counts)
"""


def test_a_panel_sends_its_page_only_what_has_changed(tmp_path: Path) -> None:
    first, same, later = in_a_fresh_interpreter(VIEW, tmp_path)["counts"]

    assert sum(first) > 40_000, "its pictures did not go"
    assert same == []
    # Five seconds later the words are new, the pictures are not.
    assert later
    assert sum(later) < 20_000, json.dumps(later)


def test_an_idle_kernel_prepares_for_its_first_registered_cell(tmp_path: Path) -> None:
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify\nimport sys")

        def prepared() -> bool:
            return kernel.run("'cwnotify.runs.recorder' in sys.modules").values == ["True"]

        until(prepared, 10, "the import")
        assert not world.sidecar_ids(), "it started something"
        assert kernel.run("_before = set(sys.modules)").status == "ok"
        kernel.run("%%notify_on_finish first\nx = 1")
        new = kernel.run("print(*[name for name in set(sys.modules) - _before if name.startswith('cwnotify')])").stdout
    assert new.split() == []
