"""Ended runs, and what panels show from the outbox: recent runs, and whether alerts reach Slack.

Imports `alerts`, `view.snapshot` and `store.outbox` only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from cwnotify.alerts.events.runs import Outcome, Run, RunLocation, RunResult
from cwnotify.alerts.serialization import from_json_dict, to_json_dict
from cwnotify.store.outbox import Outbox
from cwnotify.view.snapshot import PanelRun, SlackHealth

MAX_LISTED_RUNS = 20
RUN_RETENTION = 15 * 86400.0  # seconds
MAX_DETAIL_LENGTH = 120
# Ranks of one launch begin and fail at about the same time, even if one imports faster than another.
MAX_RANK_SKEW = 10.0  # seconds


def record_ended_run(outbox: Outbox, ended: RunResult, alert: str, now: float) -> None:
    """Store that a run is over, and the id of the alert that reports it."""
    outbox.connection.execute(
        "INSERT OR REPLACE INTO past_runs VALUES (?, ?, ?, ?)",
        (ended.run.id, alert, json.dumps(to_json_dict(ended)), now),
    )
    outbox.connection.execute("DELETE FROM past_runs WHERE at < ?", (now - RUN_RETENTION,))


def find_alert_id(outbox: Outbox, ended: RunResult) -> str:
    """Return the id of the alert that reports how a run ended: its own, unless another rank has reported the failure.

    One rank fails once in each attempt. If this rank is part of an earlier alert, the launch was tried again, as in a
    loop around the program; then this failure is a new one.
    """
    run = ended.run
    if not run.job or ended.outcome is Outcome.FINISHED:
        return run.id
    alerts: dict[str, list[RunResult]] = {}
    rows = outbox.connection.execute(
        "SELECT past_runs.alert AS alert, past_runs.ended AS ended FROM past_runs JOIN messages "
        "ON messages.id = past_runs.alert AND messages.state <> 'skipped' "
        "WHERE past_runs.id <> ? AND instr(past_runs.ended, ?) ORDER BY past_runs.at DESC",
        (run.id, json.dumps(run.job)),
    )
    for row in rows:
        other = _read_result(row["ended"])
        if other and other.run.job == run.job and other.outcome is not Outcome.FINISHED:
            alerts.setdefault(row["alert"], []).append(other)
    for alert, others in alerts.items():
        if all(other.run.rank != run.rank for other in others) and any(_overlap(ended, other) for other in others):
            return alert
    return run.id


def _read_result(text: str) -> RunResult | None:
    """Return a stored result, or None if another version wrote it."""
    try:
        return from_json_dict(RunResult, json.loads(text))
    except ValueError:
        return None


def _overlap(ended: RunResult, other: RunResult) -> bool:
    return (
        ended.run.started <= other.run.started + other.seconds + MAX_RANK_SKEW
        and other.run.started <= ended.run.started + ended.seconds + MAX_RANK_SKEW
    )


def list_recent_runs(outbox: Outbox, since: float, running: Mapping[str, tuple[float, ...]]) -> list[PanelRun]:
    """Return this machine's open runs, and the newest `MAX_LISTED_RUNS` that ended after `since`.

    Parameters
    ----------
    running
        CPU samples of each open run that is measured here, by the run's id.
    """
    host = os.uname().nodename
    runs = [
        _panel_run(open_run.run, cpu=running.get(open_run.run.id, ()))
        for open_run in outbox.list_open_runs()
        if open_run.ended is None and open_run.watched.host == host
    ]
    rows = outbox.connection.execute(
        "SELECT past_runs.ended AS ended, messages.settled AS delivered FROM past_runs "
        "LEFT JOIN messages ON messages.id = past_runs.alert AND messages.state = 'done' "
        "WHERE at > ? ORDER BY at DESC LIMIT ?",
        (since, MAX_LISTED_RUNS),
    )
    for row in rows:
        ended = _read_result(row["ended"])
        if ended and ended.run.place.host in ("", host):
            runs.append(_ended_panel_run(ended, row["delivered"] or 0.0))
    return runs


def load_slack_health(outbox: Outbox, destination: str, muted_until: float) -> SlackHealth:
    """Return whether the alerts for one webhook are delivered."""
    if not destination:
        return SlackHealth()
    rows = outbox.connection.execute(
        "SELECT state, count(*) AS count FROM messages "
        "WHERE destination = ? AND state IN ('pending', 'dead') GROUP BY state",
        (destination,),
    )
    counts = {row["state"]: row["count"] for row in rows}
    delivered = outbox.connection.execute(
        "SELECT max(settled) AS last FROM messages WHERE destination = ? AND state = 'done'", (destination,)
    ).fetchone()
    last_dead = outbox.connection.execute(
        "SELECT reason FROM messages WHERE destination = ? AND state = 'dead' ORDER BY settled DESC LIMIT 1",
        (destination,),
    ).fetchone()
    return SlackHealth(
        webhook=True,
        delivered=delivered["last"] or 0.0,
        waiting=counts.get("pending", 0),
        dead=counts.get("dead", 0),
        reason=last_dead["reason"] if last_dead else "",
        muted_until=muted_until,
    )


def _ended_panel_run(ended: RunResult, delivered: float) -> PanelRun:
    detail = ""
    if ended.outcome is Outcome.FAILED and ended.failure:
        detail = ": ".join(filter(None, (ended.failure.type, ended.failure.message.partition("\n")[0])))
    if ended.outcome is Outcome.LOST and ended.loss:
        detail = ended.loss.signal or str(ended.loss.cause)
    if command := ended.command:
        detail = f"!{command.text}: {command.signal or f'exit code {command.code}'}"
    return _panel_run(ended.run, ended.ended, str(ended.outcome), detail[:MAX_DETAIL_LENGTH], ended.cpu, delivered)


def _panel_run(
    run: Run,
    ended: float = 0.0,
    outcome: str = "",
    detail: str = "",
    cpu: tuple[float, ...] = (),
    delivered: float = 0.0,
) -> PanelRun:
    place = _format_place(run.place)
    return PanelRun(run.name or place or "a cell", run.started, ended, outcome, detail, place, cpu, delivered)


def _format_place(place: RunLocation) -> str:
    cell = f"In [{place.cell}]" if place.cell is not None else ""
    return " · ".join(filter(None, (place.notebook, cell)))
