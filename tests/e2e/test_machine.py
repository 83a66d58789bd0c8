"""On an EC2 instance, alerts name the instance, and its Spot notices are sent to Slack."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.imds import Imds
from tests.support.kernel import LONG_RUNNING_CODE, Kernel, World
from tests.support.slack import Slack
from tests.support.waiting import until

HEADER = "%%notify_on_finish train\n"


def alert_texts(slack: Slack) -> list[str]:
    return [str(payload["text"]) for payload in slack.payloads]


NAME = "`i-0abc12f9d8e7a6b54`, g5.xlarge, ap-northeast-2a"
LINK = "ec2/home?region=ap-northeast-2#InstanceDetails:instanceId=i-0abc12f9d8e7a6b54"


@pytest.mark.parametrize("delay", [0.0, 0.5])
def test_alert_names_and_links_instance(tmp_path: Path, delay: float) -> None:
    imds = Imds(delay=delay)
    with imds, Slack() as slack, World(tmp_path, slack.url, **imds.environ) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        # The first run starts the sidecar, which looks up the instance; at the second run it knows it.
        for number in (1, 2):
            kernel.run(f"{HEADER}{number}")
            slack.wait_for(number)

    for payload in slack.payloads:
        assert NAME in str(payload)
        assert LINK in str(payload)


def test_alert_of_immediately_lost_run_names_instance(tmp_path: Path) -> None:
    with Imds(delay=0.5) as imds, Slack() as slack, World(tmp_path, slack.url, **imds.environ) as world:
        with Kernel(world) as kernel:
            kernel.run("%load_ext cwnotify")
            kernel.submit_cell(f"{HEADER}import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
            slack.wait_for(1)
        world.wait_for_sidecars_to_exit()

    (alert,) = slack.payloads
    assert "was lost" in alert["text"]
    assert NAME in str(alert)


def test_alert_waits_briefly_for_hanging_metadata_service(tmp_path: Path) -> None:
    imds = Imds(delay=60.0)
    with imds, Slack() as slack, World(tmp_path, slack.url, **imds.environ) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        began = time.monotonic()
        result = kernel.run(f"{HEADER}1")
        slack.wait_for(1)

    assert result.status == "ok"
    # One second for the service; the rest for the sidecar's start on a busy machine.
    assert time.monotonic() - began < 6
    assert "finished" in alert_texts(slack)[0]
    assert "i-0abc" not in str(slack.payloads)


def test_alert_waiting_for_instance_outlives_sidecar(tmp_path: Path) -> None:
    imds = Imds(delay=60.0)
    with imds, Slack() as slack, World(tmp_path, slack.url, **imds.environ) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        kernel.run(f"{HEADER}1")
        until(lambda: world.outbox_messages("pending"), 5, "the alert on disk")
        (sidecar,) = world.sidecar_ids()
        os.kill(sidecar, signal.SIGKILL)
        kernel.run(f"{HEADER}2")
        slack.wait_for(2)

    assert len(slack.payloads) == 2


def test_spot_notice_is_sent_once_during_cell(tmp_path: Path) -> None:
    with Imds("spot") as imds, Slack() as slack, World(tmp_path, slack.url, **imds.environ) as world:
        with Kernel(world) as first, Kernel(world) as second:
            # The first poll of each sidecar finds this one; the other one arrives while the cells run.
            imds.announce_rebalance()
            cells = []
            for kernel in (first, second):
                kernel.run("%load_ext cwnotify")
                cells.append(kernel.submit_cell(f"{HEADER}{LONG_RUNNING_CODE}"))
                cells[-1].wait_for_output("begun")
            slack.wait_for(1)
            imds.announce_interruption()
            slack.wait_for(2)
            for kernel in (first, second):
                kernel.kill()
            slack.wait_for(4)
        world.wait_for_sidecars_to_exit()

    texts = alert_texts(slack)
    assert sum("may soon be reclaimed" in text for text in texts) == 1
    assert sum("will reclaim Spot instance" in text for text in texts) == 1
    assert sum("was lost" in text for text in texts) == 2
