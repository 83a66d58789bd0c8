"""The CPU time and the bytes of a panel's plot, compared with a new pyplot figure."""

from __future__ import annotations

import io
import time

from benchmarks.harness import BenchmarkResult, measure_interleaved, summarize, threshold_row
from cwnotify.view.plot import PlotRenderer
from tests.support.panel_feed import healthy_snapshot

MAX_CPU_MS = 60.0
MAX_KILOBYTES = 60.0


def measure(quick: bool) -> BenchmarkResult:
    """Render the panel's plot for light and dark pages in turn."""
    renderer = PlotRenderer()
    kilobytes: list[float] = []

    def render() -> float:
        at = time.time()
        began = time.thread_time()
        kilobytes.append(len(renderer.render_png(healthy_snapshot(at), len(kilobytes) % 2 == 1)) / 1000)
        return 1000 * (time.thread_time() - began)

    render(), _render_with_pyplot()
    times = measure_interleaved({"cwnotify": render, "pyplot": _render_with_pyplot}, 5 if quick else 40)
    alternatives = {"a fresh pyplot figure": times["pyplot"]}
    result = BenchmarkResult()
    result.rows += [
        threshold_row("plot drawn, CPU", times["cwnotify"], "ms", MAX_CPU_MS, alternatives),
        threshold_row("its bytes (1440 × 450 pixels)", summarize(kilobytes), "kB", MAX_KILOBYTES),
    ]
    return result


def _render_with_pyplot() -> float:
    """Return the CPU milliseconds of the same lines in the same size with pyplot's defaults."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    snapshot = healthy_snapshot(time.time())
    began = time.thread_time()
    figure, axes = pyplot.subplots(figsize=(14.4, 4.5), dpi=100)
    for line in snapshot.lines:
        axes.plot(*zip(*line.points, strict=True), label=line.label)
    axes.legend()
    figure.savefig(io.BytesIO(), format="png")
    pyplot.close(figure)
    return 1000 * (time.thread_time() - began)
