"""A panel in a real JupyterLab with the real sidecar and a strict CloudWatch stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.aws_wire import Fault
from tests.support.cloudwatch import CloudWatch
from tests.support.kernel import World
from tests.support.lab import Lab, NotebookPage
from tests.support.slack import Slack

INSTANCE = "i-0abc12f9d8e7a6b54"
BUSY = """%%notify_on_finish train
import os, time
while not os.path.exists("enough"):
    sum(i * i for i in range(20_000))
"""


@pytest.fixture
def aws() -> Iterator[CloudWatch]:
    with CloudWatch() as aws:
        aws.put_training_instance(INSTANCE, period=300, hours=2)
        yield aws


def picture_address(page: NotebookPage) -> str:
    """Return the address of the plot, which changes with the plot."""
    return str(page.page.locator(".cwnotify-live img.cw-light").first.get_attribute("src") or "")


def test_panel_follows_aws_and_slack_during_training(tmp_path: Path, aws: CloudWatch, slack: Slack) -> None:
    environ = {**aws.environ(), "CWNOTIFY_INSTANCE": INSTANCE, "CWNOTIFY_ROUND": "1"}
    with World(tmp_path, slack.url, **environ) as world, Lab(world) as lab:
        name = lab.write_notebook("train.ipynb", "%load_ext cwnotify\n%cwnotify", BUSY)
        with lab.open_notebook(name) as page:
            page.run_all()
            page.until(lambda: "train-busy · OK" in page.output(0), "the alarm's chip")
            page.until(lambda: "running 00:00" in page.output(0), "the run's row")
            before = page.until(lambda: picture_address(page), "the plot")
            assert page.prompt(1) == "[*]:"

            aws.set_state("train-busy", "ALARM")
            page.until(lambda: "train-busy · ALARM" in page.output(0), "the chip's change", 8)
            slack.wait_for(1)
            page.until(lambda: picture_address(page) != before, "the plot's change")

            aws.fault = Fault("ExpiredToken", "The security token included in the request is expired", 403)
            page.until(lambda: "expired" in page.output(0), "the problem")
            aws.fault = None
            page.until(lambda: "expired" not in page.output(0), "the recovery")
            assert page.prompt(1) == "[*]:", "the cell must run during all of this"

            (lab.root / "enough").touch()
            slack.wait_for(2)
            page.until(lambda: "finished in" in page.output(0), "the run's end")

    assert "in ALARM" in str(slack.payloads[0]["text"])
    assert "finished" in str(slack.payloads[1]["text"])
