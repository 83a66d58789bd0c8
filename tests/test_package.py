"""The wheel contains the package, its data and its command, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel from the tracked files, as in a clone."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, check=True).stdout
    for name in filter(None, files.decode().split("\0")):
        if (TOP / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((TOP / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_wheel_contains_every_module_and_type_marker(wheel: zipfile.ZipFile) -> None:
    tracked = subprocess.run(["git", "ls-files", "cwnotify"], cwd=TOP, capture_output=True, text=True, check=True)
    expected = {name for name in tracked.stdout.split() if (TOP / name).is_file()}

    assert expected <= set(wheel.namelist())
    assert "cwnotify/py.typed" in wheel.namelist()


def test_wheel_contains_only_package(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel.namelist()} == {"cwnotify"}


def test_wheel_declares_command(wheel: zipfile.ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))

    assert "cwnotify = cwnotify.cli:main" in wheel.read(name).decode()
