"""Measure this machine's CPU, publish it as an instance's and keep it busy. Imports only psutil."""

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

CPU_SAMPLE_INTERVAL = 2.0  # seconds
# Exits by itself in case its parent cannot stop it.
_BURN_SCRIPT = """
import sys, time
share, end = float(sys.argv[1]), time.monotonic() + 120
while time.monotonic() < end:
    pause = time.monotonic() + share / 10
    while time.monotonic() < pause:
        pass
    time.sleep((1 - share) / 10)
"""


class CpuMeter:
    """Measures CPU usage since the last call (percent of all cores).

    Attributes
    ----------
    is_own_only
        Count only this process and its children, for machines whose other work would hide theirs.
    """

    def __init__(self, is_own_only: bool = False) -> None:
        self.is_own_only = is_own_only
        self._measured_at, self._cpu_seconds = time.monotonic(), _read_own_cpu_seconds()
        psutil.cpu_percent()

    def __call__(self) -> float:
        return self.measure_both()[self.is_own_only]

    def measure_both(self) -> tuple[float, float]:
        """Measure the machine's usage and that of this process with its children."""
        return psutil.cpu_percent(), self._measure_own()

    def _measure_own(self) -> float:
        now, cpu_seconds = time.monotonic(), _read_own_cpu_seconds()
        spent = sum(max(0.0, total - self._cpu_seconds.get(pid, 0.0)) for pid, total in cpu_seconds.items())
        share = spent / max(now - self._measured_at, 0.001) / (psutil.cpu_count() or 1)
        self._measured_at, self._cpu_seconds = now, cpu_seconds
        return min(100.0, 100 * share)


def _read_own_cpu_seconds() -> dict[int, float]:
    """Return the CPU seconds of this process and of each descendant, by process ID."""
    cpu_seconds, current = {}, psutil.Process()
    for process in (current, *current.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        cpu_seconds[process.pid] = times.user + times.system
    return cpu_seconds


class CpuFeed:
    """Writes measurements at a fixed interval, from a thread. A context manager.

    Parameters
    ----------
    meter
        What measures the CPU.
    write
        Called with each measurement (percent).
    interval
        Seconds between two measurements.
    """

    def __init__(self, meter: CpuMeter, write: Callable[[float], None], interval: float = CPU_SAMPLE_INTERVAL) -> None:
        self._meter, self._write, self._interval = meter, write, interval
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cpu-feed", daemon=True)

    def __enter__(self) -> CpuFeed:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        # Measure once first, because psutil remembers the last measurement per thread.
        self._meter()
        while not self._stopped.wait(self._interval):
            self._write(self._meter())


def create_cpu_writer(client: Any, instance: str) -> Callable[[float], None]:
    """Return a function that writes the CPUUtilization of `instance`. AWS itself rejects the AWS/EC2 namespace."""

    def write(percent: float) -> None:
        dimension = {"Name": "InstanceId", "Value": instance}
        point = {"MetricName": "CPUUtilization", "Dimensions": [dimension], "Value": percent, "Unit": "Percent"}
        client.put_metric_data(Namespace="AWS/EC2", MetricData=[point])

    return write


@contextmanager
def burn_cpu(share: float) -> Iterator[None]:
    """Keep every core busy for this share of the time (above 0, up to 1)."""
    command = [sys.executable, "-c", _BURN_SCRIPT, str(share)]
    burners = [subprocess.Popen(command) for _ in range(psutil.cpu_count() or 1)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
