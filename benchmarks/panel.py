"""What an open panel costs the training beside it: a pure-Python loop, which holds the interpreter all the time."""

from __future__ import annotations

from benchmarks.harness import BenchmarkResult, excess_over_median, summarize, thread_cpu_seconds, threshold_row
from benchmarks.kernels import benchmark_kernel
from benchmarks.weight import INSTANCE_ID, OPEN_PANEL
from tests.support.cloudwatch import CloudWatch
from tests.support.datapoints import cpu_metric, wave_datapoints
from tests.support.kernel import Kernel
from tests.support.slack import Slack

# Gives how much of the time, in percent, the loop could not run: another thread had the interpreter, or another
# process the core. Its speed tells less, for that of the processor itself wanders by ten percent and more.
LOOP_SETUP = """
import time
def _loop(seconds):
    began, ran = time.perf_counter(), time.thread_time()
    while time.perf_counter() - began < seconds:
        for i in range(200_000):
            i * i
    return 100 * (1 - (time.thread_time() - ran) / (time.perf_counter() - began))
"""
# As many a recipe has it: a thread of the kernel that draws each second what it has.
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
    """The loop alone, with an open panel, and with a thread that plots, in turn in one kernel."""
    import time

    found, rounds, seconds = BenchmarkResult(), 2 if quick else 6, 2.0 if quick else 3.0
    stopped: dict[str, list[float]] = {"alone": [], "panel": [], "own": []}
    taken: list[float] = []
    with Slack() as slack, CloudWatch() as cloud:
        cloud.add_datapoints(cpu_metric(INSTANCE_ID), wave_datapoints(time.time() - 4 * 3600, time.time() + 3600, 300))
        cloud.put_instance(INSTANCE_ID)
        with benchmark_kernel(slack, **cloud.environ()) as one:
            for code in ("%load_ext cwnotify", LOOP_SETUP, OPEN_PANEL, "opened.close()"):
                assert not one.run(code).errors
            for _ in range(rounds):
                stopped["alone"].append(_stopped(one, seconds))
                one.run(OPEN_PANEL)
                # What a panel does once, as it opens, is not what it costs while it is open.
                one.run("time.sleep(2)")
                before = thread_cpu_seconds(one.pid)
                stopped["panel"].append(_stopped(one, seconds))
                taken.append(_others(before, thread_cpu_seconds(one.pid), one.pid) / seconds * 100)
                one.run("opened.close()")
                one.run(PLOTTING_THREAD)
                stopped["own"].append(_stopped(one, seconds))
                one.run("stopped.set()")
    slower = {name: excess_over_median(values, stopped["alone"]) for name, values in stopped.items()}
    peers = {"plotting in the kernel's own thread": slower["own"]}
    found.rows.append(threshold_row("pure-Python loop slowed by an open panel", slower["panel"], "%", 0.5, peers))
    found.rows.append(threshold_row("of it the panel's own work in the kernel", summarize(taken), "% of a core", 0.5))
    found.notes.append(
        "Loop: by how much more of the time it could not run, by the scheduler's account. "
        f"Alone that was {summarize(stopped['alone']).format('%')}."
    )
    return found


def _stopped(one: Kernel, seconds: float) -> float:
    """Percent of the time in which the loop could not run."""
    result = one.run(f"print(_loop({seconds}))", seconds + 60)
    assert not result.errors, result.errors
    return float(result.stdout)


def _others(before: dict[int, float], after: dict[int, float], main: int) -> float:
    """CPU that all threads but the main one took in between."""
    return sum(seconds - before.get(id, 0.0) for id, seconds in after.items() if id != main)
