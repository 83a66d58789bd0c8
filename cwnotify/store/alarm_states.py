"""Alarm states and changes: each change is sent once, however many processes watch or restart.

The last observed state of each alarm is in the outbox's file. A process that observes a change stores it in one
transaction with its messages, so the next process finds nothing new. Imports `alerts` and `store.outbox` only.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from cwnotify.alerts.events.alarms import AlarmStateChange
from cwnotify.alerts.messages.alarm import alarm_message
from cwnotify.alerts.messages.flapping import flapping_message
from cwnotify.alerts.messages.missed_changes import missed_changes_message
from cwnotify.alerts.serialization import from_json_dict, to_json_dict
from cwnotify.store.outbox import Outbox

# More changes of one alarm than this within the window (in seconds) become one message.
MAX_CHANGES_PER_WINDOW = 6
FLAPPING_WINDOW = 600.0
CHANGE_RETENTION = 86400.0  # seconds


@dataclass(frozen=True)
class StoredAlarmState:
    """The last observed state of an alarm. Times are Unix seconds."""

    state: str
    since: float
    seen: float


@dataclass(frozen=True)
class MessageOptions:
    """The options of a message about an alarm; see `cwnotify.alerts.messages.alarm.alarm_message`."""

    lang: str = "en"
    zone: str = ""
    channel: str = ""


@dataclass(frozen=True)
class HistoryGap:
    """A period for which an alarm's history could not be read, between two known states. Times are Unix seconds."""

    before: str
    since: float
    after: str
    until: float


@dataclass(frozen=True)
class AlarmObservation:
    """An alarm's current state, and its changes since the last observation, oldest first.

    Parameters
    ----------
    gap
        Where `changes` may be incomplete.
    """

    key: str
    state: str
    since: float
    changes: tuple[AlarmStateChange, ...] = ()
    gap: HistoryGap | None = None


