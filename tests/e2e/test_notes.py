"""`cwnotify.note`: what a training says of itself is in its alert, however it ends."""

from __future__ import annotations

import re
import sys
import threading
from itertools import count
from subprocess import CompletedProcess
from typing import Any

import pytest

from cwnotify.recording import as_shown
from tests.support.kernel import Kernel, World, alert, outcome, wording
from tests.support.slack import Slack


def ended(world: World, slack: Slack, body: str) -> tuple[CompletedProcess[str], dict[str, Any]]:
    """Run a program that registers `body`; gives what became of it, and its alert."""
    code = f"import os, cwnotify\nwith cwnotify.notify('train'):\n{body}"
    return world.command("python", "-c", code), alert(slack, "train", 20)


def run(world: World, slack: Slack, body: str) -> str:
    """As `ended`, but gives the alert's outcome and words."""
    done, payload = ended(world, slack, body)
    assert "Traceback" not in done.stderr or "ValueError" in done.stderr
    return f"{outcome(payload)}\n{wording(payload)}"


ENDINGS = {"finished": "pass", "failed": "raise ValueError", "lost": "os.kill(os.getpid(), 9)"}


@pytest.mark.parametrize(("word", "end"), ENDINGS.items(), ids=ENDINGS)
def test_the_newest_value_of_each_name_is_told_however_the_run_ends(word: str, end: str, world: World, slack: Slack):
    told = run(
        world, slack, f"    for epoch in range(3): cwnotify.note(epoch=epoch, loss=1 / (epoch + 7))\n    {end}"
    ).splitlines()

    assert told[0] == word
    assert "*epoch*\n2" in "\n".join(told)
    assert "*loss*\n0.111111" in "\n".join(told)


def test_a_lost_kernel_leaves_what_its_cell_noted(world: World, slack: Slack):
    with Kernel(world) as kernel:
        kernel.run("import cwnotify\n%load_ext cwnotify")
        note = "cwnotify.note({'epoch': 41}, val_acc=0.91)"
        kernel.start(f"%%notify_on_finish train\n{note}\nprint('noted')\nwhile True: pass").prints("noted")
        kernel.kill()
        payload = alert(slack, "train")

    assert outcome(payload) == "lost"
    assert "*val_acc*\n0.91" in wording(payload)


def test_a_million_notes_are_cheap_and_the_last_is_told(world: World, slack: Slack):
    body = (
        "    for step in range(200_000): cwnotify.note({f'loss of {step}': 1.0} if step % 50 else {}, step=step)\n"
        "    print(len(cwnotify.recording._under_way[-1]._notes.values))"
    )

    told = run(world, slack, body)

    assert told.startswith("finished")
    assert "step = 199999" in told
    assert "loss of 199999 = 1" in told
    assert "loss of 1 = 1" not in told


def test_what_cannot_be_shown_harms_nobody(world: World, slack: Slack):
    body = (
        "    class Bad:\n        def __str__(self): raise ValueError\n"
        "    cwnotify.note(bad=Bad(), good=1)\n    cwnotify.note(3)"
    )

    told = run(world, slack, body)

    assert told.startswith("finished")
    assert "*good*\n1" in told
    assert "ValueError" in told


def test_a_note_that_exits_or_blocks_ends_nothing_and_holds_nothing_up_twice(world: World, slack: Slack):
    body = (
        "    import time\n    class Exits:\n        def __str__(self): raise SystemExit\n"
        "    class Blocks:\n        def __str__(self): time.sleep(600)\n"
        "    cwnotify.note(good=1, exits=Exits(), blocks=Blocks())\n"
        "    begun = time.monotonic()\n    cwnotify.note(later=2)\n"
        "    print('in time' if time.monotonic() - begun < 1.5 else 'late')"
    )
    done, payload = ended(world, slack, body)

    assert (outcome(payload), done.stdout) == ("finished", "in time\n")
    assert re.findall(r"\*(\w+)\*\n(.+)", wording(payload))[:4] == [
        ("good", "1"),
        ("exits", "no value: `SystemExit`"),
        ("blocks", "no value: `TimeoutError`"),
        ("later", "no value: `TimeoutError`"),
    ]


def test_an_interrupt_goes_to_the_users_own_handler_while_values_are_taken(world: World, slack: Slack):
    body = (
        "    import signal\n    signal.signal(signal.SIGINT, lambda *_: print('saved'))\n"
        "    class Asked:\n        def __str__(self): signal.raise_signal(signal.SIGINT); return 'it'\n"
        "    cwnotify.note(asked=Asked())"
    )
    done, payload = ended(world, slack, body)

    assert (outcome(payload), done.stdout) == ("finished", "saved\nsaved\n")
    assert "*asked*\n`it`" in wording(payload)


def test_an_error_whose_text_blocks_is_told(world: World, slack: Slack):
    # Only while we ask: Python itself would wait for its text too.
    body = (
        "    import sys, time\n    class Blocks(Exception):\n        def __str__(self):\n"
        "            if sys._getframe(1).f_code.co_filename.endswith('failures.py'): time.sleep(600)\n"
        "            return 'slow'\n"
        "    raise Blocks"
    )
    _, payload = ended(world, slack, body)

    assert outcome(payload) == "failed"
    assert "its message cannot be shown" in wording(payload)


def test_a_tensor_of_one_number_is_shown_as_the_number(world: World, slack: Slack):
    told = run(world, slack, "    import numpy\n    cwnotify.note(a=numpy.float32(0.5), b=numpy.array(0.25))")

    assert "*a*\n0.5" in told
    assert "*b*\n0.25" in told


def test_what_looks_like_a_secret_is_taken_out_of_a_lost_runs_notes_too(world: World, slack: Slack):
    told = run(world, slack, "    cwnotify.note(url='https://me:hunter2hunter2@db')\n    os.kill(os.getpid(), 9)")

    assert told.startswith("lost")
    assert "hunter2" not in told


def test_without_a_run_it_does_nothing(world: World, slack: Slack):
    done = world.command("python", "-c", "import cwnotify; cwnotify.note(loss=1)")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not slack.payloads


def test_values_are_taken_while_another_thread_notes_more():
    noted: dict[str, object] = {f"kept {n}": n for n in range(50)}
    ended = threading.Event()

    def note_more() -> None:
        for n in count():
            if ended.is_set():
                return
            noted[f"new {n % 40}"] = n
            noted.pop(f"new {(n + 20) % 40}", None)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    other = threading.Thread(target=note_more)
    other.start()
    try:
        for _ in range(1000):
            assert len(as_shown(noted)) >= 50
    finally:
        ended.set()
        other.join()
        sys.setswitchinterval(usual)
