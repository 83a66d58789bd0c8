"""The outbox on bad disks: damaged, foreign, newer and shared files, and the move to memory and back."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cwnotify.alerts.events.runs import Run
from cwnotify.errors import StateError
from cwnotify.host.processes import ProcessIdentity
from cwnotify.store.outbox import IN_MEMORY_PATH, LEASE_DURATION, Outbox
from cwnotify.store.recovery import (
    copy_to_memory,
    describe_quarantined,
    is_on_shared_file_system,
    move_to_disk,
    open_outbox,
)
from cwnotify.store.schema import SCHEMA_VERSION

NOW = 1_795_316_400.0
KERNEL = ProcessIdentity(42, "1000", "train-3", "boot", "ns")
RUN = Run("r1", "resnet50", NOW)
PAYLOAD = {"text": "hello"}


def create_outbox(directory: Path) -> Path:
    """Create an outbox with a message and a run. Return its path."""
    with closing(open_outbox(directory)) as outbox:
        outbox.enqueue("a", "here", PAYLOAD, NOW)
        outbox.add_open_run(RUN, KERNEL, "here", NOW, "me")
    return directory / "outbox.sqlite3"


def execute_script(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)


# Damaged, foreign, newer


def replace_with_foreign_database(path: Path) -> None:
    path.unlink()
    execute_script(path, "CREATE TABLE messages (subject TEXT)")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no database": lambda path: path.write_bytes(b"this was never a database" * 100),
    "zeros": lambda path: path.write_bytes(bytes(len(path.read_bytes()))),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "a page overwritten": lambda path: path.write_bytes(
        path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096)
    ),
    "another program's": replace_with_foreign_database,
    "never released": lambda path: execute_script(path, "PRAGMA user_version = 0"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_or_foreign_file_is_quarantined(damage: Callable[[Path], object], tmp_path: Path) -> None:
    path = create_outbox(tmp_path)
    (tmp_path / "key").write_bytes(b"k" * 32)
    damage(path)
    content, started = path.read_bytes(), time.time() - 1

    with closing(open_outbox(tmp_path)) as outbox:
        assert outbox.list_messages() == []
        outbox.enqueue("b", "here", PAYLOAD, NOW)
    with closing(open_outbox(tmp_path)) as outbox:
        assert [message.id for message in outbox.list_messages()] == ["b"]

    (quarantined,) = tmp_path.glob("outbox.sqlite3.broken-*[0-9]")
    assert quarantined.read_bytes() == content
    assert str(quarantined) in describe_quarantined(tmp_path, started)
    assert describe_quarantined(tmp_path, time.time() + 60) == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (tmp_path / "key").read_bytes() == b"k" * 32


OPEN_AND_ENQUEUE = """
import sys
from pathlib import Path
from cwnotify.store.recovery import open_outbox
print("ready", flush=True)
input()
outbox = open_outbox(Path(sys.argv[1]))
outbox.enqueue(sys.argv[2], "here", {"text": "x"}, 1.0)
"""


def test_concurrent_processes_quarantine_damaged_file_once(tmp_path: Path) -> None:
    create_outbox(tmp_path).write_bytes(b"damaged " * 1000)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_ENQUEUE, tmp_path, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=30)[1] for process in processes]

    assert errors == [""] * 4
    assert len(list(tmp_path.glob("*.broken-*[0-9]"))) == 1
    with closing(open_outbox(tmp_path)) as outbox:
        assert len(outbox.list_messages()) == 4


def test_empty_file_becomes_an_outbox(tmp_path: Path) -> None:
    (tmp_path / "outbox.sqlite3").touch()

    open_outbox(tmp_path).close()

    assert not list(tmp_path.glob("*.broken*"))


def test_table_of_a_later_release_is_added_to_the_same_schema_version(tmp_path: Path) -> None:
    path = create_outbox(tmp_path)
    execute_script(path, "DROP TABLE past_runs")

    with closing(open_outbox(tmp_path)) as outbox:
        assert [run.run for run in outbox.list_open_runs()] == [RUN]
        assert outbox.connection.execute("SELECT count(*) FROM past_runs").fetchone()[0] == 0
    assert not list(tmp_path.glob("*.broken*"))


def test_newer_outbox_is_left_unchanged_and_the_error_has_a_hint(tmp_path: Path) -> None:
    path = create_outbox(tmp_path)
    execute_script(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    content = path.read_bytes()

    with pytest.raises(StateError, match="newer cwnotify than this one; pip install --upgrade"):
        open_outbox(tmp_path)

    assert path.read_bytes() == content
    assert not list(tmp_path.glob("*.broken*"))


def test_folder_in_place_of_the_file_is_not_quarantined(tmp_path: Path) -> None:
    (tmp_path / "outbox.sqlite3").mkdir()

    with pytest.raises(StateError, match="is not a plain file; set CWNOTIFY_STATE_DIR"):
        open_outbox(tmp_path)
    assert (tmp_path / "outbox.sqlite3").is_dir()


def test_only_recently_quarantined_database_is_described(tmp_path: Path) -> None:
    quarantined = tmp_path / "outbox.sqlite3.broken-20261122-100000-42"
    quarantined.touch()
    (tmp_path / "outbox.sqlite3.broken-20261122-100000-42-wal").touch()
    at = quarantined.stat().st_ctime

    assert describe_quarantined(tmp_path, at + 0.1) == ""
    text = f"the outbox was damaged and is kept as {quarantined}; a new one was created"
    assert describe_quarantined(tmp_path, at) == text


# File systems


MOUNTS = """/dev/root / ext4 rw 0 0
server:/home /home nfs4 rw,vers=4.1 0 0
/dev/sdb /home/me/local xfs rw 0 0
fs-12.efs.eu-west-1.amazonaws.com:/ /mnt/my\\040efs nfs4 rw 0 0
tmpfs /home/me/local/shm tmpfs rw 0 0
/dev/sdc /home/me/data ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "is_shared"),
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
def test_shared_file_system_is_recognized(path: str, is_shared: bool, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)

    assert is_on_shared_file_system(Path(path), mounts) == is_shared


