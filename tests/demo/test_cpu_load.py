"""The CPU load that the demo measures and publishes to CloudWatch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from cwnotify.demo.aws import remove_account_variables
from cwnotify.demo.cpu_load import CpuFeed, CpuMeter, burn_cpu
from tests.support.waiting import until

# Exits by itself in case the test cannot stop it.
BUSY = "import time; end = time.monotonic() + 20\nwhile time.monotonic() < end: pass"


def measure_one_second(meter: CpuMeter) -> float:
    meter()
    time.sleep(1)
    return meter()


def test_own_usage_follows_own_work() -> None:
    meter = CpuMeter(is_own_only=True)

    before = measure_one_second(meter)
    with burn_cpu(1):
        during = measure_one_second(meter)
    after = measure_one_second(meter)

    assert before < 15
    assert during > before + 10
    assert after < 15


def test_work_of_other_processes_counts_for_the_machine_only() -> None:
    # The intermediate parent exits, so the busy process is not a descendant of this one.
    quiet = "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL"
    script = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {BUSY!r}], {quiet}).pid)"
    other_pid = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    try:
        meter = CpuMeter()
        meter.measure_both()
        time.sleep(1)
        machine, own = meter.measure_both()
    finally:
        os.kill(other_pid, signal.SIGKILL)

    assert machine > 20
    assert own < 15


def test_feed_writes_measurements_until_it_is_closed() -> None:
    written: list[float] = []

    with CpuFeed(CpuMeter(), written.append, interval=0.05):
        until(lambda: len(written) >= 3)
    count = len(written)
    time.sleep(0.2)

    assert len(written) == count
    assert all(0 <= percent <= 100 for percent in written)


def test_remove_account_variables_removes_aws_slack_and_cwnotify() -> None:
    environ = {"PATH": "/bin", "AWS_PROFILE": "mine", "SLACK_WEBHOOK_URL": "https://x", "CWNOTIFY_LANG": "ko"}

    assert remove_account_variables(environ) == {"PATH": "/bin"}
