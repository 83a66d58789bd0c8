"""Run the shipped notebooks and store their outputs, so that they can be read on GitHub.

``python -m docs.make_outputs [NAME…]`` from the top folder. Slack and AWS are stand-ins on this machine.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from cwnotify.demo.aws import Ministack
from cwnotify.demo.cpu_load import CpuFeed, CpuMeter, create_cpu_writer
from cwnotify.demo.fake_account import put_day_of_cpu
from cwnotify.demo.slack import FakeSlack

PANELS = ("panel.ipynb", "panel.ko.ipynb")
# A day of `put_day_of_cpu` whose training ended an hour ago.
NIGHT = 16
BORROWING = ("alarms.ipynb", "fleet.ipynb")
NOTEBOOKS = ("quickstart.ipynb", "quickstart.ko.ipynb", "training.ipynb", *PANELS, *BORROWING)


def run(path: Path) -> None:
    """Run one notebook and write it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    os.environ["JPY_SESSION_NAME"] = path.name
    where = {"metadata": {"path": str(path.parent)}}
    quiet = ["--log-level=ERROR"]
    client = NotebookClient(
        notebook, timeout=120, allow_errors=True, store_widget_state=False, extra_arguments=quiet, resources=where
    )
    try:
        client.execute()
    except DeadKernelError:
        # The last cell of some notebooks kills its kernel on purpose.
        pass
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [settled(output) for output in cell.outputs if not is_widget(output)]
    nbformat.write(notebook, path)


def is_widget(output: Any) -> bool:
    """Return whether the output needs a live kernel. A panel stores its last picture in the next output."""
    return "application/vnd.jupyter.widget-view+json" in output.get("data", ())


def settled(output: Any) -> Any:
    """Return the output in its final state: the end of a progress bar, a traceback without process ids."""
    if "image/png" in output.get("data", ()):
        # GitHub prefers the HTML form, but removes pictures from it.
        output["data"].pop("text/html", None)
    if output.get("output_type") == "stream":
        text = output["text"].replace("\r\n", "\n")
        output["text"] = re.sub(r"[^\n]*\r(?=[^\n])", "", text)
    if "traceback" in output:
        output["traceback"] = [re.sub(r"ipykernel_\d+", "ipykernel", line) for line in output["traceback"]]
    return output


@contextmanager
def instance(folder: Path) -> Iterator[None]:
    """Provide a stand-in instance with alarms that trained today. Its CPU continues as this machine's."""
    with Ministack(folder) as aws:
        name = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "train-3"}]}]
        made = aws.run_instance(InstanceType="g5.xlarge", TagSpecifications=name)
        put_day_of_cpu(aws, made, NIGHT)
        os.environ |= aws.environ() | {"CWNOTIFY_INSTANCE": made}
        alarms = ["deploy", "--instance", made, "--period", "10", "--datapoints", "1/1"]
        subprocess.run([sys.executable, "-m", "cwnotify", *alarms], stdout=subprocess.DEVNULL, check=True)
        with CpuFeed(CpuMeter(), create_cpu_writer(aws.client("cloudwatch"), made)):
            yield


if __name__ == "__main__":
    for name in sys.argv[1:] or NOTEBOOKS:
        with tempfile.TemporaryDirectory() as home, FakeSlack() as slack:
            os.environ |= {"CWNOTIFY_WEBHOOK_URL": slack.webhook_url, "CWNOTIFY_STATE_DIR": home}
            if name in BORROWING:
                # The notebook starts its own Slack stand-in, but only if no webhook is configured.
                del os.environ["CWNOTIFY_WEBHOOK_URL"]
            with instance(Path(home)) if name in PANELS else nullcontext():
                run(Path("notebooks", name))
