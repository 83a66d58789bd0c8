"""A plot: CPU to draw it and its bytes, beside what one would draw with pyplot."""

from __future__ import annotations

import io
import time

from benchmarks.harness import BenchmarkResult, measure_interleaved, summarize, threshold_row
from cwnotify.view.plot import PlotRenderer
from tests.support.panel_feed import healthy_snapshot


def measure(quick: bool) -> BenchmarkResult:
    """The panel's picture, light and dark in turn."""
    plot = PlotRenderer()
    sizes: list[float] = []

    def ours() -> float:
        at = time.time()
        began = time.thread_time()
        sizes.append(len(plot.render_png(healthy_snapshot(at), len(sizes) % 2 == 1)) / 1000)
        return 1000 * (time.thread_time() - began)

    ours(), _pyplot()
    found = BenchmarkResult()
    times = measure_interleaved({"ours": ours, "pyplot": _pyplot}, 5 if quick else 40)
    found.rows.append(
        threshold_row("plot drawn, CPU", times["ours"], "ms", 40.0, {"a fresh pyplot figure": times["pyplot"]})
    )
    found.rows.append(threshold_row("its bytes (1440 × 450 pixels)", summarize(sizes), "kB", 40.0))
    return found


def _pyplot() -> float:
    """The same lines in the same size, with pyplot's own ways."""
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
