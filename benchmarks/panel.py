"""The cost of an open panel for training in the same kernel: a pure-Python loop, which never releases the GIL."""

from __future__ import annotations

import time

from benchmarks.harness import BenchmarkResult, excess_over_median, summarize, thread_cpu_seconds, threshold_row
from benchmarks.kernels import benchmark_kernel
from benchmarks.weight import INSTANCE_ID, OPEN_PANEL
from tests.support.cloudwatch import CloudWatch
from tests.support.datapoints import cpu_metric, wave_datapoints
from tests.support.kernel import Kernel
from tests.support.slack import Slack

# Returns the percentage of time in which the loop could not run: another thread held the GIL, or another process the
# core. The loop's speed would be less exact, because the processor's speed varies by ten percent and more.
LOOP_SETUP = """
import time
def _loop(seconds):
    started_at, cpu = time.perf_counter(), time.thread_time()
    while time.perf_counter() - started_at < seconds:
        for i in range(200_000):
            i * i
    return 100 * (1 - (time.thread_time() - cpu) / (time.perf_counter() - started_at))
"""
# A common recipe: a thread of the kernel that draws a figure every second.
PLOTTING_THREAD = """
import io, threading, matplotlib; matplotlib.use("agg")
from matplotlib import pyplot
stopped = threading.Event()
def _draw():
    while not stopped.wait(1.0):
        figure, axes = pyplot.subplots(figsize=(6.4, 2.4), dpi=100)
        axes.plot(range(180), [i * 7 % 100 for i in range(180)])
        figure.savefig(io.BytesIO(), format="png")
        pyplot.close(figure)
threading.Thread(target=_draw, daemon=True).start()
"""


def measure(quick: bool) -> BenchmarkResult:
    """Measure the loop alone, with an open panel, and with a plotting thread, in turn in one kernel."""
    rounds, seconds = (2, 2.0) if quick else (6, 3.0)
    lost_time: dict[str, list[float]] = {"alone": [], "panel": [], "thread": []}
    panel_cpu: list[float] = []
    with Slack() as slack, CloudWatch() as cloud:
        cloud.add_datapoints(cpu_metric(INSTANCE_ID), wave_datapoints(time.time() - 4 * 3600, time.time() + 3600, 300))
        cloud.put_instance(INSTANCE_ID)
        with benchmark_kernel(slack, **cloud.environ()) as kernel:
            for code in ("%load_ext cwnotify", LOOP_SETUP, OPEN_PANEL, "opened.close()"):
                assert not kernel.run(code).errors
            for _ in range(rounds):
                lost_time["alone"].append(_measure_lost_time(kernel, seconds))
                kernel.run(OPEN_PANEL)
                # Work that a panel does once when it opens does not count.
                kernel.run("time.sleep(2)")
                before = thread_cpu_seconds(kernel.pid)
                lost_time["panel"].append(_measure_lost_time(kernel, seconds))
                panel_cpu.append(_other_threads_cpu(before, kernel.pid) / seconds * 100)
                kernel.run("opened.close()")
                kernel.run(PLOTTING_THREAD)
                lost_time["thread"].append(_measure_lost_time(kernel, seconds))
                kernel.run("stopped.set()")
    added = {name: excess_over_median(values, lost_time["alone"]) for name, values in lost_time.items()}
    peers = {"plotting in a thread of the kernel": added["thread"]}
    result = BenchmarkResult()
    result.rows += [
        threshold_row("pure-Python loop slowed by an open panel", added["panel"], "%", 0.5, peers),
        threshold_row("CPU of the panel's own threads in the kernel", summarize(panel_cpu), "% of a core", 0.5),
    ]
    result.notes.append(
        "Loop: the added percentage of time in which it could not run, from the scheduler. "
        f"Alone, the loop could not run for {summarize(lost_time['alone']).format('%')} of the time."
    )
    return result


def _measure_lost_time(kernel: Kernel, seconds: float) -> float:
    """Return the percentage of time in which the loop could not run."""
    result = kernel.run(f"print(_loop({seconds}))", seconds + 60)
    assert not result.errors, result.errors
    return float(result.stdout)


def _other_threads_cpu(before: dict[int, float], pid: int) -> float:
    """Return the CPU seconds that all threads but the main one used since `before`."""
    return sum(seconds - before.get(id, 0.0) for id, seconds in thread_cpu_seconds(pid).items() if id != pid)
