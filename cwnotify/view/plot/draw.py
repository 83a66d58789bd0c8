"""The parts of a plot, from the ground up: grid, runs, alarms, lines, words. Matplotlib's artists on a bare figure."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox, IdentityTransform

from cwnotify.view.format import (
    TINT_OPACITY,
    ColorRole,
    Theme,
    firing_marker,
    format_local_time,
    format_range,
    format_run_state,
    format_with_unit,
    run_marker,
    sanitize_line,
)
from cwnotify.view.plot.axes import PixelPoints, PlotArea, Trace, period_edges, time_ticks
from cwnotify.view.plot.text import LabelLayout, TextRenderer
from cwnotify.view.snapshot import PanelAlarm, PanelRun, Snapshot

# In CSS pixels.
MIN_TICK_SPACING = 84.0
MIN_MARKER_SPACING = 7.0
MAX_LABELED_PERIODS = 3
MAX_LABELED_RUNS = 12
MAX_DOTTED_LINES = 3


@dataclass(frozen=True)
class PlacedText:
    """A text on the picture: where its baseline begins, in pixels from the bottom left."""

    x: float
    y: float
    text: str
    colour: str
    text_renderer: TextRenderer


@dataclass(frozen=True)
class Drawing:
    """One picture in the making: lengths given to its methods are CSS pixels, places are pixels."""

    figure: Figure
    width: float
    area: PlotArea
    traces: list[Trace]
    theme: Theme
    scale: float
    layout: LabelLayout
    regular: TextRenderer
    bold: TextRenderer
    large: TextRenderer
    placed_texts: list[PlacedText] = field(default_factory=list)

    @property
    def row_height(self) -> float:
        """The height of a row of labels, in pixels."""
        return self.regular.size * 1.35

    @property
    def max_rows(self) -> int:
        """How many rows of labels stand above each other."""
        return int((self.area.top - self.area.bottom) / self.row_height)

    @property
    def colored_traces(self) -> list[tuple[Trace, str]]:
        """Each line with its colour, the live one with its own; beyond what eyes can tell apart they are quiet."""
        rest = iter(self.theme.lines)
        return [(t, self.theme.live if t.line.live else next(rest, self.theme.quiet)) for t in self.traces]

    def fill_box(self, box: tuple[float, float, float, float], colour: str, alpha: float = 1.0) -> None:
        """Fill a rectangle: left, bottom, right, top."""
        left, bottom, right, top = map(round, box)
        shape = Rectangle((left, bottom), right - left, top - bottom, facecolor=colour, edgecolor="none", linewidth=0)
        shape.set_alpha(alpha)
        shape.set_antialiased(False)
        self.add(shape)

    def draw_polyline(self, pixels: PixelPoints, colour: str, width: float, dots: float = 0.0) -> None:
        """Draw a line, and dots of that diameter at its points. Over the edge by a dot, so that none is cut."""
        axes, edge = self.area, 4 * self.scale
        line = _line2d(pixels, colour, width, dots)
        line.set_clip_box(Bbox.from_extents(axes.left - edge, axes.bottom - edge, axes.right + edge, axes.top + edge))
        self.add(line)

    def draw_horizontal_line(self, value: float, colour: str, dash: float = 0.0, gap: float = 0.0) -> None:
        """A sharp line across the plot, as thick as whole pixels can be; in dashes, if they have a length."""
        left, right, thick = self.area.left, self.area.right, max(1, round(self.scale))
        y = round(self.area.value_to_y(value) - thick / 2) + thick / 2
        starts = np.arange(left, right, (dash + gap) * self.scale) if dash else np.array([left])
        ends = np.minimum(starts + dash * self.scale, right) if dash else np.array([right])
        x = np.stack([starts, ends, np.full_like(starts, np.nan)], axis=1).ravel()
        self.draw_polyline(np.stack([x, np.full_like(x, y)], axis=1), colour, thick / self.scale)

    def add(self, artist: Artist) -> None:
        """Put it on the picture as it was made: no style of the user's may shake, outline or move it."""
        artist.set_sketch_params(None)
        artist.set_path_effects([])
        artist.set_snap(False)
        artist.set_transform(IdentityTransform())
        self.figure.add_artist(artist)

    def add_text(self, x: float, y: float, text: str, colour: str, letters: TextRenderer, align: float = 0.0) -> None:
        """Write at a baseline; `align` says which share of the text stands left of `x`."""
        self.placed_texts.append(PlacedText(x - align * letters.width(text), y, text, colour, letters))

    def add_text_where_free(self, text: str, colour: str, places: list[tuple[float, float]]) -> None:
        """Write where there is room: at the first of `places` (left, bottom) that is free, or else not at all."""
        letters = self.regular
        width, height = letters.width(text), letters.size * 1.25
        if found := self.layout.reserve_best_position(width, height, places):
            self.add_text(found[0], found[1] + letters.size * 0.3, text, colour, letters)


