"""The promise: alerts on disk until Slack says ok, and runs that are still open. SQLite, standard library only.

Several sidecars share one outbox. A message is claimed by a lease; an alert's id is unique for ever, so putting it
twice sends it once. A message leaves ``pending`` only as ``done`` (Slack said ok), ``dead`` (with the reason) or
``skipped`` (the user asked not to be told of such a run; kept so that the run is not told in another way).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cwnotify.alerts.events import Run, RunEnded, Vitals
from cwnotify.alerts.records import from_record, to_record
from cwnotify.sidecar.processes import Watched

IN_MEMORY = "file:cwnotify?mode=memory&cache=shared"
LEASE = 120.0
FARTHEST_DUE = 3700.0
KEPT = 14 * 86400.0

_SCHEMA = """
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
    destination TEXT NOT NULL,
    run TEXT NOT NULL,
    seen REAL NOT NULL,
    vitals TEXT,
    ended TEXT
);
"""


@dataclass(frozen=True)
class Message:
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
    watched: Watched
    destination: str
    seen: float
    vitals: Vitals | None
    ended: RunEnded | None


class Outbox:
    """One connection to the outbox, for one thread.

    Parameters
    ----------
    path
        The database; `IN_MEMORY` keeps it in this process for as long as a connection is open.
    durable
        Wait for the disk at each commit, so that a commit outlives a power cut.
    """

    def __init__(self, path: Path | str, durable: bool = True) -> None:
        uri = str(path).startswith("file:")
        self._db = sqlite3.connect(str(path), uri=uri, timeout=10.0, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        if not uri:
            Path(path).chmod(0o600)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done inside happens, or nothing of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # Runs

    def open_run(self, run: Run, watched: Watched, destination: str, now: float) -> None:
        """Remember that a run began; nothing happens for one that is known, or told already."""
        self._db.execute(
            "INSERT OR IGNORE INTO runs (id, watched, destination, run, seen) SELECT ?, ?, ?, ?, ? "
            "WHERE NOT EXISTS (SELECT 1 FROM messages WHERE id = ?)",
            (run.id, json.dumps(asdict(watched)), destination, json.dumps(to_record(run)), now, run.id),
        )

    def open_runs(self) -> list[OpenRun]:
        """All runs without an alert, oldest first."""
        return [_open_run(row) for row in self._db.execute("SELECT * FROM runs ORDER BY rowid")]

    def see_run(self, id: str, now: float, vitals: Vitals | None) -> None:
        """Note that a run was alive at `now`."""
        told = json.dumps(to_record(vitals)) if vitals else None
        self._db.execute("UPDATE runs SET seen = ?, vitals = ? WHERE id = ?", (now, told, id))

    def hold_run(self, ended: RunEnded, watched: Watched, destination: str, now: float) -> None:
        """Keep an ended run until it is told together with others."""
        self.open_run(ended.run, watched, destination, now)
        self._db.execute("UPDATE runs SET ended = ? WHERE id = ?", (json.dumps(to_record(ended)), ended.run.id))

    def close_run(self, id: str) -> bool:
        """Forget a run; tells whether it was there, so that of two who close it only one goes on to tell it."""
        return self._db.execute("DELETE FROM runs WHERE id = ?", (id,)).rowcount > 0

    # Messages

    def put(self, id: str, destination: str, payload: dict[str, Any], now: float, due: float | None = None) -> bool:
        """Put an alert in; tells whether it is new."""
        state, reason = ("pending", "") if destination else ("dead", NO_WEBHOOK)
        return self._insert(id, destination, state, payload, now, now if due is None else due, reason)

    def skip(self, id: str, now: float) -> bool:
        """Note that this alert is not wanted, so that it is not put later."""
        return self._insert(id, "", "skipped", {}, now, now, "")

    def _insert(
        self,
        id: str,
        destination: str,
        state: str,
        payload: dict[str, Any],
        now: float,
        due: float,
        reason: str,
    ) -> bool:
        done = self._db.execute(
            "INSERT OR IGNORE INTO messages (id, destination, state, payload, created, due, reason, settled) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                id,
                destination,
                state,
                json.dumps(payload),
                now,
                due,
                reason,
                None if state == "pending" else now,
            ),
        )
        return done.rowcount > 0

    def replace(self, id: str, payload: dict[str, Any], now: float) -> bool:
        """Say something truer in a message that nobody has begun to send, and send it now."""
        done = self._db.execute(
            "UPDATE messages SET payload = ?, due = ? "
            "WHERE id = ? AND state = 'pending' AND attempts = 0 AND leased_until <= ?",
            (json.dumps(payload), now, id, now),
        )
        return done.rowcount > 0

    def claim(self, destination: str, owner: str, now: float) -> Message | None:
        """Take the message that is due longest, for `LEASE` seconds; None if there is none.

        Times that lie implausibly far ahead (a clock was set back) count as past.
        """
        row = self._db.execute(
            "UPDATE messages SET owner = :owner, leased_until = :until, attempts = attempts + 1 WHERE id = ("
            "  SELECT id FROM messages WHERE state = 'pending' AND destination = :destination"
            "  AND (due <= :now OR due > :far) AND (leased_until <= :now OR leased_until > :until)"
            "  ORDER BY due, rowid LIMIT 1) RETURNING *",
            {
                "owner": owner,
                "until": now + LEASE,
                "destination": destination,
                "now": now,
                "far": now + FARTHEST_DUE,
            },
        ).fetchone()
        return _message(row) if row else None

    def done(self, id: str, now: float) -> None:
        """Slack said ok."""
        self._settle(id, "done", "", now)

    def dead(self, id: str, reason: str, now: float) -> None:
        """Nothing more can be done; `reason` is for a person to read."""
        self._settle(id, "dead", reason, now)

    def _settle(self, id: str, state: str, reason: str, now: float) -> None:
        self._db.execute(
            "UPDATE messages SET state = ?, reason = ?, settled = ?, leased_until = 0 WHERE id = ?",
            (state, reason, now, id),
        )

    def retry(self, id: str, due: float, reason: str, text_only: bool) -> None:
        """Give a message back, to be tried again at `due`."""
        self._db.execute(
            "UPDATE messages SET due = ?, reason = ?, text_only = ?, leased_until = 0 WHERE id = ?",
            (due, reason, int(text_only), id),
        )

    def revive(self, ids: list[str], destination: str, now: float) -> int:
        """Make dead messages pending again, for `destination`; tells how many."""
        with self.transaction():
            return sum(
                self._db.execute(
                    "UPDATE messages SET state = 'pending', destination = ?, due = ?, created = ?, attempts = 0, "
                    "text_only = 0, settled = NULL WHERE id = ? AND state = 'dead'",
                    (destination, now, now, id),
                ).rowcount
                for id in ids
            )

    def purge(self, ids: list[str]) -> int:
        """Delete dead messages; tells how many."""
        with self.transaction():
            return sum(
                self._db.execute("DELETE FROM messages WHERE id = ? AND state = 'dead'", (id,)).rowcount for id in ids
            )

    def sweep(self, now: float) -> None:
        """Delete what was delivered or not wanted long ago."""
        self._db.execute("DELETE FROM messages WHERE state IN ('done', 'skipped') AND settled < ?", (now - KEPT,))

    def break_leases(self, owner: str) -> None:
        """Let others take what `owner`, who is gone, had claimed."""
        self._db.execute("UPDATE messages SET leased_until = 0 WHERE owner = ? AND state = 'pending'", (owner,))

    def lease_owners(self, now: float) -> list[str]:
        """Who holds a lease."""
        rows = self._db.execute(
            "SELECT DISTINCT owner FROM messages WHERE state = 'pending' AND leased_until > ?", (now,)
        )
        return [row["owner"] for row in rows]

    def next_due(self, destination: str) -> float | None:
        """When the next message for `destination` is due or its lease ends; None if none is pending."""
        row = self._db.execute(
            "SELECT min(max(due, leased_until)) AS at FROM messages WHERE state = 'pending' AND destination = ?",
            (destination,),
        ).fetchone()
        at: float | None = row["at"]
        return at

    def messages(self, *states: str) -> list[Message]:
        """Messages in these states (all by default), oldest first."""
        wanted = states or ("pending", "done", "dead", "skipped")
        marks = ",".join("?" * len(wanted))
        rows = self._db.execute(f"SELECT * FROM messages WHERE state IN ({marks}) ORDER BY created, rowid", wanted)
        return [_message(row) for row in rows]


NO_WEBHOOK = "no webhook was set; run cwnotify login, then cwnotify outbox retry"


def _message(row: sqlite3.Row) -> Message:
    return Message(
        id=row["id"],
        destination=row["destination"],
        state=row["state"],
        payload=json.loads(row["payload"]),
        created=row["created"],
        due=row["due"],
        attempts=row["attempts"],
        text_only=bool(row["text_only"]),
        reason=row["reason"],
        settled=row["settled"],
    )


def _open_run(row: sqlite3.Row) -> OpenRun:
    return OpenRun(
        run=from_record(Run, json.loads(row["run"])),
        watched=from_record(Watched, json.loads(row["watched"])),
        destination=row["destination"],
        seen=row["seen"],
        vitals=from_record(Vitals, json.loads(row["vitals"])) if row["vitals"] else None,
        ended=from_record(RunEnded, json.loads(row["ended"])) if row["ended"] else None,
    )
