"""The alert about a finished cell names the first shell command that failed. Real kernels, real commands."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from cwnotify.alerts.messages.block_kit import COLOR_GOOD, COLOR_WARNING
from tests.support.kernel import Kernel, World, alert_outcome, alert_text, wait_for_alert
from tests.support.slack import Slack

NAMES = (f"run{number}" for number in count(1))
PYTHON = "!python -c 'import time; print(\"begun\", flush=True); time.sleep(60)'"


@pytest.fixture(scope="module")
def slack() -> Iterator[Slack]:
    with Slack() as slack:
        yield slack


@pytest.fixture(scope="module")
def kernel(slack: Slack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with World(tmp_path_factory.mktemp("world"), slack.url) as world, Kernel(world) as kernel:
        (world.home / "train.py").write_text("import sys\nsys.exit(1)\n")
        kernel.run("%load_ext cwnotify")
        kernel.run("def train(n):\n    !exit {n}")
        yield kernel


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("!python train.py", "`!python train.py` exited with code 1"),
        ("!true\n!exit 4\n!exit 5\n!true", "`!exit 4` exited with code 4"),
        ("!kill -9 $$", "`!kill -9 $$` was killed by SIGKILL"),
        ("!sh -c 'kill -TERM $$'; exit $?", "was killed by SIGTERM"),
        ("!no-such-program", "`!no-such-program` exited with code 127"),
        ("x = !exit 6", "`!exit 6` exited with code 6"),
        ("%sx exit 6", "`!exit 6` exited with code 6"),
        ("%system exit 6", "`!exit 6` exited with code 6"),
        ("!!exit 6", "`!exit 6` exited with code 6"),
        ("%%!\nexit 6", "`!exit 6` exited with code 6"),
        ("x = !kill -9 $$", "`!kill -9 $$` was killed by SIGKILL"),
        ("get_ipython().system('exit 8')", "`!exit 8` exited with code 8"),
        ("get_ipython().getoutput('exit 8')", "`!exit 8` exited with code 8"),
        ("for n in (0, 3):\n    !exit {n}", "`!exit {n}` exited with code 3"),
        ("train(5)", "`!exit {n}` exited with code 5"),
        ("%%time\n!exit 1", "`!exit 1` exited with code 1"),
        ("%%capture\n!exit 1", "`!exit 1` exited with code 1"),
        ("%time !exit 1", "`!exit 1` exited with code 1"),
        ("if True:\n    !exit 1\n    x = 1", "`!exit 1` exited with code 1"),
        ("%notify_on_finish --min 1h !exit 1", "`!exit 1` exited with code 1"),
        ("%ls /no/such/folder", "exited with code 2"),
        ("!exit 2; echo `*<!channel>*`", "exited with code 2"),
    ],
)
def test_first_failed_command_is_in_first_line(body: str, expected: str, kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    result = kernel.run(f"%%notify_on_finish {name}\n{body}")
    alert = wait_for_alert(slack, name)

    assert result.status == "ok"
    assert alert_outcome(alert) == "finished"
    assert expected in alert["text"]
    assert alert["attachments"][0]["color"] == COLOR_WARNING


@pytest.mark.parametrize(
    "body",
    [
        "print(_exit_code)",
        "!true",
        "x = !echo 1",
        "get_ipython().run_cell('!exit 1')",
        "import subprocess\nsubprocess.run(['false'])",
    ],
)
def test_command_of_other_cell_is_not_named(body: str, kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    kernel.run("!exit 9")
    kernel.run(f"%%notify_on_finish {name}\n{body}")
    alert = wait_for_alert(slack, name)

    assert "exited" not in alert["text"]
    assert alert["attachments"][0]["color"] == COLOR_GOOD


def test_python_values_in_command_are_not_sent(kernel: Kernel, slack: Slack) -> None:
    first, second = next(NAMES), next(NAMES)
    kernel.run("word = 'hunter' + str(2)")
    kernel.run(f"%%notify_on_finish {first}\n!echo {{word}}; exit 2")
    kernel.run(f"%%notify_on_finish {second}\nget_ipython().system(f'WORD={{word}} sh -c \"exit 2\"')")

    assert "`!echo {word}; exit 2`" in wait_for_alert(slack, first)["text"]
    assert "`!sh …`" in wait_for_alert(slack, second)["text"]
    assert "hunter2" not in alert_text(wait_for_alert(slack, first)) + alert_text(wait_for_alert(slack, second))


def test_error_after_command_is_outcome(kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    kernel.run(f"%%notify_on_finish {name}\n!python train.py\nopen('no such model')")

    assert alert_outcome(wait_for_alert(slack, name)) == "failed"
    assert "`FileNotFoundError`" in wait_for_alert(slack, name)["text"]


@pytest.mark.parametrize("body", [PYTHON, f"x = {PYTHON}"])
def test_interrupted_command_is_interrupted(body: str, kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    prefix = "print('begun', flush=True)\n" if body.startswith("x") else ""
    cell = kernel.submit_cell(f"%%notify_on_finish {name}\n{prefix}{body}\nprint('after')")
    cell.wait_for_output("begun")
    if prefix:
        # The command itself prints into a variable.
        kernel.receive_until(lambda: kernel.world.process_ids("time.sleep(60)"), 10, "the command")
    kernel.interrupt()

    assert "after" in cell.result().stdout
    assert alert_outcome(wait_for_alert(slack, name)) == "interrupted"


@pytest.mark.parametrize("on", ["error", "finish", "always"])
def test_failed_command_matches_both_on_choices(on: str, kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    kernel.run(f"%%notify_on_finish {name} --on {on}\n!python train.py")

    assert alert_outcome(wait_for_alert(slack, name)) == "finished"


def test_command_in_terminal_ipython_is_reported(tmp_path: Path, slack: Slack) -> None:
    """IPython in a terminal runs commands in another way and expands the names of the caller's frame."""
    with World(tmp_path, slack.url) as world:
        names = [next(NAMES) for _ in range(4)]
        cells = [
            f"%%notify_on_finish {names[0]}\n!exit 3",
            "def f(n):\n    !echo [{n}] $n; exit {n}\n",
            f"%%notify_on_finish {names[1]}\nf(4)",
            f"%%notify_on_finish {names[2]}\nx = !exit 5",
            f"%%notify_on_finish {names[3]}\nprint(_exit_code)",
        ]
        script = (
            "from IPython.terminal.interactiveshell import TerminalInteractiveShell as T\n"
            "from traitlets.config import Config\n"
            "shell = T.instance(config=Config({'HistoryManager': {'enabled': False}}))\n"
            "shell.run_line_magic('load_ext', 'cwnotify')\n"
            f"for cell in {cells!r}:\n    shell.run_cell(cell, store_history=True)\n"
        )
        result = world.execute("python", "-c", script)
        texts = [wait_for_alert(slack, name)["text"] for name in names]

    assert "[4] 4" in result.stdout
    assert "`!exit 3` exited with code 3" in texts[0]
    assert "exited with code 4" in texts[1]
    assert "`!exit 5` exited with code 5" in texts[2]
    assert "exited" not in texts[3]
