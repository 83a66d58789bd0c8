"""Processes stop, go on, restart and fork; fifty of them share one outbox."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

from tests.e2e.faults.bench import Act, Count, Found, Stage, stage
from tests.e2e.faults.shells import Shells
from tests.support.kernel import Cell, World
from tests.support.slack import Slack
from tests.support.waiting import until

MANY = 50
# Longer than any pause after which somebody might take a stopped process for a dead one.
STOPPED = 4.0
FORKS = {
    "os.fork in the cell": "import os\npid = os.fork()\nif pid == 0:\n    os._exit(0)\nos.waitpid(pid, 0)",
    **{
        f"multiprocessing, {how}": (
            f"import multiprocessing\nwith multiprocessing.get_context({how!r}).Pool(2) as pool:\n"
            "    assert pool.map(abs, [-1, -2]) == [1, 2]"
        )
        for how in ("fork", "spawn", "forkserver")
    },
}


def begin(one: Stage, name: str, body: str, *words: str, on_disk: bool = True) -> Cell:
    """A cell that has begun and, if it can, stands on disk."""
    one.count.expect(name, *words)
    cell = one.kernel.start(f"%%notify_on_finish {name}\nprint('begun', flush=True)\n{body}")
    cell.prints("begun")
    if on_disk:
        until(lambda: name in [run.run.name for run in one.world.open_runs()], 20, "the run on disk")
    return cell


def die_together(one: Stage) -> None:
    """End the kernel and its sidecar, so that neither can tell of the other: as when the machine goes down."""
    sidecars = one.world.sidecars()
    for pid in sidecars:
        os.kill(pid, signal.SIGSTOP)
    one.kernel.kill()
    for pid in sidecars:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not one.world.processes(), 10, "the end of both")


def stopped(who: str, folder: Path) -> Found:
    """SIGSTOP, and SIGCONT after a while: nobody is taken for dead."""
    with stage(f"{who} stopped for {STOPPED:.0f} s", folder) as one:
        cell = begin(one, "stopped", "import time; time.sleep(1)", "finished")
        pids = [one.kernel.pid] if who == "kernel" else one.world.sidecars()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(STOPPED)
        if who == "sidecar":
            # The kernel must not wait for a sidecar that does not read.
            cell.result()
            one.runs()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        one.over()
        cell.result()
        if who == "kernel":
            one.runs()
        return one.settle()


def restarted(folder: Path) -> Found:
    """The kernel is restarted in the middle of a run, and is used again."""
    with stage("kernel restarted in mid-run", folder) as one:
        begin(one, "before", "import time; time.sleep(60)", "lost")
        one.kernel.restart()
        one.over()
        one.kernel.run("%load_ext cwnotify")
        one.runs()
        return one.settle()


def outlived(folder: Path) -> Found:
    """The kernel is killed while a child that it forked lives on with all its pipes."""
    with stage("a forked child outlives the kernel", folder) as one:
        one.kernel.run("import os, time\nif os.fork() == 0:\n    time.sleep(30)\n    os._exit(0)")
        begin(one, "parent", "import time; time.sleep(60)", "lost")
        one.kernel.kill()
        one.over()
        return one.settle(10)


def forked(name: str, body: str, folder: Path) -> Found:
    """The cell makes processes of its own: it alone is told, once."""
    with stage(name, folder) as one:
        for number in range(3):
            one.count.expect(f"forks{number}", "finished")
            assert one.kernel.run(f"%%notify_on_finish forks{number}\n{body}", 60).status == "ok"
        return one.settle()


def many(folder: Path) -> Found:
    """Fifty kernels on one outbox, each with three runs, all of them at once."""
    count = Count()
    with Slack() as slack, World(folder, slack.url) as world, Shells(world) as shells:
        crowd = [shells.start(f"m{number}", 0.1, cells=3, linger=2.0) for number in range(MANY)]
        for shell in crowd:
            for cell in ("", ".1", ".2"):
                count.expect(f"{shell.name}{cell}", "finished")
        for shell in crowd:
            shell.wait_for("z", 90)
        begun = time.monotonic()
        until(lambda: len(world.processes()) == 1, 90, "the end of all sidecars")
        return count.found(f"{MANY} kernels on one outbox", slack, recovered=time.monotonic() - begun)


FAULTS: dict[str, Act] = {
    "kernel stopped": partial(stopped, "kernel"),
    "sidecar stopped": partial(stopped, "sidecar"),
    "kernel restarted": restarted,
    "a forked child outlives the kernel": outlived,
    **{name: partial(forked, name, body) for name, body in FORKS.items()},
    "50 kernels": many,
}
