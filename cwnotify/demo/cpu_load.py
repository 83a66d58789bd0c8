"""This machine's CPU, measured and fed to CloudWatch as an instance's; and what keeps it busy. psutil."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import psutil

CPU_SAMPLE_INTERVAL = 2.0
# It ends by itself, should nobody be left to end it.
_BURN = """
import sys, time
share, end = float(sys.argv[1]), time.monotonic() + 120
while time.monotonic() < end:
    pause = time.monotonic() + share / 10
    while time.monotonic() < pause:
        pass
    time.sleep((1 - share) / 10)
"""


class CpuMeter:
    """How busy the CPU has been since one asked last, in percent of all cores.

    Attributes
    ----------
    is_own
        Count only this process and those that it started, where a machine's other work would hide them.
    """

    def __init__(self, is_own: bool = False) -> None:
        self.is_own_only = is_own
        self._at, self._seconds = time.monotonic(), _own_seconds()
        psutil.cpu_percent()

    def __call__(self) -> float:
        return self.measure_both()[self.is_own_only]

    def measure_both(self) -> tuple[float, float]:
        """The machine's, and our own share of it."""
        return psutil.cpu_percent(), self._own()

    def _own(self) -> float:
        now, seconds = time.monotonic(), _own_seconds()
        spent = sum(max(0.0, spent - self._seconds.get(pid, 0.0)) for pid, spent in seconds.items())
        share = spent / max(now - self._at, 0.001) / (psutil.cpu_count() or 1)
        self._at, self._seconds = now, seconds
        return min(100.0, 100 * share)


def _own_seconds() -> dict[int, float]:
    """The CPU time that this process and each below it has spent."""
    seconds, this = {}, psutil.Process()
    for process in (this, *this.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds[process.pid] = times.user + times.system
    return seconds


class CpuFeed:
    """Puts what a load measures, again and again, from a thread; a context manager.

    Parameters
    ----------
    put
        Takes each measurement (percent).
    period
        Seconds between two.
    """

    def __init__(self, load: CpuMeter, put: Callable[[float], None], interval: float = CPU_SAMPLE_INTERVAL) -> None:
        self._load, self._put, self._period = load, put, interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cpu-feed", daemon=True)

    def __enter__(self) -> CpuFeed:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        # psutil keeps its last look by thread.
        self._load()
        while not self._ended.wait(self._period):
            self._put(self._load())


def create_cpu_writer(client: Any, instance: str) -> Callable[[float], None]:
    """What puts a percentage as the CPUUtilization of `instance`; AWS itself would refuse it, the stand-in does not."""

    def put(percent: float) -> None:
        dimension = {"Name": "InstanceId", "Value": instance}
        point = {"MetricName": "CPUUtilization", "Dimensions": [dimension], "Value": percent, "Unit": "Percent"}
        client.put_metric_data(Namespace="AWS/EC2", MetricData=[point])

    return put


@contextmanager
def burn_cpu(share: float) -> Iterator[None]:
    """Keep every core busy, for this share of the time (above 0, up to 1)."""
    command = [sys.executable, "-c", _BURN, str(share)]
    burners = [subprocess.Popen(command) for _ in range(psutil.cpu_count() or 1)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
