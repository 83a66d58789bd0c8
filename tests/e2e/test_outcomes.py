"""However a cell ends, Slack gets one alert with the right outcome. Real kernels, real signals."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from textwrap import indent

import pytest

from tests.support.kernel import (
    LONG_RUNNING_CODE,
    ONE_MINUTE_SLEEP,
    Cell,
    Kernel,
    World,
    alert_outcome,
    alert_text,
    delivered_alerts,
    wait_for_alert,
)
from tests.support.slack import Slack

NAMES = (f"run{number}" for number in count(1))
# Children that inherit every descriptor of the kernel, including its pipe to the sidecar. Python's fork hooks do not
# run for a child forked in C.
CHILD = "import os, time\nif os.fork() == 0:\n    time.sleep(60)\n    os._exit(0)\n"
C_CHILD = "import ctypes\nlibc = ctypes.PyDLL(None)\nif libc.fork() == 0:\n    libc.pause()\n"


@pytest.fixture
def name() -> str:
    return next(NAMES)


# While the kernel runs


@pytest.fixture(scope="module")
def slack() -> Iterator[Slack]:
    with Slack() as slack:
        yield slack


@pytest.fixture(scope="module")
def kernel(slack: Slack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with World(tmp_path_factory.mktemp("world"), slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        yield kernel


def only_outcome(kernel: Kernel, slack: Slack, name: str) -> str:
    """Return the outcome in the only alert about `name`. A later run's alert shows that no second one is on its way."""
    wait_for_alert(slack, name)
    later_name = next(NAMES)
    kernel.run(f"%%notify_on_finish {later_name}")
    wait_for_alert(slack, later_name)
    return alert_outcome(wait_for_alert(slack, name))


def test_finished_run(kernel: Kernel, slack: Slack, name: str) -> None:
    kernel.run(f"%%notify_on_finish {name}\n1 + 1")

    assert only_outcome(kernel, slack, name) == "finished"


def test_failed_run_names_error_and_place(kernel: Kernel, slack: Slack, name: str) -> None:
    result = kernel.run(
        f"%%notify_on_finish {name}\ndef load(path):\n    raise FileNotFoundError(path)\n\nload('data.csv')"
    )
    text = alert_text(wait_for_alert(slack, name))

    assert result.status == "error"
    assert only_outcome(kernel, slack, name) == "failed"
    assert "FileNotFoundError: data.csv" in text
    assert f"In [{result.execution_count}], line 5, in <module>" in text
    assert f"In [{result.execution_count}], line 3, in load\n    raise FileNotFoundError(path)" in text


@pytest.mark.parametrize(
    ("body", "error"), [("x = 1\nfor for for", "SyntaxError"), ("import sys\nsys.exit(3)", "SystemExit")]
)
def test_failure_without_exception_of_own_code(body: str, error: str, kernel: Kernel, slack: Slack, name: str) -> None:
    kernel.run(f"%%notify_on_finish {name}\n{body}")

    assert only_outcome(kernel, slack, name) == "failed"
    assert f"`{error}`" in wait_for_alert(slack, name)["text"]


# A long sleep in an await gets an interrupt only when something else wakes the loop, in any cell (ipykernel 7.4 with
# tornado 6.6, whose add_callback in a signal handler does not wake the loop).
AWAIT = "import asyncio\nprint('begun', flush=True)\nfor _ in range(1200):\n    await asyncio.sleep(0.05)"
INTERRUPTIBLE = {
    "sleep": LONG_RUNNING_CODE,
    "await": AWAIT,
    "await in a task": "async def f():\n    "
    + AWAIT.replace("\n", "\n    ")
    + "\n\nimport asyncio\nawait asyncio.create_task(f())",
    "loop": "print('begun', flush=True)\nwhile True:\n    pass",
    "another cell inside": f"get_ipython().run_cell({LONG_RUNNING_CODE!r}).raise_error()",
    "%%time beneath": f"%%time\n{LONG_RUNNING_CODE}",
    "%%capture beneath": f"%%capture captured\nimport os\nos.mkdir('begun')\n{ONE_MINUTE_SLEEP}",
}


