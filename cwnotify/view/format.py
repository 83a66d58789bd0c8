"""The symbols, colors and texts of a snapshot. Imports the standard library and `alerts` only.

The plot, the panel and the text version all use them, so an alarm looks the same in all three. Color is never the only
signal: each role also has a symbol and a text. The lines are blue and orange, which people with any kind of color
vision can distinguish. Times are in this machine's time zone.
"""

from __future__ import annotations

import time
import unicodedata
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from cwnotify.alerts.locale import format_duration
from cwnotify.view.snapshot import PanelAlarm, PanelProblem, PanelRun, PlotLine, SlackHealth, Snapshot

ColorRole = Literal["good", "bad", "calm", "run"]
PANEL_LANGUAGE = "en"
ALARM_SYMBOLS = {"OK": "●", "INSUFFICIENT_DATA": "○"}
RUN_SYMBOLS = {"": "▶", "finished": "✓", "failed": "✕", "interrupted": "■", "lost": "✕"}
MAX_NAME_LENGTH = 48
TINT_OPACITY = 0.12


@dataclass(frozen=True)
class Theme:
    """The colors of a panel, as ``#rrggbb``.

    A color role (`good`, `bad`, `calm`, `run`) has two colors: one for text and lines, and a brighter one that is
    blended into the background. `ink` and `quiet` are text colors, `live` and `lines` the plot's lines.
    """

    page: str
    border: str
    ink: str
    quiet: str
    grid: str
    button: str
    pressed: str
    warning: str
    good: tuple[str, str]
    bad: tuple[str, str]
    calm: tuple[str, str]
    run: tuple[str, str]
    live: str
    lines: tuple[str, ...]

    def foreground_color(self, role: ColorRole) -> str:
        """Return the color of text and lines."""
        return self._color_pair(role)[0]

    def highlight_color(self, role: ColorRole) -> str:
        """Return the color that is blended into the background."""
        return self._color_pair(role)[1]

    def tinted_background(self, role: ColorRole) -> str:
        """Return the tinted color of the page behind text and lines."""
        return blend_colors(self.page, self.highlight_color(role), TINT_OPACITY)

    def _color_pair(self, role: ColorRole) -> tuple[str, str]:
        pair: tuple[str, str] = getattr(self, role)
        return pair


def blend_colors(below: str, above: str, opacity: float) -> str:
    """Return the color of `above` on top of `below`. `opacity` is from 0 to 1."""
    pairs = zip(bytes.fromhex(below[1:]), bytes.fromhex(above[1:]), strict=True)
    return "#" + bytes(round(a + (b - a) * opacity) for a, b in pairs).hex()


LIGHT = Theme(
    page="#ffffff",
    border="#d4d9df",
    ink="#1f2328",
    quiet="#5b6570",
    grid="#e3e7eb",
    button="#f3f5f7",
    pressed="#0a5fb4",
    warning="#8f4b00",
    good=("#187a33", "#22c55e"),
    bad=("#c4262e", "#f43f3f"),
    calm=("#66707a", "#7d8894"),
    run=("#0a5fb4", "#4593e6"),
    live="#b85c00",
    lines=("#0a5fb4", "#8250df", "#0b7a75", "#bf3989", "#6f6a00"),
)
DARK = Theme(
    page="#111418",
    border="#2d333b",
    ink="#e6edf3",
    quiet="#9aa5b1",
    grid="#272d34",
    button="#20262d",
    pressed="#1f6feb",
    warning="#f5a94b",
    good=("#46c15d", "#46c15d"),
    bad=("#ff7b72", "#ff6a60"),
    calm=("#939daa", "#939daa"),
    run=("#6cb1ff", "#4d9bf5"),
    live="#ffa64d",
    lines=("#5aabff", "#b392f0", "#4fd1c5", "#f28cc0", "#d9cf5b"),
)


def sanitize_line(text: str, max_length: int = MAX_NAME_LENGTH) -> str:
    """Return `text` as one line of at most `max_length` characters, without control and bidirectional characters."""
    plain = "".join(
        " " if c.isspace() else c for c in text[: 4 * max_length] if c.isspace() or unicodedata.category(c)[0] != "C"
    )
    line = " ".join(plain.split())
    return line if len(line) <= max_length else line[: max_length - 1].rstrip() + "…"


def format_local_time(at: float, now: float, show_seconds: bool = False) -> str:
    """Format a time as ``15:04``, with its date if that is not the date of `now`. Both are Unix seconds."""
    try:
        moment, today = time.localtime(at), time.localtime(now)
    except (ValueError, OverflowError, OSError):
        return "?"
    date = "" if moment[:3] == today[:3] else f"{moment.tm_mday} {time.strftime('%b', moment)} "
    return date + time.strftime("%H:%M:%S" if show_seconds else "%H:%M", moment)


def local_zone_name(now: float) -> str:
    """Return the name of this machine's time zone."""
    return time.strftime("%Z", time.localtime(now))


