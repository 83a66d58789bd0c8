"""Virtual environments of the tests, in ``.matrix/``. They are created when missing or when their pins change."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from pathlib import Path

from cwnotify.demo.aws import ensure_virtual_environment

ROOT = Path(__file__).parents[2]


def venv_python(
    name: str, *pins: str, locked: bool = False, modules: Sequence[Path] = (), with_project: bool = True
) -> Path:
    """Return the Python of ``.matrix/NAME``, which has only `pins` installed.

    Parameters
    ----------
    locked
        Whether to install ``requirements/NAME.txt``, checked by hashes, instead of `pins`.
    modules
        Folders with further modules that it can import.
    with_project
        Whether it can import this project. The project's dependencies are not installed.
    """
    folder = ROOT / ".matrix" / name
    lock = ROOT / "requirements" / f"{name}.txt" if locked else None
    python = ensure_virtual_environment(folder, *pins, lock=lock, modules=modules)
    if with_project:
        (next(folder.glob("lib/python*/site-packages")) / "tree.pth").write_text(f"{ROOT}\n")
    return python


def variant_venv_python(name: str) -> Path:
    """Return the Python of ``.matrix/NAME``: the packages of the tests, with ``requirements/NAME.txt`` in front."""
    return venv_python(name, locked=True, modules=[Path(sysconfig.get_path("purelib"))])