@pytest.mark.parametrize("body", INTERRUPTIBLE.values(), ids=INTERRUPTIBLE)
def test_interrupted_run(body: str, kernel: Kernel, slack: Slack, name: str) -> None:
    cell = kernel.submit_cell(f"%%notify_on_finish {name}\n{body}")
    if "%%capture" in body:
        marker = kernel.world.home / "begun"
        kernel.receive_until(marker.exists, 10, "the start of the cell")
        marker.rmdir()
    else:
        cell.wait_for_output("begun")
    kernel.interrupt()
    cell.result()

    assert only_outcome(kernel, slack, name) == "interrupted"


def test_handled_interrupt_is_not_interrupted(kernel: Kernel, slack: Slack, name: str) -> None:
    body = f"try:\n{indent(LONG_RUNNING_CODE, '    ')}\nexcept KeyboardInterrupt:\n    print('saved')"
    cell = kernel.submit_cell(f"%%notify_on_finish {name}\n{body}")
    cell.wait_for_output("begun")
    kernel.interrupt()

    assert cell.result().status == "ok"
    assert only_outcome(kernel, slack, name) == "finished"


# When the kernel ends


@dataclass(frozen=True)
class KernelEnd:
    """A way for a kernel to end during a cell, and the cause in the alert.

    Parameters
    ----------
    number
        The signal sent to the kernel once the cell runs. None if the cell itself ends the kernel.
    """

    body: str
    why: str
    number: int | None = None


