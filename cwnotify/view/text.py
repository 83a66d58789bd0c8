"""A snapshot -> lines of text, for terminals, nbclient and whoever cannot see pictures. Pure."""

from __future__ import annotations

from cwnotify.alerts.locale import sparkline
from cwnotify.view.format import (
    alarm_look,
    alarm_words,
    clean,
    clock,
    number,
    run_look,
    run_words,
    slack_words,
    span_words,
    trouble_words,
    zone,
)
from cwnotify.view.snapshot import Line, Snapshot

WIDTH = 60
MOST_LINES = 8


def text(snapshot: Snapshot) -> str:
    """What the panel shows, a thing a line."""
    now = snapshot.at
    parts = [_head(snapshot)]
    parts += [f"⚠ {trouble_words(trouble, now)}" for trouble in snapshot.troubles]
    parts += [_line(line, snapshot) for line in snapshot.lines[:MOST_LINES]]
    parts += [f"{alarm_look(alarm)[0]} {clean(alarm.name)} · {alarm_words(alarm, now)}" for alarm in snapshot.alarms]
    for run in snapshot.runs:
        detail = f" · {clean(run.detail, 160)}" if run.detail else ""
        spark = f"  {sparkline(run.cpu)} {number(sum(run.cpu) / len(run.cpu))}" if run.cpu else ""
        parts.append(f"{run_look(run)[0]} {clean(run.name)} {run_words(run, now)}{detail}{spark}")
    parts.append(slack_words(snapshot.health, now)[0])
    return "\n".join(parts)


def _head(snapshot: Snapshot) -> str:
    names = " ".join(clean(f"{one.instance} {one.name}") for one in snapshot.subjects[:3]) or "this host"
    more = f" and {len(snapshot.subjects) - 3} more" if len(snapshot.subjects) > 3 else ""
    read = f"updated {clock(snapshot.updated, snapshot.at, seconds=True)} {zone(snapshot.at)}"
    word = "nothing read yet" if not snapshot.updated else f"stale, {read}" if snapshot.stale else read
    return f"cwnotify · {names}{more} · last {span_words(snapshot.request.span)} · {word}"


def _line(line: Line, snapshot: Snapshot) -> str:
    """``CPU ▁▂▇█▇ 88 %  CloudWatch, 5 min``."""
    title, label = clean(snapshot.title), clean(line.label)
    values = tuple(value for _, value in line.points)
    if not values:
        return f"{title} no data  {label}"
    low, high = (0.0, 100.0) if snapshot.unit == "%" else (min(values), max(values))
    spark = sparkline(values, low, max(high, low + 1e-9), WIDTH)
    return f"{title} {spark} {number(values[-1], snapshot.unit)}  {label}"
