"""``make demo``'s program: ends with 0 when every alert arrived, and not otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

TOP = Path(__file__).parents[2]
# The demo drives a kernel in a process of its own.
pytestmark = pytest.mark.flaky(reruns=1)


def run_demo(notebook: Path, report: Path) -> subprocess.CompletedProcess[str]:
    """Run the demo as the Makefile does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CWNOTIFY_")}
    command = [sys.executable, "-m", "cwnotify.demo", str(notebook), str(report)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment, cwd=TOP)


def test_quickstart_alerts_arrive_and_are_reported(tmp_path: Path) -> None:
    report = tmp_path / "report" / "index.html"

    done = run_demo(TOP / "notebooks" / "quickstart.ipynb", report)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout
    for name in ("warm-up", "fit", "fit-again", "endless", "night-run", "train", "-busy", "-off"):
        assert name in report.read_text()
    assert "Nothing is left." in done.stdout
    assert "/services/" not in report.read_text() + done.stdout + done.stderr


def test_missing_alert_fails_demo(tmp_path: Path) -> None:
    notebook = nbformat.read(TOP / "notebooks" / "quickstart.ipynb", as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "fit-again" not in cell.source]
    nbformat.write(notebook, tmp_path / "quickstart.ipynb")

    done = run_demo(tmp_path / "quickstart.ipynb", tmp_path / "index.html")

    assert done.returncode == 1
    assert "FAIL  a cell that fails" in done.stdout
