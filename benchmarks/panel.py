"""What an open panel costs the training beside it: a pure-Python loop, which holds the interpreter all the time."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.harness import Findings, row, spread, thread_seconds
from benchmarks.kernels import kernel
from benchmarks.weight import INSTANCE, PANEL
from tests.support.cloudwatch import CloudWatch, cpu, wave
from tests.support.kernel import Kernel
from tests.support.slack import Slack

# Percent: with more between the quartiles, half a percent cannot be seen.
TOO_NOISY = 2.0
LOOP = """
import time
def _loop(seconds):
    began, chunks = time.perf_counter(), []
    while time.perf_counter() - began < seconds:
        since = time.perf_counter()
        for i in range(200_000):
            i * i
        chunks.append(time.perf_counter() - since)
    return len(chunks) / (time.perf_counter() - began)
"""
# As many a recipe has it: a thread of the kernel that draws each second what it has.
OWN = """
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


def measure(quick: bool) -> Findings:
    """The loop alone, with an open panel, and with a thread that plots, in turn in one kernel."""
    import time

    found, rounds, seconds = Findings(), 2 if quick else 6, 2.0 if quick else 3.0
    speeds: dict[str, list[float]] = {"alone": [], "panel": [], "own": []}
    taken: list[float] = []
    with Slack() as slack, CloudWatch() as cloud:
        cloud.feed(cpu(INSTANCE), wave(time.time() - 4 * 3600, time.time() + 3600, 300))
        cloud.put_instance(INSTANCE)
        with kernel(slack, **cloud.environ()) as one:
            for code in ("%load_ext cwnotify", LOOP, PANEL, "opened.close()"):
                assert not one.run(code).errors
            for _ in range(rounds):
                speeds["alone"].append(_speed(one, seconds))
                one.run(PANEL)
                # What a panel does once, as it opens, is not what it costs while it is open.
                one.run("time.sleep(2)")
                before = thread_seconds(one.pid)
                speeds["panel"].append(_speed(one, seconds))
                taken.append(_others(before, thread_seconds(one.pid), one.pid) / seconds * 100)
                one.run("opened.close()")
                one.run(OWN)
                speeds["own"].append(_speed(one, seconds))
                one.run("stopped.set()")
    slower = {
        name: spread([100 * (alone / speed - 1) for alone, speed in zip(speeds["alone"], values, strict=True)])
        for name, values in speeds.items()
    }
    slowed = row(
        "pure-Python loop slowed by an open panel",
        slower["panel"],
        "%",
        0.5,
        {"plotting in the kernel's own thread": slower["own"]},
    )
    low, high = slower["panel"].quartiles
    if high - low > TOO_NOISY:
        slowed = replace(slowed, is_reached=None)
        found.notes.append(f"The loop's own speed wandered by {high - low:.1f} %, too much to tell: the row below can.")
    found.rows.append(slowed)
    found.rows.append(row("of it the panel's own work in the kernel", spread(taken), "% of a core", 0.5))
    return found


def _speed(one: Kernel, seconds: float) -> float:
    """Chunks of the loop a second."""
    result = one.run(f"print(_loop({seconds}))", seconds + 60)
    assert not result.errors, result.errors
    return float(result.stdout)


def _others(before: dict[int, float], after: dict[int, float], main: int) -> float:
    """CPU that all threads but the main one took in between."""
    return sum(seconds - before.get(id, 0.0) for id, seconds in after.items() if id != main)
