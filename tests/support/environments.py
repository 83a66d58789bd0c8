"""Virtual environments of the tests' own, under ``.matrix/``: made when missing, kept while their pins stay."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from cwnotify.demo.aws import make_environment

ROOT = Path(__file__).parents[2]


def environment(name: str, *pins: str, with_cwnotify: bool = True) -> Path:
    """The Python of ``.matrix/NAME``, in which `pins` are installed and nothing else.

    Parameters
    ----------
    with_cwnotify
        Whether this tree can be imported there, through a ``.pth`` file; its own dependencies are not installed.
    """
    folder = ROOT / ".matrix" / name
    python = make_environment(folder, *pins)
    if with_cwnotify:
        version = sysconfig.get_python_version()
        (folder / "lib" / f"python{version}" / "site-packages" / "cwnotify-tree.pth").write_text(f"{ROOT}\n")
    return python
