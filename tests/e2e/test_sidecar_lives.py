"""The sidecar where it is hard to live: it reports all the same, or the screen says why it cannot."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.kernel import ROOT, Kernel, World, alert_outcome, wait_for_alert
from tests.support.slack import Answer, Slack
from tests.support.waiting import until

SLEEPS = "import cwnotify, time\nwith cwnotify.notify('train'):\n    print('begun', flush=True)\n    time.sleep(60)"
NOTIFIES = "import cwnotify\nwith cwnotify.notify('train'):\n    pass"


# Signals


def begun(world: World) -> tuple[subprocess.Popen[str], list[int]]:
    """A program in the middle of its run, and its sidecar, which knows of it."""
    running = world.launch("python", "-c", SLEEPS)
    assert running.stdout
    assert running.stdout.readline() == "begun\n"
    until(world.open_runs, 20, "the run's beginning")
    return running, world.sidecar_ids()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, 3])
def test_signal_to_all_processes_is_reported(number: signal.Signals, times: int, world: World, slack: Slack) -> None:
    running, sidecars = begun(world)
    for _ in range(times):
        for pid in sidecars:
            os.kill(pid, number)
        # Not by `running`, which would fetch how it ended.
        os.kill(running.pid, number)

    payload = wait_for_alert(slack, "train", 15)
    assert alert_outcome(payload) == "lost"
    assert f"killed by {number.name}" in payload["text"]
    until(lambda: not world.sidecar_ids(), 12, "the sidecar's end")


def test_exit_waits_at_most_ten_seconds_for_slack(world: World, slack: Slack) -> None:
    slack.refuse_connections()
    running, sidecars = begun(world)
    began = time.monotonic()
    for pid in (running.pid, *sidecars):
        os.kill(pid, signal.SIGTERM)
    until(lambda: not world.sidecar_ids(), 16, "the sidecar's end")

    assert time.monotonic() - began > 8
    assert [message.state for message in world.outbox_messages()] == ["pending"]
    slack.accept_connections()
    world.execute("python", "-c", NOTIFIES.replace("train", "next"))
    assert alert_outcome(wait_for_alert(slack, "train", 20)) == "lost"


def owners(world: World) -> set[str]:
    """The sidecars that watch over open runs."""
    with closing(sqlite3.connect(world.state_dir / "outbox.sqlite3")) as db:
        return {owner for (owner,) in db.execute("SELECT owner FROM runs")}


def test_signal_to_sidecar_only_starts_successor(world: World, slack: Slack) -> None:
    running, sidecars = begun(world)
    before = owners(world)
    os.kill(sidecars[0], signal.SIGTERM)
    until(lambda: owners(world) - before, 30, "a new sidecar that watches the run")
    running.kill()

    assert alert_outcome(wait_for_alert(slack, "train", 20)) == "lost"


# What keeps it from living

BLOCKER = """
import os, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == os.environ["BLOCKED"]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def without(module: str, world: World) -> dict[str, str]:
    """An environment in which Python has no such module."""
    folder = world.home / "blocker"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return {"PYTHONPATH": str(folder), "BLOCKED": module}


def complaints(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if "alerts" in line]


@pytest.mark.parametrize(
    ("module", "what"),
    [
        ("sqlite3", "No module named 'sqlite3'; run: cwnotify doctor"),
        ("logging", "No module named 'logging'; run: cwnotify doctor"),
        ("requests", "the package requests is missing; install it: "),
        ("urllib3", "the package urllib3 is missing; install it: "),
    ],
)
@pytest.mark.parametrize(
    "program", [["python", "-c", NOTIFIES], ["cwnotify", "run", "--", "true"]], ids=["notify", "run"]
)
def test_missing_module_is_named_once(module: str, what: str, program: Sequence[str], world: World) -> None:
    done = world.execute(*program, env=without(module, world))

    (line,) = complaints(done.stderr)
    assert what in line
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


