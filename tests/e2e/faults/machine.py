"""Faults of the machine: a full disk, a reboot, a Python upgrade, and two users."""

from __future__ import annotations

import json
import os
import pwd
import resource
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from tests.e2e.faults.bench import AlertExpectations, FaultResult, FaultRunner, open_scenario
from tests.e2e.faults.processes import begin_run_cell, kill_kernel_and_sidecar
from tests.support.kernel import ROOT, Kernel, World
from tests.support.slack import Slack
from tests.support.waiting import until

VENV_DIR = Path(sys.prefix)
OTHER_USER = pwd.getpwuid(65534).pw_name


def full_disk(folder: Path) -> FaultResult:
    """The disk is full from the middle of a run until later."""
    with open_scenario("disk full", folder) as scenario:
        (pid,) = scenario.world.sidecar_ids()
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        scenario.run_cells()
        begin_run_cell(scenario, "unlucky", "import time; time.sleep(60)", "lost", on_disk=False)
        scenario.kernel.kill()
        scenario.slack.wait_for(len(scenario.expectations.expected_words), 30)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        scenario.end_fault()
        result = scenario.finish()
        assert len(scenario.world.outbox_messages("result")) == result.expected, "the outbox must be on disk again"
        return result


def machine_reboot(folder: Path) -> FaultResult:
    """The machine reboots during a run. The next start reports the lost run once."""
    with open_scenario("machine rebooted", folder) as scenario:
        begin_run_cell(scenario, "underway", "import time; time.sleep(60)", "lost")
        kill_kernel_and_sidecar(scenario)
        _pretend_reboot(scenario.world)
        scenario.end_fault()
        for number in range(2):
            with Kernel(scenario.world) as kernel:
                scenario.kernel = kernel
                kernel.run("%load_ext cwnotify")
                scenario.expectations.expect(f"after{number}", "finished")
                kernel.run(f"%%notify_on_finish after{number}\n1")
                result = scenario.finish()
        assert "machine shut down" in str(scenario.slack.payloads), scenario.slack.payloads
        return result


def _pretend_reboot(world: World) -> None:
    """Give everything in the outbox an earlier boot."""
    with closing(sqlite3.connect(world.state_dir / "outbox.sqlite3")) as db, db:
        for id, watched, owner in db.execute("SELECT id, watched, owner FROM runs").fetchall():
            processes = [json.dumps(json.loads(text) | {"boot": "an earlier boot"}) for text in (watched, owner)]
            db.execute("UPDATE runs SET watched = ?, owner = ? WHERE id = ?", (*processes, id))


def python_upgrade(folder: Path) -> FaultResult:
    """The sidecar and its Python are gone until an upgrade ends."""
    python = folder / "python" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shutil.copy(VENV_DIR / "pyvenv.cfg", folder / "python")
    (folder / "python" / "lib").symlink_to(VENV_DIR / "lib")
    python.symlink_to(Path(sys.executable).resolve())
    with open_scenario("Python gone, then back", folder, python=python) as scenario:
        python.rename(python.with_name("away"))
        for pid in scenario.world.sidecar_ids():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not scenario.world.sidecar_ids(), 5, "the sidecar's end")
        scenario.run_cells()
        python.with_name("away").rename(python)
        scenario.end_fault()
        return scenario.finish(crashes=1)


def two_users(folder: Path) -> FaultResult:
    """Two users on one machine. Each gets only their own alerts and cannot read the other's state."""
    expectations, as_other_user = AlertExpectations(), _other_user_command(folder)
    folder.chmod(0o755)
    with Slack() as slack, Slack() as other:
        worlds = [World(folder / name, hook.url) for name, hook in (("mine", slack), ("theirs", other))]
        shutil.chown(worlds[1].home.parent, OTHER_USER)
        shutil.chown(worlds[1].home, OTHER_USER)
        with worlds[0], worlds[1]:
            _run_program(worlds[0], "mine", expectations)
            _run_program(worlds[1], "theirs", expectations, *as_other_user)
            # The other user's state directory is rejected, and the alert is sent from memory.
            _run_program(worlds[1], "astray", expectations, *as_other_user, CWNOTIFY_STATE_DIR=str(worlds[0].state_dir))
            peek = worlds[1].execute(*as_other_user, "ls", worlds[0].state_dir)
            for world in worlds:
                world.wait_for_sidecars_to_exit()
        names = [{payload["text"].split("*")[1] for payload in hook.payloads} for hook in (slack, other)]
        assert names == [{"mine"}, {"theirs", "astray"}], names
        assert peek.returncode, "a user can read the other's state"
        return expectations.to_result("two users on one machine", slack, other)


def _other_user_command(folder: Path) -> list[str]:
    """Return the command prefix of the other user. Its own mount namespace makes Python's folder readable."""
    root, base = folder / "root", Path(sys.executable).resolve().parents[3]
    hidden = [f"mkdir -p {root}/{base.relative_to('/root')}", f"mount --bind {base} {root}/{base.relative_to('/root')}"]
    shown = [*hidden, f"mount --rbind {root} /root"] if base.is_relative_to("/root") else []
    return ["unshare", "-m", "sh", "-c", " && ".join([*shown, f'exec runuser -u {OTHER_USER} -- "$@"']), "sh"]


def _run_program(world: World, name: str, expectations: AlertExpectations, *prefix: str, **environ: str) -> None:
    expectations.expect(name, "finished")
    result = world.execute(
        *prefix, sys.executable, ROOT / "cwnotify" / "__main__.py", "run", "--name", name, "--", "true", env=environ
    )
    assert result.returncode == 0, result.stderr


FAULTS: dict[str, FaultRunner] = {
    "disk full": full_disk,
    "machine rebooted": machine_reboot,
    "Python gone": python_upgrade,
    **({"two users": two_users} if os.geteuid() == 0 else {}),
}
