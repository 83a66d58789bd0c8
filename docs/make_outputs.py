"""Run the notebooks that we ship and keep their outputs, so that they can be read where they lie.

``python -m docs.make_outputs [NAME…]`` from the top folder. Slack and AWS are stand-ins; nothing leaves this machine.
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
# Of the days that `put_day_of_cpu` knows, one whose training ended an hour ago.
NIGHT = 16
BORROWING = ("alarms.ipynb", "fleet.ipynb")
NOTEBOOKS = ("quickstart.ipynb", "quickstart.ko.ipynb", "training.ipynb", *PANELS, *BORROWING)


def run(path: Path) -> None:
    """Run one notebook, and write it with what it printed."""
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
        # The last cell of some kills its kernel on purpose.
        pass
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [settled(output) for output in cell.outputs if not is_widget(output)]
    nbformat.write(notebook, path)


def is_widget(output: Any) -> bool:
    """Whether it is alive only in a kernel; what a panel leaves stands in the output below it."""
    return "application/vnd.jupyter.widget-view+json" in output.get("data", ())


def settled(output: Any) -> Any:
    """An output as a person saw it last: of a progress bar its last state, of a traceback no process number."""
    if "image/png" in output.get("data", ()):
        # GitHub would take the page's form of a panel, of which it lets no picture through.
        output["data"].pop("text/html", None)
    if output.get("output_type") == "stream":
        text = output["text"].replace("\r\n", "\n")
        output["text"] = re.sub(r"[^\n]*\r(?=[^\n])", "", text)
    if "traceback" in output:
        output["traceback"] = [re.sub(r"ipykernel_\d+", "ipykernel", line) for line in output["traceback"]]
    return output


@contextmanager
def instance(folder: Path) -> Iterator[None]:
    """An instance of the stand-in that has trained today, with its alarms; its CPU goes on as this machine's."""
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
                # It brings a Slack of its own, which takes the place of none.
                del os.environ["CWNOTIFY_WEBHOOK_URL"]
            with instance(Path(home)) if name in PANELS else nullcontext():
                run(Path("notebooks", name))
