"""``cwnotify watch``: what the panel does, without a notebook."""

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

FIRST_SNAPSHOT_TIMEOUT = 30.0
_HOME_AND_CLEAR = "\x1b[H\x1b[J"
_ready = ", ".join(PRESET_METRICS)


@click.command()
@click.option("--instance", multiple=True, metavar="ID", help="Which instances (default: this one).")
@click.option("--tag", default="", metavar="KEY=VALUE", help="All instances that bear this tag.")
@click.option("--metric", default="cpu", show_default=True, help=f"{_ready}, or NAMESPACE/NAME.")
@click.option("--alarms", multiple=True, metavar="NAME", help="Names, or PREFIX* (default: the instances' own).")
@click.option(
    "--alarm-slack",
    default="auto",
    show_default=True,
    type=click.Choice(("auto", "always", "never")),
    help="Whether Slack is told of alarms that change; auto: unless the deployed stack tells it.",
)
@click.option("--range", default="3h", show_default=True, help="How much of the past: 5m to 15d.")
@click.option("--once", is_flag=True, help="Show how things are now, and end.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a line.")
def watch(once: bool, as_json: bool, **asked: Any) -> None:
    """Watch CPU and alarms from a terminal or a service, and tell Slack of every alarm that changes.

    On a terminal the picture is live; into a pipe or a log goes a line for each thing that is new. Ctrl-C ends it.
    """
    found = settings.load_settings_or_raise()
    snapshots = _snapshots(replace(resolve_panel_request(found, **asked), pictures=False), found.webhook)
    show = _json_lines if as_json else _screen if sys.stdout.isatty() and not once else _plain_lines
    before: Snapshot | None = None
    try:
        for snapshot in snapshots:
            if once and not (as_json or _is_whole(snapshot)):
                continue
            if once and not as_json:
                click.echo(render_text(snapshot))
            else:
                show(before, snapshot)
            if once:
                return
            before = snapshot
    except KeyboardInterrupt:
        # The one way to end it; on a terminal its ^C stands alone on a line.
        if sys.stdout.isatty():
            click.echo()


def _snapshots(request: PanelRequest, webhook: Secret | None) -> Iterator[Snapshot]:
    """What the sidecar sees, from now on."""
    link = get_sidecar_client()
    link.set_webhook(webhook)
    lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    link.subscribe("watch", request, lines.put)
    patience: float | None = FIRST_SNAPSHOT_TIMEOUT
    try:
        while True:
            try:
                line = lines.get(timeout=patience)
            except queue.Empty:
                raise CwnotifyError("no word came from the sidecar", hint="look at: cwnotify doctor") from None
            patience = None
            yield from_json_dict(Snapshot, line["snapshot"])
    finally:
        link.unsubscribe("watch")
        link.close()


def _is_whole(snapshot: Snapshot) -> bool:
    """Whether AWS, or without it this host, has been heard."""
    return bool(snapshot.updated or snapshot.troubles)


def _screen(before: Snapshot | None, snapshot: Snapshot) -> None:
    click.echo(f"{_HOME_AND_CLEAR}{render_text(snapshot)}")


def _plain_lines(before: Snapshot | None, snapshot: Snapshot) -> None:
    for line in describe_changes(before, snapshot):
        click.echo(f"{format_local_time(snapshot.at, snapshot.at, show_seconds=True)}  {line}")
    sys.stdout.flush()


def _json_lines(before: Snapshot | None, snapshot: Snapshot) -> None:
    from cwnotify.alerts.serialization import to_json_dict

    click.echo(json.dumps(to_json_dict(snapshot), ensure_ascii=False))
    sys.stdout.flush()


def describe_changes(before: Snapshot | None, after: Snapshot) -> Iterator[str]:
    """What is new in a snapshot, a line a thing: datapoints, alarms, runs, troubles that came or passed."""
    now = after.at
    old_ends = {line.label: line.points[-1][0] for line in before.lines if line.points} if before else {}
    for line in after.lines:
        if line.points and not line.live and line.points[-1][0] > old_ends.get(line.label, 0.0):
            yield f"{sanitize_line(after.title)} {format_with_unit(line.points[-1][1], after.unit)}  {sanitize_line(line.label)}"
    states = {alarm.name: (alarm.state, alarm.since) for alarm in before.alarms} if before else {}
    for alarm in after.alarms:
        if states.get(alarm.name) != (alarm.state, alarm.since):
            yield f"{alarm_marker(alarm)[0]} {sanitize_line(alarm.name)} · {format_alarm_state(alarm, now)}"
    runs = {(run.name, run.started): run.outcome for run in before.runs} if before else {}
    for run in after.runs:
        if runs.get((run.name, run.started)) != run.outcome:
            yield f"{run_marker(run)[0]} {sanitize_line(run.name)} {format_run_state(run, now)}"
    troubles = {trouble.text for trouble in before.troubles} if before else set()
    for trouble in after.troubles:
        if trouble.text not in troubles:
            yield f"⚠ {format_problem(trouble, now)}"
    for passed in troubles - {trouble.text for trouble in after.troubles}:
        yield f"✓ no longer: {sanitize_line(passed, 400)}"
