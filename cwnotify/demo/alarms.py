"""The alarm's way to Slack on this machine: deploy, this machine's CPU rises and falls, teardown."""

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

# The stand-in for AWS takes the mean of all that was measured in N periods; with one period that is what AWS does too.
FAST_ALARM_OPTIONS = ("--period", "10", "--datapoints", "1/1")
RED, GREEN = "#eb4034", "#30db3f"
_PATIENCE = 25.0
# Below this many points between rest and work, the machine's other work would hide ours.
_VISIBLE = 40.0


def run_alarm_demo(notebook: Path, aws: Ministack, slack: FakeSlack) -> list[Check]:
    """Deploy for an instance whose CPU is this machine's, load the machine, look at what Slack is told, tear down.

    `notebook` opens a panel and runs a cell of the name *train* beside it, while the machine is busy.
    """
    before = aws.list_resources()
    instance = aws.run_instance(InstanceType="c7i.large", Monitoring={"Enabled": True})
    load = CpuMeter()
    busy, idle = measure_thresholds(load)
    whose = "this demo's share of this machine's" if load.is_own_only else "this machine's"
    print(f"An instance of the stand-in, {instance}; its CPUUtilization is {whose}, every {CPU_SAMPLE_INTERVAL:g} s.")
    checks = [
        _run("deploy", "--instance", instance, "--threshold", str(busy), "--idle", str(idle), *FAST_ALARM_OPTIONS)
    ]
    if checks[0].has_passed:
        os.environ["CWNOTIFY_INSTANCE"] = instance
        checks += [_rise_and_fall(notebook, aws, instance, load), _trained(slack)]
        checks += [_told(aws, slack, f"cwnotify-{instance}-busy", RED, "an alarm that fires: the instance is busy")]
        checks += [_told(aws, slack, f"cwnotify-{instance}-off", GREEN, "an alarm that fires: its training has ended")]
    checks.append(_run("teardown", "--yes"))
    left = {kind: found for kind, found in aws.list_resources().items() if found != before[kind]}
    checks.append(Check("nothing left of it on AWS", "nothing", str(left) if left else "nothing", not left))
    return checks


def measure_thresholds(load: CpuMeter) -> tuple[int, int]:
    """Measure the CPU at rest and at work; gives two thresholds between them, for *busy* and for *ended* (percent).

    Where other work keeps the machine busy anyway, `load` counts our own from here on.
    """
    load.measure_both()
    time.sleep(CPU_SAMPLE_INTERVAL)
    rest = load.measure_both()
    with burn_cpu(1):
        time.sleep(CPU_SAMPLE_INTERVAL / 4)
        load.measure_both()
        time.sleep(CPU_SAMPLE_INTERVAL)
        work = load.measure_both()
    gaps = [high - low for low, high in zip(rest, work, strict=True)]
    load.is_own_only = gaps[0] < _VISIBLE
    low, gap = rest[load.is_own_only], gaps[load.is_own_only]
    idle = max(1, round(low + 0.25 * gap))
    return max(idle + 1, round(low + 0.6 * gap)), idle


def _rise_and_fall(notebook: Path, aws: Ministack, instance: str, load: CpuMeter) -> Check:
    """Until the alarm of the end fires, or patience does not last; gives what the panel showed meanwhile."""
    client = aws.client("cloudwatch")
    busy, off = f"cwnotify-{instance}-busy", f"cwnotify-{instance}-off"

    def state(alarm: str) -> str:
        return str(client.describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]["StateValue"])

    with ExitStack() as work:
        work.enter_context(burn_cpu(0.4))
        # Only now, lest the alarm of the end fires before anything began.
        time.sleep(CPU_SAMPLE_INTERVAL / 4)
        with CpuFeed(load, create_cpu_writer(client, instance)):
            print("\nData are loaded: the CPU is at work, but below the threshold.")
            _wait(lambda: state(off) == "OK", _PATIENCE)
            print(f"{notebook} opens a panel and trains: every core is at work.")
            shown = _panel(execute_notebook(notebook), busy)
            work.close()
            print("The training has ended; the CPU falls.")
            if not _wait(lambda: state(off) == "ALARM", _PATIENCE):
                load.is_own_only = True
                print("Other work keeps this machine busy; from here on only the demo's own counts.")
                _wait(lambda: state(off) == "ALARM", _PATIENCE)
    return shown


def _panel(outputs: list[Any], alarm: str) -> Check:
    """Whether the last panel, as it is saved, shows CloudWatch's CPU and the alarm."""
    saved = [one["data"]["text/plain"] for one in outputs if "text/html" in one.get("data", ())]
    text = saved[-1] if saved else "nothing"
    lines = [line for line in text.splitlines() if "CloudWatch" in line or alarm in line]
    ok = bool(re.search(r"CPU .*\d %  CloudWatch", text)) and alarm in text
    expected = f"CPU from CloudWatch, and {alarm}"
    return Check("the panel beside the training", expected, "; ".join(lines) or text, ok)


def _trained(slack: FakeSlack) -> Check:
    words = "✅ train finished in"
    return check_messages("a cell beside it", f"{words} …", slack, lambda one: get_message_text(one).startswith(words))


def _told(aws: Ministack, slack: FakeSlack, alarm: str, colour: str, name: str) -> Check:
    """Whether Slack was told, in this colour, as often as AWS says that the alarm fired."""
    history = aws.client("cloudwatch").describe_alarm_history(AlarmName=alarm, HistoryItemType="StateUpdate")
    fired = sum(one["HistorySummary"].endswith("to ALARM") for one in history["AlarmHistoryItems"])

    def fits(message: ReceivedMessage) -> bool:
        colours: list[Any] = [one.get("color") for one in message.payload.get("attachments", ())]
        return alarm in str(message.payload) and colours == [colour]

    return check_messages(name, f"{alarm}, once each time", slack, fits, fired)


def _run(*arguments: str) -> Check:
    """The command, as a person would type it."""
    line = " ".join(("cwnotify", *arguments))
    print(f"\n$ {line}")
    done = subprocess.run(
        [sys.executable, "-m", "cwnotify", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print("".join(f"  {shown}\n" for shown in done.stdout.splitlines()), end="")
    last = (done.stdout.splitlines() or [""])[-1]
    return Check(f"cwnotify {arguments[0]}", line, last, done.returncode == 0)


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came about in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(CPU_SAMPLE_INTERVAL / 4)
    return True
