"""For a notebook's first cell: AWS and Slack on this machine in place of an account, until its kernel ends."""

from __future__ import annotations

import atexit
import json
import os
import random
import sys
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cwnotify
from cwnotify.demo.aws import MINISTACK_ENVIRONMENT_DIR, Ministack
from cwnotify.demo.checks import get_message_text
from cwnotify.demo.slack import FakeSlack
from cwnotify.errors import SettingsError
from cwnotify.settings import LOOPBACK_HOSTS, reset_pinned_webhook, resolve_settings
from cwnotify.settings.paths import get_startup_environment, set_startup_environment

_PAUSE = 0.5
_PERIOD = 300


def borrow(instances: int = 1, **tags: str) -> None:
    """Start stand-ins for AWS and Slack, point this kernel at them, and print below each cell what Slack was told.

    A kernel's alerts go to no other Slack than it was started with. In ``make lab`` that is a stand-in too.

    Parameters
    ----------
    instances
        How many there are. Each has a day of CPU, with `tags` and a name.

    Raises
    ------
    SettingsError
        If alerts go to a Slack that is none of ours.
    """
    webhook = _webhook_of_lab()
    borrowed = ExitStack()
    atexit.register(borrowed.close)
    folder = borrowed.enter_context(tempfile.TemporaryDirectory(prefix="cwnotify-borrowed-"))
    told = "what Slack receives is on the page whose address make lab printed"
    if not webhook:
        slack = borrowed.enter_context(FakeSlack())
        _print_what_comes(slack)
        webhook, told = slack.webhook_url, "Slack is one too."
    aws = borrowed.enter_context(
        Ministack(Path(folder), Path(cwnotify.__file__).parents[1] / MINISTACK_ENVIRONMENT_DIR)
    )
    ours = aws.environ() | {"CWNOTIFY_WEBHOOK_URL": webhook, "XDG_CONFIG_HOME": folder}
    ours["CWNOTIFY_STATE_DIR"] = f"{folder}/state"
    os.environ |= ours
    # No cell can set these for the sidecar and the commands of a kernel; `_webhook_of_lab` has made sure that nothing
    # is led away from a Slack of the user's own.
    set_startup_environment({**get_startup_environment(), **ours})
    reset_pinned_webhook()
    # So that a line that begins with ! finds the command of this very Python.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ids = [_start(aws, number, tags) for number in range(1, instances + 1)]
    if instances == 1:
        os.environ["CWNOTIFY_INSTANCE"] = ids[0]
    threading.Thread(target=_play_the_rule, args=(aws,), name="event-rule", daemon=True).start()
    print(f"{instances} instance{'s' * (instances > 1)} on a stand-in for AWS; {told}")


def _webhook_of_lab() -> str:
    """The webhook that this kernel was started with; empty if there is none."""
    found = resolve_settings(get_startup_environment())[0].get("webhook")
    if found is None:
        return ""
    webhook: str = found.value.reveal()
    if urlsplit(webhook).hostname not in LOOPBACK_HOSTS:
        raise SettingsError(
            f"your alerts go to your own Slack ({found.origin}), where this would be told. Leave this cell out to use "
            "your account; to try it with stand-ins start Jupyter without a webhook, or with: make lab"
        )
    return webhook


def _start(aws: Ministack, number: int, tags: dict[str, str]) -> str:
    named = [{"Key": key, "Value": value} for key, value in {"Name": f"train-{number:02}", **tags}.items()]
    spec = {"ResourceType": "instance", "Tags": named}
    instance = aws.run_instance(InstanceType="g5.xlarge", TagSpecifications=[spec])
    put_day_of_cpu(aws, instance, number)
    return instance


def put_day_of_cpu(aws: Ministack, instance: str, number: int = 1) -> None:
    """Let CloudWatch know a day of CPU until now, with one training in it; when that is differs with `number`."""
    end, points = time.time() // _PERIOD * _PERIOD, 86_400 // _PERIOD
    begins, hours, chance = number * 7 % 17, 5 + number * 5 % 9, random.Random(number)
    data: list[dict[str, Any]] = []
    for i in range(points):
        trains = begins <= i * _PERIOD / 3600 < begins + hours
        point = {
            "MetricName": "CPUUtilization",
            "Dimensions": [{"Name": "InstanceId", "Value": instance}],
            "Timestamp": end - _PERIOD * (points - i),
            "Value": min(100.0, max(0.5, chance.gauss(90, 3) if trains else chance.gauss(4, 1))),
            "Unit": "Percent",
        }
        data.append(point)
    aws.client("cloudwatch").put_metric_data(Namespace="AWS/EC2", MetricData=data)


def _play_the_rule(aws: Ministack) -> None:
    """Put every change of an alarm into a fleet's queue, as EventBridge does on AWS and the stand-in does not."""
    cloudwatch, sqs, known = aws.client("cloudwatch"), aws.client("sqs"), dict[str, str]()
    while True:
        time.sleep(_PAUSE)
        try:
            queues = [url for url in sqs.list_queues().get("QueueUrls", ()) if url.endswith("-changes")]
            pages = cloudwatch.get_paginator("describe_alarms").paginate()
            alarms = [alarm for page in pages for alarm in page["MetricAlarms"]]
            states = {one["AlarmName"]: one["StateValue"] for one in alarms}
            for alarm in alarms:
                before = known.get(alarm["AlarmName"], alarm["StateValue"])
                for queue in queues if before != alarm["StateValue"] else ():
                    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(_event(alarm, before)))
            known = states
        except Exception:
            # An account that is busy, or goes away with its kernel; the next look will show.
            continue


def _event(alarm: dict[str, Any], before: str) -> dict[str, Any]:
    """What EventBridge carries; https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html"""
    _, _, _, region, account, *_ = alarm["AlarmArn"].split(":")
    when = alarm["StateUpdatedTimestamp"].strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    metric = {"namespace": alarm["Namespace"], "name": alarm["MetricName"]}
    metric["dimensions"] = {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
    stat = {"metric": metric, "period": alarm["Period"], "stat": alarm["Statistic"]}
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "CloudWatch Alarm State Change",
        "source": "aws.cloudwatch",
        "account": account,
        "time": when[:19] + "Z",
        "region": region,
        "resources": [alarm["AlarmArn"]],
        "detail": {
            "alarmName": alarm["AlarmName"],
            "state": {"value": alarm["StateValue"], "reason": alarm["StateReason"], "timestamp": when},
            "previousState": {"value": before},
            "configuration": {"metrics": [{"id": "m1", "metricStat": stat, "returnData": True}]},
        },
    }


def _print_what_comes(slack: FakeSlack) -> None:
    """After each cell, print the first line of each message that came since the last one."""
    from IPython.core.getipython import get_ipython

    seen = 0

    def tell(result: object) -> None:
        nonlocal seen
        for message in slack.messages[seen:]:
            seen += 1
            print(f"Slack: {get_message_text(message)}")

    shell = get_ipython()
    if shell is not None:
        shell.events.register("post_run_cell", tell)
