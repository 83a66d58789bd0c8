"""``make lab``: JupyterLab and the Slack stand-in's page, open for playing until Ctrl-C."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def open_lab(notebook: Path, page_url: str) -> int:
    """Run JupyterLab in `notebook`'s folder; gives its exit code.

    It is a child in this terminal, so Ctrl-C ends both.
    """
    print(f"Slack stand-in: {page_url}  (open it beside JupyterLab; Ctrl-C ends both)")
    options = ["--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={notebook.parent.resolve()}"]
    if os.geteuid() == 0:
        # In a container one is often root, and Jupyter would not start without being told that it may.
        options.append("--allow-root")
    try:
        return subprocess.call([sys.executable, "-m", "jupyterlab", *options, str(notebook.resolve())])
    except KeyboardInterrupt:
        return 0