def draw_snapshot(sheet: Drawing, snapshot: Snapshot) -> None:
    """Draw all of `snapshot`. What is written first finds the most room."""
    for run in snapshot.runs:
        _shade_run(sheet, run)
    for alarm in snapshot.alarms:
        _shade_alarm(sheet, alarm)
    _grid(sheet, snapshot)
    for alarm in snapshot.alarms:
        _threshold(sheet, alarm, snapshot.unit)
    # Minutes lie above noise.
    for trace, colour in sorted(sheet.colored_traces, key=lambda pair: not pair[0].line.live):
        _line(sheet, trace, colour)
    _last_value(sheet, snapshot.unit)
    for alarm in snapshot.alarms:
        _name_alarm(sheet, alarm)
    for run in sorted(snapshot.runs, key=lambda run: (bool(run.outcome), -run.ended))[:MAX_LABELED_RUNS]:
        _name_run(sheet, run, snapshot.at)
    _legend(sheet, snapshot.title)
    if not any(trace.strokes for trace in sheet.traces):
        _nothing(sheet, snapshot)


def _shade(sheet: Drawing, edges: tuple[float, float], tone: ColorRole, at_top: bool) -> None:
    """Tint a span of time, and bar it: runs below and alarms above, so that one is seen within the other."""
    axes, least, colour = sheet.area, 2 * sheet.scale, sheet.theme.foreground_color(tone)
    left, right = edges[0], max(edges[1], edges[0] + least)
    # What is too short to be a span is a line, and one sees it as one.
    if edges[1] - left > 2 * least:
        sheet.fill_box((left, axes.bottom, right, axes.top), sheet.theme.highlight_color(tone), TINT_OPACITY)
    else:
        sheet.fill_box((left, axes.bottom, right, axes.top), colour, 0.5)
    low, high = (axes.top, axes.top + 1.5 * least) if at_top else (axes.bottom - 1.5 * least, axes.bottom)
    sheet.fill_box((left, low, right, high), colour)


def _shade_run(sheet: Drawing, run: PanelRun) -> None:
    if edges := period_edges((run.started, run.ended), sheet.area):
        _shade(sheet, edges, _run_tone(run), at_top=False)


def _run_tone(run: PanelRun) -> ColorRole:
    """A run is blue, however well it ended, for green and red are the alarms'; but what went wrong is seen."""
    tone = run_marker(run)[1]
    return "bad" if tone == "bad" else "run"


def _shade_alarm(sheet: Drawing, alarm: PanelAlarm) -> None:
    for period in alarm.periods:
        if edges := period_edges(period, sheet.area):
            _shade(sheet, edges, firing_marker(alarm)[1], at_top=True)


def _grid(sheet: Drawing, snapshot: Snapshot) -> None:
    axes, theme, letters, gap = sheet.area, sheet.theme, sheet.regular, 8 * sheet.scale
    for value in axes.ticks:
        y = axes.value_to_y(value)
        sheet.draw_horizontal_line(value, theme.grid)
        text = format_with_unit(value, snapshot.unit if value == axes.high else "")
        sheet.add_text(axes.left - gap, y - letters.size * 0.36, text, theme.quiet, letters, align=1)
    most = int((axes.right - axes.left) / (MIN_TICK_SPACING * sheet.scale))
    for moment in time_ticks(axes.start, axes.end, max(most, 2))[1]:
        text = format_local_time(moment, moment)
        midnight = time.strftime("%d %b", time.localtime(moment)).lstrip("0")
        x, y = axes.time_to_x(moment), axes.bottom - letters.size - gap * 0.8
        sheet.add_text(x, y, midnight if text == "00:00" else text, theme.quiet, letters, align=0.5)


def _threshold(sheet: Drawing, alarm: PanelAlarm, unit: str) -> None:
    if alarm.threshold is None or not sheet.area.low <= alarm.threshold <= sheet.area.high:
        return
    axes, gap, y = sheet.area, 6 * sheet.scale, sheet.area.value_to_y(alarm.threshold)
    colour = sheet.theme.foreground_color(firing_marker(alarm)[1])
    # Apart for those who see no difference between red and green: good news has the shorter dashes.
    sheet.draw_horizontal_line(alarm.threshold, colour, *((3, 3) if alarm.good else (7, 4)))
    text = f"{sanitize_line(alarm.name, 32)}  {format_with_unit(alarm.threshold, unit)}"
    rows = y + gap * 0.4, y - gap * 0.4 - sheet.regular.size * 1.25
    far = axes.right - gap - sheet.regular.width(text)
    sheet.add_text_where_free(
        text, colour, [(x, row) for x in (axes.left + gap, far, (axes.left + far) / 2) for row in rows]
    )


