"""Executes the example notebooks as a person would, in a real kernel, through nbclient."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# What each registered cell of quickstart.ipynb must make Slack say, up to what differs from run to run.
EXPECTED_MESSAGES = {
    "a cell that finishes": "✅ warm-up finished in",
    "a cell with values": "✅ fit finished in",
    "a cell that fails": "❌ fit-again failed after",
    "a cell that is interrupted": "⏹️ endless was interrupted after",
    "a cell that is lost": "💀 night-run was lost after",
}


def execute_notebook(path: Path) -> list[Any]:
    """Run every cell, those that fail and the one that takes the kernel with it included; gives what they put out."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import DeadKernelError

    # As Jupyter's server does for its kernels, so that alerts name the notebook.
    os.environ["JPY_SESSION_NAME"] = path.name
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook,
        timeout=120,
        allow_errors=True,
        # Without it ipykernel warns of its unencrypted sockets, which never leave this machine.
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
    except DeadKernelError:
        pass
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]
