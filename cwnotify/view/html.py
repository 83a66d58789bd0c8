"""A snapshot -> the panel's pieces of HTML. Pure; everything that comes from outside is escaped.

Colour never tells anything alone: each sign has its word. What a picture shows stands beside it in words, too.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

from cwnotify.view.css import build_stylesheet
from cwnotify.view.format import (
    alarm_marker,
    build_alt_text,
    format_alarm_state,
    format_local_time,
    format_problem,
    format_run_state,
    format_slack_health,
    format_with_unit,
    local_zone_name,
    run_marker,
    sanitize_line,
)
from cwnotify.view.snapshot import PanelAlarm, PanelProblem, PanelRun, Snapshot, WatchedInstance

MAX_SHOWN_ALARMS = 10
MAX_SHOWN_RUNS = 5
MAX_SHOWN_INSTANCES = 3
MAX_PROBLEM_LENGTH = 400
_PERIODS = {"basic": "basic monitoring, 5 min", "detailed": "detailed monitoring, 1 min"}


def _text(text: str, most: int = 48) -> str:
    # A name in Arabic or Hebrew must not turn round what follows it.
    return f"<bdi>{escape(sanitize_line(text, most))}</bdi>"


def render_subject(snapshot: Snapshot) -> str:
    """What is watched, in one line."""
    subjects = snapshot.subjects
    if not subjects:
        return '<span class="cw-subject">This host</span><span class="cw-quiet">no EC2 instance is watched</span>'
    if len(subjects) > 1:
        names = ", ".join(_text(one.name or one.instance) for one in subjects[:MAX_SHOWN_INSTANCES])
        more = f" and {len(subjects) - MAX_SHOWN_INSTANCES} more" if len(subjects) > MAX_SHOWN_INSTANCES else ""
        return f'<span class="cw-subject">{len(subjects)} instances</span><span class="cw-quiet">{names}{more}</span>'
    one = subjects[0]
    title = " ".join(_text(word) for word in (one.instance, one.name) if word)
    return f'<span class="cw-subject">{title}</span><span class="cw-quiet">{_particulars(one)}</span>'


def _particulars(one: WatchedInstance) -> str:
    monitoring = _PERIODS.get(one.monitoring, one.monitoring)
    words = (one.instance_type, one.zone or one.region, one.state, monitoring)
    return " · ".join(_text(word) for word in words if word)


def render_freshness(snapshot: Snapshot) -> str:
    """When what is shown was read."""
    if not snapshot.updated:
        return '<span class="cw-quiet">nothing read yet</span>'
    read = format_local_time(snapshot.updated, snapshot.at, show_seconds=True)
    where = escape(local_zone_name(snapshot.at))
    if snapshot.stale:
        return f'<span class="cw-warning">⚠ stale: last read {read} {where}</span>'
    return f'<span class="cw-quiet">updated {read} {where}</span>'


def render_notices(snapshot: Snapshot) -> str:
    """Troubles, a sentence each, and a chip for each alarm, those that fire first."""
    troubles = "".join(_trouble(trouble, snapshot.at) for trouble in snapshot.troubles)
    alarms = sorted(snapshot.alarms, key=lambda alarm: alarm.state != "ALARM")
    chips = "".join(f"<li>{_chip(alarm, snapshot.at)}</li>" for alarm in alarms[:MAX_SHOWN_ALARMS])
    if more := alarms[MAX_SHOWN_ALARMS:]:
        chips += f'<li class="cw-quiet">and {len(more)} more alarms</li>'
    listed = f'<ul class="cw-chips" aria-label="Alarms">{chips}</ul>' if chips else ""
    return f'<div role="status">{troubles}</div>{listed}'


def _trouble(trouble: PanelProblem, now: float) -> str:
    return f'<p class="cw-trouble">⚠ {_text(format_problem(trouble, now), MAX_PROBLEM_LENGTH)}</p>'


def _chip(alarm: PanelAlarm, now: float) -> str:
    sign, tone = alarm_marker(alarm)
    inner = f"{sign} {_text(alarm.name)} · {_text(format_alarm_state(alarm, now))}"
    kind = f"cw-chip cw-{tone}{' cw-firing' if alarm.state == 'ALARM' else ''}"
    if not alarm.url.startswith("https://"):
        return f'<span class="{kind}">{inner}</span>'
    where = f'href="{escape(sanitize_line(alarm.url, 2000))}" target="_blank" rel="noopener noreferrer"'
    return f'<a class="{kind}" {where} title="Open this alarm in CloudWatch">{inner}</a>'


def render_runs(snapshot: Snapshot) -> str:
    """A row for each run: those that run, then the last ones."""
    ordered = sorted(snapshot.runs, key=lambda run: (bool(run.outcome), -run.ended, -run.started))
    rows = "".join(_run(run, snapshot) for run in ordered[:MAX_SHOWN_RUNS])
    if more := ordered[MAX_SHOWN_RUNS:]:
        rows += f'<li class="cw-quiet">and {len(more)} more</li>'
    return f'<ul aria-label="Runs">{rows}</ul>' if rows else ""


def _run(run: PanelRun, snapshot: Snapshot) -> str:
    sign, tone = run_marker(run)
    doing = escape(format_run_state(run, snapshot.at)) + (f" · {_text(run.detail, 160)}" if run.detail else "")
    told = f"Slack {format_local_time(run.notified, snapshot.at, show_seconds=True)}" if run.notified else ""
    cells = (
        f'<span class="cw-sign cw-{tone}">{sign}</span>',
        f'<span class="cw-name">{_text(run.name)}</span>',
        f"<span>{doing}</span>",
        f"<span>{_spark(run.cpu)}</span>",
        f'<span class="cw-quiet">{told or _text(run.place)}</span>',
    )
    return f'<li class="cw-run">{"".join(cells)}</li>'


def _spark(values: Sequence[float]) -> str:
    """CPU over a run as little bars, and its mean."""
    if not values:
        return ""
    mean = format_with_unit(sum(values) / len(values))
    bars = "".join(f"M{i} 100h1V{100 - min(max(value, 8), 100):.0f}h-1z" for i, value in enumerate(values))
    shape = f'viewBox="0 0 {len(values)} 100" preserveAspectRatio="none" shape-rendering="crispEdges"'
    label = f"CPU over the run: {mean} on average, {format_with_unit(max(values))} at most"
    return f'<svg class="cw-spark" role="img" aria-label="{label}" {shape}><path d="{bars}"/></svg>{mean}'


def render_status(snapshot: Snapshot, notes: Iterable[str] = ()) -> str:
    """Slack's health, notes on the buttons, and what covers them once no more word comes from the kernel.

    The cover waits out of sight, as long as the style sheet says; each new status starts its wait anew.
    """
    text, tone = format_slack_health(snapshot.health, snapshot.at)
    kind = "cw-bad cw-bad-news" if tone == "bad" else "cw-quiet"
    noted = "".join(f'<p class="cw-quiet">{escape(note)}</p>' for note in notes)
    last = format_local_time(snapshot.at, snapshot.at, show_seconds=True)
    still = f"⚠ No word from the kernel since {last}. If it was restarted, run this cell again."
    return f'<p class="{kind}">{escape(text)}</p>{noted}<p class="cw-still" aria-hidden="true">{still}</p>'


def render_static_panel(snapshot: Snapshot, light: bytes, dark: bytes) -> str:
    """All of it as one still piece, for a saved notebook and for pages without widgets."""
    at = f"{format_local_time(snapshot.at, 0.0, show_seconds=True)} {local_zone_name(snapshot.at)}"
    text, tone = format_slack_health(snapshot.health, snapshot.at)
    kind = "cw-bad cw-bad-news" if tone == "bad" else "cw-quiet"
    return (
        f'<div class="cwnotify cwnotify-kept"><style>{build_stylesheet()}</style>'
        f'<div class="cw-head"><div>{render_subject(snapshot)}</div>'
        f'<div class="cw-quiet">last picture, {escape(at)}</div></div>'
        f"{render_notices(snapshot)}{_picture(snapshot, light, 'cw-light')}{_picture(snapshot, dark, 'cw-dark')}"
        f'{render_runs(snapshot)}<p class="{kind}">{escape(text)}</p></div>'
    )


def render_empty_static_panel() -> str:
    """The still piece before there is anything to show."""
    words = "cwnotify: nothing was read yet; run the cell again"
    return f'<div class="cwnotify cwnotify-kept"><style>{build_stylesheet()}</style><span class="cw-quiet">{words}</span></div>'


def _picture(snapshot: Snapshot, png: bytes, kind: str) -> str:
    # Where a page strips our styles, the dark one must not stand below the light one.
    hidden = ' style="display:none"' if kind == "cw-dark" else ""
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    return f'<img class="{kind}"{hidden} alt="{escape(build_alt_text(snapshot))}" src="{source}">' if png else ""
