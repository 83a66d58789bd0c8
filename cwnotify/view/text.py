"""A snapshot -> lines of text, for terminals, nbclient and whoever cannot see pictures. Pure."""

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

SPARKLINE_WIDTH = 60
MAX_SHOWN_LINES = 8


def render_text(snapshot: Snapshot) -> str:
    """What the panel shows, a thing a line."""
    now = snapshot.at
    parts = [_head(snapshot)]
    parts += [f"⚠ {format_problem(trouble, now)}" for trouble in snapshot.troubles]
    parts += [_line(line, snapshot) for line in snapshot.lines[:MAX_SHOWN_LINES]]
    parts += [
        f"{alarm_marker(alarm)[0]} {sanitize_line(alarm.name)} · {format_alarm_state(alarm, now)}"
        for alarm in snapshot.alarms
    ]
    for run in snapshot.runs:
        detail = f" · {sanitize_line(run.detail, 160)}" if run.detail else ""
        spark = f"  {sparkline(run.cpu)} {format_with_unit(sum(run.cpu) / len(run.cpu))}" if run.cpu else ""
        parts.append(f"{run_marker(run)[0]} {sanitize_line(run.name)} {format_run_state(run, now)}{detail}{spark}")
    parts.append(format_slack_health(snapshot.health, now)[0])
    return "\n".join(parts)


def _head(snapshot: Snapshot) -> str:
    names = " ".join(sanitize_line(f"{one.instance} {one.name}") for one in snapshot.subjects[:3]) or "this host"
    more = f" and {len(snapshot.subjects) - 3} more" if len(snapshot.subjects) > 3 else ""
    read = (
        f"updated {format_local_time(snapshot.updated, snapshot.at, show_seconds=True)} {local_zone_name(snapshot.at)}"
    )
    word = "nothing read yet" if not snapshot.updated else f"stale, {read}" if snapshot.stale else read
    return f"cwnotify · {names}{more} · last {format_range(snapshot.request.span)} · {word}"


def _line(line: PlotLine, snapshot: Snapshot) -> str:
    """``CPU ▁▂▇█▇ 88 %  CloudWatch, 5 min``."""
    title, label = sanitize_line(snapshot.title), sanitize_line(line.label)
    values = tuple(value for _, value in line.points)
    if not values:
        return f"{title} no data  {label}"
    low, high = (0.0, 100.0) if snapshot.unit == "%" else (min(values), max(values))
    spark = sparkline(values, low, max(high, low + 1e-9), SPARKLINE_WIDTH)
    return f"{title} {spark} {format_with_unit(values[-1], snapshot.unit)}  {label}"
