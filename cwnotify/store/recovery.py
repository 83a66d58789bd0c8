"""What a disk can do to the outbox: be full, be shared by machines, hold a damaged file or one of another version.

Standard library, `errors`, `ownership`, `rows`, `outbox` and `state` only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import time
from pathlib import Path

from cwnotify.errors import StateError
from cwnotify.settings.private_files import is_same_directory
from cwnotify.store import state_dir
from cwnotify.store.outbox import Outbox

# File systems that several machines may have mounted at a time: WAL needs memory that all of its users share.
SHARED_FILE_SYSTEMS = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "fuse",
    "glusterfs",
    "gpfs",
    "lustre",
    "ocfs2",
    "virtiofs",
)
# What SQLite says of a file that is not, or no longer, a database.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLES = ("messages", "runs", "past_runs", "alarms", "changes", "mutes", "calls")


def open_outbox(directory: Path) -> Outbox:
    """Open the outbox in `directory`; a file there that is none is set aside first.

    Raises
    ------
    StateError
        If it is a newer version's, or if the file system cannot keep a database.
    """
    path = directory / state_dir.OUTBOX_FILENAME
    for attempt in (1, 2):
        try:
            return _open(directory, path)
        except sqlite3.DatabaseError as error:
            if (error.sqlite_errorcode or 0) & 0xFF not in _DAMAGE or attempt == 2:
                raise StateError(
                    f"{path} cannot be used: {error}", hint="set CWNOTIFY_STATE_DIR to a local folder"
                ) from None
            quarantine_database(path)
    raise AssertionError


def _open(directory: Path, path: Path) -> Outbox:
    with state_dir.open_state_dir(directory) as folder:
        _see_that_locks_work(directory, folder)
        state_dir.create_outbox_file(folder)
        outbox = Outbox(path, wal=not is_on_shared_file_system(path))
        # SQLite opens a path, which another user may lead elsewhere, and no descriptor.
        if is_same_directory(directory, folder):
            return outbox
        outbox.close()
        raise StateError(f"{directory} was exchanged", hint="set CWNOTIFY_STATE_DIR to a folder of your own")


def _see_that_locks_work(directory: Path, folder: int) -> None:
    """SQLite takes a file system without locks for one where somebody else holds them, and would wait."""
    with os.fdopen(state_dir.open_lock_file(folder), "a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise StateError(
                    f"{directory} is on a file system without locks", hint="set CWNOTIFY_STATE_DIR to a local folder"
                ) from None


def quarantine_database(path: Path) -> None:
    """Rename a damaged database, and what belongs to it, so that a new one can begin in its place."""
    with state_dir.open_state_dir(path.parent) as folder, os.fdopen(state_dir.open_lock_file(folder), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            # Of several that found it damaged, the first has done it by now.
            Outbox(path).close()
            return
        except sqlite3.DatabaseError:
            pass
        broken = f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}"
        for ending in ("", "-wal", "-shm", "-journal"):
            try:
                path.with_name(path.name + ending).rename(path.with_name(broken + ending))
            except FileNotFoundError:
                continue


def describe_quarantined(directory: Path, since: float) -> str:
    """What a person should know of a database that was set aside after `since`; empty if there is none."""
    aside = [
        path for path in directory.glob(f"{state_dir.OUTBOX_FILENAME}.broken-*[0-9]") if path.stat().st_ctime >= since
    ]
    return f"the outbox was damaged and is kept as {aside[-1]}; a new one was begun" if aside else ""


def is_on_shared_file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether `path` lies on a file system that other machines may have mounted too."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return False
    found = (line.split() for line in lines)
    over = [(len(place), kind) for _, place, kind, *_ in found if path.is_relative_to(place.replace("\\040", " "))]
    # The deepest mount counts; of several on one place, the last.
    return bool(over) and max(reversed(over), key=lambda one: one[0])[1].startswith(SHARED_FILE_SYSTEMS)


def copy_to_memory(memory: Outbox, path: Path, owner: str) -> None:
    """Copy what `owner` looks after from the disk into `memory`.

    A full disk can still be read. What cannot be read any more is no loss beyond what the disk has lost already.
    """
    try:
        with _attached(memory, path):
            for table in _TABLES:
                which = {"messages": "state = 'pending' AND owner IN ('', ?)", "runs": "owner = ?"}.get(
                    table, "? <> ''"
                )
                _copy(memory, f"home.{table}", f"main.{table}", which, owner)
    except sqlite3.Error:
        return


def move_to_disk(memory: Outbox, path: Path, owner: str) -> bool:
    """Move all that `memory` holds to the disk again; tells whether that was done.

    Not while a message is on its way: what becomes of it would be written where nobody looks any more.

    Raises
    ------
    sqlite3.Error
        If the disk does not take it.
    """
    with _attached(memory, path), memory.transaction():
        if memory.execute(
            "SELECT 1 FROM messages WHERE state = 'pending' AND leased_until > ?", time.time()
        ).fetchone():
            return False
        # A run of ours that memory does not hold any more was told from there.
        memory.execute("DELETE FROM home.runs WHERE owner = ?", owner)
        for table in _TABLES:
            _copy(memory, f"main.{table}", f"home.{table}", "1")
            memory.execute(f"DELETE FROM main.{table}")
    return True


class _attached:  # noqa: N801 (used like a function)
    def __init__(self, memory: Outbox, path: Path) -> None:
        self._memory, self._path = memory, path

    def __enter__(self) -> None:
        # By its full name, or it would be looked for in memory.
        self._memory.execute("ATTACH DATABASE ? AS home", f"{self._path.absolute().as_uri()}?vfs=unix")

    def __exit__(self, *error: object) -> None:
        self._memory.execute("DETACH DATABASE home")


def _copy(outbox: Outbox, source: str, target: str, which: str, *values: object) -> None:
    schema, _, table = target.partition(".")
    columns = ", ".join(row["name"] for row in outbox.execute(f"PRAGMA {schema}.table_info({table})"))
    outbox.execute(f"INSERT OR REPLACE INTO {target} ({columns}) SELECT {columns} FROM {source} WHERE {which}", *values)
