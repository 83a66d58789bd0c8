"""How CI ends, and which tests may run again after a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
CLOSING = "== 3 passed in 0.01s =="
# A stand-in that prints and exits like GNU make.
MAKE = f"""#!/bin/sh
for target; do :; done
eval "code=\\$CODE_$target"
echo "$target ran"
[ "$target" = test ] && echo "{CLOSING}"
[ "$code" = 0 ] && exit 0
echo "make: *** [Makefile:29: $target] Error 1" >&2
exit "$code"
"""


@pytest.mark.parametrize(("lint", "test"), [(0, 0), (2, 0), (0, 2), (2, 2)])
def test_ci_lints_tests_and_ends_with_pytest_line(lint: int, test: int, tmp_path: Path) -> None:
    (tmp_path / "make").write_text(MAKE)
    (tmp_path / "make").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "CODE_lint": str(lint), "CODE_test": str(test)}
    process = subprocess.run(
        [TOP / ".ci" / "run"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )

    assert (process.returncode != 0) == bool(lint or test)
    lines = process.stdout.splitlines()
    assert lines[-1] == CLOSING
    assert lines.index("lint ran") < lines.index("test ran")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone with an environment that make created."""
    (tmp_path / "Makefile").write_text((TOP / "Makefile").read_text())
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def test_environment_of_other_python_is_removed(clone: Path) -> None:
    other = clone / "python3.99"
    other.write_text("#!/bin/sh\necho '(3, 99)'\n")
    other.chmod(0o755)
    for python, stays in ((None, True), (sys.executable, True), ("no-such-python", True), (str(other), False)):
        arguments = [f"PYTHON={python}"] if python else []
        process = subprocess.run(
            ["make", "-n", "lint", *arguments], cwd=clone, capture_output=True, text=True, check=False
        )
        assert (clone / ".venv").exists() == stays, python
        assert ("Removing .venv" in process.stdout) != stays


TESTS = """
from pathlib import Path
import pytest
from tests.support.kernel import Kernel

def fails_once(name):
    if not Path(name).exists():
        Path(name).touch()
        raise ValueError(f"first run of {name}")

@pytest.fixture
def kernel():
    return Kernel

def helper():
    return [Kernel for _ in "ab"]

def test_that_drives_a_kernel():
    Kernel
    fails_once("one")

def test_by_a_fixture(kernel):
    fails_once("two")

def test_by_a_helper():
    from playwright.sync_api import sync_playwright
    fails_once("three")

def test_that_drives_none():
    fails_once("four")
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_only_kernel_and_browser_tests_run_again(workers: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    environ = {**os.environ, "PYTHONPATH": str(TOP)}
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", *workers, "test_it.py"],
        env={name: value for name, value in environ.items() if not name.startswith("PYTEST_")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = process.stdout.splitlines()

    assert [line for line in sorted(lines) if line.startswith("RERUN")] == [
        f"RERUN test_it.py::{test}: call: ValueError: first run of {name}"
        for test, name in (
            ("test_by_a_fixture", "two"),
            ("test_by_a_helper", "three"),
            ("test_that_drives_a_kernel", "one"),
        )
    ]
    assert "1 failed, 3 passed, 3 rerun" in lines[-1]