def test_last_of_several_mounts_at_one_path_counts(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda /data ext4 rw 0 0\nserver:/data /data nfs4 rw 0 0\n")

    assert is_on_shared_file_system(Path("/data/x"), mounts)


def test_file_system_counts_as_local_if_mounts_cannot_be_read(tmp_path: Path) -> None:
    assert not is_on_shared_file_system(tmp_path, tmp_path / "none")


def test_outbox_without_wal_is_one_file_that_two_connections_share(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    with closing(Outbox(path, wal=False)) as one, closing(Outbox(path, wal=False)) as other:
        one.enqueue("a", "here", PAYLOAD, NOW)
        claimed = other.claim_next("here", "other", NOW)

        assert claimed
        assert claimed.id == "a"
        assert one.claim_next("here", "one", NOW) is None
        assert [path.name for path in tmp_path.iterdir()] == ["outbox.sqlite3"]


def test_outbox_on_local_file_system_uses_wal(tmp_path: Path) -> None:
    with closing(open_outbox(tmp_path)) as outbox:
        assert outbox.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


# To memory and back


@pytest.fixture
def memory() -> Iterator[Outbox]:
    with closing(Outbox(IN_MEMORY_PATH)) as outbox:
        yield outbox


def test_own_rows_are_copied_to_memory_and_moved_back(tmp_path: Path, memory: Outbox) -> None:
    path = create_outbox(tmp_path)
    with closing(open_outbox(tmp_path)) as disk:
        disk.enqueue("theirs", "here", PAYLOAD, NOW)
        disk.claim_next("here", "me", NOW)
        disk.claim_next("here", "they", NOW)
        disk.add_open_run(Run("r2", "theirs", NOW), KERNEL, "here", NOW, "they")

    copy_to_memory(memory, path, "me")
    assert [message.id for message in memory.list_messages()] == ["a"]
    assert [run.run.id for run in memory.list_open_runs()] == ["r1"]
    memory.mark_delivered("a", NOW)
    memory.remove_open_run("r1")
    memory.enqueue("r1", "here", PAYLOAD, NOW)
    assert move_to_disk(memory, path, "me")

    with closing(open_outbox(tmp_path)) as disk:
        states = {message.id: message.state for message in disk.list_messages()}
        assert states == {"a": "done", "theirs": "pending", "r1": "pending"}
        assert [run.run.id for run in disk.list_open_runs()] == ["r2"]
    assert memory.list_messages() == []
    assert memory.list_open_runs() == []


def test_nothing_is_moved_while_a_message_is_being_sent(tmp_path: Path, memory: Outbox) -> None:
    path = create_outbox(tmp_path)
    memory.enqueue("b", "here", PAYLOAD, NOW)
    memory.claim_next("here", "me", time.time())

    assert not move_to_disk(memory, path, "me")
    assert [message.id for message in memory.list_messages()] == ["b"]
    memory.mark_delivered("b", NOW)
    assert move_to_disk(memory, path, "me")


def test_message_with_expired_lease_is_moved(tmp_path: Path, memory: Outbox) -> None:
    path = create_outbox(tmp_path)
    memory.enqueue("b", "here", PAYLOAD, NOW)
    memory.claim_next("here", "me", time.time() - LEASE_DURATION - 1)

    assert move_to_disk(memory, path, "me")
    with closing(open_outbox(tmp_path)) as disk:
        assert "b" in [message.id for message in disk.list_messages("pending")]
