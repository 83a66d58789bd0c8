"""Run the example notebooks in a real kernel, with nbclient."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# How the alert of each registered cell of quickstart.ipynb begins.
EXPECTED_MESSAGES = {
    "a cell that finishes": "✅ warm-up finished in",
    "a cell with values": "✅ fit finished in",
    "a cell that fails": "❌ fit-again failed after",
    "a cell that is interrupted": "⏹️ endless was interrupted after",
    "a cell that is lost": "💀 night-run was lost after",
}


def execute_notebook(path: Path) -> list[Any]:
    """Run every cell, including those that fail or kill the kernel, and return the cells' outputs."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import DeadKernelError

    # Jupyter's server sets it for its kernels. Alerts take the notebook's name from it.
    os.environ["JPY_SESSION_NAME"] = path.name
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook,
        timeout=120,
        allow_errors=True,
        # ipykernel warns about unencrypted sockets, but these never leave this machine.
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
    except DeadKernelError:
        pass
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]
