"""The outbox on bad disks: damaged, foreign, old, new, shared or locked files; and its way to memory and back."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from cwnotify.alerts.events.runs import Run
from cwnotify.errors import StateError
from cwnotify.host.processes import ProcessIdentity
from cwnotify.store.migrations import SCHEMA_VERSION
from cwnotify.store.outbox import IN_MEMORY_PATH, LEASE_DURATION, Outbox
from cwnotify.store.recovery import (
    copy_to_memory,
    describe_quarantined,
    is_on_shared_file_system,
    move_to_disk,
    open_outbox,
)

NOW = 1_795_316_400.0
KERNEL = ProcessIdentity(42, "1000", "train-3", "boot", "ns")
RUN = Run("r1", "resnet50", NOW)
HELLO = {"text": "hello"}


def filled(directory: Path) -> Path:
    """An outbox with a message and a run; gives its path."""
    with closing(open_outbox(directory)) as box:
        box.enqueue("a", "here", HELLO, NOW)
        box.add_open_run(RUN, KERNEL, "here", NOW, "me")
    return directory / "outbox.sqlite3"


def foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE messages (subject TEXT)")
    db.close()


DAMAGES = {
    "no database": lambda path: path.write_bytes(b"this was never a database" * 100),
    "zeros": lambda path: path.write_bytes(bytes(len(path.read_bytes()))),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "a page overwritten": lambda path: path.write_bytes(
        path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096)
    ),
    "another program's": foreign,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_set_aside_and_a_new_one_begins(damage, tmp_path):
    path = filled(tmp_path)
    (tmp_path / "key").write_bytes(b"k" * 32)
    damage(path)
    content, begun = path.read_bytes(), time.time() - 1

    with closing(open_outbox(tmp_path)) as box:
        assert box.list_messages() == []
        box.enqueue("b", "here", HELLO, NOW)
    with closing(open_outbox(tmp_path)) as box:
        assert [message.id for message in box.list_messages()] == ["b"]

    (aside,) = tmp_path.glob("outbox.sqlite3.broken-*[0-9]")
    assert aside.read_bytes() == content
    assert str(aside) in describe_quarantined(tmp_path, begun)
    assert describe_quarantined(tmp_path, time.time() + 60) == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (tmp_path / "key").read_bytes() == b"k" * 32


SEVERAL = """
import sys
from pathlib import Path
from cwnotify.store.recovery import open_outbox
print("ready", flush=True)
input()
box = open_outbox(Path(sys.argv[1]))
box.put(sys.argv[2], "here", {"text": "x"}, 1.0)
"""


def test_several_who_find_it_damaged_set_it_aside_once(tmp_path):
    filled(tmp_path).write_bytes(b"damaged " * 1000)
    some = [
        subprocess.Popen(
            [sys.executable, "-c", SEVERAL, tmp_path, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for one in some:
        assert one.stdout.readline() == "ready\n"
    for one in some:
        one.stdin.write("\n")
        one.stdin.flush()
    errors = [one.communicate(timeout=30)[1] for one in some]

    assert errors == [""] * 4
    assert len(list(tmp_path.glob("*.broken-*[0-9]"))) == 1
    with closing(open_outbox(tmp_path)) as box:
        assert len(box.list_messages()) == 4


def test_an_empty_file_is_an_outbox_that_begins(tmp_path):
    (tmp_path / "outbox.sqlite3").touch()

    open_outbox(tmp_path).close()

    assert not list(tmp_path.glob("*.broken*"))


def test_an_older_outbox_is_brought_up_to_date_with_all_that_it_holds(tmp_path):
    path = filled(tmp_path)
    with sqlite3.connect(path) as db:
        db.executescript("ALTER TABLE runs DROP COLUMN owner; DROP TABLE past_runs; PRAGMA user_version = 0")
    db.close()

    with closing(open_outbox(tmp_path)) as box:
        (run,) = box.list_open_runs()
        assert (run.run, run.owner) == (RUN, "")
        assert [message.id for message in box.list_messages()] == ["a"]
        box.set_run_owner("r1", "me")
        assert box.execute("SELECT count(*) FROM past_runs").fetchone()[0] == 0
    assert not list(tmp_path.glob("*.broken*"))


def test_a_newer_outbox_is_left_alone_and_what_to_do_is_told(tmp_path):
    path = filled(tmp_path)
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    content = path.read_bytes()

    with pytest.raises(StateError, match="newer cwnotify than this one; pip install --upgrade"):
        open_outbox(tmp_path)

    assert path.read_bytes() == content
    assert not list(tmp_path.glob("*.broken*"))


# File systems


MOUNTS = """/dev/root / ext4 rw 0 0
server:/home /home nfs4 rw,vers=4.1 0 0
/dev/sdb /home/me/local xfs rw 0 0
fs-12.efs.eu-west-1.amazonaws.com:/ /mnt/my\\040efs nfs4 rw 0 0
tmpfs /home/me/local/shm tmpfs rw 0 0
/dev/sdc /home/me/data ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        ("/root/x", False),
        ("/home/me/x", True),
        ("/homes/x", False),
        ("/home/me/local/x", False),
        ("/home/me/local/shm/x", False),
        ("/home/me/data/x", False),
        ("/mnt/my efs/x", True),
    ],
)
def test_file_systems_that_machines_share_are_known(path, shared, tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)

    assert is_on_shared_file_system(Path(path), mounts) == shared


