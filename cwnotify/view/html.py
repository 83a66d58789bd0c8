"""Render a snapshot as the panel's pieces of HTML. Pure; every text from outside is escaped.

Color is never the only signal: each symbol has a text. Each picture has an alternative text.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

from cwnotify.view.css import build_stylesheet
from cwnotify.view.format import (
    MAX_NAME_LENGTH,
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
MAX_DETAIL_LENGTH = 160
MAX_URL_LENGTH = 2000
_MONITORING_LABELS = {"basic": "basic monitoring, 5 min", "detailed": "detailed monitoring, 1 min"}


def _escape_text(text: str, max_length: int = MAX_NAME_LENGTH) -> str:
    # `bdi`: a name in Arabic or Hebrew must not reverse the text after it.
    return f"<bdi>{escape(sanitize_line(text, max_length))}</bdi>"


def render_subject(snapshot: Snapshot) -> str:
    """Render which instances are watched, in one line."""
    instances = snapshot.subjects
    if not instances:
        return '<span class="cw-subject">This host</span><span class="cw-quiet">no EC2 instance is watched</span>'
    if len(instances) > 1:
        names = ", ".join(
            _escape_text(instance.name or instance.instance) for instance in instances[:MAX_SHOWN_INSTANCES]
        )
        more = f" and {len(instances) - MAX_SHOWN_INSTANCES} more" if len(instances) > MAX_SHOWN_INSTANCES else ""
        return f'<span class="cw-subject">{len(instances)} instances</span><span class="cw-quiet">{names}{more}</span>'
    (instance,) = instances
    title = " ".join(_escape_text(text) for text in (instance.instance, instance.name) if text)
    return f'<span class="cw-subject">{title}</span><span class="cw-quiet">{_render_instance_details(instance)}</span>'


def _render_instance_details(instance: WatchedInstance) -> str:
    monitoring = _MONITORING_LABELS.get(instance.monitoring, instance.monitoring)
    details = (instance.instance_type, instance.zone or instance.region, instance.state, monitoring)
    return " · ".join(_escape_text(text) for text in details if text)


def render_freshness(snapshot: Snapshot) -> str:
    """Render when the data was read."""
    if not snapshot.updated:
        return '<span class="cw-quiet">nothing read yet</span>'
    read_at = format_local_time(snapshot.updated, snapshot.at, show_seconds=True)
    zone = escape(local_zone_name(snapshot.at))
    if snapshot.stale:
        return f'<span class="cw-warning">⚠ stale: last read {read_at} {zone}</span>'
    return f'<span class="cw-quiet">updated {read_at} {zone}</span>'


def render_notices(snapshot: Snapshot) -> str:
    """Render one sentence for each problem, and one chip for each alarm, firing alarms first."""
    problems = "".join(_render_problem(problem, snapshot.at) for problem in snapshot.problems)
    alarms = sorted(snapshot.alarms, key=lambda alarm: alarm.state != "ALARM")
    chips = "".join(f"<li>{_render_alarm(alarm, snapshot.at)}</li>" for alarm in alarms[:MAX_SHOWN_ALARMS])
    if hidden := alarms[MAX_SHOWN_ALARMS:]:
        chips += f'<li class="cw-quiet">and {len(hidden)} more alarms</li>'
    chip_list = f'<ul class="cw-chips" aria-label="Alarms">{chips}</ul>' if chips else ""
    return f'<div role="status">{problems}</div>{chip_list}'


def _render_problem(problem: PanelProblem, now: float) -> str:
    return f'<p class="cw-problem">⚠ {_escape_text(format_problem(problem, now), MAX_PROBLEM_LENGTH)}</p>'


def _render_alarm(alarm: PanelAlarm, now: float) -> str:
    symbol, role = alarm_marker(alarm)
    content = f"{symbol} {_escape_text(alarm.name)} · {_escape_text(format_alarm_state(alarm, now))}"
    classes = f"cw-chip cw-{role}{' cw-firing' if alarm.state == 'ALARM' else ''}"
    if not alarm.url.startswith("https://"):
        return f'<span class="{classes}">{content}</span>'
    url = escape(sanitize_line(alarm.url, MAX_URL_LENGTH))
    link = f'href="{url}" target="_blank" rel="noopener noreferrer"'
    return f'<a class="{classes}" {link} title="Open this alarm in CloudWatch">{content}</a>'


def render_runs(snapshot: Snapshot) -> str:
    """Render one row for each run: the running ones, then the latest."""
    runs = sorted(snapshot.runs, key=lambda run: (bool(run.outcome), -run.ended, -run.started))
    rows = "".join(_render_run(run, snapshot) for run in runs[:MAX_SHOWN_RUNS])
    if hidden := runs[MAX_SHOWN_RUNS:]:
        rows += f'<li class="cw-quiet">and {len(hidden)} more</li>'
    return f'<ul aria-label="Runs">{rows}</ul>' if rows else ""


def _render_run(run: PanelRun, snapshot: Snapshot) -> str:
    symbol, role = run_marker(run)
    detail = f" · {_escape_text(run.detail, MAX_DETAIL_LENGTH)}" if run.detail else ""
    sent = f"Slack {format_local_time(run.notified, snapshot.at, show_seconds=True)}" if run.notified else ""
    cells = (
        f'<span class="cw-sign cw-{role}">{symbol}</span>',
        f'<span class="cw-name">{_escape_text(run.name)}</span>',
        f"<span>{escape(format_run_state(run, snapshot.at))}{detail}</span>",
        f"<span>{_render_sparkline(run.cpu)}</span>",
        f'<span class="cw-quiet">{sent or _escape_text(run.place)}</span>',
    )
    return f'<li class="cw-run">{"".join(cells)}</li>'


def _render_sparkline(values: Sequence[float]) -> str:
    """Render the CPU over a run as small bars, and its mean."""
    if not values:
        return ""
    mean = format_with_unit(sum(values) / len(values))
    bars = "".join(f"M{i} 100h1V{100 - min(max(value, 8), 100):.0f}h-1z" for i, value in enumerate(values))
    shape = f'viewBox="0 0 {len(values)} 100" preserveAspectRatio="none" shape-rendering="crispEdges"'
    label = f"CPU over the run: {mean} on average, {format_with_unit(max(values))} at most"
    return f'<svg class="cw-spark" role="img" aria-label="{label}" {shape}><path d="{bars}"/></svg>{mean}'


def render_status(snapshot: Snapshot, notes: Iterable[str] = ()) -> str:
    """Render the state of Slack, notes about the buttons, and the cover for a kernel that sends no updates.

    The cover is hidden until the style sheet's timeout has passed. Each new status restarts the timeout.
    """
    text, classes = _slack_status(snapshot)
    note_list = "".join(f'<p class="cw-quiet">{escape(note)}</p>' for note in notes)
    last = format_local_time(snapshot.at, snapshot.at, show_seconds=True)
    cover = f"⚠ No update from the kernel since {last}. If it was restarted, run this cell again."
    return f'<p class="{classes}">{text}</p>{note_list}<p class="cw-still" aria-hidden="true">{cover}</p>'


def _slack_status(snapshot: Snapshot) -> tuple[str, str]:
    """Return the state of Slack as HTML, and its CSS classes."""
    text, role = format_slack_health(snapshot.health, snapshot.at)
    return escape(text), "cw-bad cw-bad-news" if role == "bad" else "cw-quiet"


def render_static_panel(snapshot: Snapshot, light: bytes, dark: bytes) -> str:
    """Render the whole panel as static HTML, for saved notebooks and pages without widgets.

    Parameters
    ----------
    light, dark
        The plot as PNG for each theme; may be empty.
    """
    at = f"{format_local_time(snapshot.at, 0.0, show_seconds=True)} {local_zone_name(snapshot.at)}"
    text, classes = _slack_status(snapshot)
    return (
        f'<div class="cwnotify cwnotify-kept"><style>{build_stylesheet()}</style>'
        f'<div class="cw-head"><div>{render_subject(snapshot)}</div>'
        f'<div class="cw-quiet">last picture, {escape(at)}</div></div>'
        f"{render_notices(snapshot)}{_render_plot(snapshot, light, 'cw-light')}"
        f"{_render_plot(snapshot, dark, 'cw-dark')}"
        f'{render_runs(snapshot)}<p class="{classes}">{text}</p></div>'
    )


def render_empty_static_panel() -> str:
    """Render the static panel before the first snapshot."""
    return (
        f'<div class="cwnotify cwnotify-kept"><style>{build_stylesheet()}</style>'
        '<span class="cw-quiet">cwnotify: nothing read yet; run the cell again</span></div>'
    )


def _render_plot(snapshot: Snapshot, png: bytes, theme_class: str) -> str:
    # The inline style hides the dark plot on pages that remove our style sheet.
    style = ' style="display:none"' if theme_class == "cw-dark" else ""
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    return f'<img class="{theme_class}"{style} alt="{escape(build_alt_text(snapshot))}" src="{source}">' if png else ""
