"""Memory and processor time: of the kernel with cwnotify in it, and of the sidecar, idle and with an open panel."""

from __future__ import annotations

import time

from benchmarks.harness import BenchmarkResult, Summary, memory_megabytes, process_cpu_seconds, summarize, threshold_row
from benchmarks.kernels import benchmark_kernel
from tests.support.cloudwatch import CloudWatch
from tests.support.datapoints import cpu_metric, wave_datapoints
from tests.support.kernel import Kernel
from tests.support.slack import Slack
from tests.support.waiting import until

INSTANCE_ID = "i-0abc1234def567890"
OPEN_PANEL = f"import cwnotify; opened = cwnotify.panel({INSTANCE_ID!r})"
SHOW_WIDGETS = """
import ipywidgets, IPython
widgets = [ipywidgets.HTML("x"), ipywidgets.Image(), ipywidgets.HBox([ipywidgets.Button() for _ in range(8)])]
IPython.display.display(ipywidgets.VBox(widgets))
"""


def measure(quick: bool) -> BenchmarkResult:
    """Kernels in which a cell was told, then kernels with a panel."""
    found, rounds, seconds = BenchmarkResult(), 1 if quick else 3, 5.0 if quick else 12.0
    told = [_told(seconds) for _ in range(rounds)]
    with CloudWatch() as cloud:
        cloud.add_datapoints(cpu_metric(INSTANCE_ID), wave_datapoints(time.time() - 4 * 3600, time.time() + 3600, 300))
        cloud.put_instance(INSTANCE_ID)
        shown = [_shown(cloud, seconds) for _ in range(rounds)]
    before, idle, idle_cpu = (summarize(values) for values in zip(*told, strict=True))
    beyond, watching, watching_cpu = (summarize(values) for values in zip(*shown, strict=True))
    found.rows += [
        threshold_row("kernel memory added, loaded and a cell told", before, "MB", 2.0, {"jupyter-slack": _peer()}),
        threshold_row("kernel memory added by an open panel, beyond ipywidgets", beyond, "MB", 5.0),
        threshold_row("sidecar memory, idle", idle, "MB", 30.0),
        threshold_row("sidecar memory, watching with plots", watching, "MB", 150.0),
        threshold_row("sidecar CPU, idle", idle_cpu, "% of a core", 0.1),
        threshold_row("sidecar CPU, watching one instance with an open panel", watching_cpu, "% of a core", 1.0),
    ]
    found.notes.append(
        "Memory is a process's own pages and its share of those that it shares; what a kernel grew by, all of those. "
        f"CPU is the scheduler's own account of all threads over {seconds:.0f} s; the panel had been open for as long."
    )
    return found


def _share(pid: int, seconds: float) -> float:
    """Percent of a core."""
    before, began = process_cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (process_cpu_seconds(pid) - before) / (time.monotonic() - began)


def _sidecar(one: Kernel) -> int:
    return until(lambda: one.world.sidecar_ids(), 15, "the sidecar")[0]


def _told(seconds: float) -> tuple[float, float, float]:
    """Megabytes that the kernel grew by, those of the sidecar, and its share of a core."""
    with Slack() as slack, benchmark_kernel(slack) as one:
        for _ in range(5):
            one.run("x = 1")
        before = memory_megabytes(one.pid, "Rss")
        one.run("%load_ext cwnotify")
        one.run("%%notify_on_finish name\nx = 1")
        slack.wait_for(1, 30)
        for _ in range(3):
            one.run("x = 1")
        grown, sidecar = memory_megabytes(one.pid, "Rss") - before, _sidecar(one)
        return grown, memory_megabytes(sidecar), _share(sidecar, seconds)


def _shown(cloud: CloudWatch, seconds: float) -> tuple[float, float, float]:
    with Slack() as slack, benchmark_kernel(slack, **cloud.environ()) as one:
        one.run("%load_ext cwnotify")
        assert not one.run(SHOW_WIDGETS).errors
        before = memory_megabytes(one.pid, "Rss")
        assert not one.run(OPEN_PANEL).errors
        sidecar = _sidecar(one)
        # Until matplotlib is there and the first plots are drawn.
        _share(sidecar, seconds)
        return memory_megabytes(one.pid, "Rss") - before, memory_megabytes(sidecar), _share(sidecar, seconds)


def _peer() -> Summary:
    with Slack() as slack, benchmark_kernel(slack) as one:
        for _ in range(5):
            one.run("x = 1")
        before = memory_megabytes(one.pid, "Rss")
        one.run("import jupyter_slack")
        one.run("%%notify name\nx = 1")
        return summarize([memory_megabytes(one.pid, "Rss") - before])
