"""Virtual environments of the tests' own, under ``.matrix/``: made when missing, kept while their pins stay."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from pathlib import Path

from cwnotify.demo.aws import make_environment

ROOT = Path(__file__).parents[2]


def environment(name: str, *pins: str, path: Sequence[Path] = (ROOT,)) -> Path:
    """The Python of ``.matrix/NAME``, in which `pins` are installed, this tree can be imported, and nothing else."""
    return make_environment(ROOT / ".matrix" / name, *pins, path=path)


def variant(name: str, *pins: str) -> Path:
    """The Python of ``.matrix/NAME``, which has what the tests' own has, except for `pins`."""
    return environment(name, *pins, path=(ROOT, Path(sysconfig.get_path("purelib"))))
