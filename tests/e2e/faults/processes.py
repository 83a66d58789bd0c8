"""Processes that stop, continue, restart and fork, and fifty kernels on one outbox."""

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
# Longer than any timeout after which a stopped process could count as dead.
STOP_SECONDS = 4.0
FORK_CELLS = {
    "os.fork in the cell": "import os\npid = os.fork()\nif pid == 0:\n    os._exit(0)\nos.waitpid(pid, 0)",
    **{
        f"multiprocessing, {method}": (
            f"import multiprocessing\nwith multiprocessing.get_context({method!r}).Pool(2) as pool:\n"
            "    assert pool.map(abs, [-1, -2]) == [1, 2]"
        )
        for method in ("fork", "spawn", "forkserver")
    },
}


def begin_run_cell(scenario: FaultScenario, name: str, body: str, *outcomes: str, on_disk: bool = True) -> Cell:
    """Start a registered cell. Wait until it runs and, with `on_disk`, until the outbox has it."""
    scenario.expectations.expect(name, *outcomes)
    cell = scenario.kernel.submit_cell(f"%%notify_on_finish {name}\nprint('begun', flush=True)\n{body}")
    cell.wait_for_output("begun")
    if on_disk:
        until(lambda: name in [run.run.name for run in scenario.world.open_runs()], 20, "the run on disk")
    return cell


def kill_kernel_and_sidecar(scenario: FaultScenario) -> None:
    """Kill the kernel and its sidecar at once, as when the machine goes down. Neither reports the other."""
    sidecars = scenario.world.sidecar_ids()
    for pid in sidecars:
        os.kill(pid, signal.SIGSTOP)
    scenario.kernel.kill()
    for pid in sidecars:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not scenario.world.process_ids(), 10, "the end of both")


def stopped_process(process: str, folder: Path) -> FaultResult:
    """SIGSTOP, and SIGCONT after a while: the process does not count as dead."""
    with open_scenario(f"{process} stopped for {STOP_SECONDS:.0f} s", folder) as scenario:
        cell = begin_run_cell(scenario, "stopped", "import time; time.sleep(1)", "finished")
        pids = [scenario.kernel.pid] if process == "kernel" else scenario.world.sidecar_ids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(STOP_SECONDS)
        if process == "sidecar":
            # The kernel must not wait for a stopped sidecar.
            cell.result()
            scenario.run_cells()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        scenario.end_fault()
        cell.result()
        if process == "kernel":
            scenario.run_cells()
        return scenario.finish()


def kernel_restart(folder: Path) -> FaultResult:
    """The kernel is restarted during a run and used again."""
    with open_scenario("kernel restarted in mid-run", folder) as scenario:
        begin_run_cell(scenario, "before", "import time; time.sleep(60)", "lost")
        scenario.kernel.restart()
        scenario.end_fault()
        scenario.kernel.run("%load_ext cwnotify")
        scenario.run_cells()
        return scenario.finish()


def child_outlives_kernel(folder: Path) -> FaultResult:
    """The kernel is killed while a forked child with all its pipes continues."""
    with open_scenario("a forked child outlives the kernel", folder) as scenario:
        scenario.kernel.run("import os, time\nif os.fork() == 0:\n    time.sleep(30)\n    os._exit(0)")
        begin_run_cell(scenario, "parent", "import time; time.sleep(60)", "lost")
        scenario.kernel.kill()
        scenario.end_fault()
        return scenario.finish(10)


def fork_in_cell(name: str, body: str, folder: Path) -> FaultResult:
    """The cell starts processes. Only the cell is reported, once."""
    with open_scenario(name, folder) as scenario:
        for number in range(3):
            scenario.expectations.expect(f"forks{number}", "finished")
            assert scenario.kernel.run(f"%%notify_on_finish forks{number}\n{body}", 60).status == "ok"
        return scenario.finish()


def many_kernels(folder: Path) -> FaultResult:
    """Fifty kernels on one outbox, each with three runs, all at the same time."""
    expectations = AlertExpectations()
    with Slack() as slack, World(folder, slack.url) as world, ShellForker(world) as shells:
        all_shells = [shells.start(f"m{number}", 0.1, cells=3, linger=2.0) for number in range(KERNEL_COUNT)]
        for shell in all_shells:
            for cell in ("", ".1", ".2"):
                expectations.expect(f"{shell.name}{cell}", "finished")
        for shell in all_shells:
            shell.wait_for("z", 90)
        start = time.monotonic()
        until(lambda: len(world.process_ids()) == 1, 90, "the end of all sidecars")
        return expectations.to_result(
            f"{KERNEL_COUNT} kernels on one outbox", slack, recovered=time.monotonic() - start
        )


FAULTS: dict[str, FaultRunner] = {
    "kernel stopped": partial(stopped_process, "kernel"),
    "sidecar stopped": partial(stopped_process, "sidecar"),
    "kernel restarted": kernel_restart,
    "a forked child outlives the kernel": child_outlives_kernel,
    **{name: partial(fork_in_cell, name, body) for name, body in FORK_CELLS.items()},
    "50 kernels": many_kernels,
}
