"""The sidecar under hostile conditions: it still reports, or an error message says why it cannot."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.kernel import ROOT, Kernel, World, alert_outcome, wait_for_alert
from tests.support.slack import Answer, Slack
from tests.support.waiting import until

SLEEPS = "import cwnotify, time\nwith cwnotify.notify('train'):\n    print('begun', flush=True)\n    time.sleep(60)"
NOTIFIES = "import cwnotify\nwith cwnotify.notify('train'):\n    pass"


# Signals


def start_run(world: World) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a program. Return it and its sidecars once its open run is in the outbox."""
    program = world.launch("python", "-c", SLEEPS)
    assert program.stdout
    assert program.stdout.readline() == "begun\n"
    until(world.open_runs, 20, "the run's beginning")
    return program, world.sidecar_ids()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, 3])
def test_signal_to_all_processes_is_reported(number: signal.Signals, times: int, world: World, slack: Slack) -> None:
    program, sidecars = start_run(world)
    for _ in range(times):
        for pid in sidecars:
            os.kill(pid, number)
        # Not with `program`, because that would reap its exit status.
        os.kill(program.pid, number)

    payload = wait_for_alert(slack, "train", 15)
    assert alert_outcome(payload) == "lost"
    assert f"killed by {number.name}" in payload["text"]
    until(lambda: not world.sidecar_ids(), 12, "the sidecar's end")


@dataclass(frozen=True)
class SlowExit:
    """What was observed while sidecars waited for a Slack that is down."""

    seconds: float
    stored_states: list[str]
    outcome: str


def end_during_outage(folder: Path) -> SlowExit:
    """End a program and its sidecars while Slack is down. Let Slack recover before another program starts."""
    with Slack() as slack, World(folder, slack.url) as world:
        slack.refuse_connections()
        program, sidecars = start_run(world)
        start = time.monotonic()
        for pid in (program.pid, *sidecars):
            os.kill(pid, signal.SIGTERM)
        until(lambda: not world.sidecar_ids(), 16, "the sidecar's end")
        seconds = time.monotonic() - start
        states = [message.state for message in world.outbox_messages()]
        slack.accept_connections()
        world.execute("python", "-c", NOTIFIES.replace("train", "next"))
        return SlowExit(seconds, states, alert_outcome(wait_for_alert(slack, "train", 20)))


def run_container_during_outage(folder: Path) -> float:
    """Run a program as the first process of a container while Slack is down. Return the seconds it took."""
    with Slack() as slack, World(folder, slack.url) as world:
        slack.refuse_connections()
        start = time.monotonic()
        world.execute(*CONTAINER, sys.executable, "-c", NOTIFIES)
        return time.monotonic() - start


@pytest.fixture(scope="module", autouse=True)
def outages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Future[SlowExit], Future[float]]]:
    """Start before this module's other tests and check after them, so that the waits of ten seconds overlap."""
    with ThreadPoolExecutor() as pool:
        exit = pool.submit(end_during_outage, tmp_path_factory.mktemp("exit"))
        yield exit, pool.submit(run_container_during_outage, tmp_path_factory.mktemp("container"))


def run_owners(world: World) -> set[str]:
    """Return the sidecars that own open runs."""
    with closing(sqlite3.connect(world.state_dir / "outbox.sqlite3")) as db:
        return {owner for (owner,) in db.execute("SELECT owner FROM runs")}


def test_signal_to_sidecar_only_starts_successor(world: World, slack: Slack) -> None:
    program, sidecars = start_run(world)
    before = run_owners(world)
    os.kill(sidecars[0], signal.SIGTERM)
    until(lambda: run_owners(world) - before, 30, "a new sidecar that watches the run")
    program.kill()

    assert alert_outcome(wait_for_alert(slack, "train", 20)) == "lost"


# Conditions that stop it

