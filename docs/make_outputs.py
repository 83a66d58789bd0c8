"""Run the notebooks that we ship and keep their outputs, so that they can be read where they lie.

``python -m docs.make_outputs [NAME…]`` from the top folder; Slack is the stand-in, so nothing leaves this machine.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from cwnotify.demo.slack import SlackStandIn

NOTEBOOKS = ("quickstart.ipynb", "quickstart.ko.ipynb", "training.ipynb")


def run(path: Path) -> None:
    """Run one notebook, and write it with what it printed."""
    notebook = nbformat.read(path, as_version=4)
    os.environ["JPY_SESSION_NAME"] = path.name
    try:
        NotebookClient(notebook, timeout=120, allow_errors=True, extra_arguments=["--log-level=ERROR"]).execute()
    except DeadKernelError:
        # The last cell of each kills its kernel on purpose.
        pass
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [settled(output) for output in cell.outputs]
    nbformat.write(notebook, path)


def settled(output: Any) -> Any:
    """An output as a person saw it last: of a progress bar its last state, of a traceback no process number."""
    if output.get("output_type") == "stream":
        output["text"] = re.sub(r"[^\n]*\r(?=[^\n])", "", output["text"])
    if "traceback" in output:
        output["traceback"] = [re.sub(r"ipykernel_\d+", "ipykernel", line) for line in output["traceback"]]
    return output


if __name__ == "__main__":
    for name in sys.argv[1:] or NOTEBOOKS:
        with tempfile.TemporaryDirectory() as home, SlackStandIn() as slack:
            os.environ |= {"CWNOTIFY_WEBHOOK_URL": slack.webhook_url, "CWNOTIFY_STATE_DIR": home}
            run(Path("notebooks", name))