def _line(sheet: Drawing, trace: Trace, colour: str) -> None:
    """Draw a line; CloudWatch's has a dot for each datapoint while there is room for them."""
    live, many = trace.line.live, len(sheet.traces) > MAX_DOTTED_LINES
    room = (sheet.area.right - sheet.area.left) / (MIN_MARKER_SPACING * sheet.scale)
    crowded = live or many or sum(map(len, trace.strokes)) > room
    for stroke in trace.strokes:
        # A lone point is no line, and would not be seen at all.
        dots = 5.5 if not crowded else 3.0 * (len(stroke) == 1)
        sheet.draw_polyline(stroke, colour, 1.2 if live else 1.5 if many else 2.2, dots)


def _last_value(sheet: Drawing, unit: str) -> None:
    """Write the last value at the line's end: of the live line, or else of the only one."""
    chosen = [pair for pair in sheet.colored_traces if pair[0].line.live] or sheet.colored_traces
    if len(chosen) != 1 or not chosen[0][0].strokes:
        return
    (trace, colour), large = chosen[0], sheet.large
    x, text = float(trace.strokes[-1][-1, 0]), format_with_unit(trace.last_value, unit)
    low = max(sheet.area.value_to_y(trace.last_value) - large.size * 0.36, sheet.area.bottom)
    left = min(x + 7 * sheet.scale, sheet.width - large.width(text) - 4 * sheet.scale)
    sheet.layout.reserve((left, low, left + large.width(text), low + large.size))
    sheet.add_text(left, low, text, colour, large)


def _name_alarm(sheet: Drawing, alarm: PanelAlarm) -> None:
    row = sheet.row_height
    text = f"{firing_marker(alarm)[0]} {sanitize_line(alarm.name, 32)}"
    width = sheet.regular.width(text)
    for period in alarm.periods[-MAX_LABELED_PERIODS:]:
        if edges := period_edges(period, sheet.area):
            middle = (edges[0] + edges[1] - width) / 2
            rows = [sheet.area.top - 4 * sheet.scale - row * n for n in range(1, sheet.max_rows + 1)]
            sheet.add_text_where_free(text, sheet.theme.ink, [(middle, y) for y in rows])


def _name_run(sheet: Drawing, run: PanelRun, now: float) -> None:
    edges = period_edges((run.started, run.ended), sheet.area)
    if not edges:
        return
    gap, axes = 7 * sheet.scale, sheet.area
    name = f"{run_marker(run)[0]} {sanitize_line(run.name, 32)}"
    text = f"{name}  {format_run_state(run, now)}"
    if sheet.regular.width(text) > edges[1] - edges[0]:
        text = name
    rows = [axes.bottom + gap * 0.6 + sheet.row_height * n for n in range(sheet.max_rows)]
    beside = edges[0] - gap - sheet.regular.width(text)
    sheet.add_text_where_free(
        text, sheet.theme.foreground_color(_run_tone(run)), [(x, y) for y in rows for x in (edges[0] + gap, beside)]
    )


def _legend(sheet: Drawing, title: str) -> None:
    axes, theme, letters, scale = sheet.area, sheet.theme, sheet.regular, sheet.scale
    y = axes.top + 16 * scale
    x, middle = axes.left, y + letters.size * 0.36
    sheet.add_text(x, y, sanitize_line(title, 40), theme.ink, sheet.bold)
    x += sheet.bold.width(sanitize_line(title, 40)) + 22 * scale
    for index, (trace, colour) in enumerate(sheet.colored_traces):
        label, rest = sanitize_line(trace.line.label, 40), len(sheet.traces) - index
        more = letters.width("and 999 more") if rest > 1 else 0.0
        if x + 51 * scale + letters.width(label) + more > sheet.width:
            sheet.add_text(x, y, f"and {rest} more", theme.quiet, letters)
            return
        sample = np.array([[x, middle], [x + 11 * scale, middle], [x + 22 * scale, middle]])
        live = trace.line.live
        sheet.add(_line2d(sample, colour, 1.4 if live else 2.2, 0.0 if live else 5.5, every=(1, 2)))
        sheet.add_text(x + 29 * scale, y, label, theme.quiet, letters)
        x += 51 * scale + letters.width(label)


def _nothing(sheet: Drawing, snapshot: Snapshot) -> None:
    axes, text = sheet.area, f"no data in the last {format_range(snapshot.request.span)}"
    sheet.add_text(
        (axes.left + axes.right) / 2, (axes.bottom + axes.top) / 2, text, sheet.theme.quiet, sheet.regular, 0.5
    )


def _line2d(
    pixels: PixelPoints, colour: str, width: float, dots: float, every: tuple[int, int] | None = None
) -> Line2D:
    return Line2D(
        pixels[:, 0],
        pixels[:, 1],
        color=colour,
        linewidth=width,
        linestyle="-",
        antialiased=True,
        marker="o" if dots else "",
        markersize=dots,
        markevery=every,
        markerfacecolor=colour,
        markeredgecolor=colour,
        markeredgewidth=0,
        fillstyle="full",
        solid_capstyle="butt" if np.isnan(pixels).any() else "round",
        solid_joinstyle="round",
    )
