"""What CI prints and how it ends; and which tests may run twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
CLOSING = "== 3 passed in 0.01s =="
# As GNU make prints and ends.
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
def test_ci_lints_then_tests_and_ends_with_pytests_own_line(lint: int, test: int, tmp_path: Path):
    (tmp_path / "make").write_text(MAKE)
    (tmp_path / "make").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "CODE_lint": str(lint), "CODE_test": str(test)}
    done = subprocess.run(
        [TOP / ".ci" / "run"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )

    assert (done.returncode != 0) == bool(lint or test)
    lines = done.stdout.splitlines()
    assert lines[-1] == CLOSING
    assert lines.index("lint ran") < lines.index("test ran")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone in which make has made an environment."""
    (tmp_path / "Makefile").write_text((TOP / "Makefile").read_text())
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def test_an_environment_of_another_python_is_not_used_for_the_one_that_is_asked_for(clone: Path):
    other = clone / "python3.99"
    other.write_text("#!/bin/sh\necho '(3, 99)'\n")
    other.chmod(0o755)
    for python, stays in ((None, True), (sys.executable, True), ("no-such-python", True), (str(other), False)):
        arguments = [f"PYTHON={python}"] if python else []
        done = subprocess.run(
            ["make", "-n", "lint", *arguments], cwd=clone, capture_output=True, text=True, check=False
        )
        assert (clone / ".venv").exists() == stays, python
        assert ("Removing .venv" in done.stdout) != stays


TESTS = """
from pathlib import Path
import pytest
from tests.support.kernel import Kernel

def fails_once(name):
    if not Path(name).exists():
        Path(name).touch()
        raise ValueError(f"the first time of {name}")

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
def test_only_what_drives_a_kernel_or_a_browser_is_run_again_and_each_rerun_has_its_reason(workers, tmp_path: Path):
    (tmp_path / "test_it.py").write_text(TESTS)
    environ = {**os.environ, "PYTHONPATH": str(TOP)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", *workers, "test_it.py"],
        env={name: value for name, value in environ.items() if not name.startswith("PYTEST_")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()

    assert [line for line in sorted(lines) if line.startswith("RERUN")] == [
        f"RERUN test_it.py::{test}: call: ValueError: the first time of {name}"
        for test, name in (
            ("test_by_a_fixture", "two"),
            ("test_by_a_helper", "three"),
            ("test_that_drives_a_kernel", "one"),
        )
    ]
    assert "1 failed, 3 passed, 3 rerun" in lines[-1]
