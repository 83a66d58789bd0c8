"""Processes stop, go on, restart and fork; fifty of them share one outbox."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

from tests.e2e.faults.bench import AlertExpectations, FaultResult, FaultRunner, FaultScenario, open_scenario
from tests.e2e.faults.shells import ShellForker
from tests.support.kernel import Cell, World
from tests.support.slack import Slack
from tests.support.waiting import until

KERNEL_COUNT = 50
# Longer than any pause after which somebody might take a stopped process for a dead one.
STOP_SECONDS = 4.0
FORK_CELLS = {
    "os.fork in the cell": "import os\npid = os.fork()\nif pid == 0:\n    os._exit(0)\nos.waitpid(pid, 0)",
    **{
        f"multiprocessing, {how}": (
            f"import multiprocessing\nwith multiprocessing.get_context({how!r}).Pool(2) as pool:\n"
            "    assert pool.map(abs, [-1, -2]) == [1, 2]"
        )
        for how in ("fork", "spawn", "forkserver")
    },
}


def begin_run_cell(one: FaultScenario, name: str, body: str, *words: str, on_disk: bool = True) -> Cell:
    """A cell that has begun and, if it can, stands on disk."""
    one.expectations.expect(name, *words)
    cell = one.kernel.submit_cell(f"%%notify_on_finish {name}\nprint('begun', flush=True)\n{body}")
    cell.wait_for_output("begun")
    if on_disk:
        until(lambda: name in [run.run.name for run in one.world.open_runs()], 20, "the run on disk")
    return cell


def kill_kernel_and_sidecar(one: FaultScenario) -> None:
    """End the kernel and its sidecar, so that neither can tell of the other: as when the machine goes down."""
    sidecars = one.world.sidecar_ids()
    for pid in sidecars:
        os.kill(pid, signal.SIGSTOP)
    one.kernel.kill()
    for pid in sidecars:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not one.world.process_ids(), 10, "the end of both")


def stopped_process(who: str, folder: Path) -> FaultResult:
    """SIGSTOP, and SIGCONT after a while: nobody is taken for dead."""
    with open_scenario(f"{who} stopped for {STOP_SECONDS:.0f} s", folder) as one:
        cell = begin_run_cell(one, "stopped", "import time; time.sleep(1)", "finished")
        pids = [one.kernel.pid] if who == "kernel" else one.world.sidecar_ids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(STOP_SECONDS)
        if who == "sidecar":
            # The kernel must not wait for a sidecar that does not read.
            cell.result()
            one.run_cells()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        one.end_fault()
        cell.result()
        if who == "kernel":
            one.run_cells()
        return one.finish()


def kernel_restart(folder: Path) -> FaultResult:
    """The kernel is restarted in the middle of a run, and is used again."""
    with open_scenario("kernel restarted in mid-run", folder) as one:
        begin_run_cell(one, "before", "import time; time.sleep(60)", "lost")
        one.kernel.restart()
        one.end_fault()
        one.kernel.run("%load_ext cwnotify")
        one.run_cells()
        return one.finish()


def child_outlives_kernel(folder: Path) -> FaultResult:
    """The kernel is killed while a child that it forked lives on with all its pipes."""
    with open_scenario("a forked child outlives the kernel", folder) as one:
        one.kernel.run("import os, time\nif os.fork() == 0:\n    time.sleep(30)\n    os._exit(0)")
        begin_run_cell(one, "parent", "import time; time.sleep(60)", "lost")
        one.kernel.kill()
        one.end_fault()
        return one.finish(10)


def fork_in_cell(name: str, body: str, folder: Path) -> FaultResult:
    """The cell makes processes of its own: it alone is told, once."""
    with open_scenario(name, folder) as one:
        for number in range(3):
            one.expectations.expect(f"forks{number}", "finished")
            assert one.kernel.run(f"%%notify_on_finish forks{number}\n{body}", 60).status == "ok"
        return one.finish()


def many_kernels(folder: Path) -> FaultResult:
    """Fifty kernels on one outbox, each with three runs, all of them at once."""
    count = AlertExpectations()
    with Slack() as slack, World(folder, slack.url) as world, ShellForker(world) as shells:
        crowd = [shells.start(f"m{number}", 0.1, cells=3, linger=2.0) for number in range(KERNEL_COUNT)]
        for shell in crowd:
            for cell in ("", ".1", ".2"):
                count.expect(f"{shell.name}{cell}", "finished")
        for shell in crowd:
            shell.wait_for("z", 90)
        begun = time.monotonic()
        until(lambda: len(world.process_ids()) == 1, 90, "the end of all sidecars")
        return count.to_result(f"{KERNEL_COUNT} kernels on one outbox", slack, recovered=time.monotonic() - begun)


FAULTS: dict[str, FaultRunner] = {
    "kernel stopped": partial(stopped_process, "kernel"),
    "sidecar stopped": partial(stopped_process, "sidecar"),
    "kernel restarted": kernel_restart,
    "a forked child outlives the kernel": child_outlives_kernel,
    **{name: partial(fork_in_cell, name, body) for name, body in FORK_CELLS.items()},
    "50 kernels": many_kernels,
}