ENDS = {
    "SIGKILL": KernelEnd(LONG_RUNNING_CODE, "was killed by SIGKILL", signal.SIGKILL),
    "SIGKILL, a forked child holds the pipe": KernelEnd(
        CHILD + LONG_RUNNING_CODE, "was killed by SIGKILL", signal.SIGKILL
    ),
    "SIGKILL, a child forked in C holds the pipe": KernelEnd(
        C_CHILD + LONG_RUNNING_CODE, "was killed by SIGKILL", signal.SIGKILL
    ),
    "SIGKILL while it awaits": KernelEnd(AWAIT, "was killed by SIGKILL", signal.SIGKILL),
    "SIGKILL beneath %%time": KernelEnd(f"%%time\n{LONG_RUNNING_CODE}", "was killed by SIGKILL", signal.SIGKILL),
    "SIGTERM": KernelEnd(LONG_RUNNING_CODE, "was killed by SIGTERM", signal.SIGTERM),
    "os._exit": KernelEnd("import os\nos._exit(7)", "exited mid-run with code 7"),
    "segmentation fault": KernelEnd("import ctypes\nctypes.string_at(0)", "crashed with SIGSEGV"),
    "abort": KernelEnd("import os\nos.abort()", "crashed with SIGABRT"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_lost_run_is_reported_once_with_cause(end: KernelEnd, tmp_path: Path, name: str) -> None:
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        cell = kernel.submit_cell(f"%%notify_on_finish {name}\n{end.body}")
        if end.number:
            cell.wait_for_output("begun")
            kernel.kill(end.number)
        assert cell.result().status == "dead"
        alert = wait_for_alert(slack, name)
        world.wait_for_sidecars_to_exit()

        assert alert_outcome(alert) == "lost"
        assert end.why in alert["text"]
        assert len(slack.delivered) == 1


@pytest.mark.parametrize("child", ["", CHILD, C_CHILD], ids=["alone", "forked child", "child forked in C"])
def test_kill_is_reported_within_a_second(child: str, tmp_path: Path, name: str) -> None:
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        before = next(NAMES)
        kernel.run(f"%%notify_on_finish {before}\n1")
        wait_for_alert(slack, before)
        start_cell(kernel, name, child + LONG_RUNNING_CODE)
        killed = kernel.kill()
        wait_for_alert(slack, name)

        assert slack.delivered[1].at - killed < 1.0


def start_cell(kernel: Kernel, name: str, body: str) -> Cell:
    """Start a registered cell and wait until it runs."""
    cell = kernel.submit_cell(f"%%notify_on_finish {name}\n{body}")
    cell.wait_for_output("begun")
    return cell


IGNORES_INTERRUPTS = (
    "while True:\n    try:\n        print('begun', flush=True)\n        time.sleep(60)\n"
    "    except BaseException:\n        pass"
)


@pytest.mark.parametrize("body", [LONG_RUNNING_CODE, AWAIT, f"%%time\n{LONG_RUNNING_CODE}"])
def test_shutdown_during_cell_is_lost(body: str, tmp_path: Path, name: str) -> None:
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        start_cell(kernel, name, body)
        kernel.shut_down()
        alert = wait_for_alert(slack, name)
        world.wait_for_sidecars_to_exit()

        assert alert_outcome(alert) == "lost"
        assert "was shut down or restarted" in alert["text"]
        assert len(slack.delivered) == 1


def test_restart_during_cell_is_lost_and_next_run_is_reported(tmp_path: Path, name: str) -> None:
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        start_cell(kernel, name, LONG_RUNNING_CODE)
        kernel.restart()
        later_name = next(NAMES)
        kernel.run("%load_ext cwnotify")
        kernel.run(f"%%notify_on_finish {later_name}\n1")
        alert = wait_for_alert(slack, name)
        kernel.kill()
        world.wait_for_sidecars_to_exit()

        assert alert_outcome(alert) == "lost"
        assert "was shut down or restarted" in alert["text"]
        assert alert_outcome(wait_for_alert(slack, later_name)) == "finished"
        assert len(slack.delivered) == 2


def test_cell_that_ignores_interrupt_is_lost_when_jupyter_kills_it(tmp_path: Path, name: str) -> None:
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        start_cell(kernel, name, f"import time\n{IGNORES_INTERRUPTS}")
        kernel.shutdown_timeout = 0.3
        kernel.shut_down()
        alert = wait_for_alert(slack, name)
        world.wait_for_sidecars_to_exit()

        assert alert_outcome(alert) == "lost"
        assert len(slack.delivered) == 1


def test_kill_right_after_cell_keeps_outcome_of_cell(tmp_path: Path, name: str) -> None:
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        kernel.run(f"%%notify_on_finish {name}\n1 / 0")
        kernel.kill()
        world.wait_for_sidecars_to_exit()

        assert [alert_outcome(payload) for payload in slack.payloads] == ["failed"]


def test_kill_while_idle_reports_nothing(tmp_path: Path, name: str) -> None:
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        kernel.run(f"%%notify_on_finish {name}\n1")
        wait_for_alert(slack, name)
        kernel.run("'a cell that is not registered'")
        kernel.kill()
        world.wait_for_sidecars_to_exit()

        assert [alert_outcome(payload) for payload in slack.payloads] == ["finished"]


def test_interrupted_cell_that_continues_is_interrupted(tmp_path: Path, name: str) -> None:
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        cell = start_cell(kernel, name, LONG_RUNNING_CODE)
        kernel.interrupt()
        cell.result()
        wait_for_alert(slack, name)
        kernel.shut_down()
        world.wait_for_sidecars_to_exit()

        assert [alert_outcome(payload) for payload in slack.payloads] == ["interrupted"]


def test_nothing_runs_without_extension(tmp_path: Path) -> None:
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        loaded = kernel.run("%load_ext cwnotify")
        kernel.run("1 / 0")

        assert (loaded.status, loaded.outputs) == ("ok", ())
        assert world.sidecar_ids() == []
        assert delivered_alerts(slack, "") == slack.payloads == []
