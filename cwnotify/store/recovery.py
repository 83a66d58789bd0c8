"""Disk problems: a damaged file is set aside, a shared file system gets no WAL, and rows move to memory and back.

Imports the standard library, `errors`, `settings.private_files`, `store.outbox` and `store.state_dir` only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cwnotify.errors import StateError
from cwnotify.settings.private_files import is_same_directory
from cwnotify.store import state_dir
from cwnotify.store.outbox import Outbox

# Several machines may mount these. WAL needs memory that all processes share. https://sqlite.org/wal.html
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
# SQLite's codes for a file that is not a database, or no longer one.
_DAMAGE_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_MOVED_TABLES = ("messages", "runs", "past_runs", "alarms", "changes", "mutes", "calls")


def open_outbox(directory: Path) -> Outbox:
    """Open the outbox in `directory`. A file there that is not an outbox is renamed first.

    Raises
    ------
    StateError
        If a newer version wrote the file, or the file system cannot hold a database.
    """
    path = directory / state_dir.OUTBOX_FILENAME
    try:
        try:
            return _open(directory, path)
        except sqlite3.DatabaseError as error:
            if (error.sqlite_errorcode or 0) & 0xFF not in _DAMAGE_CODES:
                raise
            quarantine_database(path)
        return _open(directory, path)
    except sqlite3.DatabaseError as error:
        raise StateError(f"{path} cannot be used: {error}", hint="set CWNOTIFY_STATE_DIR to a local folder") from None


def _open(directory: Path, path: Path) -> Outbox:
    with state_dir.open_state_dir(directory) as folder:
        _check_locks(directory, folder)
        state_dir.create_outbox_file(folder)
        outbox = Outbox(path, wal=not is_on_shared_file_system(path))
        # SQLite opens a path, not a descriptor. Another user may have replaced the directory since the check.
        if is_same_directory(directory, folder):
            return outbox
        outbox.close()
        raise StateError(
            f"{directory} was replaced while it was opened", hint="set CWNOTIFY_STATE_DIR to a folder of your own"
        )


def _check_locks(directory: Path, folder: int) -> None:
    """Check that files can be locked. Without file locking, SQLite reports "busy" and keeps waiting."""
    with os.fdopen(state_dir.open_lock_file(folder), "a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise StateError(
                    f"{directory} is on a file system without locks", hint="set CWNOTIFY_STATE_DIR to a local folder"
                ) from None


def quarantine_database(path: Path) -> None:
    """Rename a damaged database and its side files, so that a new one can be created."""
    with state_dir.open_state_dir(path.parent) as folder, os.fdopen(state_dir.open_lock_file(folder), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            # Another process may have renamed it already.
            Outbox(path).close()
            return
        except sqlite3.DatabaseError:
            pass
        new_name = f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}"
        for suffix in ("", "-wal", "-shm", "-journal"):
            try:
                path.with_name(path.name + suffix).rename(path.with_name(new_name + suffix))
            except FileNotFoundError:
                continue


def describe_quarantined(directory: Path, since: float) -> str:
    """Return a warning about a database that was renamed at or after `since`, or an empty text."""
    files = [
        path for path in directory.glob(f"{state_dir.OUTBOX_FILENAME}.broken-*[0-9]") if path.stat().st_ctime >= since
    ]
    return f"the outbox was damaged and is kept as {files[-1]}; a new one was created" if files else ""


def is_on_shared_file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Return whether `path` is on a file system that other machines may have mounted too."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return False
    file_system, depth = "", 0
    for _, mount_point, kind, *_ in (line.split() for line in lines):
        # The deepest mount counts; of several at one path, the last.
        if path.is_relative_to(mount_point.replace("\\040", " ")) and len(mount_point) >= depth:
            file_system, depth = kind, len(mount_point)
    return file_system.startswith(SHARED_FILE_SYSTEMS)


def copy_to_memory(memory: Outbox, path: Path, owner: str) -> None:
    """Copy the rows that `owner` is responsible for from the disk into `memory`.

    A full disk can still be read. Rows that cannot be read were lost by the disk already.
    """
    try:
        with _attach(memory, path):
            for table in _MOVED_TABLES:
                condition = {"messages": "state = 'pending' AND owner IN ('', ?)", "runs": "owner = ?"}.get(
                    table, "? <> ''"
                )
                memory.connection.execute(
                    f"INSERT OR REPLACE INTO main.{table} SELECT * FROM disk.{table} WHERE {condition}", (owner,)
                )
    except sqlite3.Error:
        return


def move_to_disk(memory: Outbox, path: Path, owner: str) -> bool:
    """Move all rows of `memory` back to the disk. Return whether they were moved.

    Nothing is moved while a message is being sent, because its result would be written to memory afterwards.

    Raises
    ------
    sqlite3.Error
        If the disk cannot be written.
    """
    with _attach(memory, path), memory.transaction():
        if memory.list_lease_owners(time.time()):
            return False
        # If `memory` no longer has one of our runs, its alert was enqueued there.
        memory.connection.execute("DELETE FROM disk.runs WHERE owner = ?", (owner,))
        for table in _MOVED_TABLES:
            memory.connection.execute(f"INSERT OR REPLACE INTO disk.{table} SELECT * FROM main.{table}")
            memory.connection.execute(f"DELETE FROM main.{table}")
    return True


@contextmanager
def _attach(memory: Outbox, path: Path) -> Iterator[None]:
    # With the VFS in the URI: SQLite would look for the file in memory otherwise.
    memory.connection.execute("ATTACH DATABASE ? AS disk", (f"{path.absolute().as_uri()}?vfs=unix",))
    try:
        yield
    finally:
        memory.connection.execute("DETACH DATABASE disk")