def test_where_mounts_cannot_be_read_it_is_taken_for_ones_own(tmp_path):
    assert not is_on_shared_file_system(tmp_path, tmp_path / "none")


def test_without_wal_nothing_but_one_file_is_needed_and_two_share_it(tmp_path):
    path = tmp_path / "outbox.sqlite3"
    with closing(Outbox(path, wal=False)) as one, closing(Outbox(path, wal=False)) as other:
        one.enqueue("a", "here", HELLO, NOW)
        claimed = other.claim_next("here", "other", NOW)

        assert claimed
        assert claimed.id == "a"
        assert one.claim_next("here", "one", NOW) is None
        assert [path.name for path in tmp_path.iterdir()] == ["outbox.sqlite3"]


# To memory and back


@pytest.fixture
def memory():
    with closing(Outbox(IN_MEMORY_PATH)) as one:
        yield one


def test_what_is_ones_own_is_lent_and_brought_home(tmp_path, memory):
    path = filled(tmp_path)
    with closing(open_outbox(tmp_path)) as disk:
        disk.enqueue("theirs", "here", HELLO, NOW)
        disk.claim_next("here", "me", NOW)
        disk.claim_next("here", "they", NOW)
        disk.add_open_run(Run("r2", "theirs", NOW), KERNEL, "here", NOW, "they")

    copy_to_memory(memory, path, "me")
    assert [message.id for message in memory.messages()] == ["a"]
    assert [one.run.id for one in memory.open_runs()] == ["r1"]
    memory.done("a", NOW)
    memory.close_run("r1")
    memory.put("r1", "here", HELLO, NOW)
    assert move_to_disk(memory, path, "me")

    with closing(open_outbox(tmp_path)) as disk:
        assert {message.id: message.state for message in disk.list_messages()} == {
            "a": "done",
            "theirs": "pending",
            "r1": "pending",
        }
        assert [one.run.id for one in disk.list_open_runs()] == ["r2"]
    assert memory.messages() == memory.open_runs() == []


def test_nothing_is_brought_home_while_a_message_is_on_its_way(tmp_path, memory):
    path = filled(tmp_path)
    memory.put("b", "here", HELLO, NOW)
    memory.claim("here", "me", time.time())

    assert not move_to_disk(memory, path, "me")
    assert [message.id for message in memory.messages()] == ["b"]
    memory.done("b", NOW)
    assert move_to_disk(memory, path, "me")


def test_a_message_whose_lease_has_ended_is_brought_home(tmp_path, memory):
    path = filled(tmp_path)
    memory.put("b", "here", HELLO, NOW)
    memory.claim("here", "me", time.time() - LEASE_DURATION - 1)

    assert move_to_disk(memory, path, "me")
    with closing(open_outbox(tmp_path)) as disk:
        assert "b" in [message.id for message in disk.list_messages("pending")]


def test_what_is_no_damage_is_not_set_aside(tmp_path):
    (tmp_path / "outbox.sqlite3").mkdir()

    with pytest.raises(StateError, match="is not a plain file; set CWNOTIFY_STATE_DIR"):
        open_outbox(tmp_path)
    assert (tmp_path / "outbox.sqlite3").is_dir()


def test_on_a_file_system_of_its_own_readers_and_a_writer_work_side_by_side(tmp_path):
    with closing(open_outbox(tmp_path)) as box:
        assert box.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_only_a_database_that_was_set_aside_since_is_told(tmp_path):
    aside = tmp_path / "outbox.sqlite3.broken-20261122-100000-42"
    aside.touch()
    (tmp_path / "outbox.sqlite3.broken-20261122-100000-42-wal").touch()
    at = aside.stat().st_ctime

    assert describe_quarantined(tmp_path, at + 0.1) == ""
    assert describe_quarantined(tmp_path, at) == f"the outbox was damaged and is kept as {aside}; a new one was begun"
