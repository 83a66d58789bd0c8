"""A run that waits for input is reported at once and only once, and so is its end. Real kernels, real terminals."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from cwnotify.alerts.messages.block_kit import COLOR_WARNING
from tests.slack_rules import assert_valid_payload
from tests.support.kernel import Kernel, World
from tests.support.slack import Payload, Slack
from tests.support.waiting import until

NAMES = (f"run{number}" for number in count(1))


@pytest.fixture(scope="module")
def slack() -> Iterator[Slack]:
    with Slack() as slack:
        yield slack


@pytest.fixture(scope="module")
def kernel(slack: Slack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with World(tmp_path_factory.mktemp("world"), slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        yield kernel


def wait_for_messages(slack: Slack, name: str, number: int) -> list[Payload]:
    """Wait for `number` messages about `name`, and return all messages about it."""

    def messages() -> list[Payload]:
        return [payload for payload in slack.payloads if f"*{name}*" in payload["text"]]

    until(lambda: len(messages()) >= number, 10, f"{number} messages about {name}")
    return messages()


DEBUGGER, INPUT = "is waiting for you in the debugger (in the notebook)", "is waiting for your input (in the notebook)"


@pytest.mark.parametrize(
    ("body", "typed", "says", "end"),
    [
        ("input('Go on? ')", "y", INPUT, "finished"),
        ("for _ in range(3):\n    input()", "y", INPUT, "finished"),
        ("import getpass\ngetpass.getpass()", "y", INPUT, "finished"),
        ("import asyncio\nawait asyncio.to_thread(input)", "y", INPUT, "finished"),
        ("import threading\nt = threading.Thread(target=input)\nt.start(); t.join()", "y", INPUT, "finished"),
        ("import pdb\npdb.set_trace()\nx = 1", "c", DEBUGGER, "finished"),
        ("import pdb\npdb.set_trace()\nx = 1", "q", DEBUGGER, "interrupted"),
        ("%pdb on\n1 / 0", "q", DEBUGGER, "failed"),
        ("%pdb off\n1", "", "", "finished"),
        ("try:\n    1 / 0\nexcept Exception:\n    import pdb\n    pdb.post_mortem()", "q", DEBUGGER, "finished"),
        ("%debug x = 1", "c", DEBUGGER, "finished"),
    ],
)
def test_waiting_cell_is_reported_once(
    body: str, typed: str, says: str, end: str, kernel: Kernel, slack: Slack
) -> None:
    name = next(NAMES)
    cell = kernel.submit_cell(
        f"%%notify_on_finish {name} --on {'error' if end == 'failed' else 'always'}\n{body}", typed
    )
    if says:
        # `result` types the answer, because only then the kernel's requests are received.
        (waiting,) = wait_for_messages(slack, name, 1)
        assert says in waiting["text"]
        assert waiting["attachments"][0]["color"] == COLOR_WARNING
        assert_valid_payload(waiting)
    cell.result()
    messages = wait_for_messages(slack, name, 2 if says else 1)

    assert len(messages) == (2 if says else 1)
    assert end in messages[-1]["text"]


def test_front_end_debugger_breakpoint_is_reported(kernel: Kernel, slack: Slack) -> None:
    """JupyterLab's debugger sends the same debug adapter messages."""
    name = next(NAMES)
    with kernel.debugger() as debug:
        debug("initialize", clientID="test", adapterID="", pathFormat="path")
        debug("attach")
        debug("configurationDone")
        cell = kernel.submit_cell(f"%%notify_on_finish {name}\nbreakpoint()\nx = 1")
        (waiting,) = wait_for_messages(slack, name, 1)
        debug("continue", threadId=debug("threads")["body"]["threads"][0]["id"])
        cell.result()
        debug("disconnect", restart=False, terminateDebuggee=False)
    messages = wait_for_messages(slack, name, 2)

    assert DEBUGGER in waiting["text"]
    assert ("finished" in messages[1]["text"], len(messages)) == (True, 2)


