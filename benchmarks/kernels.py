"""Kernels for measurements: those of the tests, with a timer around each cell, and alternatives beside cwnotify."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path

from benchmarks.harness import temporary_disk_folder
from tests.support.environments import venv_python
from tests.support.kernel import Kernel, World
from tests.support.slack import Slack

# slack-magic needs a setuptools that still has pkg_resources.
PEER_REQUIREMENTS = (
    "jupyter-slack==2.1.4",
    "slack-magic==0.0.3",
    "jupyterlab-notify==3.0.0",
    "knockknock==0.1.8.1",
    "setuptools<81",
)
DEPENDENCIES = ("ipython", "ipykernel", "ipywidgets", "requests", "boto3", "matplotlib", "psutil", "numpy")

# Measures from the receipt of a cell until its reply is ready, including IPython's transformers and events.
CELL_TIMER = """
def _start_timer():
    import time
    kernel, times = get_ipython().kernel, []
    inner = kernel.do_execute
    async def do_execute(*values, **named):
        started_at = time.perf_counter()
        try:
            return await inner(*values, **named)
        finally:
            times.append(time.perf_counter() - started_at)
    kernel.do_execute = do_execute
    return times
_times = _start_timer()
"""


@cache
def benchmark_python() -> Path:
    """Return the Python of an environment with the alternatives and with cwnotify's dependencies as in the tests."""
    pins = [f"{name}=={metadata.version(name)}" for name in DEPENDENCIES]
    return venv_python("bench", *pins, *PEER_REQUIREMENTS)


@contextmanager
def benchmark_kernel(slack: Slack | None = None, **more: str) -> Iterator[Kernel]:
    """Start a kernel in its own world. Its webhook is that of `slack`."""
    url = slack.url if slack else ""
    with (
        temporary_disk_folder() as path,
        World(path, url, SLACK_WEBHOOK_URL=url, **more) as world,
        Kernel(world, benchmark_python()) as kernel,
    ):
        yield kernel


def printed_number(kernel: Kernel, code: str) -> float:
    """Run `code` and return the number that it prints last."""
    result = kernel.run(code)
    assert not result.errors, result.errors
    return float(result.stdout.split()[-1])


def cell_times(kernel: Kernel) -> list[float]:
    """Return the milliseconds of each cell since the last call. `CELL_TIMER` must have been run before."""
    result = kernel.run("import json; print(json.dumps(_times)); _times.clear()")
    assert not result.errors, result.errors
    return [1000 * seconds for seconds in json.loads(result.stdout)]