def format_with_unit(value: float, unit: str = "%") -> str:
    """Format a value with two or three digits: ``88 %``, ``0.4 %``, ``1.24 GB``."""
    if not isfinite(value):
        return "?"
    unit = sanitize_line(unit, 12)
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}{unit}"
    digits = f"{value:.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.1f}"
    return f"{digits} {unit}".strip()


def alarm_marker(alarm: PanelAlarm) -> tuple[str, ColorRole]:
    """Return an alarm's symbol and color role, the same as in Slack.

    OK is good news, except for an alarm whose firing is good news.
    """
    if alarm.state == "ALARM":
        return firing_marker(alarm)
    role: ColorRole = "good" if alarm.state == "OK" and not alarm.good else "calm"
    return ALARM_SYMBOLS.get(alarm.state, "○"), role


def firing_marker(alarm: PanelAlarm) -> tuple[str, ColorRole]:
    """Return the symbol and color role of an alarm while it fires."""
    return ("✓", "good") if alarm.good else ("▲", "bad") if alarm.good is False else ("○", "calm")


def format_alarm_state(alarm: PanelAlarm, now: float) -> str:
    """Format a state: ``OK since 15:04``, ``ALARM since 15:14 · training ended``, ``no data``."""
    state = "no data" if alarm.state == "INSUFFICIENT_DATA" else sanitize_line(alarm.state)
    since = f" since {format_local_time(alarm.since, now)}" if alarm.since > 0 else ""
    return f"{state}{since}" + (f" · {sanitize_line(alarm.note)}" if alarm.note and alarm.state == "ALARM" else "")


def run_marker(run: PanelRun) -> tuple[str, ColorRole]:
    """Return a run's symbol and color role."""
    roles: dict[str, ColorRole] = {"": "run", "finished": "good", "interrupted": "calm"}
    return RUN_SYMBOLS.get(run.outcome, "✕"), roles.get(run.outcome, "bad")


def format_run_state(run: PanelRun, now: float) -> str:
    """Format a run's state: ``running 00:01:12``, ``finished in 2 h 14 min``, ``failed after 3 s``."""
    if not run.outcome:
        minutes, seconds = divmod(max(0, int(now - run.started)), 60)
        return f"running {minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    preposition = "in" if run.outcome == "finished" else "after"
    return f"{sanitize_line(run.outcome)} {preposition} {format_duration(run.ended - run.started, PANEL_LANGUAGE)}"


def format_slack_health(health: SlackHealth, now: float) -> tuple[str, ColorRole]:
    """Return the state of deliveries to Slack as one sentence, and its color role."""
    if not health.webhook:
        return "Slack: no webhook is configured; run %cwnotify login", "calm"
    if health.dead:
        return f"Slack: {health.dead} dead, {sanitize_line(health.reason, 240) or 'see: %cwnotify outbox'}", "bad"
    last = (
        f"last delivered {format_local_time(health.delivered, now, show_seconds=True)}"
        if health.delivered
        else "nothing sent yet"
    )
    muted = f", alarms muted until {format_local_time(health.muted_until, now)}" if health.muted_until > now else ""
    return f"Slack: {last}, {health.waiting or 'none'} waiting{muted}", "calm"


def format_problem(problem: PanelProblem, now: float) -> str:
    """Return a problem's text with the times of the last success and the last attempt."""
    times = [f"last success {format_local_time(problem.since, now, show_seconds=True)}"] if problem.since else []
    times += [f"last attempt {format_local_time(problem.tried, now, show_seconds=True)}"] if problem.tried else []
    text = ", ".join(times)
    return f"{sanitize_line(problem.text, 400)} {text[:1].upper()}{text[1:]}".strip()


def format_range(seconds: float) -> str:
    """Format the time range of the plot: ``3 h``, ``3 d``."""
    return format_duration(seconds, PANEL_LANGUAGE)


def build_alt_text(snapshot: Snapshot) -> str:
    """Return a description of the plot for people who cannot see it."""
    now, unit = snapshot.at, snapshot.unit
    title, time_range = sanitize_line(snapshot.title), format_range(snapshot.request.span)
    parts = [f"{title} over the last {time_range}, until {format_local_time(now, now)}"]
    parts += [
        f"{sanitize_line(line.label)}: {_describe_values(line, unit) or 'see the picture'}"
        for line in snapshot.lines[:4]
    ]
    parts += [f"alarm {sanitize_line(alarm.name)}: {format_alarm_state(alarm, now)}" for alarm in snapshot.alarms[:6]]
    parts += [f"run {sanitize_line(run.name)}: {format_run_state(run, now)}" for run in snapshot.runs[:4]]
    return "; ".join(parts) + "."


def _describe_values(line: PlotLine, unit: str) -> str:
    """Return the range and the last value of a line; empty without values."""
    values = [value for _, value in line.points if isfinite(value)]
    if not values:
        return ""
    low, high, last = (format_with_unit(value, unit) for value in (min(values), max(values), values[-1]))
    return f"{low} to {high}, last {last}"
