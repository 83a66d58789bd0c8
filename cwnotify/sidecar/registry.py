"""What panels show out of the outbox: runs that are open or over, and how Slack's side is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from cwnotify.alerts.events import Outcome, Place, Run, RunEnded
from cwnotify.alerts.records import from_record, to_record
from cwnotify.sidecar.outbox import Outbox
from cwnotify.sidecar.snapshot import Health, RunShown

MOST_RUNS = 20
KEPT = 15 * 86400.0
MOST_DETAIL = 120


def remember(outbox: Outbox, ended: RunEnded, now: float) -> None:
    """Note that a run is over, for panels to show."""
    outbox.ask(
        "INSERT OR REPLACE INTO past_runs VALUES (?, ?, ?, ?)",
        *(ended.run.id, ended.alert_id, json.dumps(to_record(ended)), now),
    )
    outbox.ask("DELETE FROM past_runs WHERE at < ?", now - KEPT)


def runs_of(outbox: Outbox, since: float, running: Mapping[str, tuple[float, ...]]) -> list[RunShown]:
    """This machine's runs that are open, or that ended after `since`; the newest `MOST_RUNS` of these.

    Parameters
    ----------
    running
        CPU over each open run that is measured here, by its id.
    """
    here = os.uname().nodename
    shown = [
        _shown(one.run, cpu=running.get(one.run.id, ()))
        for one in outbox.open_runs()
        if one.ended is None and one.watched.host == here
    ]
    rows = outbox.ask(
        "SELECT past_runs.ended AS ended, messages.settled AS told FROM past_runs "
        "LEFT JOIN messages ON messages.id = past_runs.alert AND messages.state = 'done' "
        "WHERE at > ? ORDER BY at DESC LIMIT ?",
        *(since, MOST_RUNS),
    )
    for row in rows:
        try:
            ended = from_record(RunEnded, json.loads(row["ended"]))
        except ValueError:
            # Another version's.
            continue
        if ended.run.place.host in ("", here):
            shown.append(_over(ended, row["told"] or 0.0))
    return shown


def health_of(outbox: Outbox, destination: str, muted_until: float) -> Health:
    """How things are with the alerts for one webhook."""
    if not destination:
        return Health()
    rows = outbox.ask(
        "SELECT state, count(*) AS count, max(settled) AS last FROM messages "
        "WHERE destination = ? AND state IN ('pending', 'dead') GROUP BY state",
        destination,
    )
    found = {row["state"]: row for row in rows}
    delivered = outbox.ask(
        "SELECT max(settled) AS last FROM messages WHERE destination = ? AND state = 'done'", destination
    ).fetchone()
    reason = ""
    if "dead" in found:
        reason = outbox.ask(
            "SELECT reason FROM messages WHERE destination = ? AND state = 'dead' ORDER BY settled DESC LIMIT 1",
            destination,
        ).fetchone()["reason"]
    return Health(
        webhook=True,
        delivered=delivered["last"] or 0.0,
        waiting=found["pending"]["count"] if "pending" in found else 0,
        dead=found["dead"]["count"] if "dead" in found else 0,
        reason=reason,
        muted_until=muted_until,
    )


def _over(ended: RunEnded, told: float) -> RunShown:
    detail = ""
    if ended.outcome is Outcome.FAILED and ended.failure:
        detail = ": ".join(filter(None, (ended.failure.type, ended.failure.message.partition("\n")[0])))
    if ended.outcome is Outcome.LOST and ended.loss:
        detail = ended.loss.signal or str(ended.loss.cause)
    if command := ended.command:
        detail = f"!{command.text}: {command.signal or f'exit code {command.code}'}"
    return _shown(ended.run, ended.ended, str(ended.outcome), detail[:MOST_DETAIL], ended.cpu, told)


def _shown(
    run: Run,
    ended: float = 0.0,
    outcome: str = "",
    detail: str = "",
    cpu: tuple[float, ...] = (),
    told: float = 0.0,
) -> RunShown:
    place = _place(run.place)
    return RunShown(run.name or place or "a cell", run.started, ended, outcome, detail, place, cpu, told)


def _place(place: Place) -> str:
    cell = f"In [{place.cell}]" if place.cell is not None else ""
    return " · ".join(filter(None, (place.notebook, cell)))
