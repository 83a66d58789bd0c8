"""Make the pictures of the docs: notebooks in real kernels, the panel in a real JupyterLab.

``python -m docs.make_pictures [NAME…]`` from the top folder, with the ``test`` extra and Debian's chromium installed.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from cwnotify.demo.aws import Ministack
from cwnotify.demo.notebook import execute_notebook
from cwnotify.demo.slack import FakeSlack
from tests.support.kernel import World
from tests.support.lab import CHROMIUM_FLAGS, Lab
from tests.support.waiting import until

PICTURES = Path(__file__).with_name("pictures")
TRAIN = """%%notify_on_finish resnet50
begin = time.time()
while time.time() - begin < 40:
    sum(range(10_000))
"""


def alerts(notebook: str, count: int, picture: str) -> None:
    """Run a notebook and take a picture of its alerts as Slack draws them."""
    with tempfile.TemporaryDirectory() as home, FakeSlack() as slack:
        os.environ |= {"CWNOTIFY_WEBHOOK_URL": slack.webhook_url, "CWNOTIFY_STATE_DIR": home}
        execute_notebook(Path("notebooks", notebook))
        until(lambda: len(slack.messages) == count, 20, "the alerts")
        _photograph(lambda page: page.goto(slack.page_url), picture)


def alarm(event: str, lang: str, picture: str) -> None:
    """Take a picture of the message that the deployed function sends for an alarm from SNS."""
    from cwnotify.alerts.payloads import render_payloads
    from cwnotify.preview import render_page_html

    payloads = render_payloads(json.loads(Path("tests", "data", "envelopes", event).read_text()), lang)
    _photograph(
        lambda page: page.set_content(render_page_html([(payload, None) for payload in payloads], "alarms")), picture
    )


def _photograph(load: Callable[[Page], object], picture: str) -> None:
    """Take a picture of the messages on the page that `load` opens."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_FLAGS.split())
        page = browser.new_page(viewport={"width": 860, "height": 900}, device_scale_factor=1.5)
        load(page)
        # Hide the page's own links; add the margin that Slack has.
        page.add_style_tag(content="a[href*='block-kit-builder'] { display: none } #messages { padding: 14px 18px }")
        page.locator("#messages").screenshot(path=PICTURES / picture)
        browser.close()


def panel() -> None:
    """Open the panel in JupyterLab for a stand-in instance that has trained before, and train again."""
    with tempfile.TemporaryDirectory() as home, FakeSlack() as slack, Ministack(Path(home)) as aws:
        instance = aws.run_instance(InstanceType="g5.xlarge")
        feed(aws, instance)
        world = World(Path(home), slack.webhook_url, **aws.environ(), CWNOTIFY_INSTANCE=instance)
        deployed = world.execute("cwnotify", "deploy", "--instance", instance)
        assert deployed.returncode == 0, deployed.stderr
        with world, Lab(world) as lab:
            lab.write_notebook("train.ipynb", "import time\n%load_ext cwnotify", "%cwnotify", TRAIN)
            with lab.open_notebook("train.ipynb", width=1400) as sheet:
                sheet.run_all()
                output = sheet.page.locator(".jp-Notebook .jp-CodeCell").nth(1).locator(".jp-OutputArea")
                sheet.until(lambda: output.locator("img").count() and "resnet50" in output.inner_text(), "the panel")
                sheet.page.wait_for_timeout(20_000)
                output.locator(".cwnotify-live").screenshot(path=PICTURES / "panel.png")


def feed(aws: Ministack, instance: str) -> None:
    """Write three hours of CPU with a datapoint every five minutes: idle, training, idle."""
    client, now = aws.client("cloudwatch"), time.time()
    for i in range(36):
        cpu = 88 + 4 * math.sin(2.7 * i) if 6 <= i < 31 else 4 + 2 * math.sin(i)
        point = {
            "MetricName": "CPUUtilization",
            "Dimensions": [{"Name": "InstanceId", "Value": instance}],
            "Timestamp": now - 300 * (36 - i),
            "Value": cpu,
            "Unit": "Percent",
        }
        client.put_metric_data(Namespace="AWS/EC2", MetricData=[point])


def demo() -> None:
    """Run the demo and take a picture of the top of its report."""
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        report = Path(home, "index.html")
        command = [sys.executable, "-m", "cwnotify.demo", "notebooks/quickstart.ipynb", str(report)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_FLAGS.split())
        page = browser.new_page(viewport={"width": 1000, "height": 900}, device_scale_factor=1.5)
        page.goto(report.as_uri())
        page.screenshot(path=PICTURES / "demo.png")
        browser.close()


MAKE: dict[str, Callable[[], None]] = {
    "alerts": lambda: alerts("quickstart.ipynb", 5, "alerts.png"),
    "korean": lambda: alerts("quickstart.ko.ipynb", 5, "alerts.ko.png"),
    "training": lambda: alerts("training.ipynb", 4, "training.png"),
    "alarm": lambda: alarm("sns_busy.json", "en", "alarm.png"),
    "alarm.ko": lambda: alarm("sns_training_ended.json", "ko", "alarm.ko.png"),
    "panel": panel,
    "demo": demo,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or MAKE:
        MAKE[name]()
