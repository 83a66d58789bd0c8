"""The lock files contain every requirement, each with hashes."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from cwnotify.demo.aws import MINISTACK_LOCK_FILE, ensure_virtual_environment
from tests.e2e.test_matrix import PAIRS

TOP = Path(__file__).parents[1]
LOCKS = sorted([*(TOP / "requirements").glob("*.txt"), MINISTACK_LOCK_FILE])


def read_lock(path: Path) -> dict[str, str]:
    """Return the requirements of a lock file by normalized name."""
    entries = re.split(r"\n(?=\S)", path.read_text().strip())
    return {re.sub(r"[-_.]+", "-", entry.partition("==")[0].partition("[")[0].lower()): entry for entry in entries}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_each_requirement_has_one_version_and_hashes(path: Path) -> None:
    for name, entry in read_lock(path).items():
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==[\w.!+]+", entry, re.ASCII), name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), name


@pytest.mark.parametrize("extra", ["demo", "lab", "docs", "test", "bench"])
def test_lock_contains_requirements_of_setup_cfg(extra: str) -> None:
    setup = configparser.ConfigParser()
    setup.read(TOP / "setup.cfg")
    needs = setup["options"]["install_requires"] + "\n" + setup["options.extras_require"][extra]
    names = {re.split(r"[^\w.-]", line, flags=re.ASCII)[0].lower() for line in needs.split("\n") if line}
    names = {re.sub(r"[-_.]+", "-", name) for name in names}

    assert names <= read_lock(TOP / "requirements" / f"{extra}.txt").keys()


def test_matrix_pairs_are_locked() -> None:
    for ipykernel, ipython in PAIRS:
        entries = read_lock(TOP / "requirements" / f"ipykernel-{ipykernel}.txt")
        assert entries["ipykernel"].startswith(f"ipykernel=={ipykernel} ")
        assert entries["ipython"].startswith(f"ipython=={ipython} ")


def test_installation_is_announced_and_locked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(f"six==1.17.0 --hash=sha256:{'0' * 64}\n")

    with pytest.raises(Exception, match="returned non-zero"):
        ensure_virtual_environment(tmp_path / "environment", lock=lock)

    out, error = capfd.readouterr()
    assert f"Installing six==1.17.0 into {tmp_path / 'environment'}, from PyPI" in out
    assert "HASH" in error.upper()
    assert not list(tmp_path.glob("environment/lib/python*/site-packages/six*"))
