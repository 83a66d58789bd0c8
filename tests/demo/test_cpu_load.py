"""The load that the demo feeds to CloudWatch: measured, not made up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from cwnotify.demo.aws import remove_account_variables
from cwnotify.demo.cpu_load import CpuFeed, CpuMeter, burn_cpu
from tests.support.waiting import until

# It ends by itself, should this test not come to that.
BUSY = "import time; end = time.monotonic() + 20\nwhile time.monotonic() < end: pass"


def measured(load: CpuMeter) -> float:
    load()
    time.sleep(1)
    return load()


def test_our_own_load_rises_with_our_work_and_falls_with_it() -> None:
    load = CpuMeter(is_own=True)

    before = measured(load)
    with burn_cpu(1):
        during = measured(load)
    after = measured(load)

    assert before < 15
    assert during > before + 10
    assert after < 15


def test_what_others_do_is_the_machines_load_and_not_our_own() -> None:
    # A process of whose parent nothing is left belongs to nobody here.
    quiet = "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL"
    script = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {BUSY!r}], {quiet}).pid)"
    stranger = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    try:
        load = CpuMeter()
        load.measure_both()
        time.sleep(1)
        machine, own = load.measure_both()
    finally:
        os.kill(stranger, signal.SIGKILL)

    assert machine > 20
    assert own < 15


def test_a_feed_puts_what_is_measured_until_it_is_closed() -> None:
    put: list[float] = []

    with CpuFeed(CpuMeter(), put.append, interval=0.05):
        until(lambda: len(put) >= 3)
    ended = len(put)
    time.sleep(0.2)

    assert len(put) == ended
    assert all(0 <= percent <= 100 for percent in put)


def test_no_account_of_the_users_is_handed_on() -> None:
    environ = {"PATH": "/bin", "AWS_PROFILE": "mine", "SLACK_WEBHOOK_URL": "https://x", "CWNOTIFY_LANG": "ko"}

    assert remove_account_variables(environ) == {"PATH": "/bin"}