class AlarmStateStore:
    """The tables about alarms, through one connection to the outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._connection = outbox.connection

    def load_states(self, destination: str) -> dict[str, StoredAlarmState]:
        """Return the last observed state of each alarm for one destination, by the alarm's key."""
        rows = self._connection.execute(
            "SELECT key, state, since, seen FROM alarms WHERE destination = ?", (destination,)
        )
        return {row["key"]: StoredAlarmState(row["state"], row["since"], row["seen"]) for row in rows}

    def record_observations(
        self,
        destination: str,
        alarms: Iterable[AlarmObservation],
        voice: MessageOptions,
        now: float,
        suppress_messages: bool = False,
        unwatched_since: float | None = None,
    ) -> int:
        """Store the states of alarms, and enqueue a message for each change that is not stored yet.

        Parameters
        ----------
        suppress_messages
            Enqueue no messages, because another sender reports these alarms.
        unwatched_since
            When the last process stopped watching, if none watched until now (Unix seconds).

        Returns
        -------
        int
            The number of new changes.
        """
        count = 0
        with self._outbox.transaction():
            suppress_messages = suppress_messages or not destination or self.muted_until(destination) > now
            for alarm in alarms:
                changes = self._find_new_changes(destination, alarm)
                count += len(changes)
                if changes and not suppress_messages:
                    self._enqueue_changes(destination, alarm.key, changes, voice, now, unwatched_since)
                    self._add_gap(destination, alarm.key, alarm.gap, now)
                # A process that read the alarm earlier may store it later; the newer state stays.
                self._connection.execute(
                    "INSERT INTO alarms VALUES (?, ?, ?, ?, ?) ON CONFLICT (destination, key) DO UPDATE SET "
                    "state = iif(excluded.since >= since, excluded.state, state), "
                    "since = max(excluded.since, since), seen = excluded.seen",
                    (destination, alarm.key, alarm.state, alarm.since, now),
                )
        return count

    def load_gaps(self, destination: str) -> dict[str, list[HistoryGap]]:
        """Return the gaps that are not filled yet, by the alarm's key, oldest first."""
        rows = self._connection.execute(
            "SELECT key, before, since, after, until FROM gaps WHERE destination = ? ORDER BY since", (destination,)
        )
        gaps: dict[str, list[HistoryGap]] = {}
        for row in rows.fetchall():
            gaps.setdefault(row["key"], []).append(HistoryGap(row["before"], row["since"], row["after"], row["until"]))
        return gaps

    def fill_gaps(
        self,
        destination: str,
        key: str,
        missed: Mapping[HistoryGap, Sequence[AlarmStateChange]],
        state: str,
        voice: MessageOptions,
        now: float,
    ) -> bool:
        """Delete gaps, and enqueue one message for the changes in them. Return whether a message was enqueued.

        Parameters
        ----------
        missed
            The changes in each gap.
        state
            The alarm's current state.
        """
        with self._outbox.transaction():
            changes: list[AlarmStateChange] = []
            for gap, gap_changes in missed.items():
                is_removed = self._connection.execute(
                    "DELETE FROM gaps WHERE destination = ? AND key = ? AND since = ?", (destination, key, gap.since)
                ).rowcount
                # Another sidecar may have filled it first.
                changes += gap_changes if is_removed else ()
            if not changes or self.muted_until(destination) > now:
                return False
            message = missed_changes_message(changes, state, voice.lang, voice.zone, voice.channel)
            self._outbox.enqueue(_new_id(), destination, message, now)
        return True

    def enqueue_held_changes(self, now: float, flush_all: bool = False) -> int:
        """Enqueue one message per alarm for changes held back for `FLAPPING_WINDOW`. Return the number of messages.

        Parameters
        ----------
        flush_all
            Enqueue all held changes now, because no process may be here later.
        """
        with self._outbox.transaction():
            due = self._connection.execute(
                "SELECT destination, key FROM changes WHERE held GROUP BY destination, key HAVING min(noted) <= ?",
                (now if flush_all else now - FLAPPING_WINDOW,),
            ).fetchall()
            for destination, key in due:
                self._enqueue_held(destination, key, now)
            self._connection.execute("DELETE FROM changes WHERE NOT held AND noted < ?", (now - CHANGE_RETENTION,))
            self._connection.execute("DELETE FROM gaps WHERE noted < ?", (now - CHANGE_RETENTION,))
        return len(due)

    def mute(self, destination: str, until: float) -> None:
        """Send no messages about alarms until then (Unix seconds). A past time ends the mute."""
        self._connection.execute("INSERT OR REPLACE INTO mutes VALUES (?, ?)", (destination, until))

    def muted_until(self, destination: str) -> float:
        """Return when the mute ends (Unix seconds), or 0.0 if the destination was never muted."""
        row = self._connection.execute("SELECT until FROM mutes WHERE destination = ?", (destination,)).fetchone()
        return float(row["until"]) if row else 0.0

    def _find_new_changes(self, destination: str, alarm: AlarmObservation) -> list[AlarmStateChange]:
        """Return the changes that are not stored yet. The first observation of an alarm has none."""
        row = self._connection.execute(
            "SELECT state, since FROM alarms WHERE destination = ? AND key = ?", (destination, alarm.key)
        ).fetchone()
        if row is None:
            return []
        later = [change for change in alarm.changes if change.at is not None and change.at > row["since"]]
        if later or alarm.state == row["state"]:
            return later
        # Times may be whole seconds. Only the state shows a second change within one second.
        return [alarm.changes[-1]] if alarm.changes and alarm.since == row["since"] else []

    def _add_gap(self, destination: str, key: str, gap: HistoryGap | None, now: float) -> None:
        if gap is not None:
            self._connection.execute(
                "INSERT OR REPLACE INTO gaps VALUES (?, ?, ?, ?, ?, ?, ?)",
                (destination, key, gap.before, gap.since, gap.after, gap.until, now),
            )

    def _enqueue_changes(
        self,
        destination: str,
        key: str,
        changes: Sequence[AlarmStateChange],
        voice: MessageOptions,
        now: float,
        unwatched_since: float | None,
    ) -> None:
        """Enqueue a message for each change, or hold the changes back while the alarm flaps."""
        unwatched = None if unwatched_since is None else (unwatched_since, now)
        options = voice.lang, voice.zone, voice.channel, unwatched, now
        if unwatched and len(changes) > MAX_CHANGES_PER_WINDOW:
            self._outbox.enqueue(_new_id(), destination, flapping_message(changes, *options), now)
            return
        for change in changes:
            recent_count, held_count = self._connection.execute(
                "SELECT count(*), total(held) FROM changes WHERE destination = ? AND key = ? AND noted > ?",
                (destination, key, now - FLAPPING_WINDOW),
            ).fetchone()
            is_held = bool(held_count) or recent_count >= MAX_CHANGES_PER_WINDOW
            if not is_held:
                self._outbox.enqueue(_new_id(), destination, alarm_message(change, *options), now)
            encoded = json.dumps(to_json_dict(change)), json.dumps(asdict(voice))
            self._connection.execute(
                "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)",
                (_new_id(), destination, key, *encoded, now, is_held),
            )

    def _enqueue_held(self, destination: str, key: str, now: float) -> None:
        """Enqueue one message for the held changes of one alarm."""
        rows = self._connection.execute(
            "SELECT * FROM changes WHERE destination = ? AND key = ? AND held ORDER BY rowid", (destination, key)
        ).fetchall()
        changes = [from_json_dict(AlarmStateChange, json.loads(row["change"])) for row in rows]
        voice = from_json_dict(MessageOptions, json.loads(rows[-1]["voice"]))
        options = voice.lang, voice.zone, voice.channel, None, now
        message = flapping_message(changes, *options) if len(changes) > 1 else alarm_message(changes[0], *options)
        self._outbox.enqueue(_new_id(), destination, message, now)
        self._connection.execute("UPDATE changes SET held = 0 WHERE destination = ? AND key = ?", (destination, key))


def _new_id() -> str:
    # Random: times are whole seconds, so an id made of the alarm and its time could name two changes.
    return secrets.token_hex(12)
