"""``cwnotify watch``: show what the panel shows, without a notebook."""

from __future__ import annotations

import json
import queue
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import click

from cwnotify import settings
from cwnotify.alerts.serialization import from_json_dict
from cwnotify.errors import CwnotifyError
from cwnotify.settings import Secret
from cwnotify.sidecar.client import get_sidecar_client
from cwnotify.view.format import (
    alarm_marker,
    format_alarm_state,
    format_local_time,
    format_problem,
    format_run_state,
    format_with_unit,
    run_marker,
    sanitize_line,
)
from cwnotify.view.options import PRESET_METRICS, resolve_panel_request
from cwnotify.view.snapshot import PanelRequest, Snapshot
from cwnotify.view.text import render_text

FIRST_SNAPSHOT_TIMEOUT = 30.0  # seconds
_CLEAR_SCREEN = "\x1b[H\x1b[J"
_METRICS = ", ".join(PRESET_METRICS)


@click.command()
@click.option("--instance", multiple=True, metavar="ID", help="Watch this instance. Default: this one")
@click.option("--tag", default="", metavar="KEY=VALUE", help="Watch all instances that have this tag")
@click.option("--metric", default="cpu", help=f"Show {_METRICS} or NAMESPACE/NAME. Default: cpu")
@click.option(
    "--alarms",
    multiple=True,
    metavar="NAME",
    help="Watch these alarms: NAME or PREFIX*. Default: the alarms of the instances",
)
@click.option(
    "--alarm-slack",
    default="auto",
    type=click.Choice(("auto", "always", "never")),
    help="Send alarm changes to Slack; auto skips those that the deployed stack sends. Default: auto",
)
@click.option("--range", default="3h", help="Show this much history, 5m to 15d. Default: 3h")
@click.option("--once", is_flag=True, help="Show the current state and exit")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line")
def watch(once: bool, as_json: bool, **options: Any) -> None:
    """Watch CPU and alarms from a terminal or a service, and send alarm changes to Slack.

    Draws a live view on a terminal, or prints one line per change to a pipe or a file. Press Ctrl-C to stop.
    """
    config = settings.load_settings_or_raise()
    request = replace(resolve_panel_request(config, **options), pictures=False)
    is_screen = sys.stdout.isatty() and not once
    show = _print_json if as_json else _draw_screen if is_screen else _print_changes
    previous: Snapshot | None = None
    try:
        for snapshot in _iter_snapshots(request, config.webhook):
            if once and not (as_json or _is_complete(snapshot)):
                continue
            if once and not as_json:
                click.echo(render_text(snapshot))
            else:
                show(previous, snapshot)
            if once:
                return
            previous = snapshot
    except KeyboardInterrupt:
        # Ctrl-C is the normal way to stop. End the line on which the terminal echoed ^C.
        if sys.stdout.isatty():
            click.echo()


def _iter_snapshots(request: PanelRequest, webhook: Secret | None) -> Iterator[Snapshot]:
    """Yield the sidecar's snapshots, without end."""
    client = get_sidecar_client()
    client.set_webhook(webhook)
    messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    client.subscribe("watch", request, messages.put)
    timeout: float | None = FIRST_SNAPSHOT_TIMEOUT
    try:
        while True:
            try:
                message = messages.get(timeout=timeout)
            except queue.Empty:
                raise CwnotifyError("the sidecar did not respond", hint="run `cwnotify doctor`") from None
            timeout = None
            yield from_json_dict(Snapshot, message["snapshot"])
    finally:
        client.unsubscribe("watch")
        client.close()


def _is_complete(snapshot: Snapshot) -> bool:
    """Return whether AWS has responded, or a problem prevents that."""
    return bool(snapshot.updated or snapshot.problems)


def _draw_screen(previous: Snapshot | None, snapshot: Snapshot) -> None:
    click.echo(f"{_CLEAR_SCREEN}{render_text(snapshot)}")


def _print_changes(previous: Snapshot | None, snapshot: Snapshot) -> None:
    for line in describe_changes(previous, snapshot):
        click.echo(f"{format_local_time(snapshot.at, snapshot.at, show_seconds=True)}  {line}")
    sys.stdout.flush()


def _print_json(previous: Snapshot | None, snapshot: Snapshot) -> None:
    from cwnotify.alerts.serialization import to_json_dict

    record = to_json_dict(snapshot)
    # The keys of the output are public and older than the names of the fields.
    record["troubles"] = record.pop("problems", [])
    for run in record.get("runs", []):
        run["told"] = run.pop("notified", 0.0)
    click.echo(json.dumps(record, ensure_ascii=False))
    sys.stdout.flush()


def describe_changes(previous: Snapshot | None, current: Snapshot) -> Iterator[str]:
    """Yield one line per change: new datapoints, alarms, runs, and problems that began or ended."""
    now = current.at
    last_times = {line.label: line.points[-1][0] for line in previous.lines if line.points} if previous else {}
    for line in current.lines:
        if line.points and not line.live and line.points[-1][0] > last_times.get(line.label, 0.0):
            value = format_with_unit(line.points[-1][1], current.unit)
            yield f"{sanitize_line(current.title)} {value}  {sanitize_line(line.label)}"
    alarm_states = {alarm.name: (alarm.state, alarm.since) for alarm in previous.alarms} if previous else {}
    for alarm in current.alarms:
        if alarm_states.get(alarm.name) != (alarm.state, alarm.since):
            yield f"{alarm_marker(alarm)[0]} {sanitize_line(alarm.name)} · {format_alarm_state(alarm, now)}"
    outcomes = {(run.name, run.started): run.outcome for run in previous.runs} if previous else {}
    for run in current.runs:
        if outcomes.get((run.name, run.started)) != run.outcome:
            yield f"{run_marker(run)[0]} {sanitize_line(run.name)} {format_run_state(run, now)}"
    problems = {problem.text for problem in previous.problems} if previous else set()
    for problem in current.problems:
        if problem.text not in problems:
            yield f"⚠ {format_problem(problem, now)}"
    for text in problems - {problem.text for problem in current.problems}:
        yield f"✓ resolved: {sanitize_line(text, 400)}"
