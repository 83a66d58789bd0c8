"""The outbox's tables, and their rows as frozen dataclasses. Standard library, `alerts` and `processes` only."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from cwnotify.alerts.events.runs import LoadSample, Run, RunResult
from cwnotify.alerts.serialization import from_json_dict
from cwnotify.host.processes import ProcessIdentity

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
    """A run without an alert yet: still running, or (with `ended`) held back to be told together with others."""

    run: Run
    watched: ProcessIdentity
    owner: str
    destination: str
    seen: float
    vitals: LoadSample | None
    ended: RunResult | None


def message_from_row(row: sqlite3.Row) -> OutboxMessage:
    """A row as a message; one whose payload is damaged has none."""
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
    return OpenRun(
        run=from_json_dict(Run, json.loads(row["run"])),
        watched=from_json_dict(ProcessIdentity, json.loads(row["watched"])),
        owner=row["owner"],
        destination=row["destination"],
        seen=row["seen"],
        vitals=from_json_dict(LoadSample, json.loads(row["vitals"])) if row["vitals"] else None,
        ended=from_json_dict(RunResult, json.loads(row["ended"])) if row["ended"] else None,
    )
