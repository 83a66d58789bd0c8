"""Which changes of alarms Slack is told of: each once, however many watch and whoever restarts.

What was last seen of an alarm stands in the outbox's file. Whoever finds it changed notes that in one transaction
together with the messages, so the next one who looks finds nothing new. Standard library, `alerts` and `outbox`.
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

# More changes of one alarm than these, within these seconds, become one message.
MAX_CHANGES_PER_WINDOW = 6
FLAPPING_WINDOW = 600.0
CHANGE_RETENTION = 86400.0


@dataclass(frozen=True)
class StoredAlarmState:
    """An alarm as whoever watched saw it last: its state, since when, and when that was seen."""

    state: str
    since: float
    seen: float


@dataclass(frozen=True)
class MessageOptions:
    """How to speak of an alarm; see `cwnotify.alerts.messages.alarm.alarm_message`."""

    lang: str = "en"
    zone: str = ""
    channel: str = ""


@dataclass(frozen=True)
class HistoryGap:
    """Between two states of an alarm that are known, its history could not be read. Times are Unix seconds."""

    before: str
    since: float
    after: str
    until: float


@dataclass(frozen=True)
class AlarmObservation:
    """An alarm as it is now, and its changes since it was last seen, oldest first.

    Parameters
    ----------
    gap
        Where further changes may be missing among `changes`.
    """

    key: str
    state: str
    since: float
    changes: tuple[AlarmStateChange, ...] = ()
    gap: HistoryGap | None = None


class AlarmStateStore:
    """The alarms' part of the outbox, through one connection to it."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def load_states(self, destination: str) -> dict[str, StoredAlarmState]:
        """What was last seen of each alarm, for one webhook's readers, by the alarm's key."""
        rows = self._outbox.execute("SELECT key, state, since, seen FROM alarms WHERE destination = ?", destination)
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
        """Note how alarms are, and put a message for each change that nobody has noted before.

        Parameters
        ----------
        silent
            Put no message: somebody else tells of these alarms.
        unwatched
            Since when nobody had watched, where that is so.

        Returns
        -------
        int
            How many changes were new.
        """
        count = 0
        with self._outbox.transaction():
            suppress_messages = suppress_messages or not destination or self.muted_until(destination) > now
            for alarm in alarms:
                new = self._new(destination, alarm)
                count += len(new)
                if new and not suppress_messages:
                    self._tell(destination, alarm.key, new, voice, now, unwatched_since)
                    self._add_gap(destination, alarm.key, alarm.gap, now)
                # Whoever read it before somebody else has seen a later state, and notes it after, knows less.
                self._outbox.execute(
                    "INSERT INTO alarms VALUES (?, ?, ?, ?, ?) ON CONFLICT (destination, key) DO UPDATE SET "
                    "state = iif(excluded.since >= since, excluded.state, state), "
                    "since = max(excluded.since, since), seen = excluded.seen",
                    *(destination, alarm.key, alarm.state, alarm.since, now),
                )
        return count

    def load_gaps(self, destination: str) -> dict[str, list[HistoryGap]]:
        """The gaps that are not filled yet, by the alarm's key, oldest first."""
        rows = self._outbox.execute(
            "SELECT key, before, since, after, until FROM gaps WHERE destination = ? ORDER BY since", destination
        )
        found: dict[str, list[HistoryGap]] = {}
        for row in rows.fetchall():
            found.setdefault(row["key"], []).append(HistoryGap(row["before"], row["since"], row["after"], row["until"]))
        return found

    def fill_gaps(
        self,
        destination: str,
        key: str,
        missed: Mapping[HistoryGap, Sequence[AlarmStateChange]],
        state: str,
        voice: MessageOptions,
        now: float,
    ) -> bool:
        """Remove gaps, and put one message for the changes in them that nobody has put; tells whether it did.

        Parameters
        ----------
        missed
            The changes in each gap.
        state
            The alarm's state now.
        """
        with self._outbox.transaction():
            changes: list[AlarmStateChange] = []
            for gap, found in missed.items():
                removed = self._outbox.execute(
                    "DELETE FROM gaps WHERE destination = ? AND key = ? AND since = ?", destination, key, gap.since
                ).rowcount
                # Another sidecar may have been here first.
                changes += found if removed else ()
            if not changes or self.muted_until(destination) > now:
                return False
            message = missed_changes_message(changes, state, voice.lang, voice.zone, voice.channel)
            self._outbox.enqueue(_new_id(), destination, message, now)
        return True

    def _add_gap(self, destination: str, key: str, gap: HistoryGap | None, now: float) -> None:
        if gap is not None:
            self._outbox.execute(
                "INSERT OR REPLACE INTO gaps VALUES (?, ?, ?, ?, ?, ?, ?)",
                *(destination, key, gap.before, gap.since, gap.after, gap.until, now),
            )

    def enqueue_held_changes(self, now: float, flush_all: bool = False) -> int:
        """Put one message for the changes of each alarm that were held back long enough; tells how many messages.

        Parameters
        ----------
        at_once
            Do not wait: nobody may be there later.
        """
        with self._outbox.transaction():
            due = self._outbox.execute(
                "SELECT destination, key FROM changes WHERE held GROUP BY destination, key HAVING min(noted) <= ?",
                now if flush_all else now - FLAPPING_WINDOW,
            ).fetchall()
            for destination, key in due:
                self._tell_held(destination, key, now)
            self._outbox.execute("DELETE FROM changes WHERE NOT held AND noted < ?", now - CHANGE_RETENTION)
            self._outbox.execute("DELETE FROM gaps WHERE noted < ?", now - CHANGE_RETENTION)
        return len(due)

    def mute(self, destination: str, until: float) -> None:
        """Tell nothing of alarms until then (Unix seconds); a time that is past ends it."""
        self._outbox.execute("INSERT OR REPLACE INTO mutes VALUES (?, ?)", destination, until)

    def muted_until(self, destination: str) -> float:
        """Until when nothing is told; 0.0 if it never was muted."""
        row = self._outbox.execute("SELECT until FROM mutes WHERE destination = ?", destination).fetchone()
        return float(row["until"]) if row else 0.0

    def _new(self, destination: str, alarm: AlarmObservation) -> list[AlarmStateChange]:
        """Its changes that nobody has noted; none for an alarm that is seen for the first time."""
        row = self._outbox.execute(
            "SELECT state, since FROM alarms WHERE destination = ? AND key = ?", destination, alarm.key
        ).fetchone()
        if row is None:
            return []
        later = [change for change in alarm.changes if change.at is not None and change.at > row["since"]]
        # Times may be told in whole seconds: a second change within one of them shows by its state alone.
        within = [alarm.changes[-1]] if alarm.changes and alarm.since == row["since"] else []
        return later or ([] if alarm.state == row["state"] else within)

    def _tell(
        self,
        destination: str,
        key: str,
        changes: Sequence[AlarmStateChange],
        voice: MessageOptions,
        now: float,
        unwatched: float | None,
    ) -> None:
        late = None if unwatched is None else (unwatched, now)
        say = voice.lang, voice.zone, voice.channel, late, now
        if late and len(changes) > MAX_CHANGES_PER_WINDOW:
            self._outbox.enqueue(_new_id(), destination, flapping_message(changes, *say), now)
            return
        for change in changes:
            recent, held = self._outbox.execute(
                "SELECT count(*), total(held) FROM changes WHERE destination = ? AND key = ? AND noted > ?",
                *(destination, key, now - FLAPPING_WINDOW),
            ).fetchone()
            hold = bool(held) or recent >= MAX_CHANGES_PER_WINDOW
            if not hold:
                self._outbox.enqueue(_new_id(), destination, alarm_message(change, *say), now)
            self._outbox.execute(
                "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)",
                *(_new_id(), destination, key),
                *(json.dumps(to_json_dict(change)), json.dumps(asdict(voice)), now, hold),
            )

    def _tell_held(self, destination: str, key: str, now: float) -> None:
        rows = self._outbox.execute(
            "SELECT * FROM changes WHERE destination = ? AND key = ? AND held ORDER BY rowid", destination, key
        ).fetchall()
        changes = [from_json_dict(AlarmStateChange, json.loads(row["change"])) for row in rows]
        voice = from_json_dict(MessageOptions, json.loads(rows[-1]["voice"]))
        say = voice.lang, voice.zone, voice.channel, None, now
        message = flapping_message(changes, *say) if len(changes) > 1 else alarm_message(changes[0], *say)
        self._outbox.enqueue(_new_id(), destination, message, now)
        self._outbox.execute("UPDATE changes SET held = 0 WHERE destination = ? AND key = ?", destination, key)


def _new_id() -> str:
    # That a change is told once is seen by what was noted of its alarm. Its time could not tell it from another: where
    # times come in whole seconds, an alarm may change twice in one.
    return secrets.token_hex(12)
