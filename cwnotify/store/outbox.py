"""The promise: alerts on disk until Slack says ok, and runs that are still open. SQLite, standard library only.

Several sidecars share one outbox. A message is claimed by a lease; an alert's id is unique for ever, so putting it
twice sends it once. A message leaves ``pending`` only as ``done`` (Slack said ok), ``dead`` (with the reason) or
``skipped`` (the user asked not to be told of such a run; kept so that the run is not told in another way).
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cwnotify.alerts.events.runs import LoadSample, Run, RunResult
from cwnotify.alerts.serialization import to_json_dict
from cwnotify.host.processes import ProcessIdentity
from cwnotify.slack.retry_policy import MAX_DELIVERY_AGE
from cwnotify.store.migrations import check_database, migrate_schema
from cwnotify.store.schema import OpenRun, OutboxMessage, message_from_row, open_run_from_row

IN_MEMORY_PATH = "file:/cwnotify?vfs=memdb"
NO_WEBHOOK_REASON = "no Slack webhook was configured; run `cwnotify login`, then `cwnotify outbox retry`"
BUSY_TIMEOUT = 10.0
LEASE_DURATION = 120.0
# A message this young (in seconds) is on its way.
IN_FLIGHT_PERIOD = 10.0
MAX_DUE_DELAY = 3700.0
DELIVERED_RETENTION = 14 * 86400.0
# Past the patience of whoever has the webhook, with an hour for good measure.
ABANDONMENT_TIMEOUT = MAX_DELIVERY_AGE + 3600.0
DAMAGED_REASON = "what it said is damaged on disk and cannot be read any more"
ABANDONED_REASON = "its webhook was not set anywhere for a day; run cwnotify outbox retry to send it to the one set now"


class Outbox:
    """One connection to the outbox, for one thread.

    Parameters
    ----------
    path
        The database; `IN_MEMORY_PATH` keeps it in this process for as long as a connection is open.
    durable
        Wait for the disk at each commit, so that a commit outlives a power cut.
    wal
        Let readers and a writer work side by side, which takes a file system of this machine's own.

    Raises
    ------
    StateError
        If a newer cwnotify wrote it.
    """

    def __init__(self, path: Path | str, durable: bool = True, wal: bool = True) -> None:
        uri = str(path).startswith("file:")
        self._db = sqlite3.connect(str(path), uri=uri, timeout=BUSY_TIMEOUT, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        try:
            if not uri:
                Path(path).chmod(0o600)
            self._begin("WAL" if wal else "DELETE")
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            migrate_schema(self._db)
        except BaseException:
            self._db.close()
            raise

    def _begin(self, mode: str) -> None:
        """See that the file is ours, then turn to the journal `mode`.

        Several first starts at once meet here, and SQLite's own timeout does not cover this step.
        """
        deadline = time.monotonic() + BUSY_TIMEOUT
        while True:
            try:
                check_database(self._db)
                self._db.execute(f"PRAGMA journal_mode = {mode}")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Run one statement on the file: the tables beside messages and runs have modules of their own."""
        return self._db.execute(statement, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done inside happens, or nothing of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # A full disk has rolled it back already.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    # Runs

    def add_open_run(self, run: Run, watched: ProcessIdentity, destination: str, now: float, owner: str = "") -> None:
        """Remember that a run began; nothing happens for one that is known, or told already.

        Parameters
        ----------
        owner
            The sidecar that watches over it.
        """
        self._db.execute(
            "INSERT OR IGNORE INTO runs (id, watched, owner, destination, run, seen) SELECT ?, ?, ?, ?, ?, ? "
            "WHERE NOT EXISTS (SELECT 1 FROM messages WHERE id = ?)",
            (run.id, json.dumps(asdict(watched)), owner, destination, json.dumps(to_json_dict(run)), now, run.id),
        )

    def set_run_owner(self, id: str, owner: str) -> None:
        """Note that `owner` watches over a run from now on."""
        self._db.execute("UPDATE runs SET owner = ? WHERE id = ?", (owner, id))

    def update_open_run(self, run: Run) -> None:
        """Note where an open run runs."""
        self._db.execute("UPDATE runs SET run = ? WHERE id = ?", (json.dumps(to_json_dict(run)), run.id))

    def list_open_runs(self) -> list[OpenRun]:
        """All runs without an alert, oldest first."""
        found = []
        for row in self._db.execute("SELECT * FROM runs ORDER BY rowid"):
            try:
                found.append(open_run_from_row(row))
            except (ValueError, RecursionError):
                # Another version's, which will read it: it must not keep us from all the others.
                continue
        return found

    def record_run_heartbeat(self, id: str, now: float, vitals: LoadSample | None) -> None:
        """Note that a run was alive at `now`."""
        told = json.dumps(to_json_dict(vitals)) if vitals else None
        self._db.execute("UPDATE runs SET seen = ?, vitals = ? WHERE id = ?", (now, told, id))

    def hold_ended_run(
        self, ended: RunResult, watched: ProcessIdentity, destination: str, now: float, owner: str = ""
    ) -> None:
        """Keep an ended run until it is told together with others."""
        self.add_open_run(ended.run, watched, destination, now, owner)
        self._db.execute("UPDATE runs SET ended = ? WHERE id = ?", (json.dumps(to_json_dict(ended)), ended.run.id))

    def remove_open_run(self, id: str) -> bool:
        """Forget a run; tells whether it was there, so that of two who close it only one goes on to tell it."""
        return self._db.execute("DELETE FROM runs WHERE id = ?", (id,)).rowcount > 0

    # Messages

    def enqueue(self, id: str, destination: str, payload: dict[str, Any], now: float, due: float | None = None) -> bool:
        """Put an alert in; tells whether it is new."""
        state, reason = ("pending", "") if destination else ("dead", NO_WEBHOOK_REASON)
        return self._insert(id, destination, state, payload, now, now if due is None else due, reason)

    def mark_skipped(self, id: str, now: float) -> bool:
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

    def replace_unsent(self, id: str, payload: dict[str, Any], now: float, due: float | None = None) -> bool:
        """Replace what a message says before its first attempt; it is due now, or at `due`."""
        done = self._db.execute(
            "UPDATE messages SET payload = ?, due = ? "
            "WHERE id = ? AND state = 'pending' AND attempts = 0 AND leased_until <= ?",
            (json.dumps(payload), now if due is None else due, id, now),
        )
        return done.rowcount > 0

    def withdraw_late(self, id: str, now: float) -> bool:
        """Delete a message that would come too late: not due yet, failed before, or older than `IN_FLIGHT_PERIOD`.

        Returns
        -------
        bool
            Whether it was deleted. A message that is being sent stays.
        """
        done = self._db.execute(
            "DELETE FROM messages WHERE id = ? AND state = 'pending' AND leased_until <= ? "
            "AND (due > ? OR attempts > 0 OR created < ?)",
            (id, now, now, now - IN_FLIGHT_PERIOD),
        )
        return done.rowcount > 0

    def claim_next(self, destination: str, owner: str, now: float, since: float = 0.0) -> OutboxMessage | None:
        """Take the message that is due longest, of those put after `since`, for `LEASE_DURATION` seconds; None if there is none.

        Times that lie implausibly far ahead (a clock was set back) count as past. Twice a lease is such a time; a
        lease and a little is not, for whoever claimed may have read the clock later than we did.
        """
        row = self._db.execute(
            "UPDATE messages SET owner = :owner, leased_until = :until, attempts = attempts + 1 WHERE id = ("
            "  SELECT id FROM messages WHERE state = 'pending' AND destination = :destination AND created >= :since"
            "  AND (due <= :now OR due > :far) AND (leased_until <= :now OR leased_until > :until + :lease)"
            "  ORDER BY due, rowid LIMIT 1) RETURNING *",
            {
                "owner": owner,
                "until": now + LEASE_DURATION,
                "lease": LEASE_DURATION,
                "destination": destination,
                "now": now,
                "far": now + MAX_DUE_DELAY,
                "since": since,
            },
        ).fetchone()
        message = message_from_row(row) if row else None
        if message is None or message.payload:
            return message
        # It must not stand in the way of all the others.
        self.mark_dead(message.id, DAMAGED_REASON, now)
        return self.claim_next(destination, owner, now, since)

    def mark_delivered(self, id: str, now: float) -> None:
        """Slack said ok."""
        self._settle(id, "done", "", now)

    def mark_dead(self, id: str, reason: str, now: float) -> None:
        """Nothing more can be done; `reason` is for a person to read."""
        self._settle(id, "dead", reason, now)

    def _settle(self, id: str, state: str, reason: str, now: float) -> None:
        self._db.execute(
            "UPDATE messages SET state = ?, reason = ?, settled = ?, leased_until = 0 WHERE id = ?",
            (state, reason, now, id),
        )

    def schedule_retry(self, id: str, due: float, reason: str, text_only: bool) -> None:
        """Give a message back, to be tried again at `due`."""
        self._db.execute(
            "UPDATE messages SET due = ?, reason = ?, text_only = ?, leased_until = 0 WHERE id = ?",
            (due, reason, int(text_only), id),
        )

    def requeue_dead(self, ids: list[str], destination: str, now: float) -> int:
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

    def delete_dead(self, ids: list[str]) -> int:
        """Delete dead messages; tells how many."""
        with self.transaction():
            return sum(
                self._db.execute("DELETE FROM messages WHERE id = ? AND state = 'dead'", (id,)).rowcount for id in ids
            )

    def expire_messages(self, now: float, ours: Collection[str] = ()) -> None:
        """Delete what was delivered or not wanted long ago; bury what nobody came to deliver, to others than `ours`."""
        marks = ",".join("?" * len(ours))
        self._db.execute(
            "UPDATE messages SET state = 'dead', reason = ?, settled = ? "
            f"WHERE state = 'pending' AND created < ? AND leased_until <= ? AND destination NOT IN ({marks})",
            (ABANDONED_REASON, now, now - ABANDONMENT_TIMEOUT, now, *ours),
        )
        self._db.execute(
            "DELETE FROM messages WHERE state IN ('done', 'skipped') AND settled < ?", (now - DELIVERED_RETENTION,)
        )

    def release_leases(self, owner: str) -> None:
        """Let others take what `owner`, who is gone, had claimed."""
        self._db.execute("UPDATE messages SET leased_until = 0 WHERE owner = ? AND state = 'pending'", (owner,))

    def list_lease_owners(self, now: float) -> list[str]:
        """Who holds a lease."""
        rows = self._db.execute(
            "SELECT DISTINCT owner FROM messages WHERE state = 'pending' AND leased_until > ?", (now,)
        )
        return [row["owner"] for row in rows]

    def next_due_time(self, destination: str, since: float = 0.0) -> float | None:
        """When the next message for `destination`, of those put after `since`, is due or its lease ends."""
        row = self._db.execute(
            "SELECT min(max(due, leased_until)) AS at FROM messages "
            "WHERE state = 'pending' AND destination = ? AND created >= ?",
            (destination, since),
        ).fetchone()
        at: float | None = row["at"]
        return at

    def list_messages(self, *states: str) -> list[OutboxMessage]:
        """Messages in these states (all by default), oldest first."""
        wanted = states or ("pending", "done", "dead", "skipped")
        marks = ",".join("?" * len(wanted))
        rows = self._db.execute(f"SELECT * FROM messages WHERE state IN ({marks}) ORDER BY created, rowid", wanted)
        return [message_from_row(row) for row in rows]
