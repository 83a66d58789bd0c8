"""Costs that do not vary with the machine: imports, writes, processes, queries, bytes."""

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
from tests.test_imports import run_in_fresh_interpreter

LOADED_MODULES = {
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

shell = create_shell()
before_load = set(sys.modules)
run(shell, "%load_ext cwnotify")
loaded = set(sys.modules) - before_load
run(shell, "%%notify_on_finish first\\nx = 1")
first = set(sys.modules) - before_load - loaded
run(shell, "%%notify_on_finish second\\nx = 2")
before_third, started[:] = set(sys.modules), []
before = writes()
run(shell, "x = 3")
plain = writes() - before
before = writes()
run(shell, "%%notify_on_finish third\\nx = 3")
report(
    loaded=sorted(loaded), first=sorted(first), later=sorted(set(sys.modules) - before_third),
    writes=writes() - before - plain, starts=list(started),
)
"""


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Return what three registered cells cost in a shell."""
    folder = tmp_path_factory.mktemp("cells")
    with Slack() as slack:
        environ = {"CWNOTIFY_WEBHOOK_URL": slack.url, "CWNOTIFY_STATE_DIR": str(folder / "state")}
        yield run_in_fresh_interpreter(CELLS.format(environ=environ), folder)
        slack.wait_for(3)


def own_modules(names: list[str]) -> set[str]:
    """Return the modules of cwnotify among `names`."""
    return {name for name in names if name.partition(".")[0] == "cwnotify"}


def test_extension_load_imports_nine_modules(costs: dict[str, Any]) -> None:
    assert own_modules(costs["loaded"]) == LOADED_MODULES


def test_first_registered_cell_imports_only_what_it_needs(costs: dict[str, Any]) -> None:
    first = own_modules(costs["first"])

    assert "cwnotify.sidecar.client" in first
    assert len(first) <= 34, sorted(first)
    # Only a panel, a distributed job or a failure needs these.
    assert not first & {"cwnotify.view.snapshot", "cwnotify.host.processes", "cwnotify.notebook.panel"}


def test_further_registered_cell_imports_and_starts_nothing(costs: dict[str, Any]) -> None:
    assert costs["later"] == []
    assert costs["starts"] == []


def test_registered_cell_writes_twice(costs: dict[str, Any]) -> None:
    """One line at the start and one at the end, both into the pipe."""
    assert costs["writes"] == 2


# The outbox

DELIVERED_COUNT = 500


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """Return an outbox with many delivered messages."""
    outbox = Outbox(tmp_path / "outbox.sqlite3", durable=False)
    with outbox.transaction():
        for row in range(DELIVERED_COUNT):
            outbox.enqueue(f"old {row}", "slack", {}, 1.0)
            outbox.mark_delivered(f"old {row}", 2.0)
    yield outbox
    outbox.close()


def statements_of(outbox: Outbox, work: Any) -> list[str]:
    """Return the SQL that `work` runs, with its values."""
    statements: list[str] = []
    outbox.connection.set_trace_callback(statements.append)
    try:
        work()
    finally:
        outbox.connection.set_trace_callback(None)
    return statements


@pytest.mark.parametrize(
    "work",
    [
        lambda outbox: outbox.enqueue("new", "slack", {}, 10.0),
        lambda outbox: outbox.claim_next("slack", "me", 11.0),
        lambda outbox: outbox.next_due_time("slack"),
        lambda outbox: outbox.mark_delivered("old 1", 12.0),
    ],
    ids=["enqueue", "claim", "next due", "delivered"],
)
def test_outbox_step_is_one_statement_without_table_scan(outbox: Outbox, work: Any) -> None:
    statements = statements_of(outbox, lambda: work(outbox))

    assert len(statements) == 1
    plan = [row["detail"] for row in outbox.connection.execute(f"EXPLAIN QUERY PLAN {statements[0]}")]
    assert not [step for step in plan if step.startswith("SCAN")], plan


# The panel

PANEL_CODE = """
import comm, json
from comm.base_comm import BaseComm
sent = []

class Counted(BaseComm):
    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        sent.append((msg_type, len(json.dumps(data, default=str)) + sum(len(buffer) for buffer in buffers or ())))

comm.create_comm = Counted
from dataclasses import replace
from cwnotify.notebook.panel_widgets import PanelWidgets
from tests.support.panel_feed import healthy_snapshot

view = PanelWidgets(lambda name: None)
scene, light, dark = healthy_snapshot(1795400647.0), b"L" * 20_000, b"D" * 20_000
counts = []
for snapshot in (scene, scene, replace(scene, at=scene.at + 5)):
    sent.clear()
    view.update(snapshot, light, dark, [], "3h")
    counts.append([size for kind, size in sent if kind == "comm_msg"])
report(counts=counts)
"""


def test_panel_sends_only_changes(tmp_path: Path) -> None:
    first, same, later = run_in_fresh_interpreter(PANEL_CODE, tmp_path)["counts"]

    assert sum(first) > 40_000, "the pictures were not sent"
    assert same == []
    # Five seconds later the texts are new, the pictures are not.
    assert later
    assert sum(later) < 20_000, json.dumps(later)


def test_idle_kernel_prepares_for_first_registered_cell(tmp_path: Path) -> None:
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify\nimport sys")

        def is_prepared() -> bool:
            return kernel.run("'cwnotify.runs.recorder' in sys.modules").values == ["True"]

        until(is_prepared, 10, "the import")
        assert not world.sidecar_ids(), "a sidecar was started"
        assert kernel.run("_before = set(sys.modules)").status == "ok"
        kernel.run("%%notify_on_finish first\nx = 1")
        new = kernel.run("print(*[name for name in set(sys.modules) - _before if name.startswith('cwnotify')])").stdout
    assert new.split() == []
