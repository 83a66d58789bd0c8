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

from tests.e2e.faults.bench import Act, Count, Found, stage
from tests.e2e.faults.processes import begin, die_together
from tests.support.kernel import ROOT, Kernel, World
from tests.support.slack import Slack
from tests.support.waiting import until

PREFIX = Path(sys.prefix)


def full(folder: Path) -> Found:
    """The disk takes nothing more from the middle of a run on, and later it does again."""
    with stage("disk full", folder) as one:
        (pid,) = one.world.sidecars()
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        one.runs()
        begin(one, "unlucky", "import time; time.sleep(60)", "lost", on_disk=False)
        one.kernel.kill()
        one.slack.wait_for(len(one.count.truths), 30)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        one.over()
        found = one.settle()
        assert len(one.world.messages("done")) == found.expected, "on disk again"
        return found


def rebooted(folder: Path) -> Found:
    """The machine goes down under a run: the next start, after the boot, tells of it once."""
    with stage("machine rebooted", folder) as one:
        begin(one, "underway", "import time; time.sleep(60)", "lost")
        die_together(one)
        _boot_again(one.world)
        one.over()
        for number in range(2):
            with Kernel(one.world) as kernel:
                one.kernel = kernel
                kernel.run("%load_ext cwnotify")
                one.count.expect(f"after{number}", "finished")
                kernel.run(f"%%notify_on_finish after{number}\n1")
                found = one.settle()
        assert "machine went down" in str(one.slack.payloads), one.slack.payloads
        return found


def _boot_again(world: World) -> None:
    """What stands in the outbox is of an earlier boot."""
    with closing(sqlite3.connect(world.state / "outbox.sqlite3")) as db, db:
        for id, watched, owner in db.execute("SELECT id, watched, owner FROM runs").fetchall():
            then = [json.dumps(json.loads(one) | {"boot": "an earlier one"}) for one in (watched, owner)]
            db.execute("UPDATE runs SET watched = ?, owner = ? WHERE id = ?", (*then, id))


def upgraded(folder: Path) -> Found:
    """The sidecar's Python is gone, and the sidecar with it, until the upgrade is over."""
    python = folder / "python" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shutil.copy(PREFIX / "pyvenv.cfg", folder / "python")
    (folder / "python" / "lib").symlink_to(PREFIX / "lib")
    python.symlink_to(Path(sys.executable).resolve())
    with stage("Python gone, then back", folder, python=python) as one:
        python.rename(python.with_name("away"))
        for pid in one.world.sidecars():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not one.world.sidecars(), 5, "the sidecar's end")
        one.runs()
        python.with_name("away").rename(python)
        one.over()
        return one.settle(crashes=1)


def two_users(folder: Path) -> Found:
    """Two users on one machine: each hears of his own runs only, and cannot read the other's."""
    count, apart = Count(), _apart(folder)
    folder.chmod(0o755)
    with Slack() as slack, Slack() as other:
        worlds = [World(folder / name, hook.url) for name, hook in (("mine", slack), ("theirs", other))]
        shutil.chown(worlds[1].home.parent, "nobody")
        shutil.chown(worlds[1].home, "nobody")
        with worlds[0], worlds[1]:
            _program(worlds[0], "mine", count)
            _program(worlds[1], "theirs", count, *apart)
            # The state of another is refused; the alert is sent from memory.
            _program(worlds[1], "astray", count, *apart, CWNOTIFY_STATE_DIR=str(worlds[0].state))
            peek = worlds[1].command(*apart, "ls", worlds[0].state)
            for world in worlds:
                world.wait_until_quiet()
        names = [{payload["text"].split("*")[1] for payload in hook.payloads} for hook in (slack, other)]
        assert names == [{"mine"}, {"theirs", "astray"}], names
        assert peek.returncode, "one user reads the other's state"
        return count.found("two users on one machine", slack, other)


def _apart(folder: Path) -> list[str]:
    """What runs a command as nobody, for whom Python's folder is made readable in a file system of its own."""
    root, base = folder / "root", Path(sys.executable).resolve().parents[3]
    hidden = [f"mkdir -p {root}/{base.relative_to('/root')}", f"mount --bind {base} {root}/{base.relative_to('/root')}"]
    shown = [*hidden, f"mount --rbind {root} /root"] if base.is_relative_to("/root") else []
    return ["unshare", "-m", "sh", "-c", " && ".join([*shown, 'exec runuser -u nobody -- "$@"']), "sh"]


def _program(world: World, name: str, count: Count, *before: str, **environ: str) -> None:
    count.expect(name, "finished")
    done = world.command(
        *before, sys.executable, ROOT / "cwnotify" / "__main__.py", "run", "--name", name, "--", "true", env=environ
    )
    assert done.returncode == 0, done.stderr


FAULTS: dict[str, Act] = {
    "disk full": full,
    "machine rebooted": rebooted,
    "Python gone": upgraded,
    **({"two users": two_users} if os.geteuid() == 0 else {}),
}
