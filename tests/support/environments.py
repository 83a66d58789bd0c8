"""Virtual environments of the tests' own, under ``.matrix/``: made when missing, kept while their pins stay."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from pathlib import Path

from cwnotify.demo.aws import make_environment

ROOT = Path(__file__).parents[2]


def environment(name: str, *pins: str, modules: Sequence[Path] = (), with_tree: bool = True) -> Path:
    """The Python of ``.matrix/NAME``, in which `pins` are installed and nothing else.

    Parameters
    ----------
    modules
        Folders where it finds further modules.
    with_tree
        Whether this tree can be imported there; what it needs itself is not installed.
    """
    folder = ROOT / ".matrix" / name
    python = make_environment(folder, *pins, modules=modules)
    if with_tree:
        (next(folder.glob("lib/python*/site-packages")) / "tree.pth").write_text(f"{ROOT}\n")
    return python


def variant(name: str, *pins: str) -> Path:
    """The Python of ``.matrix/NAME``, which has what the tests' own has, except for `pins`."""
    return environment(name, *pins, modules=[Path(sysconfig.get_path("purelib"))])
