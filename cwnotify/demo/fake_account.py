"""`borrow`, for a notebook's first cell: local stand-ins for AWS and Slack until the kernel ends."""

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

_RULE_POLL_INTERVAL = 0.5  # seconds
_DATAPOINT_PERIOD = 300  # seconds


def borrow(instances: int = 1, **tags: str) -> None:
    """Start stand-ins for AWS and Slack and point this kernel at them.

    After each cell it prints the messages that Slack's stand-in received. In ``make lab`` it uses the Slack stand-in
    that is already running.

    Parameters
    ----------
    instances
        How many instances to start. Each has a day of CPU datapoints, a name and `tags`.

    Raises
    ------
    SettingsError
        If this kernel's alerts go to a real Slack.
    """
    webhook = _read_local_webhook()
    resources = ExitStack()
    atexit.register(resources.close)
    folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="cwnotify-borrowed-"))
    slack_note = "what Slack receives is on the page whose address make lab printed"
    if not webhook:
        slack = resources.enter_context(FakeSlack())
        _print_messages_after_cells(slack)
        webhook, slack_note = slack.webhook_url, "Slack is one too."
    aws = resources.enter_context(
        Ministack(Path(folder), Path(cwnotify.__file__).parents[1] / MINISTACK_ENVIRONMENT_DIR)
    )
    environ = aws.environ() | {"CWNOTIFY_WEBHOOK_URL": webhook, "XDG_CONFIG_HOME": folder}
    environ["CWNOTIFY_STATE_DIR"] = f"{folder}/state"
    os.environ |= environ
    # Cells cannot set these for the sidecar and for commands. `_read_local_webhook` ensured that no alert is diverted
    # from the user's own Slack.
    set_startup_environment({**get_startup_environment(), **environ})
    reset_pinned_webhook()
    # Lets lines that begin with ! find this Python's cwnotify command.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ids = [_start_instance(aws, number, tags) for number in range(1, instances + 1)]
    if instances == 1:
        os.environ["CWNOTIFY_INSTANCE"] = ids[0]
    threading.Thread(target=_forward_alarm_changes, args=(aws,), name="event-rule", daemon=True).start()
    print(f"{instances} instance{'s' * (instances > 1)} on a stand-in for AWS; {slack_note}")


def _read_local_webhook() -> str:
    """Return the local webhook that this kernel was started with, else an empty string."""
    setting = resolve_settings(get_startup_environment())[0].get("webhook")
    if setting is None:
        return ""
    webhook: str = setting.value.reveal()
    if urlsplit(webhook).hostname not in LOOPBACK_HOSTS:
        raise SettingsError(
            f"your alerts go to your own Slack ({setting.origin}), and this notebook would send messages there",
            hint="skip this cell to use your account; for stand-ins start Jupyter without a webhook or with `make lab`",
        )
    return webhook


def _start_instance(aws: Ministack, number: int, tags: dict[str, str]) -> str:
    all_tags = {"Name": f"train-{number:02}", **tags}
    spec = {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in all_tags.items()]}
    instance = aws.run_instance(InstanceType="g5.xlarge", TagSpecifications=[spec])
    put_day_of_cpu(aws, instance, number)
    return instance


def put_day_of_cpu(aws: Ministack, instance: str, number: int = 1) -> None:
    """Write a day of CPU datapoints until now, with one training whose time depends on `number`."""
    period = _DATAPOINT_PERIOD
    end, count = time.time() // period * period, 86_400 // period
    start_hour, hours, generator = number * 7 % 17, 5 + number * 5 % 9, random.Random(number)
    data: list[dict[str, Any]] = []
    for i in range(count):
        is_training = start_hour <= i * period / 3600 < start_hour + hours
        point = {
            "MetricName": "CPUUtilization",
            "Dimensions": [{"Name": "InstanceId", "Value": instance}],
            "Timestamp": end - period * (count - i),
            "Value": min(100.0, max(0.5, generator.gauss(90, 3) if is_training else generator.gauss(4, 1))),
            "Unit": "Percent",
        }
        data.append(point)
    aws.client("cloudwatch").put_metric_data(Namespace="AWS/EC2", MetricData=data)


def _forward_alarm_changes(aws: Ministack) -> None:
    """Send every alarm change to the fleet's queue. On AWS EventBridge does this; the stand-in does not."""
    cloudwatch, sqs, last_states = aws.client("cloudwatch"), aws.client("sqs"), dict[str, str]()
    while True:
        time.sleep(_RULE_POLL_INTERVAL)
        try:
            queues = [url for url in sqs.list_queues().get("QueueUrls", ()) if url.endswith("-changes")]
            pages = cloudwatch.get_paginator("describe_alarms").paginate()
            alarms = [alarm for page in pages for alarm in page["MetricAlarms"]]
            for alarm in alarms:
                previous = last_states.get(alarm["AlarmName"], alarm["StateValue"])
                for queue in queues if previous != alarm["StateValue"] else ():
                    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(_build_event(alarm, previous)))
            last_states = {alarm["AlarmName"]: alarm["StateValue"] for alarm in alarms}
        except Exception:
            # The account may be busy, or exit before this kernel. Try again at the next poll.
            continue


def _build_event(alarm: dict[str, Any], previous_state: str) -> dict[str, Any]:
    """Return EventBridge's event for an alarm change: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html"""
    _, _, _, region, account, *_ = alarm["AlarmArn"].split(":")
    timestamp = alarm["StateUpdatedTimestamp"].strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    metric = {"namespace": alarm["Namespace"], "name": alarm["MetricName"]}
    metric["dimensions"] = {item["Name"]: item["Value"] for item in alarm["Dimensions"]}
    stat = {"metric": metric, "period": alarm["Period"], "stat": alarm["Statistic"]}
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "CloudWatch Alarm State Change",
        "source": "aws.cloudwatch",
        "account": account,
        "time": timestamp[:19] + "Z",
        "region": region,
        "resources": [alarm["AlarmArn"]],
        "detail": {
            "alarmName": alarm["AlarmName"],
            "state": {"value": alarm["StateValue"], "reason": alarm["StateReason"], "timestamp": timestamp},
            "previousState": {"value": previous_state},
            "configuration": {"metrics": [{"id": "m1", "metricStat": stat, "returnData": True}]},
        },
    }


def _print_messages_after_cells(slack: FakeSlack) -> None:
    """After each cell, print the first line of each message that arrived since the last cell."""
    from IPython.core.getipython import get_ipython

    printed_count = 0

    def print_new_messages(result: object) -> None:
        nonlocal printed_count
        for message in slack.messages[printed_count:]:
            printed_count += 1
            print(f"Slack: {get_message_text(message)}")

    shell = get_ipython()
    if shell is not None:
        shell.events.register("post_run_cell", print_new_messages)
