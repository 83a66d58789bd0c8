"""Virtual environments of the tests' own, under ``.matrix/``: made when missing, kept while their pins stay."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from pathlib import Path

from cwnotify.demo.aws import ensure_virtual_environment

ROOT = Path(__file__).parents[2]


def venv_python(
    name: str, *pins: str, locked: bool = False, modules: Sequence[Path] = (), with_project: bool = True
) -> Path:
    """The Python of ``.matrix/NAME``, in which `pins` are installed and nothing else.

    Parameters
    ----------
    locked
        Whether to install what ``requirements/NAME.txt`` has, checked by hashes, in place of `pins`.
    modules
        Folders where it finds further modules.
    with_tree
        Whether this tree can be imported there; what it needs itself is not installed.
    """
    folder = ROOT / ".matrix" / name
    lock = ROOT / "requirements" / f"{name}.txt" if locked else None
    python = ensure_virtual_environment(folder, *pins, lock=lock, modules=modules)
    if with_project:
        (next(folder.glob("lib/python*/site-packages")) / "tree.pth").write_text(f"{ROOT}\n")
    return python


def variant_venv_python(name: str) -> Path:
    """The Python of ``.matrix/NAME``, which has what the tests' own has, except for ``requirements/NAME.txt``."""
    return venv_python(name, locked=True, modules=[Path(sysconfig.get_path("purelib"))])
