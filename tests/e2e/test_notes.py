"""`cwnotify.note`: the alert has the noted values, however the run ends."""

from __future__ import annotations

import re
import sys
import threading
from itertools import count
from subprocess import CompletedProcess
from typing import Any

import pytest

from cwnotify.runs.recorder import build_shown_values
from tests.support.kernel import Kernel, World, alert_outcome, alert_text, wait_for_alert
from tests.support.slack import Slack


def run_program(world: World, slack: Slack, body: str) -> tuple[CompletedProcess[str], dict[str, Any]]:
    """Run a program whose run is `body`. Return the finished process and the alert."""
    code = f"import os, cwnotify\nwith cwnotify.notify('train'):\n{body}"
    return world.execute("python", "-c", code), wait_for_alert(slack, "train", 20)


def run_and_read_alert(world: World, slack: Slack, body: str) -> str:
    """Run `body` as `run_program` does. Return the alert's outcome and text."""
    process, payload = run_program(world, slack, body)
    assert "Traceback" not in process.stderr or "ValueError" in process.stderr
    return f"{alert_outcome(payload)}\n{alert_text(payload)}"


ENDINGS = {"finished": "pass", "failed": "raise ValueError", "lost": "os.kill(os.getpid(), 9)"}


@pytest.mark.parametrize(("outcome", "end"), ENDINGS.items(), ids=ENDINGS)
def test_newest_value_of_each_name_is_in_alert(outcome: str, end: str, world: World, slack: Slack) -> None:
    lines = run_and_read_alert(
        world, slack, f"    for epoch in range(3): cwnotify.note(epoch=epoch, loss=1 / (epoch + 7))\n    {end}"
    ).splitlines()

    assert lines[0] == outcome
    assert "*epoch*\n2" in "\n".join(lines)
    assert "*loss*\n0.111111" in "\n".join(lines)


def test_lost_kernel_leaves_notes(world: World, slack: Slack) -> None:
    with Kernel(world) as kernel:
        kernel.run("import cwnotify\n%load_ext cwnotify")
        note = "cwnotify.note({'epoch': 41}, val_acc=0.91)"
        kernel.submit_cell(f"%%notify_on_finish train\n{note}\nprint('noted')\nwhile True: pass").wait_for_output(
            "noted"
        )
        kernel.kill()
        payload = wait_for_alert(slack, "train")

    assert alert_outcome(payload) == "lost"
    assert "*val_acc*\n0.91" in alert_text(payload)


def test_million_notes_are_cheap_and_last_is_sent(world: World, slack: Slack) -> None:
    body = (
        "    for step in range(200_000): cwnotify.note({f'loss of {step}': 1.0} if step % 50 else {}, step=step)\n"
        "    print(len(cwnotify.runs.recorder._open_recordings[-1]._notes.values))"
    )

    text = run_and_read_alert(world, slack, body)

    assert text.startswith("finished")
    assert "step = 199999" in text
    assert "loss of 199999 = 1" in text
    assert "loss of 1 = 1" not in text


def test_value_without_text_form_harms_nothing(world: World, slack: Slack) -> None:
    body = (
        "    class Bad:\n        def __str__(self): raise ValueError\n"
        "    cwnotify.note(bad=Bad(), good=1)\n    cwnotify.note(3)"
    )

    text = run_and_read_alert(world, slack, body)

    assert text.startswith("finished")
    assert "*good*\n1" in text
    assert "ValueError" in text


def test_note_that_exits_or_blocks_ends_nothing(world: World, slack: Slack) -> None:
    body = (
        "    import time\n    class Exits:\n        def __str__(self): raise SystemExit\n"
        "    class Blocks:\n        def __str__(self): time.sleep(600)\n"
        "    cwnotify.note(good=1, exits=Exits(), blocks=Blocks())\n"
        "    begun = time.monotonic()\n    cwnotify.note(later=2)\n"
        "    print('in time' if time.monotonic() - begun < 1.5 else 'late')"
    )
    process, payload = run_program(world, slack, body)

    assert (alert_outcome(payload), process.stdout) == ("finished", "in time\n")
    assert re.findall(r"\*(\w+)\*\n(.+)", alert_text(payload))[:4] == [
        ("good", "1"),
        ("exits", "no value: `SystemExit`"),
        ("blocks", "no value: `TimeoutError`"),
        ("later", "no value: `TimeoutError`"),
    ]


