"""Memory and CPU time of the kernel with cwnotify, and of the sidecar when idle and with an open panel."""

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
    """Measure kernels that reported a cell, then kernels with a panel."""
    rounds, seconds = (1, 5.0) if quick else (3, 12.0)
    alerts = [_measure_alert(seconds) for _ in range(rounds)]
    with CloudWatch() as cloud:
        cloud.add_datapoints(cpu_metric(INSTANCE_ID), wave_datapoints(time.time() - 4 * 3600, time.time() + 3600, 300))
        cloud.put_instance(INSTANCE_ID)
        panels = [_measure_panel(cloud, seconds) for _ in range(rounds)]
    alert_memory, idle, idle_cpu = (summarize(values) for values in zip(*alerts, strict=True))
    panel_memory, watching, watching_cpu = (summarize(values) for values in zip(*panels, strict=True))
    peers = {"jupyter-slack": _measure_peer()}
    result = BenchmarkResult()
    result.rows += [
        threshold_row("kernel memory added by loading and one reported cell", alert_memory, "MB", 2.0, peers),
        threshold_row("kernel memory added by an open panel, beyond ipywidgets", panel_memory, "MB", 5.0),
        threshold_row("sidecar memory, idle", idle, "MB", 30.0),
        threshold_row("sidecar memory, watching with plots", watching, "MB", 150.0),
        threshold_row("sidecar CPU, idle", idle_cpu, "% of a core", 0.1),
        threshold_row("sidecar CPU, watching one instance with an open panel", watching_cpu, "% of a core", 1.0),
    ]
    result.notes.append(
        "Memory: a process's own pages and its part of shared pages; for the growth of a kernel, all shared pages. "
        f"CPU: all threads over {seconds:.0f} s, from the scheduler. The panel was open for {seconds:.0f} s before."
    )
    return result


def _measure_cpu(pid: int, seconds: float) -> float:
    """Return the CPU time of a process during `seconds`, in percent of a core."""
    cpu, started_at = process_cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (process_cpu_seconds(pid) - cpu) / (time.monotonic() - started_at)


def _wait_for_sidecar(kernel: Kernel) -> int:
    return until(lambda: kernel.world.sidecar_ids(), 15, "the sidecar")[0]


def _measure_alert(seconds: float) -> tuple[float, float, float]:
    """Return the kernel's growth (MB), the sidecar's memory (MB) and its CPU (percent of a core)."""
    with Slack() as slack, benchmark_kernel(slack) as kernel:
        for _ in range(5):
            kernel.run("x = 1")
        before = memory_megabytes(kernel.pid, "Rss")
        kernel.run("%load_ext cwnotify")
        kernel.run("%%notify_on_finish name\nx = 1")
        slack.wait_for(1, 30)
        for _ in range(3):
            kernel.run("x = 1")
        growth, sidecar = memory_megabytes(kernel.pid, "Rss") - before, _wait_for_sidecar(kernel)
        return growth, memory_megabytes(sidecar), _measure_cpu(sidecar, seconds)


def _measure_panel(cloud: CloudWatch, seconds: float) -> tuple[float, float, float]:
    """Return the same values as `_measure_alert` for an open panel."""
    with Slack() as slack, benchmark_kernel(slack, **cloud.environ()) as kernel:
        kernel.run("%load_ext cwnotify")
        assert not kernel.run(SHOW_WIDGETS).errors
        before = memory_megabytes(kernel.pid, "Rss")
        assert not kernel.run(OPEN_PANEL).errors
        sidecar = _wait_for_sidecar(kernel)
        # Wait until matplotlib is imported and the first plots are drawn.
        time.sleep(seconds)
        growth = memory_megabytes(kernel.pid, "Rss") - before
        return growth, memory_megabytes(sidecar), _measure_cpu(sidecar, seconds)


def _measure_peer() -> Summary:
    with Slack() as slack, benchmark_kernel(slack) as kernel:
        for _ in range(5):
            kernel.run("x = 1")
        before = memory_megabytes(kernel.pid, "Rss")
        kernel.run("import jupyter_slack")
        kernel.run("%%notify name\nx = 1")
        return summarize([memory_megabytes(kernel.pid, "Rss") - before])
