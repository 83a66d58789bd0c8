"""How what a snapshot holds looks: its sign, its tone, its words, its colours. Standard library and `alerts` only.

The plot, the panel and the text version take them from here, so that one alarm looks the same in all three. Colour
never tells anything alone: each tone has its sign and its word. Blue and orange, which carry the lines, are apart for
every kind of colour vision; times are in this machine's zone.
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
    """Colours as ``#rrggbb``: what it is drawn on, its words, its buttons, the tones, and the lines of the plot.

    A tone has a colour for words and lines, and a brighter one that, thinned, lies behind them.
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

    def foreground_color(self, tone: ColorRole) -> str:
        """The colour of a tone's lines and words."""
        return self._pair(tone)[0]

    def highlight_color(self, tone: ColorRole) -> str:
        """The colour that, thinned, lies behind them."""
        return self._pair(tone)[1]

    def tinted_background(self, tone: ColorRole) -> str:
        """What lies behind them on the page."""
        return blend_colors(self.page, self.highlight_color(tone), TINT_OPACITY)

    def _pair(self, tone: ColorRole) -> tuple[str, str]:
        pair: tuple[str, str] = getattr(self, tone)
        return pair


def blend_colors(below: str, above: str, share: float) -> str:
    """The colour that shows where `above` covers `below` with an opacity of `share`."""
    pairs = zip(bytes.fromhex(below[1:]), bytes.fromhex(above[1:]), strict=True)
    return "#" + bytes(round(a + (b - a) * share) for a, b in pairs).hex()


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
    """`text` in one line of at most `most` characters, without what controls a terminal or turns writing round."""
    plain = "".join(
        " " if c.isspace() else c for c in text[: 4 * max_length] if c.isspace() or unicodedata.category(c)[0] != "C"
    )
    words = " ".join(plain.split())
    return words if len(words) <= max_length else words[: max_length - 1].rstrip() + "…"


def format_local_time(at: float, now: float, show_seconds: bool = False) -> str:
    """A moment as ``15:04``, with its day where that is not the day of `now`."""
    try:
        moment, today = time.localtime(at), time.localtime(now)
    except (ValueError, OverflowError, OSError):
        return "?"
    day = "" if moment[:3] == today[:3] else f"{moment.tm_mday} {time.strftime('%b', moment)} "
    return day + time.strftime("%H:%M:%S" if show_seconds else "%H:%M", moment)


def local_zone_name(now: float) -> str:
    """What this machine calls its time zone."""
    return time.strftime("%Z", time.localtime(now))


def format_with_unit(value: float, unit: str = "%") -> str:
    """``88 %``, ``0.4 %``, ``1.24 GB``: as many digits as one reads at a glance."""
    if not isfinite(value):
        return "?"
    unit = sanitize_line(unit, 12)
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}{unit}"
    digits = f"{value:.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.1f}"
    return f"{digits} {unit}".strip()


def alarm_marker(alarm: PanelAlarm) -> tuple[str, ColorRole]:
    """An alarm's sign and tone, the same as in Slack; OK is no news of an alarm whose firing is welcome."""
    if alarm.state == "ALARM":
        return firing_marker(alarm)
    tone: ColorRole = "good" if alarm.state == "OK" and not alarm.good else "calm"
    return ALARM_SYMBOLS.get(alarm.state, "○"), tone


def firing_marker(alarm: PanelAlarm) -> tuple[str, ColorRole]:
    """The sign and tone of the times in which an alarm fires."""
    return ("✓", "good") if alarm.good else ("▲", "bad") if alarm.good is False else ("○", "calm")


def format_alarm_state(alarm: PanelAlarm, now: float) -> str:
    """``OK since 15:04``, ``ALARM since 15:14 · training ended``, ``no data``."""
    word = "no data" if alarm.state == "INSUFFICIENT_DATA" else sanitize_line(alarm.state)
    since = f" since {format_local_time(alarm.since, now)}" if alarm.since > 0 else ""
    return f"{word}{since}" + (f" · {sanitize_line(alarm.note)}" if alarm.note and alarm.state == "ALARM" else "")


def run_marker(run: PanelRun) -> tuple[str, ColorRole]:
    """A run's sign and tone."""
    tones: dict[str, ColorRole] = {"": "run", "finished": "good", "interrupted": "calm"}
    return RUN_SYMBOLS.get(run.outcome, "✕"), tones.get(run.outcome, "bad")


def format_run_state(run: PanelRun, now: float) -> str:
    """``running 00:01:12``, ``finished in 2 h 14 min``, ``failed after 3 s``."""
    if not run.outcome:
        minutes, seconds = divmod(max(0, int(now - run.started)), 60)
        return f"running {minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    joint = "in" if run.outcome == "finished" else "after"
    return f"{sanitize_line(run.outcome)} {joint} {format_duration(run.ended - run.started, PANEL_LANGUAGE)}"


def format_slack_health(health: SlackHealth, now: float) -> tuple[str, ColorRole]:
    """How Slack's side is, in one sentence, and its tone."""
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


def format_problem(trouble: PanelProblem, now: float) -> str:
    """A trouble's sentence, and since when."""
    times = [f"last well {format_local_time(trouble.since, now, show_seconds=True)}"] if trouble.since else []
    times += [f"last tried {format_local_time(trouble.tried, now, show_seconds=True)}"] if trouble.tried else []
    said = ", ".join(times)
    return f"{sanitize_line(trouble.text, 400)} {said[:1].upper()}{said[1:]}".strip()


def format_range(seconds: float) -> str:
    """``3 h``, ``3 d``: how much of the past is shown."""
    return format_duration(seconds, PANEL_LANGUAGE)


def build_alt_text(snapshot: Snapshot) -> str:
    """What the plot shows, for those who cannot see it."""
    now, unit = snapshot.at, snapshot.unit
    parts = [
        f"{sanitize_line(snapshot.title)} over the last {format_range(snapshot.request.span)}, until {format_local_time(now, now)}"
    ]
    parts += [f"{sanitize_line(line.label)}: {_course(line, unit) or 'see the picture'}" for line in snapshot.lines[:4]]
    parts += [f"alarm {sanitize_line(alarm.name)}: {format_alarm_state(alarm, now)}" for alarm in snapshot.alarms[:6]]
    parts += [f"run {sanitize_line(run.name)}: {format_run_state(run, now)}" for run in snapshot.runs[:4]]
    return "; ".join(parts) + "."


def _course(line: PlotLine, unit: str) -> str:
    values = [value for _, value in line.points if isfinite(value)]
    if not values:
        return ""
    return f"{format_with_unit(min(values), unit)} to {format_with_unit(max(values), unit)}, last {format_with_unit(values[-1], unit)}"
