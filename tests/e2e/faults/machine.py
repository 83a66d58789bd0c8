"""The machine: its disk fills up, it reboots, Python is being upgraded, and two users work on it."""

from __future__ import annotations

import json
import os
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


def full_disk(folder: Path) -> FaultResult:
    """The disk takes nothing more from the middle of a run on, and later it does again."""
    with open_scenario("disk full", folder) as one:
        (pid,) = one.world.sidecar_ids()
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        one.run_cells()
        begin_run_cell(one, "unlucky", "import time; time.sleep(60)", "lost", on_disk=False)
        one.kernel.kill()
        one.slack.wait_for(len(one.expectations.expected_words), 30)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        one.end_fault()
        found = one.finish()
        assert len(one.world.outbox_messages("done")) == found.expected, "on disk again"
        return found


def machine_reboot(folder: Path) -> FaultResult:
    """The machine goes down under a run: the next start, after the boot, tells of it once."""
    with open_scenario("machine rebooted", folder) as one:
        begin_run_cell(one, "underway", "import time; time.sleep(60)", "lost")
        kill_kernel_and_sidecar(one)
        _boot_again(one.world)
        one.end_fault()
        for number in range(2):
            with Kernel(one.world) as kernel:
                one.kernel = kernel
                kernel.run("%load_ext cwnotify")
                one.expectations.expect(f"after{number}", "finished")
                kernel.run(f"%%notify_on_finish after{number}\n1")
                found = one.finish()
        assert "machine shut down" in str(one.slack.payloads), one.slack.payloads
        return found


def _boot_again(world: World) -> None:
    """What stands in the outbox is of an earlier boot."""
    with closing(sqlite3.connect(world.state_dir / "outbox.sqlite3")) as db, db:
        for id, watched, owner in db.execute("SELECT id, watched, owner FROM runs").fetchall():
            then = [json.dumps(json.loads(one) | {"boot": "an earlier one"}) for one in (watched, owner)]
            db.execute("UPDATE runs SET watched = ?, owner = ? WHERE id = ?", (*then, id))


def python_upgrade(folder: Path) -> FaultResult:
    """The sidecar's Python is gone, and the sidecar with it, until the upgrade is over."""
    python = folder / "python" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shutil.copy(VENV_DIR / "pyvenv.cfg", folder / "python")
    (folder / "python" / "lib").symlink_to(VENV_DIR / "lib")
    python.symlink_to(Path(sys.executable).resolve())
    with open_scenario("Python gone, then back", folder, python=python) as one:
        python.rename(python.with_name("away"))
        for pid in one.world.sidecar_ids():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not one.world.sidecar_ids(), 5, "the sidecar's end")
        one.run_cells()
        python.with_name("away").rename(python)
        one.end_fault()
        return one.finish(crashes=1)


def two_users(folder: Path) -> FaultResult:
    """Two users on one machine: each hears of his own runs only, and cannot read the other's."""
    count, apart = AlertExpectations(), _apart(folder)
    folder.chmod(0o755)
    with Slack() as slack, Slack() as other:
        worlds = [World(folder / name, hook.url) for name, hook in (("mine", slack), ("theirs", other))]
        shutil.chown(worlds[1].home.parent, "nobody")
        shutil.chown(worlds[1].home, "nobody")
        with worlds[0], worlds[1]:
            _program(worlds[0], "mine", count)
            _program(worlds[1], "theirs", count, *apart)
            # The state of another is refused; the alert is sent from memory.
            _program(worlds[1], "astray", count, *apart, CWNOTIFY_STATE_DIR=str(worlds[0].state_dir))
            peek = worlds[1].execute(*apart, "ls", worlds[0].state_dir)
            for world in worlds:
                world.wait_for_sidecars_to_exit()
        names = [{payload["text"].split("*")[1] for payload in hook.payloads} for hook in (slack, other)]
        assert names == [{"mine"}, {"theirs", "astray"}], names
        assert peek.returncode, "one user reads the other's state"
        return count.to_result("two users on one machine", slack, other)


def _apart(folder: Path) -> list[str]:
    """What runs a command as nobody, for whom Python's folder is made readable in a file system of its own."""
    root, base = folder / "root", Path(sys.executable).resolve().parents[3]
    hidden = [f"mkdir -p {root}/{base.relative_to('/root')}", f"mount --bind {base} {root}/{base.relative_to('/root')}"]
    shown = [*hidden, f"mount --rbind {root} /root"] if base.is_relative_to("/root") else []
    return ["unshare", "-m", "sh", "-c", " && ".join([*shown, 'exec runuser -u nobody -- "$@"']), "sh"]


def _program(world: World, name: str, count: AlertExpectations, *before: str, **environ: str) -> None:
    count.expect(name, "finished")
    done = world.execute(
        *before, sys.executable, ROOT / "cwnotify" / "__main__.py", "run", "--name", name, "--", "true", env=environ
    )
    assert done.returncode == 0, done.stderr


FAULTS: dict[str, FaultRunner] = {
    "disk full": full_disk,
    "machine rebooted": machine_reboot,
    "Python gone": python_upgrade,
    **({"two users": two_users} if os.geteuid() == 0 else {}),
}
