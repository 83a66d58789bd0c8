"""The outbox: alerts on disk until Slack accepts them, and runs that are still open.

Several sidecars share one outbox. A sidecar claims a message through a lease. An alert's id is unique forever, so
enqueueing it twice sends it once. A message leaves ``pending`` only as ``done`` (Slack accepted it), ``dead`` (with
the reason) or ``skipped`` (the run's options suppress it; the row prevents a second enqueue).

Imports the standard library, `alerts`, `host.processes` and `store.schema` only.
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
from cwnotify.store.schema import (
    OpenRun,
    OutboxMessage,
    check_database,
    create_tables,
    message_from_row,
    open_run_from_row,
)

IN_MEMORY_PATH = "file:/cwnotify?vfs=memdb"
NO_WEBHOOK_REASON = "no Slack webhook was configured; run `cwnotify login`, then `cwnotify outbox retry`"
DAMAGED_REASON = "its content is damaged on disk and cannot be read"
ABANDONED_REASON = "no process had its webhook for a day; run cwnotify outbox retry to send it to the current webhook"
BUSY_TIMEOUT = 10.0  # seconds
BUSY_POLL_INTERVAL = 0.01  # seconds
LEASE_DURATION = 120.0  # seconds
IN_FLIGHT_PERIOD = 10.0  # seconds; a younger message may be in the middle of its first attempt
MAX_DUE_DELAY = 3700.0  # seconds; a message due later than this was scheduled before the clock was set back
DELIVERED_RETENTION = 14 * 86400.0  # seconds
ABANDONMENT_MARGIN = 3600.0  # seconds after the delivery timeout of the sidecar that has the webhook


class Outbox:
    """One connection to the outbox, for one thread.

    Parameters
    ----------
    path
        The database. `IN_MEMORY_PATH` is shared within this process while at least one connection is open.
    durable
        Wait for the disk at each commit, so that a commit survives a power cut.
    wal
        Use write-ahead logging, so that readers do not block the writer. It needs a local file system.

    Attributes
    ----------
    connection
        For the other modules of `cwnotify.store`, which own the statements on their tables.

    Raises
    ------
    StateError
        If a newer cwnotify wrote the file.
    sqlite3.DatabaseError
        If the file is damaged, or belongs to another program.
    """

    def __init__(self, path: Path | str, durable: bool = True, wal: bool = True) -> None:
        is_uri = str(path).startswith("file:")
        self.connection = sqlite3.connect(str(path), uri=is_uri, timeout=BUSY_TIMEOUT, isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        try:
            if not is_uri:
                Path(path).chmod(0o600)
            self._set_journal_mode("WAL" if wal else "DELETE")
            self.connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            create_tables(self.connection)
        except BaseException:
            self.connection.close()
            raise

    def _set_journal_mode(self, mode: str) -> None:
        """Check the file, then set its journal mode.

        SQLite's own timeout does not cover this step. It can fail if several processes create the file at once.
        """
        deadline = time.monotonic() + BUSY_TIMEOUT
        while True:
            try:
                check_database(self.connection)
                self.connection.execute(f"PRAGMA journal_mode = {mode}")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(BUSY_POLL_INTERVAL)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything inside, or nothing if it raises."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            # After a full disk SQLite has rolled back already.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    # Runs

    def add_open_run(self, run: Run, watched: ProcessIdentity, destination: str, now: float, owner: str = "") -> None:
        """Store that a run began, unless the run is open or its alert exists.

        Parameters
        ----------
        watched
            The process that runs it.
        owner
            The sidecar that watches it.
        """
        self.connection.execute(
            "INSERT OR IGNORE INTO runs (id, watched, owner, destination, run, seen) SELECT ?, ?, ?, ?, ?, ? "
            "WHERE NOT EXISTS (SELECT 1 FROM messages WHERE id = ?)",
            (run.id, json.dumps(asdict(watched)), owner, destination, json.dumps(to_json_dict(run)), now, run.id),
        )

    def set_run_owner(self, id: str, owner: str) -> None:
        """Store that the sidecar `owner` watches a run from now on."""
        self.connection.execute("UPDATE runs SET owner = ? WHERE id = ?", (owner, id))

    def update_open_run(self, run: Run) -> None:
        """Replace what is stored about an open run."""
        self.connection.execute("UPDATE runs SET run = ? WHERE id = ?", (json.dumps(to_json_dict(run)), run.id))

    def list_open_runs(self) -> list[OpenRun]:
        """Return all runs without an alert, oldest first."""
        runs = []
        for row in self.connection.execute("SELECT * FROM runs ORDER BY rowid"):
            try:
                runs.append(open_run_from_row(row))
            except (ValueError, RecursionError):
                # Another version wrote it. Leave it to that version, and return the other runs.
                continue
        return runs

    def record_run_heartbeat(self, id: str, now: float, vitals: LoadSample | None) -> None:
        """Store that a run was alive at `now`, with the load of its machine."""
        load = json.dumps(to_json_dict(vitals)) if vitals else None
        self.connection.execute("UPDATE runs SET seen = ?, vitals = ? WHERE id = ?", (now, load, id))

    def hold_ended_run(
        self, ended: RunResult, watched: ProcessIdentity, destination: str, now: float, owner: str = ""
    ) -> None:
        """Store an ended run until its group is reported in one alert."""
        self.add_open_run(ended.run, watched, destination, now, owner)
        self.connection.execute(
            "UPDATE runs SET ended = ? WHERE id = ?", (json.dumps(to_json_dict(ended)), ended.run.id)
        )

    def remove_open_run(self, id: str) -> bool:
        """Delete an open run. Return whether it was there, so that only one of two processes reports its end."""
        return self.connection.execute("DELETE FROM runs WHERE id = ?", (id,)).rowcount > 0

    # Messages

    def enqueue(self, id: str, destination: str, payload: dict[str, Any], now: float, due: float | None = None) -> bool:
        """Add an alert that is due now, or at `due`. Return whether its id is new.

        Without a destination, the alert is stored as dead, because no webhook is set.
        """
        state, reason, settled = ("pending", "", None) if destination else ("dead", NO_WEBHOOK_REASON, now)
        cursor = self.connection.execute(
            "INSERT OR IGNORE INTO messages (id, destination, state, payload, created, due, reason, settled) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (id, destination, state, json.dumps(payload), now, now if due is None else due, reason, settled),
        )
        return cursor.rowcount > 0

    def mark_skipped(self, id: str, now: float) -> bool:
        """Store that the run's options suppress this alert. Return whether its id is new."""
        cursor = self.connection.execute(
            "INSERT OR IGNORE INTO messages (id, destination, state, payload, created, due, settled) "
            "VALUES (?, '', 'skipped', '{}', ?, ?, ?)",
            (id, now, now, now),
        )
        return cursor.rowcount > 0

    def replace_unsent(self, id: str, payload: dict[str, Any], now: float, due: float | None = None) -> bool:
        """Replace the content of a message before its first attempt. It is due now, or at `due`."""
        cursor = self.connection.execute(
            "UPDATE messages SET payload = ?, due = ? "
            "WHERE id = ? AND state = 'pending' AND attempts = 0 AND leased_until <= ?",
            (json.dumps(payload), now if due is None else due, id, now),
        )
        return cursor.rowcount > 0

    def withdraw_late(self, id: str, now: float) -> bool:
        """Delete a message that would arrive late: not due yet, failed before, or older than `IN_FLIGHT_PERIOD`.

        Returns
        -------
        bool
            Whether it was deleted. A message that is being sent stays.
        """
        cursor = self.connection.execute(
            "DELETE FROM messages WHERE id = ? AND state = 'pending' AND leased_until <= ? "
            "AND (due > ? OR attempts > 0 OR created < ?)",
            (id, now, now, now - IN_FLIGHT_PERIOD),
        )
        return cursor.rowcount > 0

    def claim_next(self, destination: str, owner: str, now: float, since: float = 0.0) -> OutboxMessage | None:
        """Lease the longest-due message for `LEASE_DURATION` seconds. Return None if none is due.

        A time too far in the future counts as past, because the clock was set back. For a lease, that is more than
        twice `LEASE_DURATION` away: its holder may have read the clock a little later than this process.

        Parameters
        ----------
        since
            Consider only messages created at or after this time (Unix seconds).
        """
        row = self.connection.execute(
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
        # A damaged message must not block the others.
        self.mark_dead(message.id, DAMAGED_REASON, now)
        return self.claim_next(destination, owner, now, since)

    def mark_delivered(self, id: str, now: float) -> None:
        """Store that Slack accepted a message."""
        self._settle(id, "done", "", now)

    def mark_dead(self, id: str, reason: str, now: float) -> None:
        """Store that a message cannot be delivered, with a reason that the user can read."""
        self._settle(id, "dead", reason, now)

    def _settle(self, id: str, state: str, reason: str, now: float) -> None:
        self.connection.execute(
            "UPDATE messages SET state = ?, reason = ?, settled = ?, leased_until = 0 WHERE id = ?",
            (state, reason, now, id),
        )

    def schedule_retry(self, id: str, due: float, reason: str, text_only: bool) -> None:
        """End the lease of a message and schedule its next attempt."""
        self.connection.execute(
            "UPDATE messages SET due = ?, reason = ?, text_only = ?, leased_until = 0 WHERE id = ?",
            (due, reason, int(text_only), id),
        )

    def requeue_dead(self, ids: list[str], destination: str, now: float) -> int:
        """Make dead messages pending again, for `destination`. Return how many were dead."""
        with self.transaction():
            return sum(
                self.connection.execute(
                    "UPDATE messages SET state = 'pending', destination = ?, due = ?, created = ?, attempts = 0, "
                    "text_only = 0, settled = NULL WHERE id = ? AND state = 'dead'",
                    (destination, now, now, id),
                ).rowcount
                for id in ids
            )

    def delete_dead(self, ids: list[str]) -> int:
        """Delete dead messages. Return how many were dead."""
        with self.transaction():
            return sum(
                self.connection.execute("DELETE FROM messages WHERE id = ? AND state = 'dead'", (id,)).rowcount
                for id in ids
            )

    def expire_messages(self, now: float, delivery_timeout: float, active: Collection[str] = ()) -> None:
        """Delete messages settled long ago, and mark abandoned ones as dead.

        Parameters
        ----------
        delivery_timeout
            Seconds after which a sidecar that has the webhook gives up on a message.
        active
            Destinations whose webhook this process has. Their messages are not abandoned.
        """
        placeholders = ",".join("?" * len(active))
        self.connection.execute(
            "UPDATE messages SET state = 'dead', reason = ?, settled = ? "
            f"WHERE state = 'pending' AND created < ? AND leased_until <= ? AND destination NOT IN ({placeholders})",
            (ABANDONED_REASON, now, now - delivery_timeout - ABANDONMENT_MARGIN, now, *active),
        )
        self.connection.execute(
            "DELETE FROM messages WHERE state IN ('done', 'skipped') AND settled < ?", (now - DELIVERED_RETENTION,)
        )

    def release_leases(self, owner: str) -> None:
        """End the leases of `owner`, a process that is gone."""
        self.connection.execute("UPDATE messages SET leased_until = 0 WHERE owner = ? AND state = 'pending'", (owner,))

    def list_lease_owners(self, now: float) -> list[str]:
        """Return the owners of all leases."""
        rows = self.connection.execute(
            "SELECT DISTINCT owner FROM messages WHERE state = 'pending' AND leased_until > ?", (now,)
        )
        return [row["owner"] for row in rows]

    def next_due_time(self, destination: str, since: float = 0.0) -> float | None:
        """Return when the next message created at or after `since` is due, or when its lease ends."""
        row = self.connection.execute(
            "SELECT min(max(due, leased_until)) AS at FROM messages "
            "WHERE state = 'pending' AND destination = ? AND created >= ?",
            (destination, since),
        ).fetchone()
        at: float | None = row["at"]
        return at

    def list_messages(self, *states: str) -> list[OutboxMessage]:
        """Return the messages in these states (by default all), oldest first."""
        states = states or ("pending", "done", "dead", "skipped")
        placeholders = ",".join("?" * len(states))
        rows = self.connection.execute(
            f"SELECT * FROM messages WHERE state IN ({placeholders}) ORDER BY created, rowid", states
        )
        return [message_from_row(row) for row in rows]
