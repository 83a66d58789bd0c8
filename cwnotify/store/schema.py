"""The outbox's tables: their definition, the check that a file has them, and rows as frozen dataclasses.

Imports the standard library, `errors`, `alerts` and `host.processes` only.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from cwnotify.alerts.events.runs import LoadSample, Run, RunResult
from cwnotify.alerts.serialization import from_json_dict
from cwnotify.errors import StateError
from cwnotify.host.processes import ProcessIdentity

# Raise this when an older cwnotify could no longer read the file. A new table needs no new version.
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id TEXT PRIMARY KEY,
    destination TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'done', 'dead', 'skipped')),
    payload TEXT NOT NULL,
    created REAL NOT NULL,
    due REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    text_only INTEGER NOT NULL DEFAULT 0,
    owner TEXT NOT NULL DEFAULT '',
    leased_until REAL NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    settled REAL
);
CREATE INDEX IF NOT EXISTS pending ON messages (destination, due) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY,
    watched TEXT NOT NULL,
    owner TEXT NOT NULL,
    destination TEXT NOT NULL,
    run TEXT NOT NULL,
    seen REAL NOT NULL,
    vitals TEXT,
    ended TEXT
);
CREATE INDEX IF NOT EXISTS settled ON messages (destination, state, settled);
CREATE TABLE IF NOT EXISTS past_runs (
    id TEXT PRIMARY KEY,
    alert TEXT NOT NULL,
    ended TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS alarms (
    destination TEXT NOT NULL,
    key TEXT NOT NULL,
    state TEXT NOT NULL,
    since REAL NOT NULL,
    seen REAL NOT NULL,
    PRIMARY KEY (destination, key)
);
CREATE TABLE IF NOT EXISTS changes (
    id TEXT PRIMARY KEY,
    destination TEXT NOT NULL,
    key TEXT NOT NULL,
    change TEXT NOT NULL,
    voice TEXT NOT NULL,
    noted REAL NOT NULL,
    held INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS gaps (
    destination TEXT NOT NULL,
    key TEXT NOT NULL,
    before TEXT NOT NULL,
    since REAL NOT NULL,
    after TEXT NOT NULL,
    until REAL NOT NULL,
    noted REAL NOT NULL,
    PRIMARY KEY (destination, key, since)
);
CREATE TABLE IF NOT EXISTS mutes (
    destination TEXT PRIMARY KEY,
    until REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS calls (
    day TEXT NOT NULL,
    call TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (day, call)
);
"""


def check_database(db: sqlite3.Connection) -> None:
    """Check that the file is undamaged, and is either empty or an outbox of a released version.

    Raises
    ------
    sqlite3.DatabaseError
        With SQLite's code for a damaged file, also if the file belongs to another program.
    """
    damage = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    # The version is read after the tables: another process that creates them commits both at once.
    has_tables = db.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table'").fetchone() is not None
    columns = {row[1] for row in db.execute("PRAGMA table_info(messages)")}
    is_outbox = {"id", "state", "payload"} <= columns and _read_version(db) > 0
    if damage != "ok" or (has_tables and not is_outbox):
        error = sqlite3.DatabaseError("the file is damaged" if damage != "ok" else "another program's database")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def create_tables(db: sqlite3.Connection) -> None:
    """Create the tables that the file does not have.

    Raises
    ------
    StateError
        If a newer cwnotify wrote the file.
    """
    version = _read_version(db)
    if version > SCHEMA_VERSION:
        raise StateError(
            "the outbox was written by a newer cwnotify than this one",
            hint="pip install --upgrade cwnotify, or set CWNOTIFY_STATE_DIR to another folder",
        )
    # A new file gets its tables and its version in one transaction. An existing one is not locked for writing.
    is_new = version < SCHEMA_VERSION
    db.executescript(f"BEGIN IMMEDIATE;{SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT" if is_new else SCHEMA)


def _read_version(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


@dataclass(frozen=True)
class OutboxMessage:
    """One row of the outbox. Times are Unix seconds."""

    id: str
    destination: str
    state: str
    payload: dict[str, Any]
    created: float
    due: float
    attempts: int
    text_only: bool
    reason: str
    settled: float | None


@dataclass(frozen=True)
class OpenRun:
    """A run without an alert yet. It is still running, or (with `ended`) held for the alert about its group."""

    run: Run
    watched: ProcessIdentity
    owner: str
    destination: str
    seen: float
    vitals: LoadSample | None
    ended: RunResult | None


def message_from_row(row: sqlite3.Row) -> OutboxMessage:
    """Return a row as a message. A damaged payload becomes an empty one."""
    try:
        payload = json.loads(row["payload"])
    except (ValueError, RecursionError):
        payload = {}
    return OutboxMessage(
        id=row["id"],
        destination=row["destination"],
        state=row["state"],
        payload=payload if isinstance(payload, dict) else {},
        created=row["created"],
        due=row["due"],
        attempts=row["attempts"],
        text_only=bool(row["text_only"]),
        reason=row["reason"],
        settled=row["settled"],
    )


def open_run_from_row(row: sqlite3.Row) -> OpenRun:
    """Return a row as an open run.

    Raises
    ------
    ValueError
        If the row is damaged, or another version wrote it.
    """
    return OpenRun(
        run=from_json_dict(Run, json.loads(row["run"])),
        watched=from_json_dict(ProcessIdentity, json.loads(row["watched"])),
        owner=row["owner"],
        destination=row["destination"],
        seen=row["seen"],
        vitals=from_json_dict(LoadSample, json.loads(row["vitals"])) if row["vitals"] else None,
        ended=from_json_dict(RunResult, json.loads(row["ended"])) if row["ended"] else None,
    )
