"""Findings -> ``RESULTS.md`` and its pictures."""

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
RESULTS_HEADER = """# What was measured

Written by `make bench`; nothing here is edited by hand. Each figure is a median with its quartiles in brackets. What is
compared was measured in turn in one run, so that whatever else the machine did fell on all alike. A peer is what a user
would take instead, installed from PyPI as it is; where it could not be had, a few lines do what it does, and the note
says so.
"""


def print_rows(findings: BenchmarkResult) -> None:
    """Show what a theme found, as it is found."""
    for row in findings.rows:
        print(
            f"{row.quantity}: {row.measured} (to reach: {row.target}; reached: {MET_LABELS[row.is_met].strip('*') or '-'})"
        )
        for peer in row.alternatives:
            print(f"    {peer}")
    for note in findings.notes:
        print(f"    note: {note}")
    sys.stdout.flush()


def write_results(found: Mapping[str, BenchmarkResult], load: float, seconds: float) -> Path:
    """Write all of it; tells where."""
    PICTURES_DIR.mkdir(exist_ok=True)
    parts = [RESULTS_HEADER, _machine(load, seconds)]
    rows = [row for findings in found.values() for row in findings.rows]
    parts.append(_table(rows))
    for curve in (curve for findings in found.values() for curve in findings.curves):
        draw_curve(curve, PICTURES_DIR / f"{curve.name}.png")
        parts.append(f"![{curve.title}](pictures/{curve.name}.png)\n")
    notes = [note for findings in found.values() for note in findings.notes]
    parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in notes) + "\n")
    path = BENCHMARKS_DIR / "RESULTS.md"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _machine(load: float, seconds: float) -> str:
    model = next(
        (line.partition(":")[2].strip() for line in _text("/proc/cpuinfo").splitlines() if "model name" in line),
        platform.processor(),
    )
    memory = int(_text("/proc/meminfo").split()[1]) / 1024**2
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


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return "x 0"


def _table(rows: list[Row]) -> str:
    lines = ["| what | to reach | measured | reached | instead |", "|---|---|---|---|---|"]
    for row in rows:
        cells = row.quantity, row.target, row.measured, MET_LABELS[row.is_met], "<br>".join(row.alternatives)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def draw_curve(curve: Curve, path: Path) -> None:
    """Draw one curve."""
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
    every = [point[0] for points in curve.lines.values() for point in points]
    if min(every) > 0 and max(every) / min(every) > 50:
        axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set(title=curve.title, xlabel=curve.x_label, ylabel=curve.y_label)
    axes.grid(alpha=0.3)
    if len(curve.lines) > 1:
        axes.legend(frameon=False)
    figure.savefig(path)


def load_average() -> float:
    """How many processes wanted to run during the last minute."""
    return os.getloadavg()[0]
