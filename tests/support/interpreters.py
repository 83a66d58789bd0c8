"""Other Python versions on this machine, beside the one that runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path


@cache
def find_interpreter(version: str) -> Path | None:
    """Return the path of Python `version` (``3.10``), or None if this machine cannot run it.

    pyenv puts shims of all versions on the PATH, but those of versions that are not selected fail.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    on_path = shutil.which(f"python{version}")
    candidates = [Path(on_path)] if on_path else []
    candidates += sorted(pyenv.glob(f"{version}.*/bin/python{version}"))
    check = ["-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    for path in candidates:
        process = subprocess.run([path, *check], capture_output=True, text=True, check=False)
        if process.returncode == 0 and process.stdout.strip() == version:
            return path
    return None
