"""What a registered cell takes longer than a plain one, whatever Slack does, and what it takes with others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.harness import Curve, Findings, Row, Spread, less, number, row, spread
from benchmarks.kernels import CLOCK, cell_times, kernel
from tests.support.kernel import Kernel
from tests.support.slack import OK, Answer, Slack

PLAIN, OURS = "x = 1", "%%notify_on_finish name\nx = 1"
# Slack's way, and what the stand-in is told to do.
WAYS: dict[str, Callable[[Slack], None]] = {
    "fine": lambda slack: None,
    "refused": Slack.refuse,
    "hanging": lambda slack: setattr(slack, "answer", Answer(mode="hang")),
    "error 500": lambda slack: setattr(slack, "answer", Answer(500, "rollup_error")),
}
# Nobody waits longer here for a peer that hangs; what it would have taken is then unknown.
PATIENCE = 4.0
POST = """
import os, requests
from IPython.core.magic import register_cell_magic
@register_cell_magic
def post(line, cell):
    get_ipython().ex(cell)
    requests.post(os.environ["SLACK_WEBHOOK_URL"], json={"text": "done"})
"""
KNOCK = """
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
    "`requests.post` in a magic": Peer(POST, "%%post\nx = 1"),
    "jupyter-slack": Peer("import jupyter_slack", "%%notify name\nx = 1"),
    "slack-magic": Peer(
        "import os, pathlib, warnings; warnings.simplefilter('ignore')\n"
        "pathlib.Path.home().joinpath('.slack_magic').write_text(os.environ['SLACK_WEBHOOK_URL'])\n"
        "%load_ext slack_magic",
        "%%notify\nx = 1",
    ),
    "knockknock": Peer(KNOCK, "train()"),
}


def measure(quick: bool) -> Findings:
    """All ways of Slack, then many cells in one kernel."""
    found = Findings()
    medians = {}
    for way, go in WAYS.items():
        plain, ours = _ours(go, 20 if quick else 400)
        added = less(ours.values, plain.values)
        medians[way] = added.median
        peers = {name: _peer(peer, go, 3 if quick else 7) for name, peer in PEERS.items()}
        found.rows.append(row(f"time added to a cell, Slack {way}", added, "ms", 1.0, peers))
        found.rows.append(_at_worst(f"the same at p99, Slack {way}", plain, ours))
    low, high = min(medians.values()), max(medians.values())
    found.notes.append(f"Time added to a cell: the medians of the four ways lie between {low:.2f} and {high:.2f} ms.")
    found.notes.append(
        "At p99: the slowest registered cells beside the slowest plain ones, since a plain cell has slow ones too."
    )
    found.notes.append(
        f"A peer that hangs is interrupted after {PATIENCE:g} s: it would have waited as long as Slack says nothing."
    )
    found.curves.append(_many(100 if quick else 1000))
    return found


def _at_worst(what: str, plain: Spread, ours: Spread) -> Row:
    added = ours.at(0.99) - plain.at(0.99)
    told = f"{number(added)} ms: {number(ours.at(0.99))} where a plain cell takes {number(plain.at(0.99))}"
    return Row(what, "under 3 ms", told, added < 3.0)


def _ours(go: Callable[[Slack], None], rounds: int) -> tuple[Spread, Spread]:
    """Milliseconds of plain and of registered cells, in turn in one kernel."""
    with Slack() as slack, kernel(slack) as one:
        go(slack)
        one.run("%load_ext cwnotify")
        one.run(CLOCK)
        for _ in range(10):
            one.run(PLAIN)
            one.run(OURS)
        cell_times(one)
        for _ in range(rounds):
            one.run(PLAIN)
            one.run(OURS)
        # The first is the cell that asked for the times before.
        times = cell_times(one)[1:]
        return spread(times[::2]), spread(times[1::2])


def _peer(peer: Peer, go: Callable[[Slack], None], rounds: int) -> Spread | str:
    with Slack(OK) as slack, kernel(slack) as one:
        assert not one.run(peer.setup).errors
        one.run(peer.cell)
        one.run(CLOCK)
        go(slack)
        cell_times(one)
        for _ in range(rounds):
            one.run(PLAIN)
        plain = cell_times(one)[1:]
        if slack.answer.mode == "hang":
            return _wait(one, peer)
        for _ in range(rounds):
            one.run(peer.cell)
        return less(cell_times(one)[1:], plain)


def _wait(one: Kernel, peer: Peer) -> str:
    cell = one.start(peer.cell)
    began = time.monotonic()
    try:
        cell.result(PATIENCE)
    except AssertionError:
        one.interrupt()
        cell.result()
        return f"over {PATIENCE:g} s, then interrupted"
    return f"{time.monotonic() - began:.1f} s"


def _many(count: int) -> Curve:
    """Do cells get slower with the number of those before?"""
    with Slack() as slack, kernel(slack) as one:
        one.run("%load_ext cwnotify")
        one.run(CLOCK)
        one.run(OURS)
        cell_times(one)
        blocks: dict[str, list[tuple[float, ...]]] = {"registered": [], "plain": []}
        for number in range(count):
            one.run(PLAIN)
            one.run(OURS)
            if (number + 1) % (count // 10) == 0:
                times = cell_times(one)[1:]
                for name, part in (("plain", times[::2]), ("registered", times[1::2])):
                    one_block = spread(part)
                    low, high = one_block.quartiles
                    blocks[name].append((number + 1, low, one_block.median, high))
    return Curve("cells", "A cell's time, with the number of registered cells before it", "cells", "ms", blocks)
