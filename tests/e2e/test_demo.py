"""``make demo``'s program exits with 0 if every alert arrived, otherwise with 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
# The demo controls a kernel in another process.
pytestmark = pytest.mark.flaky(reruns=1)


def run_demo(notebook: Path, report: Path) -> subprocess.CompletedProcess[str]:
    """Run the demo as the Makefile does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CWNOTIFY_")}
    command = [sys.executable, "-m", "cwnotify.demo", str(notebook), str(report)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment, cwd=ROOT)


def test_quickstart_alerts_arrive_and_are_reported(tmp_path: Path) -> None:
    report = tmp_path / "report" / "index.html"

    result = run_demo(ROOT / "notebooks" / "quickstart.ipynb", report)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "FAIL" not in result.stdout
    for name in ("warm-up", "fit", "fit-again", "endless", "night-run", "train", "-busy", "-off"):
        assert name in report.read_text()
    assert "Nothing is left." in result.stdout
    assert "/services/" not in report.read_text() + result.stdout + result.stderr


def test_missing_alert_fails_demo(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "fit-again" not in cell.source]
    nbformat.write(notebook, tmp_path / "quickstart.ipynb")

    result = run_demo(tmp_path / "quickstart.ipynb", tmp_path / "index.html")

    assert result.returncode == 1
    assert "FAIL  a cell that fails" in result.stdout