def test_interrupt_during_note_reaches_user_handler(world: World, slack: Slack) -> None:
    body = (
        "    import signal\n    signal.signal(signal.SIGINT, lambda *_: print('saved'))\n"
        "    class Interrupts:\n        def __str__(self): signal.raise_signal(signal.SIGINT); return 'it'\n"
        "    cwnotify.note(value=Interrupts())"
    )
    process, payload = run_program(world, slack, body)

    assert (alert_outcome(payload), process.stdout) == ("finished", "saved\nsaved\n")
    assert "*value*\n`it`" in alert_text(payload)


def test_error_with_blocking_text_is_reported(world: World, slack: Slack) -> None:
    # The text blocks only inside cwnotify, because Python's own traceback would also wait for it.
    body = (
        "    import sys, time\n    class Blocks(Exception):\n        def __str__(self):\n"
        "            if sys._getframe(1).f_code.co_filename.endswith('exceptions.py'): time.sleep(600)\n"
        "            return 'slow'\n"
        "    raise Blocks"
    )
    _, payload = run_program(world, slack, body)

    assert alert_outcome(payload) == "failed"
    assert "its message cannot be shown" in alert_text(payload)


def test_tensor_with_one_number_is_shown_as_number(world: World, slack: Slack) -> None:
    text = run_and_read_alert(
        world, slack, "    import numpy\n    cwnotify.note(a=numpy.float32(0.5), b=numpy.array(0.25))"
    )

    assert "*a*\n0.5" in text
    assert "*b*\n0.25" in text


def test_secret_in_notes_of_lost_run_is_redacted(world: World, slack: Slack) -> None:
    text = run_and_read_alert(
        world, slack, "    cwnotify.note(url='https://me:hunter2hunter2@db')\n    os.kill(os.getpid(), 9)"
    )

    assert text.startswith("lost")
    assert "hunter2" not in text


def test_note_without_run_does_nothing(world: World, slack: Slack) -> None:
    process = world.execute("python", "-c", "import cwnotify; cwnotify.note(loss=1)")

    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    assert not slack.payloads


def test_values_are_read_while_other_thread_notes() -> None:
    noted: dict[str, object] = {f"constant {n}": n for n in range(50)}
    is_over = threading.Event()

    def note_more() -> None:
        for n in count():
            if is_over.is_set():
                return
            noted[f"new {n % 40}"] = n
            noted.pop(f"new {(n + 20) % 40}", None)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    other = threading.Thread(target=note_more)
    other.start()
    try:
        for _ in range(1000):
            assert len(build_shown_values(noted)) >= 50
    finally:
        is_over.set()
        other.join()
        sys.setswitchinterval(usual)


# Notes of child processes

CHILDREN = {
    "multiprocessing, fork": (
        "import multiprocessing as mp\nimport cwnotify\ndef work(n): cwnotify.note(mark=n)\n"
        "if __name__ == '__main__':\n"
        "    with cwnotify.notify('train'):\n"
        "        one = mp.get_context('fork').Process(target=work, args=(7,)); one.start(); one.join()"
    ),
    "multiprocessing, spawn": (
        "import cwnotify\ndef work(n): cwnotify.note(mark=n)\nif __name__ == '__main__':\n"
        "    with cwnotify.notify('train'):\n        import multiprocessing as mp\n"
        "        one = mp.get_context('spawn').Process(target=work, args=(7,)); one.start(); one.join()"
    ),
    "multiprocessing, forkserver": (
        "import multiprocessing as mp\nimport cwnotify\ndef work(n): cwnotify.note(mark=n)\n"
        "if __name__ == '__main__':\n"
        "    with cwnotify.notify('train'), mp.get_context('forkserver').Pool(1) as pool:\n        pool.map(work, [7])"
    ),
    "a pool that existed before the run": (
        "import concurrent.futures as cf, multiprocessing as mp\nimport cwnotify\n"
        "def work(n): cwnotify.note(mark=n)\nif __name__ == '__main__':\n"
        "    with cf.ProcessPoolExecutor(1, mp.get_context('fork')) as pool:\n        pool.submit(abs, 1).result()\n"
        "        with cwnotify.notify('train'): pool.submit(work, 7).result()"
    ),
    "os.fork": (
        "import os, cwnotify\nwith cwnotify.notify('train'):\n    if os.fork() == 0:\n"
        "        cwnotify.note(mark=7)\n        os._exit(0)\n    os.wait()"
    ),
    "a program of its own": (
        "import subprocess, sys, cwnotify\nwith cwnotify.notify('train'):\n"
        "    subprocess.run(['/bin/sh', '-c', f'{sys.executable} -c \"import cwnotify; cwnotify.note(mark=7)\"; true'])"
    ),
    "a thousand notes, only the last counts": (
        "import multiprocessing as mp\nimport cwnotify\n"
        "def work(n):\n    for k in range(1000): cwnotify.note(mark=k - 992)\nif __name__ == '__main__':\n"
        "    with cwnotify.notify('train'), mp.get_context('fork').Pool(1) as pool:\n"
        "        pool.map(work, [7]); pool.close(); pool.join()"
    ),
    "rank 0 of two, which are forked": (
        "import os, multiprocessing as mp\nimport cwnotify\n"
        "def work(n):\n    os.environ |= dict(RANK=str(n), WORLD_SIZE='2')\n    cwnotify.note(mark=n + 7)\n"
        "if __name__ == '__main__':\n    with cwnotify.notify('train'):\n        for n in (0, 1):\n"
        "            one = mp.get_context('fork').Process(target=work, args=(n,)); one.start(); one.join()"
    ),
    "killed in the middle": (
        "import os, signal, time, multiprocessing as mp\nimport cwnotify\n"
        "def work(n): cwnotify.note(mark=n)\nif __name__ == '__main__':\n"
        "    with cwnotify.notify('train'):\n"
        "        one = mp.get_context('fork').Process(target=work, args=(7,)); one.start(); one.join()\n"
        "        time.sleep(1)\n        os.kill(os.getpid(), 9)"
    ),
}


