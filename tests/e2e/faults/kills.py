"""Kills of kernels, sidecars or both at random moments of a run, from a fixed seed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.e2e.faults.bench import AlertExpectations, FaultResult, FaultRunner
from tests.e2e.faults.shells import Shell, ShellForker
from tests.support.kernel import World
from tests.support.slack import Slack
from tests.support.waiting import until

DEFAULT_KILLS, LONG_RUN_KILLS = 20, 500
MAX_PARALLEL_KILLS = 5
KILL_SEED = 7


@contextmanager
def _start_forker(folder: Path) -> Iterator[tuple[Slack, ShellForker]]:
    with Slack() as slack, World(folder, slack.url) as world, ShellForker(world) as shells:
        yield slack, shells


def _repeat(number: int, act: Callable[[int, random.Random], None]) -> None:
    with ThreadPoolExecutor(MAX_PARALLEL_KILLS) as pool:
        for future in [pool.submit(act, n, random.Random(f"{KILL_SEED} {n}")) for n in range(number)]:
            future.result()


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _expect_outcome(count: AlertExpectations, shell: Shell) -> None:
    """Expect the outcomes that are possible after the steps that the killed shell had taken."""
    shell.wait_for_end()
    steps = shell.steps
    if "x" in steps:
        count.expect(shell.name, "finished")
    elif "e" in steps:
        # The cell had ended, and cwnotify was reporting it.
        count.expect(shell.name, "finished", "lost")
    else:
        count.expect(shell.name, "lost", is_optional="b" not in steps)


def _finish(fault: str, slack: Slack, shells: ShellForker, count: AlertExpectations, crashes: int = 0) -> FaultResult:
    """Wait for all sidecars to exit. If alerts are missing, a new shell must send them."""
    start = time.monotonic()
    until(lambda: len(shells.world.process_ids()) == 1, 90, "the end of all sidecars")
    if count.missing_alerts(slack):
        shells.start("next", 0.01)
        count.expect("next", "finished")
    try:
        until(lambda: not count.missing_alerts(slack), 30)
    except AssertionError:
        # The table shows it.
        pass
    recovered = time.monotonic() - start
    until(lambda: len(shells.world.process_ids()) == 1, 90, "the end of all sidecars")
    return count.to_result(fault, slack, crashes=crashes, recovered=recovered)


def kill_kernels(number: int, folder: Path) -> FaultResult:
    """Kill kernels before, during and after each write."""
    count = AlertExpectations()
    with _start_forker(folder) as (slack, shells):

        def run_and_kill(n: int, dice: random.Random) -> None:
            shell = shells.start(f"k{n}", 0.02, linger=0.3)
            shell.wait_for(dice.choice("\nabbeex"))
            time.sleep(dice.random() ** 2 * dice.choice((0.002, 0.02, 0.1)))
            _kill(shell.pid)
            _expect_outcome(count, shell)

        _repeat(number, run_and_kill)
        return _finish("kernel killed at a random moment", slack, shells, count)


def kill_sidecars(number: int, folder: Path) -> FaultResult:
    """Kill sidecars. Their kernels continue and start new ones."""
    count = AlertExpectations()
    crashes: list[int] = []
    with _start_forker(folder) as (slack, shells):

        def run_and_kill(n: int, dice: random.Random) -> None:
            shell = shells.start(f"s{n}", 0.25, linger=1.0)
            count.expect(shell.name, "finished")
            shell.wait_for("a")
            time.sleep(dice.random() * 0.7)
            crashes.extend(filter(_kill, _sidecars_of(shells.world, shell.pid)))
            shell.wait_for_end()

        _repeat(number, run_and_kill)
        return _finish("sidecar killed at a random moment", slack, shells, count, len(crashes))


def kill_kernels_and_sidecars(number: int, folder: Path) -> FaultResult:
    """Kill kernel and sidecar together. The next start reports the runs on disk."""
    count = AlertExpectations()
    crashes: list[int] = []
    with _start_forker(folder) as (slack, shells):

        def run_and_kill(n: int, dice: random.Random) -> None:
            shell = shells.start(f"b{n}", 0.4, linger=0.3)
            shell.wait_for("b")
            if n % 3 == 0:
                # On a busy machine no run would be on disk after the sleep alone.
                until(lambda: shell.name in _stored_names(shells.world), 20, "the run on disk")
            time.sleep(0.2 + dice.random() * 0.4)
            _kill(shell.pid)
            crashes.extend(filter(_kill, _sidecars_of(shells.world, shell.pid)))
            shell.wait_for_end()
            # The sidecar may have died before it read the end of the cell.
            outcomes = ("finished", "lost") if "e" in shell.steps else ("lost",)
            count.expect(shell.name, *outcomes, is_optional=shell.name not in _stored_names(shells.world))

        _repeat(number, run_and_kill)
        return _finish("both killed at a random moment", slack, shells, count, len(crashes))


def _sidecars_of(world: World, pid: int) -> list[int]:
    return world.process_ids(f"sidecar/__main__.py {pid} ")


def _stored_names(world: World) -> set[str]:
    texts = "".join(str(message.payload.get("text")) for message in world.outbox_messages())
    return {run.run.name for run in world.open_runs()} | set(texts.split("*"))


def kill_faults(number: int) -> dict[str, FaultRunner]:
    """Return the three faults with `number` kills each."""
    return {
        "kernel killed": partial(kill_kernels, number),
        "sidecar killed": partial(kill_sidecars, number),
        "both killed": partial(kill_kernels_and_sidecars, number),
    }


FAULTS = kill_faults(DEFAULT_KILLS)
