"""Render a snapshot as lines of text, for terminals, nbclient and people who cannot see pictures. Pure."""

from __future__ import annotations

from cwnotify.alerts.locale import sparkline
from cwnotify.view.format import (
    alarm_marker,
    format_alarm_state,
    format_local_time,
    format_problem,
    format_range,
    format_run_state,
    format_slack_health,
    format_with_unit,
    local_zone_name,
    run_marker,
    sanitize_line,
)
from cwnotify.view.snapshot import PlotLine, Snapshot

SPARKLINE_WIDTH = 60  # characters
MAX_SHOWN_LINES = 8
_MAX_SHOWN_INSTANCES = 3


def render_text(snapshot: Snapshot) -> str:
    """Return the content of the panel, one item a line."""
    now = snapshot.at
    rows = [_render_header(snapshot)]
    rows += [f"⚠ {format_problem(problem, now)}" for problem in snapshot.problems]
    rows += [_render_line(line, snapshot) for line in snapshot.lines[:MAX_SHOWN_LINES]]
    rows += [
        f"{alarm_marker(alarm)[0]} {sanitize_line(alarm.name)} · {format_alarm_state(alarm, now)}"
        for alarm in snapshot.alarms
    ]
    for run in snapshot.runs:
        detail = f" · {sanitize_line(run.detail, 160)}" if run.detail else ""
        cpu = f"  {sparkline(run.cpu)} {format_with_unit(sum(run.cpu) / len(run.cpu))}" if run.cpu else ""
        rows.append(f"{run_marker(run)[0]} {sanitize_line(run.name)} {format_run_state(run, now)}{detail}{cpu}")
    rows.append(format_slack_health(snapshot.health, now)[0])
    return "\n".join(rows)


def _render_header(snapshot: Snapshot) -> str:
    instances = snapshot.subjects[:_MAX_SHOWN_INSTANCES]
    names = " ".join(sanitize_line(f"{instance.instance} {instance.name}") for instance in instances) or "this host"
    hidden = len(snapshot.subjects) - len(instances)
    more = f" and {hidden} more" if hidden else ""
    read_at = format_local_time(snapshot.updated, snapshot.at, show_seconds=True)
    updated = f"updated {read_at} {local_zone_name(snapshot.at)}"
    freshness = "nothing read yet" if not snapshot.updated else f"stale, {updated}" if snapshot.stale else updated
    return f"cwnotify · {names}{more} · last {format_range(snapshot.request.span)} · {freshness}"


def _render_line(line: PlotLine, snapshot: Snapshot) -> str:
    """Render ``CPU ▁▂▇█▇ 88 %  CloudWatch, 5 min``."""
    title, label = sanitize_line(snapshot.title), sanitize_line(line.label)
    values = tuple(value for _, value in line.points)
    if not values:
        return f"{title} no data  {label}"
    low, high = (0.0, 100.0) if snapshot.unit == "%" else (min(values), max(values))
    bars = sparkline(values, low, max(high, low + 1e-9), SPARKLINE_WIDTH)
    return f"{title} {bars} {format_with_unit(values[-1], snapshot.unit)}  {label}"