@pytest.mark.parametrize("code", CHILDREN.values(), ids=CHILDREN)
def test_note_of_child_process_is_in_parent_alert(code: str, world: World, slack: Slack) -> None:
    script = world.home / "train.py"
    script.write_text(code)
    process = world.execute("python", script)

    assert "*mark*\n7\n" in f"{alert_text(wait_for_alert(slack, 'train', 20))}\n"
    assert "cwnotify" not in process.stderr


def test_note_of_wrapped_command_is_in_alert(world: World, slack: Slack) -> None:
    code = "import cwnotify; cwnotify.note(mark=7)"
    world.execute("cwnotify", "run", "--name", "train", "--", sys.executable, "-c", code)

    assert "*mark*\n7" in alert_text(wait_for_alert(slack, "train", 20))


def test_notes_of_kernel_children_reach_cell(world: World, slack: Slack) -> None:
    with Kernel(world) as kernel:
        kernel.run("import cwnotify, multiprocessing\n%load_ext cwnotify\nfork = multiprocessing.get_context('fork')")
        kernel.run("def work(n): cwnotify.note(mark=n)")
        kernel.run(
            "%%notify_on_finish train\ncwnotify.note(own=1)\n"
            "one = fork.Process(target=work, args=(7,)); one.start(); one.join()\n"
            "!python -c 'pass'"
        )
        text = alert_text(wait_for_alert(slack, "train"))

    assert "*mark*\n7" in text
    assert "*own*\n1" in text


def test_note_reaches_run_of_its_thread(world: World, slack: Slack) -> None:
    code = (
        "import threading, cwnotify\nbarrier = threading.Barrier(2)\n"
        "def work(name):\n    with cwnotify.notify(name):\n"
        "        barrier.wait(); cwnotify.note(mark=name); barrier.wait()\n"
        "both = [threading.Thread(target=work, args=(name,)) for name in 'ab']\n"
        "for one in both: one.start()\nfor one in both: one.join()"
    )
    world.execute("python", "-c", code)

    for name in "ab":
        assert f"*mark*\n`{name}`" in alert_text(wait_for_alert(slack, name))


# A closed socket still accepts notes for some seconds, while the receiving thread waits on it.
CLOSED = (
    "import os, time, cwnotify\nwith cwnotify.notify('train'):\n    os.closerange(3, 4096)\n"
    "    end = time.monotonic() + 20\n"
    "    while f'/{os.getpid()}/' in open('/proc/net/unix').read() and time.monotonic() < end:\n"
    "        time.sleep(0.05)\n"
    "    if os.fork() == 0:\n"
    "        cwnotify.note(mark=7)\n        os._exit(0)\n    os.wait()"
)


def test_child_whose_notes_cannot_arrive_prints_warning(world: World, slack: Slack) -> None:
    process = world.execute("python", "-c", CLOSED)

    assert alert_outcome(wait_for_alert(slack, "train")) == "finished"
    assert process.stderr.count("values noted in a child process do not reach the alert about train") == 1
