"""Write the results to ``RESULTS.md`` and its pictures."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from benchmarks.harness import BenchmarkResult, Curve, Row, usable_cores

BENCHMARKS_DIR = Path(__file__).parent
PICTURES_DIR = BENCHMARKS_DIR / "pictures"
REPORTED_PACKAGES = ("ipython", "ipykernel", "ipywidgets", "requests", "boto3", "matplotlib", "psutil")
MET_LABELS = {True: "yes", False: "**no**", None: ""}
RESULTS_HEADER = """# Benchmark results

Written by `make bench`; do not edit. Each figure is a median with its quartiles in parentheses. Values that are
compared were measured in turn in one run, so that other load on the machine affects all of them equally. The
alternatives are installed from PyPI. If one is not available there, a few lines of code replace it, as its note
explains.
"""


def print_rows(result: BenchmarkResult) -> None:
    """Print the result of one benchmark."""
    for row in result.rows:
        print(f"{row.quantity}: {row.measured} (target: {row.target}; met: {MET_LABELS[row.is_met].strip('*') or '-'})")
        for alternative in row.alternatives:
            print(f"    {alternative}")
    for note in result.notes:
        print(f"    note: {note}")
    sys.stdout.flush()


def write_results(results: Mapping[str, BenchmarkResult], load: float, seconds: float) -> Path:
    """Write RESULTS.md and its pictures. Return the path of RESULTS.md."""
    PICTURES_DIR.mkdir(exist_ok=True)
    parts = [RESULTS_HEADER, _describe_machine(load, seconds)]
    parts.append(_format_table([row for result in results.values() for row in result.rows]))
    for curve in (curve for result in results.values() for curve in result.curves):
        draw_curve(curve, PICTURES_DIR / f"{curve.name}.png")
        parts.append(f"![{curve.title}](pictures/{curve.name}.png)\n")
    notes = [note for result in results.values() for note in result.notes]
    parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in notes) + "\n")
    path = BENCHMARKS_DIR / "RESULTS.md"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _describe_machine(load: float, seconds: float) -> str:
    model = next(
        (line.partition(":")[2].strip() for line in _read_text("/proc/cpuinfo").splitlines() if "model name" in line),
        platform.processor(),
    )
    memory = int(_read_text("/proc/meminfo").split()[1]) / 1024**2
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=BENCHMARKS_DIR, capture_output=True, text=True
    ).stdout
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in REPORTED_PACKAGES)
    return (
        f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, commit {commit.strip() or 'unknown'}, "
        f"in {seconds:.0f} s. "
        f"{usable_cores()} cores of {model}, {memory:.0f} GB, {platform.system()} {platform.release()}, "
        f"load {load:.1f} at the start. Python {platform.python_version()}, {versions}.\n"
    )


def _read_text(path: str) -> str:
    """Return the text of a file, or a text without information if it does not exist."""
    try:
        return Path(path).read_text()
    except OSError:
        return "x 0"


def _format_table(rows: list[Row]) -> str:
    lines = ["| quantity | target | measured | met | alternatives |", "|---|---|---|---|---|"]
    for row in rows:
        cells = row.quantity, row.target, row.measured, MET_LABELS[row.is_met], "<br>".join(row.alternatives)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def draw_curve(curve: Curve, path: Path) -> None:
    """Draw a curve with its quartiles and save it as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for label, points in curve.lines.items():
        x = [point[0] for point in points]
        middle = [point[2] if len(point) == 4 else point[1] for point in points]
        (line,) = axes.plot(x, middle, marker="o", markersize=3, label=label)
        if all(len(point) == 4 for point in points):
            low, high = [point[1] for point in points], [point[3] for point in points]
            axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    xs = [point[0] for points in curve.lines.values() for point in points]
    if min(xs) > 0 and max(xs) / min(xs) > 50:
        axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set(title=curve.title, xlabel=curve.x_label, ylabel=curve.y_label)
    axes.grid(alpha=0.3)
    if len(curve.lines) > 1:
        axes.legend(frameon=False)
    figure.savefig(path)


def load_average() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]