def test_alert_unsent_without_module_is_sent_by_next_sidecar(world: World, slack: Slack) -> None:
    world.execute("python", "-c", NOTIFIES, env=without("requests", world))
    world.execute("python", "-c", NOTIFIES.replace("train", "next"))

    assert alert_outcome(wait_for_alert(slack, "train", 20)) == "finished"


@pytest.mark.parametrize(
    ("setup", "what"),
    [
        ("import os\nos.environ['PYTHONHOME'] = '/nonexistent'", "(PYTHONHOME is /nonexistent)"),
        ("import sys\nsys.executable = '/nonexistent/python'", "/nonexistent/python: not found"),
    ],
)
def test_python_that_does_not_start_is_reported_once(setup: str, what: str, world: World) -> None:
    done = world.execute("python", "-c", f"{setup}\n{NOTIFIES}\n{NOTIFIES}\nprint('unharmed')")

    (line,) = complaints(done.stderr)
    assert what in line
    assert (done.returncode, done.stdout) == (0, "unharmed\n")


def test_notebook_prints_sidecar_failure_while_cell_runs(world: World) -> None:
    world.environ |= without("sqlite3", world)
    with Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify\nimport time")
        result = kernel.run("%%notify_on_finish long\ntime.sleep(8)\n42", 60)
        later = kernel.run("%%notify_on_finish again\n43", 60)

    assert (result.values, later.values) == (["42"], ["43"])
    assert len(complaints(result.stderr + later.stderr)) == 1


def test_unwritable_state_directory_is_reported_and_alert_arrives(world: World, slack: Slack) -> None:
    done = world.execute("python", "-c", NOTIFIES, env={"CWNOTIFY_STATE_DIR": "/proc/nowhere"})

    assert "/proc/nowhere cannot be used" in done.stderr
    assert alert_outcome(wait_for_alert(slack, "train", 20)) == "finished"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
@pytest.mark.parametrize("planted", ["link", "key", "folder"])
def test_state_directory_of_other_user_is_untouched_and_alert_arrives(
    planted: str, world: World, slack: Slack, tmp_path: Path
) -> None:
    home, state = tmp_path / "mine", tmp_path / "shared" / "cwnotify"
    home.mkdir(mode=0o755)
    state.parent.mkdir()
    state.parent.chmod(0o1777)
    if planted == "link":
        state.symlink_to(home)
    else:
        state.mkdir()
        state.chmod(0o777)
        (state / "key").write_bytes(b"k" * 32)
    os.chown(state / "key" if planted == "key" else state, 65534, 65534, follow_symlinks=False)

    done = world.execute("python", "-c", NOTIFIES, env={"CWNOTIFY_STATE_DIR": str(state)})

    assert alert_outcome(wait_for_alert(slack, "train", 20)) == "finished"
    assert "set CWNOTIFY_STATE_DIR to a folder of your own; alerts are kept in memory" in done.stderr
    assert [list(home.iterdir()), home.stat().st_mode & 0o777] == [[], 0o755]
    assert planted == "link" or [path.name for path in state.iterdir()] == ["key"]


def test_repeatedly_killed_sidecars_are_reported_once(world: World, slack: Slack) -> None:
    running, _ = begun(world)
    killed: set[int] = set()
    while len(killed) < 3:
        pid = until(lambda: set(world.sidecar_ids()) - killed, 20, "a sidecar").pop()
        # The process that detaches a sidecar has the same command line, and is gone at once.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
    # It goes on trying, and what it has to tell is told.
    until(lambda: set(world.sidecar_ids()) - killed, 20, "one more")
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=30)

    assert alert_outcome(wait_for_alert(slack, "train", 20)) == "interrupted"
    assert len(complaints(stderr)) == 1
    assert "it left no message; perhaps it was killed" in stderr


# Closed descriptors and patched threads


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_program_with_closed_streams_is_reported(closed: str, world: World, slack: Slack) -> None:
    script = world.home / "train.py"
    script.write_text(NOTIFIES)
    done = world.execute("bash", "-c", f"{sys.executable} {script} {closed}")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert alert_outcome(wait_for_alert(slack, "train", 20)) == "finished"


PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()",
}
GREEN = {
    "gevent": "import gevent\nthread = gevent.spawn(count)\n",
    "eventlet": "thread = eventlet.spawn(count)\n",
}
COUNTS = """
import time
ticks = []
def count():
    while True:
        ticks.append(1)
        time.sleep(0.01)
{green}
with cwnotify.notify('train', show=lambda: dict(a=1)):
    cwnotify.note(epoch=1)
    time.sleep(0.5)
print(len(ticks) > 10)
"""


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("library", PATCHES)
def test_patched_threads_do_not_block(library: str, order: str, world: World, slack: Slack) -> None:
    first, then = (PATCHES[library], "import cwnotify")[:: 1 if order == "before" else -1]
    done = world.execute("python", "-c", f"{first}\n{then}\n{COUNTS.format(green=GREEN[library])}", timeout=30)

    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert alert_outcome(wait_for_alert(slack, "train", 20)) == "finished"


def test_sidecar_killed_under_gevent_is_replaced(world: World, slack: Slack) -> None:
    running = world.launch("python", "-c", f"{PATCHES['gevent']}\n{SLEEPS}")
    until(world.open_runs, 20, "the run's beginning")
    (first,) = world.sidecar_ids()
    os.kill(first, signal.SIGKILL)
    until(lambda: world.sidecar_ids() and first not in world.sidecar_ids(), 20, "another sidecar")
    running.kill()

    assert alert_outcome(wait_for_alert(slack, "train", 20)) == "lost"


# A container's first process

CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc"]
is_root = os.geteuid() == 0
can_contain = is_root and subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode == 0
in_container = pytest.mark.skipif(not can_contain, reason="needs a pid namespace")
SCRIPT = f"{NOTIFIES}\nprint('end')"
FIRST = {
    "a Python script": ["python", "train.py"],
    "an IPython script": ["python", "-m", "IPython", "train.py"],
    "an IPython script with magics": ["python", "-m", "IPython", "train.ipy"],
    "a command": ["cwnotify", "run", "--name", "train", "--", "echo", "end"],
    "a script below a shell": ["sh", "-c", "python train.py; true"],
    "a script below two": ["sh", "-c", "sh -c 'python train.py; true'; true"],
}


@in_container
@pytest.mark.parametrize("program", FIRST.values(), ids=FIRST)
def test_container_program_waits_for_delivery(program: list[str], world: World, slack: Slack) -> None:
    slack.answer = Answer(mode="drip", headers={f"X-Slow-{n}": "x" * 8 for n in range(4)})
    (world.home / "train.py").write_text(SCRIPT)
    (world.home / "train.ipy").write_text("%load_ext cwnotify\n%notify_on_finish print('end')\n")
    done = world.execute(*inside(program, world))

    assert "end" in done.stdout
    # Everything in it was killed as it ended: what has not come by now never comes.
    assert [alert_outcome(payload) for payload in slack.wait_for(1, 0.5)] == ["finished"]


def inside(program: list[str], world: World) -> list[str]:
    """`program` as the first process of its own pid namespace; its ``python`` is that of the tests."""
    if program[0] == "cwnotify":
        program = [sys.executable, str(ROOT / "cwnotify" / "__main__.py"), *program[1:]]
    return [*CONTAINER, "env", f"PATH={Path(sys.executable).parent}:{world.environ['PATH']}", *program]


@in_container
def test_container_program_waits_ten_seconds_at_most(world: World, slack: Slack) -> None:
    slack.refuse_connections()
    began = time.monotonic()
    world.execute(*CONTAINER, sys.executable, "-c", NOTIFIES)

    assert 9 < time.monotonic() - began < 20


@in_container
def test_unwanted_alert_is_not_waited_for(world: World, slack: Slack) -> None:
    slack.refuse_connections()
    began = time.monotonic()
    world.execute(*CONTAINER, sys.executable, "-c", NOTIFIES.replace("'train'", "'train', min='1h'"))

    assert time.monotonic() - began < 8
