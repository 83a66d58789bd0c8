"""Kernels to measure in: those of the tests, with a clock around each cell and the peers installed beside cwnotify."""

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

# As they are on PyPI; slack-magic needs a setuptools that still has pkg_resources.
PEER_REQUIREMENTS = (
    "jupyter-slack==2.1.4",
    "slack-magic==0.0.3",
    "jupyterlab-notify==3.0.0",
    "knockknock==0.1.8.1",
    "setuptools<81",
)
DEPENDENCIES = ("ipython", "ipykernel", "ipywidgets", "requests", "boto3", "matplotlib", "psutil", "numpy")

# Timed from ipykernel's receiving a cell to its reply being ready: IPython's transformers and events are inside.
CELL_TIMER = """
def _clock():
    import time
    kernel, times = get_ipython().kernel, []
    inner = kernel.do_execute
    async def do_execute(*values, **named):
        began = time.perf_counter()
        try:
            return await inner(*values, **named)
        finally:
            times.append(time.perf_counter() - began)
    kernel.do_execute = do_execute
    return times
_times = _clock()
"""


@cache
def benchmark_python() -> Path:
    """An environment with cwnotify's dependencies, as the tests have them, and the peers."""
    pins = [f"{name}=={metadata.version(name)}" for name in DEPENDENCIES]
    return venv_python("bench", *pins, *PEER_REQUIREMENTS)


@contextmanager
def benchmark_kernel(slack: Slack | None = None, **more: str) -> Iterator[Kernel]:
    """A fresh kernel in a world of its own, that tells `slack`."""
    url = slack.url if slack else ""
    with (
        temporary_disk_folder() as path,
        World(path, url, SLACK_WEBHOOK_URL=url, **more) as world,
        Kernel(world, benchmark_python()) as one,
    ):
        yield one


def printed_number(one: Kernel, code: str) -> float:
    """The number that a cell printed."""
    result = one.run(code)
    assert not result.errors, result.errors
    return float(result.stdout.split()[-1])


def cell_times(one: Kernel) -> list[float]:
    """Milliseconds of each cell since the last call; the clock of `CELL_TIMER` must run."""
    result = one.run("import json; print(json.dumps(_times)); _times.clear()")
    assert not result.errors, result.errors
    return [1000 * value for value in json.loads(result.stdout)]