BLOCKER = """
import os, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == os.environ["BLOCKED"]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def without(module: str, world: World) -> dict[str, str]:
    """Return an environment in which Python cannot import `module`."""
    folder = world.home / "blocker"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return {"PYTHONPATH": str(folder), "BLOCKED": module}


def alert_warnings(stderr: str) -> list[str]:
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
    result = world.execute(*program, env=without(module, world))

    (line,) = alert_warnings(result.stderr)
    assert what in line
    assert (result.returncode, "Traceback" in result.stderr) == (0, False)


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
    result = world.execute("python", "-c", f"{setup}\n{NOTIFIES}\n{NOTIFIES}\nprint('unharmed')")

    (line,) = alert_warnings(result.stderr)
    assert what in line
    assert (result.returncode, result.stdout) == (0, "unharmed\n")


def test_notebook_prints_sidecar_failure_while_cell_runs(world: World) -> None:
    world.environ |= without("sqlite3", world)
    with Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify\nimport time")
        result = kernel.run("%%notify_on_finish long\ntime.sleep(8)\n42", 60)
        later = kernel.run("%%notify_on_finish again\n43", 60)

    assert (result.values, later.values) == (["42"], ["43"])
    assert len(alert_warnings(result.stderr + later.stderr)) == 1


def test_unwritable_state_directory_is_reported_and_alert_arrives(world: World, slack: Slack) -> None:
    result = world.execute("python", "-c", NOTIFIES, env={"CWNOTIFY_STATE_DIR": "/proc/nowhere"})

    assert "/proc/nowhere cannot be used" in result.stderr
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

    result = world.execute("python", "-c", NOTIFIES, env={"CWNOTIFY_STATE_DIR": str(state)})

    assert alert_outcome(wait_for_alert(slack, "train", 20)) == "finished"
    assert "set CWNOTIFY_STATE_DIR to a folder of your own; alerts are kept in memory" in result.stderr
    assert [list(home.iterdir()), home.stat().st_mode & 0o777] == [[], 0o755]
    assert planted == "link" or [path.name for path in state.iterdir()] == ["key"]


def test_repeatedly_killed_sidecars_are_reported_once(world: World, slack: Slack) -> None:
    program, _ = start_run(world)
    killed: set[int] = set()
    while len(killed) < 3:
        pid = until(lambda: set(world.sidecar_ids()) - killed, 20, "a sidecar").pop()
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    # The program keeps starting sidecars, and its alert is sent.
    until(lambda: set(world.sidecar_ids()) - killed, 20, "one more")
    program.send_signal(signal.SIGINT)
    _, stderr = program.communicate(timeout=30)

    assert alert_outcome(wait_for_alert(slack, "train", 20)) == "interrupted"
    assert len(alert_warnings(stderr)) == 1
    assert "it left no message; perhaps it was killed" in stderr


# Closed descriptors and patched threads


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_program_with_closed_streams_is_reported(closed: str, world: World, slack: Slack) -> None:
    script = world.home / "train.py"
    script.write_text(NOTIFIES)
    result = world.execute("bash", "-c", f"{sys.executable} {script} {closed}")

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
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
    result = world.execute("python", "-c", f"{first}\n{then}\n{COUNTS.format(green=GREEN[library])}", timeout=30)

    assert (result.returncode, result.stdout) == (0, "True\n"), result.stderr
    assert alert_outcome(wait_for_alert(slack, "train", 20)) == "finished"


def test_sidecar_killed_under_gevent_is_replaced(world: World, slack: Slack) -> None:
    program = world.launch("python", "-c", f"{PATCHES['gevent']}\n{SLEEPS}")
    until(world.open_runs, 20, "the run's beginning")
    before = run_owners(world)
    (first,) = world.sidecar_ids()
    os.kill(first, signal.SIGKILL)
    until(lambda: run_owners(world) - before, 20, "another sidecar that watches the run")
    program.kill()

    assert alert_outcome(wait_for_alert(slack, "train", 20)) == "lost"


# A container's first process

CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc"]
IS_ROOT = os.geteuid() == 0
CAN_USE_NAMESPACES = IS_ROOT and subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode == 0
needs_namespaces = pytest.mark.skipif(not CAN_USE_NAMESPACES, reason="needs a pid namespace")
SCRIPT = f"{NOTIFIES}\nprint('end')"
CONTAINER_PROGRAMS = {
    "a Python script": ["python", "train.py"],
    "an IPython script": ["python", "-m", "IPython", "train.py"],
    "an IPython script with magics": ["python", "-m", "IPython", "train.ipy"],
    "a command": ["cwnotify", "run", "--name", "train", "--", "echo", "end"],
    "a script below a shell": ["sh", "-c", "python train.py; true"],
    "a script below two": ["sh", "-c", "sh -c 'python train.py; true'; true"],
}


@needs_namespaces
@pytest.mark.parametrize("program", CONTAINER_PROGRAMS.values(), ids=CONTAINER_PROGRAMS)
def test_container_program_waits_for_delivery(program: list[str], world: World, slack: Slack) -> None:
    slack.answer = Answer(mode="drip", headers={f"X-Slow-{n}": "x" * 8 for n in range(4)})
    (world.home / "train.py").write_text(SCRIPT)
    (world.home / "train.ipy").write_text("%load_ext cwnotify\n%notify_on_finish print('end')\n")
    result = world.execute(*in_pid_namespace(program, world))

    assert "end" in result.stdout
    # The container's end killed every process in it, so nothing arrives later.
    assert [alert_outcome(payload) for payload in slack.wait_for(1, 0.5)] == ["finished"]


def in_pid_namespace(program: list[str], world: World) -> list[str]:
    """Return the command that runs `program` as the first process of a pid namespace, with the Python of the tests."""
    if program[0] == "cwnotify":
        program = [sys.executable, str(ROOT / "cwnotify" / "__main__.py"), *program[1:]]
    return [*CONTAINER, "env", f"PATH={Path(sys.executable).parent}:{world.environ['PATH']}", *program]


@needs_namespaces
def test_unwanted_alert_is_not_waited_for(world: World, slack: Slack) -> None:
    slack.refuse_connections()
    began = time.monotonic()
    world.execute(*CONTAINER, sys.executable, "-c", NOTIFIES.replace("'train'", "'train', min='1h'"))

    assert time.monotonic() - began < 8


# The waits that `outages` has started


def test_exit_waits_at_most_ten_seconds_for_slack(outages: tuple[Future[SlowExit], Future[float]]) -> None:
    exit = outages[0].result(60)

    assert exit.seconds > 8
    assert exit.stored_states == ["pending"]
    assert exit.outcome == "lost"


@needs_namespaces
def test_container_program_waits_ten_seconds_at_most(outages: tuple[Future[SlowExit], Future[float]]) -> None:
    assert 9 < outages[1].result(60) < 20
