"""On an EC2 instance: alerts name it, and Slack hears at once that it will be taken back."""

from __future__ import annotations

from pathlib import Path

from tests.support.imds import Imds
from tests.support.kernel import BUSY, Kernel, World
from tests.support.slack import Slack

ARM = "%%notify_on_finish train\n"


def texts(slack: Slack) -> list[str]:
    return [str(payload["text"]) for payload in slack.payloads]


def test_a_runs_alert_names_the_instance_and_leads_to_it(tmp_path: Path):
    with Imds() as imds, Slack() as slack, World(tmp_path, slack.url, **imds.environ) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        # The first run starts the sidecar, which then asks who this is.
        kernel.run(f"{ARM}1")
        slack.wait_for(1)
        kernel.run(f"{ARM}2")
        slack.wait_for(2)

    alert = str(slack.payloads[-1])
    assert "`i-0abc12f9d8e7a6b54`, g5.xlarge, ap-northeast-2a" in alert
    assert "ec2/home?region=ap-northeast-2#InstanceDetails:instanceId=i-0abc12f9d8e7a6b54" in alert


def test_spot_notices_are_told_once_while_the_cell_runs(tmp_path: Path):
    with Imds("spot") as imds, Slack() as slack, World(tmp_path, slack.url, **imds.environ) as world:
        with Kernel(world) as one, Kernel(world) as two:
            cells = []
            for kernel in (one, two):
                kernel.run("%load_ext cwnotify")
                cells.append(kernel.start(f"{ARM}{BUSY}"))
                cells[-1].prints("begun")
            imds.recommend_rebalance()
            slack.wait_for(1)
            imds.interrupt()
            slack.wait_for(2)
            # By then each of the two sidecars has looked, and looked again.
            slack.wait_for(lambda payloads: len(payloads) >= 2)
            for kernel in (one, two):
                kernel.kill()
            slack.wait_for(4)
        world.wait_until_quiet()

    told = texts(slack)
    assert sum("may soon be taken back" in text for text in told) == 1
    assert sum("takes Spot instance" in text for text in told) == 1
    assert sum("was lost" in text for text in told) == 2