def test_nothing_waits_without_input_channel(kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    kernel.run(f"%%notify_on_finish {name}\ninput()")

    (message,) = wait_for_messages(slack, name, 1)
    assert "`StdinNotImplementedError`" in message["text"]


def test_wait_in_short_run_is_reported_after_min(kernel: Kernel, slack: Slack) -> None:
    quick, slow = next(NAMES), next(NAMES)
    kernel.submit_cell(f"%%notify_on_finish {quick} --min 1h\ninput()", "y").result()
    begun = time.monotonic()
    cell = kernel.submit_cell(f"%%notify_on_finish {slow} --min 2s\ninput()", "y")
    (waiting,) = wait_for_messages(slack, slow, 1)
    seconds = time.monotonic() - begun
    cell.result()

    assert INPUT in waiting["text"]
    assert seconds > 1.5
    assert "finished" in wait_for_messages(slack, slow, 2)[1]["text"]
    assert not [payload for payload in slack.payloads if f"*{quick}*" in payload["text"]]
    until(lambda: not kernel.world.outbox_messages("pending"), 5, "an outbox without the unwanted message")


def test_unregistered_cell_may_wait(kernel: Kernel, slack: Slack) -> None:
    before = len(slack.payloads)
    kernel.submit_cell("input()", "y").result()
    name = next(NAMES)
    kernel.run(f"%%notify_on_finish {name}")
    wait_for_messages(slack, name, 1)

    assert len(slack.payloads) == before + 1


def test_unsent_wait_is_dropped_when_run_ends(tmp_path: Path) -> None:
    name = next(NAMES)
    with Slack() as own, World(tmp_path, own.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        own.refuse_connections()
        cell = kernel.submit_cell(f"%%notify_on_finish {name}\ninput()", "y")
        until(lambda: world.outbox_messages("pending"), 10, "the message about the wait")
        cell.result()
        until(
            lambda: [message.id for message in world.outbox_messages("pending") if "waits" not in message.id],
            10,
            "the end",
        )
        until(
            lambda: not [message for message in world.outbox_messages("pending") if "waits" in message.id],
            30,
            "no wait",
        )


SCRIPT = """
import builtins, getpass, sys
import cwnotify
before = builtins.input, getpass._raw_input
with cwnotify.notify("{name}"):
    {body}
assert (builtins.input, getpass._raw_input) == before
"""


def run_at_terminal(world: World, program: list[str], answers: list[tuple[str, str]], seconds: float = 30.0) -> str:
    """Run a program at its own terminal and return its output. Type each answer once its prompt appears."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(world.home)
        os.execve(program[0], program, world.environ | {"TERM": "dumb"})
    output, deadline = "", time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    output += os.read(terminal, 4096).decode("utf-8", "replace")
                except OSError:
                    break
            if answers and answers[0][0] in output:
                os.write(terminal, answers.pop(0)[1].encode())
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(pid, 0)
    return output


@pytest.mark.parametrize(
    ("body", "prompt", "typed", "says"),
    [
        ("input('Go on? ')", "Go on?", "y\n", "is waiting for your input (in its terminal)"),
        ("getpass.getpass('Word: ')", "Word:", "y\n", "is waiting for your input (in its terminal)"),
        ("breakpoint(); x = 1", "(Pdb)", "c\n", "is waiting for you in the debugger (in its terminal)"),
    ],
)
def test_program_at_terminal_is_reported(
    body: str, prompt: str, typed: str, says: str, tmp_path: Path, slack: Slack
) -> None:
    name = next(NAMES)
    with World(tmp_path, slack.url) as world:
        script = tmp_path / "train.py"
        script.write_text(SCRIPT.format(name=name, body=body))
        output = run_at_terminal(world, [sys.executable, str(script)], [(prompt, typed)])
        messages = wait_for_messages(slack, name, 2)

    assert "Error" not in output
    assert [says in messages[0]["text"], "finished" in messages[1]["text"]] == [True, True]


def test_program_without_terminal_waits_for_nothing(tmp_path: Path, slack: Slack) -> None:
    name = next(NAMES)
    with World(tmp_path, slack.url) as world:
        result = world.execute("python", "-c", SCRIPT.format(name=name, body="input()"), input="y\n")
        messages = wait_for_messages(slack, name, 1)

    assert result.returncode == 0, result.stderr
    assert len(messages) == 1
    assert "finished" in messages[0]["text"]
