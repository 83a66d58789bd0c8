"""Virtual environments of the tests' own, under ``.matrix/``: made when missing, kept while their pins stay."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(name: str, *pins: str, with_cwnotify: bool = True) -> Path:
    """The Python of ``.matrix/NAME``, in which `pins` are installed and nothing else.

    Parameters
    ----------
    with_cwnotify
        Whether this tree can be imported there, through a ``.pth`` file; its own dependencies are not installed.
    """
    folder = ROOT / ".matrix" / name
    python = folder / "bin" / "python"
    made = folder / "made"
    wanted = "\n".join((sys.version, *pins))
    if not made.exists() or made.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pins]
        subprocess.run(command, check=True, capture_output=True)
        made.write_text(wanted)
    if with_cwnotify:
        version = sysconfig.get_python_version()
        (folder / "lib" / f"python{version}" / "site-packages" / "cwnotify-tree.pth").write_text(f"{ROOT}\n")
    return python
