"""The demo of alarms: deploy a stack, let this machine's CPU rise and fall, check Slack, tear down."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cwnotify.demo.aws import Ministack
from cwnotify.demo.checks import Check, check_messages, get_message_text
from cwnotify.demo.cpu_load import CPU_SAMPLE_INTERVAL, CpuFeed, CpuMeter, burn_cpu, create_cpu_writer
from cwnotify.demo.notebook import execute_notebook
from cwnotify.demo.slack import FakeSlack, ReceivedMessage

# The stand-in averages all datapoints of N periods. With one period AWS does the same.
FAST_ALARM_OPTIONS = ("--period", "10", "--datapoints", "1/1")
RED, GREEN = "#eb4034", "#30db3f"
_ALARM_TIMEOUT = 25.0  # seconds
# Percentage points between idle and busy. With less, the machine's other work would hide the demo's.
_MIN_VISIBLE_GAP = 40.0


def run_alarm_demo(notebook: Path, aws: Ministack, slack: FakeSlack) -> list[Check]:
    """Watch this machine as an instance: deploy, load the CPU, check Slack's messages and tear down.

    Parameters
    ----------
    notebook
        Opens a panel and runs a cell named *train* while the machine is busy.
    """
    before = aws.list_resources()
    instance = aws.run_instance(InstanceType="c7i.large", Monitoring={"Enabled": True})
    meter = CpuMeter()
    busy, idle = measure_thresholds(meter)
    source = "this demo's share of this machine's CPU" if meter.is_own_only else "this machine's CPU"
    print(f"Started instance {instance}. Its CPUUtilization is {source}, every {CPU_SAMPLE_INTERVAL:g} s.")
    checks = [
        _run_cwnotify(
            "deploy", "--instance", instance, "--threshold", str(busy), "--idle", str(idle), *FAST_ALARM_OPTIONS
        )
    ]
    if checks[0].has_passed:
        os.environ["CWNOTIFY_INSTANCE"] = instance
        checks.append(_run_training(notebook, aws, instance, meter))
        checks.append(_check_run_alert(slack))
        checks.append(_check_alarm_alert(aws, slack, f"cwnotify-{instance}-busy", RED, "alarm: the instance is busy"))
        checks.append(_check_alarm_alert(aws, slack, f"cwnotify-{instance}-off", GREEN, "alarm: training ended"))
    checks.append(_run_cwnotify("teardown", "--yes"))
    remaining = {kind: items for kind, items in aws.list_resources().items() if items != before[kind]}
    checks.append(Check("AWS after teardown", "nothing", str(remaining) if remaining else "nothing", not remaining))
    return checks


def measure_thresholds(meter: CpuMeter) -> tuple[int, int]:
    """Measure the CPU when idle and when busy, and return two thresholds between them: *busy* and *idle* (percent).

    If other work keeps the machine busy, `meter` counts only this demo's own CPU from here on.
    """
    meter.measure_both()
    time.sleep(CPU_SAMPLE_INTERVAL)
    idle_usage = meter.measure_both()
    with burn_cpu(1):
        time.sleep(CPU_SAMPLE_INTERVAL / 4)
        meter.measure_both()
        time.sleep(CPU_SAMPLE_INTERVAL)
        busy_usage = meter.measure_both()
    gaps = [high - low for low, high in zip(idle_usage, busy_usage, strict=True)]
    meter.is_own_only = gaps[0] < _MIN_VISIBLE_GAP
    low, gap = idle_usage[meter.is_own_only], gaps[meter.is_own_only]
    idle = max(1, round(low + 0.25 * gap))
    return max(idle + 1, round(low + 0.6 * gap)), idle


def _run_training(notebook: Path, aws: Ministack, instance: str, meter: CpuMeter) -> Check:
    """Load the CPU, run the notebook, wait for the off alarm, and check what the panel showed."""
    client = aws.client("cloudwatch")
    busy_alarm, off_alarm = f"cwnotify-{instance}-busy", f"cwnotify-{instance}-off"

    def is_off_alarm_in(state: str) -> bool:
        (alarm,) = client.describe_alarms(AlarmNames=[off_alarm])["MetricAlarms"]
        return bool(alarm["StateValue"] == state)

    with ExitStack() as load:
        load.enter_context(burn_cpu(0.4))
        # Feed only busy samples, otherwise the off alarm fires before the training starts.
        time.sleep(CPU_SAMPLE_INTERVAL / 4)
        with CpuFeed(meter, create_cpu_writer(client, instance)):
            print("\nLoading data: the CPU is in use, but below the threshold.")
            _wait_until(lambda: is_off_alarm_in("OK"), _ALARM_TIMEOUT)
            print(f"Running {notebook}: it opens a panel and trains on every core.")
            check = _check_panel(execute_notebook(notebook), busy_alarm)
            load.close()
            print("Training has ended. The CPU usage falls.")
            if not _wait_until(lambda: is_off_alarm_in("ALARM"), _ALARM_TIMEOUT):
                meter.is_own_only = True
                print("Other work keeps this machine busy. From here on only the demo's own CPU counts.")
                _wait_until(lambda: is_off_alarm_in("ALARM"), _ALARM_TIMEOUT)
    return check


def _check_panel(outputs: list[Any], alarm: str) -> Check:
    """Check that the last panel, as saved in the notebook, shows CloudWatch's CPU and the alarm."""
    saved_texts = [output["data"]["text/plain"] for output in outputs if "text/html" in output.get("data", ())]
    text = saved_texts[-1] if saved_texts else "nothing"
    lines = [line for line in text.splitlines() if "CloudWatch" in line or alarm in line]
    has_passed = bool(re.search(r"CPU .*\d %  CloudWatch", text)) and alarm in text
    expected = f"CPU from CloudWatch, and {alarm}"
    return Check("panel during training", expected, "; ".join(lines) or text, has_passed)


def _check_run_alert(slack: FakeSlack) -> Check:
    text = "✅ train finished in"
    return check_messages(
        "cell during training", f"{text} …", slack, lambda message: get_message_text(message).startswith(text)
    )


def _check_alarm_alert(aws: Ministack, slack: FakeSlack, alarm: str, color: str, name: str) -> Check:
    """Check that Slack received one message in this color each time that the alarm fired."""
    history = aws.client("cloudwatch").describe_alarm_history(AlarmName=alarm, HistoryItemType="StateUpdate")
    fired = sum(item["HistorySummary"].endswith("to ALARM") for item in history["AlarmHistoryItems"])

    def matches(message: ReceivedMessage) -> bool:
        colors: list[Any] = [attachment.get("color") for attachment in message.payload.get("attachments", ())]
        return alarm in str(message.payload) and colors == [color]

    return check_messages(name, f"{alarm}, once each time", slack, matches, fired)


def _run_cwnotify(*arguments: str) -> Check:
    """Run a command as a user would type it, and show its output."""
    command_line = " ".join(("cwnotify", *arguments))
    print(f"\n$ {command_line}")
    process = subprocess.run(
        [sys.executable, "-m", "cwnotify", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = process.stdout.splitlines()
    print("".join(f"  {line}\n" for line in lines), end="")
    return Check(f"cwnotify {arguments[0]}", command_line, lines[-1] if lines else "", process.returncode == 0)


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for the condition, and return whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(CPU_SAMPLE_INTERVAL / 4)
    return True
