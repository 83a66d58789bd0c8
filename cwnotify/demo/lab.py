"""``make lab``: JupyterLab and the Slack stand-in's page, open for playing until Ctrl-C."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def open_lab(notebook: Path, page_url: str) -> int:
    """Run JupyterLab on a copy-free view of `notebook`'s folder; gives its exit code.

    It is a child in this terminal, so Ctrl-C ends both.
    """
    print(f"Slack stand-in: {page_url}  (open it beside JupyterLab; Ctrl-C ends both)")
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.root_dir={notebook.parent}",
    ]
    try:
        return subprocess.call([*command, notebook.name])
    except KeyboardInterrupt:
        return 0
