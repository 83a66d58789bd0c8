"""Whose file an outbox is: a damaged or foreign one is told apart, an older one is brought up to date.

Standard library, `errors` and `rows` only.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

from cwnotify.errors import StateError
from cwnotify.store.schema import SCHEMA

# Raised when an older cwnotify could no longer work with what we write.
SCHEMA_VERSION = 1


def check_database(db: sqlite3.Connection) -> None:
    """See that the file is whole, and an outbox or empty.

    Raises
    ------
    sqlite3.DatabaseError
        As SQLite does for a damaged file, also for one that is another program's.
    """
    verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if verdict != "ok" or (tables and not {"id", "state", "payload"} <= list_columns(db, "messages").keys()):
        error = sqlite3.DatabaseError("the file is damaged" if verdict != "ok" else "another program's database")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def migrate_schema(db: sqlite3.Connection) -> None:
    """Make the tables, and give those of an older version the columns that they lack.

    Raises
    ------
    StateError
        If a newer version wrote it.
    """
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StateError(
            "the outbox was written by a newer cwnotify than this one; pip install --upgrade cwnotify, "
            "or set CWNOTIFY_STATE_DIR to another folder"
        )
    if version < SCHEMA_VERSION:
        db.execute("BEGIN IMMEDIATE")
        _add_columns(db)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    db.executescript(SCHEMA)


def list_columns(db: sqlite3.Connection, table: str) -> dict[str, str]:
    """A table's columns, and what each holds; empty if there is no such table."""
    return {row[1]: row[2] for row in db.execute(f"PRAGMA table_info({table})")}


def _add_columns(db: sqlite3.Connection) -> None:
    with closing(sqlite3.connect(":memory:")) as ours:
        ours.executescript(SCHEMA)
        for (table,) in ours.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            there = list_columns(db, table)
            for name, kind in list_columns(ours, table).items():
                if there and name not in there:
                    default = "''" if kind == "TEXT" else "0"
                    db.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind} DEFAULT {default}")
