"""The time that registration adds to a cell, in each state of Slack, compared with alternatives."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.harness import (
    BenchmarkResult,
    Curve,
    Row,
    Summary,
    excess_over_median,
    format_significant,
    summarize,
    threshold_row,
)
from benchmarks.kernels import CELL_TIMER, benchmark_kernel, cell_times
from tests.support.kernel import Kernel
from tests.support.slack import OK, Answer, Slack

PLAIN_CELL, REGISTERED_CELL = "x = 1", "%%notify_on_finish name\nx = 1"
# Sets up the stand-in for each state of Slack.
SLACK_MODES: dict[str, Callable[[Slack], None]] = {
    "fine": lambda slack: None,
    "refused": Slack.refuse_connections,
    "hanging": lambda slack: setattr(slack, "answer", Answer(mode="hang")),
    "error 500": lambda slack: setattr(slack, "answer", Answer(500, "rollup_error")),
}
# An alternative that hangs is interrupted after this. Its real duration is then unknown.
PEER_TIMEOUT = 4.0  # seconds
POST_MAGIC = """
import os, requests
from IPython.core.magic import register_cell_magic
@register_cell_magic
def post(line, cell):
    get_ipython().ex(cell)
    requests.post(os.environ["SLACK_WEBHOOK_URL"], json={"text": "done"})
"""
KNOCKKNOCK_SETUP = """
import os, knockknock
@knockknock.slack_sender(webhook_url=os.environ["SLACK_WEBHOOK_URL"], channel="general")
def train():
    x = 1
"""


@dataclass(frozen=True)
class Peer:
    """An alternative to cwnotify: the cell that sets it up, and the cell that it reports."""

    setup: str
    cell: str


PEERS = {
    "`requests.post` in a magic": Peer(POST_MAGIC, "%%post\nx = 1"),
    "jupyter-slack": Peer("import jupyter_slack", "%%notify name\nx = 1"),
    "slack-magic": Peer(
        "import os, pathlib, warnings; warnings.simplefilter('ignore')\n"
        "pathlib.Path.home().joinpath('.slack_magic').write_text(os.environ['SLACK_WEBHOOK_URL'])\n"
        "%load_ext slack_magic",
        "%%notify\nx = 1",
    ),
    "knockknock": Peer(KNOCKKNOCK_SETUP, "train()"),
}


def measure(quick: bool) -> BenchmarkResult:
    """Measure cells in each state of Slack, then many cells in one kernel."""
    result = BenchmarkResult()
    medians = []
    for state, set_up in SLACK_MODES.items():
        plain, registered = _measure_cells(set_up, 20 if quick else 400)
        added = excess_over_median(registered.values, plain.values)
        medians.append(added.median)
        peers = {name: _measure_peer(peer, set_up, 3 if quick else 7) for name, peer in PEERS.items()}
        result.rows.append(threshold_row(f"time added to a cell, Slack {state}", added, "ms", 1.0, peers))
        result.rows.append(_p99_row(f"the same at p99, Slack {state}", plain, registered))
    result.notes += [
        "Time added to a cell: the medians in the four states of Slack are between "
        f"{min(medians):.2f} and {max(medians):.2f} ms.",
        "At p99: the slowest registered cells compared with the slowest plain cells, because plain cells vary too.",
        f"An alternative that hangs is interrupted after {PEER_TIMEOUT:g} s. It would wait until Slack responds.",
    ]
    result.curves.append(_measure_growth(100 if quick else 1000))
    return result


def _p99_row(quantity: str, plain: Summary, registered: Summary) -> Row:
    plain_ms, registered_ms = plain.quantile(0.99), registered.quantile(0.99)
    added = registered_ms - plain_ms
    measured = (
        f"{format_significant(added)} ms: registered {format_significant(registered_ms)}, "
        f"plain {format_significant(plain_ms)}"
    )
    return Row(quantity, "under 3 ms", measured, added < 3.0)


def _measure_cells(set_up: Callable[[Slack], None], rounds: int) -> tuple[Summary, Summary]:
    """Return the milliseconds of plain and of registered cells, measured in turn in one kernel."""
    with Slack() as slack, benchmark_kernel(slack) as kernel:
        set_up(slack)
        kernel.run("%load_ext cwnotify")
        kernel.run(CELL_TIMER)
        for _ in range(10):
            kernel.run(PLAIN_CELL)
            kernel.run(REGISTERED_CELL)
        cell_times(kernel)
        for _ in range(rounds):
            kernel.run(PLAIN_CELL)
            kernel.run(REGISTERED_CELL)
        # The first value is the cell that read the earlier times.
        times = cell_times(kernel)[1:]
        return summarize(times[::2]), summarize(times[1::2])


def _measure_peer(peer: Peer, set_up: Callable[[Slack], None], rounds: int) -> Summary | str:
    """Return the milliseconds that `peer` adds to a cell, or a text if it hangs."""
    with Slack(OK) as slack, benchmark_kernel(slack) as kernel:
        assert not kernel.run(peer.setup).errors
        kernel.run(peer.cell)
        kernel.run(CELL_TIMER)
        set_up(slack)
        cell_times(kernel)
        for _ in range(rounds):
            kernel.run(PLAIN_CELL)
        plain = cell_times(kernel)[1:]
        if slack.answer.mode == "hang":
            return _measure_hang(kernel, peer)
        for _ in range(rounds):
            kernel.run(peer.cell)
        return excess_over_median(cell_times(kernel)[1:], plain)


def _measure_hang(kernel: Kernel, peer: Peer) -> str:
    cell = kernel.submit_cell(peer.cell)
    started_at = time.monotonic()
    try:
        cell.result(PEER_TIMEOUT)
    except AssertionError:
        kernel.interrupt()
        cell.result()
        return f"over {PEER_TIMEOUT:g} s, then interrupted"
    return f"{time.monotonic() - started_at:.1f} s"


def _measure_growth(count: int) -> Curve:
    """Measure whether cells get slower with the number of registered cells before them."""
    with Slack() as slack, benchmark_kernel(slack) as kernel:
        kernel.run("%load_ext cwnotify")
        kernel.run(CELL_TIMER)
        kernel.run(REGISTERED_CELL)
        cell_times(kernel)
        lines: dict[str, list[tuple[float, ...]]] = {"registered": [], "plain": []}
        for number in range(count):
            kernel.run(PLAIN_CELL)
            kernel.run(REGISTERED_CELL)
            if (number + 1) % (count // 10) == 0:
                times = cell_times(kernel)[1:]
                for name, values in (("plain", times[::2]), ("registered", times[1::2])):
                    block = summarize(values)
                    low, high = block.quartiles
                    lines[name].append((number + 1, low, block.median, high))
    return Curve("cells", "Time of a cell by the number of registered cells before it", "cells", "ms", lines)
