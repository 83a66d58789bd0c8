"""From a cell's end, or a kernel's, to the alert in Slack."""

from __future__ import annotations

import time

from benchmarks.harness import BenchmarkResult, Curve, summarize, threshold_row
from benchmarks.kernels import benchmark_kernel, printed_number
from tests.support.kernel import Kernel
from tests.support.slack import Slack
from tests.support.waiting import until

SHORT_RUN = "%%notify_on_finish name\nimport time; print(time.time())"
LONG_RUN = "%%notify_on_finish name\nprint('begun', flush=True)\nimport time; time.sleep(600)"
WARM_SESSION_MAGIC = """
import os, requests, time
from IPython.core.magic import register_cell_magic
session = requests.Session()
@register_cell_magic
def post(line, cell):
    get_ipython().ex(cell)
    session.post(os.environ["SLACK_WEBHOOK_URL"], json={"text": "done"})
"""


def measure(quick: bool) -> BenchmarkResult:
    """Ends of cells, ends of kernels, and several kernels at once."""
    found = BenchmarkResult()
    rounds, kills, most = (5, 3, 2) if quick else (40, 20, 8)
    with Slack() as slack, benchmark_kernel(slack) as one:
        one.run("%load_ext cwnotify")
        one.run(WARM_SESSION_MAGIC)
        ours, direct = [], []
        for _ in range(rounds + 2):
            ours.append(_told(one, slack, SHORT_RUN))
            direct.append(_told(one, slack, "%%post\nprint(time.time())"))
    # The first waits for the sidecar's start, which is measured as the first registered cell.
    peers = {"the limit, `requests` with a warm session in the kernel": summarize(direct[2:])}
    found.rows.append(threshold_row("a cell's end to the alert received", summarize(ours[2:]), "ms", 30.0, peers))
    killed = summarize([_killed() for _ in range(kills)])
    never = dict.fromkeys(("`requests.post` in a magic", "jupyter-slack", "slack-magic", "knockknock"), "never")
    found.rows.append(
        threshold_row("kernel killed (SIGKILL) to the alert received", killed, "ms", 100.0, never, quantile=0.99)
    )
    found.notes.append(f"Kernel killed: {kills} kernels, so the figure at p99 is that of the slowest one.")
    found.curves.append(_together(most))
    return found


def _told(one: Kernel, slack: Slack, cell: str) -> float:
    """Milliseconds from the cell's last statement to Slack's having read the request."""
    before = len(slack.received)
    ended = printed_number(one, cell)
    until(lambda: len(slack.received) > before, 30, "the alert")
    return 1000 * (slack.received[before].at - ended)


def _killed() -> float:
    with Slack() as slack, benchmark_kernel(slack) as one:
        one.run("%load_ext cwnotify")
        _told(one, slack, SHORT_RUN)
        one.submit_cell(LONG_RUN).wait_for_output("begun")
        until(lambda: one.world.open_runs(), 10, "the open run")
        before = len(slack.received)
        at = one.kill()
        until(lambda: len(slack.received) > before, 30, "the alert")
        return 1000 * (slack.received[before].at - at)


def _together(most: int) -> Curve:
    """Several kernels whose cells end at the same moment."""
    points = []
    count = 1
    while count <= most:
        low, median, high = _kernels(count)
        points.append((count, low, median, high))
        count *= 2
    return Curve(
        "kernels", "Cells that end at once, in so many kernels", "kernels", "ms to the alert", {"cwnotify": points}
    )


def _kernels(count: int, rounds: int = 3) -> tuple[float, float, float]:
    from contextlib import ExitStack

    with ExitStack() as stack, Slack() as slack:
        kernels = [stack.enter_context(benchmark_kernel(slack)) for _ in range(count)]
        for one in kernels:
            one.run("%load_ext cwnotify")
            _told(one, slack, SHORT_RUN)
        times = []
        for _ in range(rounds):
            before, at = len(slack.received), time.time() + 0.3 + 0.02 * count
            cells = [
                one.submit_cell(f"%%notify_on_finish name\nimport time; time.sleep(max(0, {at} - time.time()))")
                for one in kernels
            ]
            for cell in cells:
                assert not cell.result().errors
            until(lambda before=before: len(slack.received) >= before + count, 30, "the alerts")
            times += [1000 * (one.at - at) for one in slack.received[before:]]
    low, high = summarize(times).quartiles
    return low, summarize(times).median, high
