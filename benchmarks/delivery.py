"""The time from the end of a cell, or of a kernel, to the alert in Slack."""

from __future__ import annotations

import time
from contextlib import ExitStack

from benchmarks.harness import BenchmarkResult, Curve, Summary, summarize, threshold_row
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
    """Measure ends of cells, ends of kernels, and several kernels at once."""
    result = BenchmarkResult()
    rounds, kills, max_kernels = (5, 3, 2) if quick else (40, 20, 8)
    with Slack() as slack, benchmark_kernel(slack) as kernel:
        kernel.run("%load_ext cwnotify")
        kernel.run(WARM_SESSION_MAGIC)
        latencies, direct = [], []
        for _ in range(rounds + 2):
            latencies.append(_measure_alert(kernel, slack, SHORT_RUN))
            direct.append(_measure_alert(kernel, slack, "%%post\nprint(time.time())"))
    # The first alert waits for the sidecar's start, which the startup benchmark measures.
    peers = {"the limit, `requests` with a warm session in the kernel": summarize(direct[2:])}
    result.rows.append(threshold_row("end of a cell to the alert", summarize(latencies[2:]), "ms", 30.0, peers))
    killed = summarize([_measure_kill() for _ in range(kills)])
    never = dict.fromkeys(("`requests.post` in a magic", "jupyter-slack", "slack-magic", "knockknock"), "never")
    result.rows.append(threshold_row("kernel killed (SIGKILL) to the alert", killed, "ms", 100.0, never, quantile=0.99))
    result.notes.append(f"Kernel killed: the figure at p99 is that of the slowest of {kills} kernels.")
    result.curves.append(_measure_many_kernels(max_kernels))
    return result


def _measure_alert(kernel: Kernel, slack: Slack, cell: str) -> float:
    """Return the milliseconds from the cell's last statement until Slack has read the request."""
    count = len(slack.received)
    ended_at = printed_number(kernel, cell)
    _wait_for_requests(slack, count + 1)
    return 1000 * (slack.received[count].at - ended_at)


def _wait_for_requests(slack: Slack, count: int) -> None:
    until(lambda: len(slack.received) >= count, 30, "the alert")


def _measure_kill() -> float:
    """Return the milliseconds from SIGKILL until Slack has read the request."""
    with Slack() as slack, benchmark_kernel(slack) as kernel:
        kernel.run("%load_ext cwnotify")
        _measure_alert(kernel, slack, SHORT_RUN)
        kernel.submit_cell(LONG_RUN).wait_for_output("begun")
        until(lambda: kernel.world.open_runs(), 10, "the open run")
        count = len(slack.received)
        killed_at = kernel.kill()
        _wait_for_requests(slack, count + 1)
        return 1000 * (slack.received[count].at - killed_at)


def _measure_many_kernels(max_kernels: int) -> Curve:
    """Measure kernels whose cells end at the same moment: 1, 2, 4 and so on."""
    points = []
    count = 1
    while count <= max_kernels:
        latencies = _measure_kernels(count)
        low, high = latencies.quartiles
        points.append((count, low, latencies.median, high))
        count *= 2
    return Curve(
        "kernels",
        "Cells that end at the same time in several kernels",
        "kernels",
        "ms to the alert",
        {"cwnotify": points},
    )


def _measure_kernels(count: int, rounds: int = 3) -> Summary:
    with ExitStack() as stack, Slack() as slack:
        kernels = [stack.enter_context(benchmark_kernel(slack)) for _ in range(count)]
        for kernel in kernels:
            kernel.run("%load_ext cwnotify")
            _measure_alert(kernel, slack, SHORT_RUN)
        latencies = []
        for _ in range(rounds):
            first, end = len(slack.received), time.time() + 0.3 + 0.02 * count
            code = f"%%notify_on_finish name\nimport time; time.sleep(max(0, {end} - time.time()))"
            for cell in [kernel.submit_cell(code) for kernel in kernels]:
                assert not cell.result().errors
            _wait_for_requests(slack, first + count)
            latencies += [1000 * (request.at - end) for request in slack.received[first:]]
    return summarize(latencies)
