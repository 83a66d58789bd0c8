"""What panels show out of the outbox: runs that are open or over, and how Slack's side is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from cwnotify.alerts.events.runs import Outcome, Run, RunLocation, RunResult
from cwnotify.alerts.serialization import from_json_dict, to_json_dict
from cwnotify.store.outbox import Outbox
from cwnotify.view.snapshot import PanelRun, SlackHealth

MAX_LISTED_RUNS = 20
RUN_RETENTION = 15 * 86400.0
MAX_DETAIL_LENGTH = 120
# Ranks of one launch begin and fail at about the same time, even if one imports faster than another.
MAX_RANK_SKEW = 10.0  # seconds


def record_ended_run(outbox: Outbox, ended: RunResult, alert: str, now: float) -> None:
    """Store that a run is over, and the id of the alert that reports it."""
    outbox.execute(
        "INSERT OR REPLACE INTO past_runs VALUES (?, ?, ?, ?)",
        *(ended.run.id, alert, json.dumps(to_json_dict(ended)), now),
    )
    outbox.execute("DELETE FROM past_runs WHERE at < ?", now - RUN_RETENTION)


def find_alert_id(outbox: Outbox, ended: RunResult) -> str:
    """Return the id of the alert that reports how a run ended: its own, unless another rank has reported the failure.

    One rank fails once in each attempt. If this rank is part of an earlier alert, the launch was tried again, as in a
    loop around the program; then this failure is a new one.
    """
    run = ended.run
    if not run.job or ended.outcome is Outcome.FINISHED:
        return run.id
    alerts: dict[str, list[RunResult]] = {}
    rows = outbox.execute(
        "SELECT past_runs.alert AS alert, past_runs.ended AS ended FROM past_runs JOIN messages "
        "ON messages.id = past_runs.alert AND messages.state <> 'skipped' "
        "WHERE past_runs.id <> ? AND instr(past_runs.ended, ?) ORDER BY past_runs.at DESC",
        *(run.id, json.dumps(run.job)),
    )
    for row in rows:
        try:
            other = from_json_dict(RunResult, json.loads(row["ended"]))
        except ValueError:
            continue
        if other.run.job == run.job and other.outcome is not Outcome.FINISHED:
            alerts.setdefault(row["alert"], []).append(other)
    for alert, others in alerts.items():
        if all(other.run.rank != run.rank for other in others) and any(_overlap(ended, other) for other in others):
            return alert
    return run.id


def _overlap(one: RunResult, other: RunResult) -> bool:
    return (
        one.run.started <= other.run.started + other.seconds + MAX_RANK_SKEW
        and other.run.started <= one.run.started + one.seconds + MAX_RANK_SKEW
    )


def list_recent_runs(outbox: Outbox, since: float, running: Mapping[str, tuple[float, ...]]) -> list[PanelRun]:
    """This machine's runs that are open, or that ended after `since`; the newest `MAX_LISTED_RUNS` of these.

    Parameters
    ----------
    running
        CPU over each open run that is measured here, by its id.
    """
    here = os.uname().nodename
    shown = [
        _shown(one.run, cpu=running.get(one.run.id, ()))
        for one in outbox.list_open_runs()
        if one.ended is None and one.watched.host == here
    ]
    rows = outbox.execute(
        "SELECT past_runs.ended AS ended, messages.settled AS told FROM past_runs "
        "LEFT JOIN messages ON messages.id = past_runs.alert AND messages.state = 'done' "
        "WHERE at > ? ORDER BY at DESC LIMIT ?",
        *(since, MAX_LISTED_RUNS),
    )
    for row in rows:
        try:
            ended = from_json_dict(RunResult, json.loads(row["ended"]))
        except ValueError:
            # Another version's.
            continue
        if ended.run.place.host in ("", here):
            shown.append(_over(ended, row["told"] or 0.0))
    return shown


def load_slack_health(outbox: Outbox, destination: str, muted_until: float) -> SlackHealth:
    """How things are with the alerts for one webhook."""
    if not destination:
        return SlackHealth()
    rows = outbox.execute(
        "SELECT state, count(*) AS count, max(settled) AS last FROM messages "
        "WHERE destination = ? AND state IN ('pending', 'dead') GROUP BY state",
        destination,
    )
    found = {row["state"]: row for row in rows}
    delivered = outbox.execute(
        "SELECT max(settled) AS last FROM messages WHERE destination = ? AND state = 'done'", destination
    ).fetchone()
    reason = ""
    if "dead" in found:
        reason = outbox.execute(
            "SELECT reason FROM messages WHERE destination = ? AND state = 'dead' ORDER BY settled DESC LIMIT 1",
            destination,
        ).fetchone()["reason"]
    return SlackHealth(
        webhook=True,
        delivered=delivered["last"] or 0.0,
        waiting=found["pending"]["count"] if "pending" in found else 0,
        dead=found["dead"]["count"] if "dead" in found else 0,
        reason=reason,
        muted_until=muted_until,
    )


def _over(ended: RunResult, told: float) -> PanelRun:
    detail = ""
    if ended.outcome is Outcome.FAILED and ended.failure:
        detail = ": ".join(filter(None, (ended.failure.type, ended.failure.message.partition("\n")[0])))
    if ended.outcome is Outcome.LOST and ended.loss:
        detail = ended.loss.signal or str(ended.loss.cause)
    if command := ended.command:
        detail = f"!{command.text}: {command.signal or f'exit code {command.code}'}"
    return _shown(ended.run, ended.ended, str(ended.outcome), detail[:MAX_DETAIL_LENGTH], ended.cpu, told)


def _shown(
    run: Run,
    ended: float = 0.0,
    outcome: str = "",
    detail: str = "",
    cpu: tuple[float, ...] = (),
    told: float = 0.0,
) -> PanelRun:
    place = _place(run.place)
    return PanelRun(run.name or place or "a cell", run.started, ended, outcome, detail, place, cpu, told)


def _place(place: RunLocation) -> str:
    cell = f"In [{place.cell}]" if place.cell is not None else ""
    return " · ".join(filter(None, (place.notebook, cell)))
