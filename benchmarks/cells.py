"""What a registered cell takes longer than a plain one, whatever Slack does, and what it takes with others."""

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
# Slack's way, and what the stand-in is told to do.
SLACK_MODES: dict[str, Callable[[Slack], None]] = {
    "fine": lambda slack: None,
    "refused": Slack.refuse_connections,
    "hanging": lambda slack: setattr(slack, "answer", Answer(mode="hang")),
    "error 500": lambda slack: setattr(slack, "answer", Answer(500, "rollup_error")),
}
# Nobody waits longer here for a peer that hangs; what it would have taken is then unknown.
PEER_TIMEOUT = 4.0
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
    """How a user sets it up, and the cell that is to be told."""

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
    """All ways of Slack, then many cells in one kernel."""
    found = BenchmarkResult()
    medians = {}
    for way, go in SLACK_MODES.items():
        plain, ours = _ours(go, 20 if quick else 400)
        added = excess_over_median(ours.values, plain.values)
        medians[way] = added.median
        peers = {name: _peer(peer, go, 3 if quick else 7) for name, peer in PEERS.items()}
        found.rows.append(threshold_row(f"time added to a cell, Slack {way}", added, "ms", 1.0, peers))
        found.rows.append(_at_worst(f"the same at p99, Slack {way}", plain, ours))
    low, high = min(medians.values()), max(medians.values())
    found.notes.append(f"Time added to a cell: the medians of the four ways lie between {low:.2f} and {high:.2f} ms.")
    found.notes.append(
        "At p99: the slowest registered cells beside the slowest plain ones, since a plain cell has slow ones too."
    )
    found.notes.append(
        f"A peer that hangs is interrupted after {PEER_TIMEOUT:g} s: it would have waited as long as Slack says nothing."
    )
    found.curves.append(_many(100 if quick else 1000))
    return found


def _at_worst(what: str, plain: Summary, ours: Summary) -> Row:
    added = ours.quantile(0.99) - plain.quantile(0.99)
    told = f"{format_significant(added)} ms: {format_significant(ours.quantile(0.99))} where a plain cell takes {format_significant(plain.quantile(0.99))}"
    return Row(what, "under 3 ms", told, added < 3.0)


def _ours(go: Callable[[Slack], None], rounds: int) -> tuple[Summary, Summary]:
    """Milliseconds of plain and of registered cells, in turn in one kernel."""
    with Slack() as slack, benchmark_kernel(slack) as one:
        go(slack)
        one.run("%load_ext cwnotify")
        one.run(CELL_TIMER)
        for _ in range(10):
            one.run(PLAIN_CELL)
            one.run(REGISTERED_CELL)
        cell_times(one)
        for _ in range(rounds):
            one.run(PLAIN_CELL)
            one.run(REGISTERED_CELL)
        # The first is the cell that asked for the times before.
        times = cell_times(one)[1:]
        return summarize(times[::2]), summarize(times[1::2])


def _peer(peer: Peer, go: Callable[[Slack], None], rounds: int) -> Summary | str:
    with Slack(OK) as slack, benchmark_kernel(slack) as one:
        assert not one.run(peer.setup).errors
        one.run(peer.cell)
        one.run(CELL_TIMER)
        go(slack)
        cell_times(one)
        for _ in range(rounds):
            one.run(PLAIN_CELL)
        plain = cell_times(one)[1:]
        if slack.answer.mode == "hang":
            return _wait(one, peer)
        for _ in range(rounds):
            one.run(peer.cell)
        return excess_over_median(cell_times(one)[1:], plain)


def _wait(one: Kernel, peer: Peer) -> str:
    cell = one.submit_cell(peer.cell)
    began = time.monotonic()
    try:
        cell.result(PEER_TIMEOUT)
    except AssertionError:
        one.interrupt()
        cell.result()
        return f"over {PEER_TIMEOUT:g} s, then interrupted"
    return f"{time.monotonic() - began:.1f} s"


def _many(count: int) -> Curve:
    """Do cells get slower with the number of those before?"""
    with Slack() as slack, benchmark_kernel(slack) as one:
        one.run("%load_ext cwnotify")
        one.run(CELL_TIMER)
        one.run(REGISTERED_CELL)
        cell_times(one)
        blocks: dict[str, list[tuple[float, ...]]] = {"registered": [], "plain": []}
        for number in range(count):
            one.run(PLAIN_CELL)
            one.run(REGISTERED_CELL)
            if (number + 1) % (count // 10) == 0:
                times = cell_times(one)[1:]
                for name, part in (("plain", times[::2]), ("registered", times[1::2])):
                    one_block = summarize(part)
                    low, high = one_block.quartiles
                    blocks[name].append((number + 1, low, one_block.median, high))
    return Curve("cells", "A cell's time, with the number of registered cells before it", "cells", "ms", blocks)
