"""Draw a snapshot on matplotlib's axes. Lengths are CSS pixels from the bottom left of the page."""

from __future__ import annotations

import time
from collections.abc import Iterable
from math import inf, isfinite
from typing import Any

import numpy as np
from matplotlib import rcParamsDefault
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.transforms import Affine2D, Bbox

from cwnotify.view import format as fmt
from cwnotify.view.format import ColorRole, Theme, format_with_unit, sanitize_line
from cwnotify.view.plot.axes import Points, finite_thresholds, spread_points, time_ticks, value_ticks, visible_points
from cwnotify.view.plot.fonts import TextFont, TextOutline
from cwnotify.view.plot.labels import LabelLayout
from cwnotify.view.snapshot import PanelAlarm, PanelRun, PlotLine, PlotPoint, Snapshot

# Matplotlib's defaults instead of the user's style.
STYLE_GROUPS = ("agg.", "axes.", "figure.", "font.", "lines.", "markers.", "patch.", "path.", "text.")
STYLE: Any = {name: value for name, value in rcParamsDefault.items() if name.startswith(STYLE_GROUPS)}
STYLE["lines.scale_dashes"] = False
REGULAR, BOLD, LARGE = TextFont(11), TextFont(11, bold=True), TextFont(13, bold=True)
MARGINS = 50, 24, 72, 34  # left, bottom, right, top
Position = tuple[float, float, float]  # x, bottom, and the share of the text to the left of x
TEXT_HEIGHT, ROW_HEIGHT, RULE_WIDTH, LIVE_COLUMN_WIDTH = 14, 15, 1.33, 3.5
MIN_TICK_SPACING, MIN_DOT_SPACING = 84, 7
MAX_LABELED_PERIODS, MAX_LABELED_RUNS, MAX_DOTTED_LINES = 3, 12, 3


class Drawing:
    """A picture that replaces the one on `axes`. Labels that are drawn first find the most room."""

    def __init__(self, axes: Axes, snapshot: Snapshot, theme: Theme) -> None:
        self._axes, self._snapshot, self._theme = axes, snapshot, theme
        self._start, self._end = snapshot.at - snapshot.request.span, snapshot.at
        self._page = Affine2D().scale(axes.figure.dpi / 72)
        self._frame = axes.get_window_extent().transformed(self._page.inverted())
        self._second = self._frame.width / snapshot.request.span
        self._ticks = value_ticks(snapshot)
        colours = iter(theme.lines)
        self._traces: list[tuple[PlotLine, Points, str]] = []
        obstacles = [self._place(np.array([(self._start, y), (self._end, y)])) for y in finite_thresholds(snapshot)]
        for line in snapshot.lines:
            points = visible_points(line, self._start, self._end, LIVE_COLUMN_WIDTH / self._second)
            self._traces.append((line, points, theme.live if line.live else next(colours, theme.quiet)))
            obstacles.append(self._place(points))
        self._labels = LabelLayout(self._frame, np.concatenate([np.empty((0, 2)), *map(spread_points, obstacles)]))

    def draw(self) -> None:
        """Replace the picture."""
        for artist in (*self._axes.lines, *self._axes.patches):
            artist.remove()
        self._draw_axes()
        for run in self._snapshot.runs:
            self._shade((run.started, run.ended), _run_role(run), is_alarm=False)
        for alarm in self._snapshot.alarms:
            for period in alarm.periods:
                self._shade(period, fmt.firing_marker(alarm)[1], is_alarm=True)
        for alarm in self._snapshot.alarms:
            self._draw_threshold(alarm)
        self._draw_lines()
        self._write_last_value()
        for alarm in self._snapshot.alarms:
            self._name_alarm(alarm)
        for run in sorted(self._snapshot.runs, key=lambda run: (bool(run.outcome), -run.ended))[:MAX_LABELED_RUNS]:
            self._name_run(run)
        self._draw_legend()

    def _x(self, at: Any) -> Any:
        return self._frame.x0 + (at - self._start) * self._second

    def _y(self, value: Any) -> Any:
        return self._frame.y0 + (value - self._ticks[0]) / (self._ticks[-1] - self._ticks[0]) * self._frame.height

    def _place(self, points: Points) -> Points:
        return np.stack([self._x(points[:, 0]), self._y(points[:, 1])], axis=1)

    def _visible(self, period: PlotPoint) -> PlotPoint | None:
        """Return the part of a period that the plot shows. A period that has not ended ends at 0.0."""
        start, end = max(period[0], self._start), min(period[1] or self._end, self._end)
        # A comparison with NaN is false.
        return (start, end) if -inf < period[0] <= (period[1] or self._end) < inf and start <= end else None

    def _add(self, artist: Artist, x: float = 0, y: float = 0) -> None:
        artist.set(clip_on=False, transform=Affine2D().translate(x, y) + self._page)
        self._axes.add_artist(artist)

    def _write(self, x: float, y: float, text: TextOutline, colour: str, align: float = 0) -> None:
        """Write from the baseline up. `align` is the share of the text to the left of `x`."""
        self._add(PathPatch(text, facecolor=colour, linewidth=0, snap=False, zorder=3), x - align * text.width, y)

    def _write_where_free(self, text: TextOutline, colour: str, positions: Iterable[Position]) -> None:
        """Write at the best of `positions`, or nowhere if there is no room."""
        corners = [(x - align * text.width, y) for x, y, align in positions]
        if corner := self._labels.reserve_best_position(text.width, TEXT_HEIGHT, corners):
            self._write(corner[0], corner[1] + 3, text, colour)

    def _draw_axes(self) -> None:
        self._axes.figure.set_facecolor(self._theme.page)
        self._axes.set(xlim=(self._start, self._end), ylim=(self._ticks[0], self._ticks[-1]))
        for tick in self._ticks:
            self._axes.axhline(tick, color=self._theme.grid, linewidth=RULE_WIDTH, zorder=0.5, clip_on=False)
            text = REGULAR.outline(format_with_unit(tick, self._snapshot.unit if tick == self._ticks[-1] else ""))
            self._write(self._frame.x0 - 8, self._y(tick) - 4, text, self._theme.quiet, 1)
        for at in time_ticks(self._start, self._end, max(int(self._frame.width / MIN_TICK_SPACING), 2))[1]:
            clock, date = fmt.format_local_time(at, at), time.strftime("%d %b", time.localtime(at)).lstrip("0")
            text = REGULAR.outline(date if clock == "00:00" else clock)
            self._write(self._x(at), self._frame.y0 - 17.5, text, self._theme.quiet, 0.5)

    def _shade(self, period: PlotPoint, role: ColorRole, is_alarm: bool) -> None:
        """Tint a period, with a bar below a run and above an alarm, because the two may overlap."""
        if visible := self._visible(period):
            start, end = visible[0], max(visible[1], visible[0] + 2 / self._second)
            colour, height = self._theme.foreground_color(role), 2 / self._frame.height
            # A short period becomes a line that is easy to see.
            is_short = (visible[1] - visible[0]) * self._second < 4
            tint, alpha = (colour, 0.5) if is_short else (self._theme.highlight_color(role), fmt.TINT_OPACITY)
            # In seconds and shares of the height, as `axvspan`, which takes 1 ms to update the limits of the axes.
            style: dict[str, Any] = {"transform": self._axes.get_xaxis_transform(), "linewidth": 0, "zorder": 0}
            tinted = Rectangle((start, 0), end - start, 1, facecolor=tint, alpha=alpha, **style)
            bar = Rectangle((start, 1 if is_alarm else -height), end - start, height, facecolor=colour, **style)
            for rectangle in (tinted, bar):
                self._axes.add_artist(rectangle).set_clip_on(False)

    def _draw_threshold(self, alarm: PanelAlarm) -> None:
        if alarm.threshold is not None and isfinite(alarm.threshold):
            # Short dashes mark good news, because some readers see red and green alike.
            dashes, colour = (3, 3) if alarm.good else (7, 4), self._theme.foreground_color(fmt.firing_marker(alarm)[1])
            self._axes.axhline(alarm.threshold, color=colour, linewidth=RULE_WIDTH, dashes=dashes, zorder=1)
            value = format_with_unit(alarm.threshold, self._snapshot.unit)
            text, y = REGULAR.outline(f"{sanitize_line(alarm.name, 32)}  {value}"), self._y(alarm.threshold)
            left, right = self._frame.x0 + 6, self._frame.x1 - 6
            columns = (left, 0), (right, 1), ((left + right) / 2, 0.5)
            rows = y + 2, y - 2 - TEXT_HEIGHT
            self._write_where_free(text, colour, [(x, row, align) for x, align in columns for row in rows])

    def _draw_lines(self) -> None:
        is_crowded = len(self._traces) > MAX_DOTTED_LINES
        for line, points, colour in self._traces:
            has_dots = not (line.live or is_crowded or len(points) * MIN_DOT_SPACING > self._frame.width)
            # Only a dot shows a point without neighbours.
            is_gap = np.isnan(np.pad(points[:, 1], 1, constant_values=np.nan))
            lone = np.flatnonzero(is_gap[:-2] & ~is_gap[1:-1] & is_gap[2:]).tolist()
            style: dict[str, Any] = {"markersize": 5.5} if has_dots else {"markersize": 3, "markevery": lone}
            width = 1.2 if line.live else 0.7 if colour == self._theme.quiet else 1.5 if is_crowded else 2.2
            style |= {"color": colour, "linewidth": width, "markeredgewidth": 0, "clip_on": False}
            # Wide lines are above thin ones.
            self._axes.plot(*points.T, "o-", zorder=2 + width / 10, **style)

    def _write_last_value(self) -> None:
        """Write the last value at the end of the live line, or else of the only line."""
        traces = [trace for trace in self._traces if trace[0].live] or self._traces
        if not any(len(points) for _, points, _ in self._traces):
            text = REGULAR.outline(f"no data in the last {fmt.format_range(self._snapshot.request.span)}")
            x, y = (self._frame.p0 + self._frame.p1) / 2
            self._write(x, y, text, self._theme.quiet, 0.5)
        elif len(traces) == 1 and len(traces[0][1]):
            (at, value), colour = traces[0][1][-2], traces[0][2]
            text = LARGE.outline(format_with_unit(value, self._snapshot.unit))
            x = min(self._x(at) + 7, self._frame.x1 + MARGINS[2] - text.width - 4)
            y = max(self._y(value) - 5, self._frame.y0)
            self._labels.reserve(Bbox.from_bounds(x, y, text.width, TEXT_HEIGHT))
            self._write(x, y, text, colour)

    def _name_alarm(self, alarm: PanelAlarm) -> None:
        text = REGULAR.outline(f"{fmt.firing_marker(alarm)[0]} {sanitize_line(alarm.name, 32)}")
        rows = np.arange(self._frame.y1 - 4 - ROW_HEIGHT, self._frame.y0, -ROW_HEIGHT)
        for start, end in filter(None, map(self._visible, alarm.periods[-MAX_LABELED_PERIODS:])):
            middle = self._x((start + end) / 2)
            self._write_where_free(text, self._theme.ink, [(middle, row, 0.5) for row in rows])

    def _name_run(self, run: PanelRun) -> None:
        if visible := self._visible((run.started, run.ended)):
            left, right = map(self._x, visible)
            name = f"{fmt.run_marker(run)[0]} {sanitize_line(run.name, 32)}"
            text = REGULAR.outline(f"{name}  {fmt.format_run_state(run, self._snapshot.at)}")
            if text.width > right - left:
                text = REGULAR.outline(name)
            rows = np.arange(self._frame.y0 + 4, self._frame.y1, ROW_HEIGHT)
            positions = [(x, row, align) for row in rows for x, align in ((left + 7, 0), (left - 7, 1))]
            self._write_where_free(text, self._theme.foreground_color(_run_role(run)), positions)

    def _draw_legend(self) -> None:
        x, y, text = self._frame.x0, self._frame.y1 + 16, BOLD.outline(sanitize_line(self._snapshot.title, 40))
        self._write(x, y, text, self._theme.ink)
        x += text.width + 22
        for index, (line, _, colour) in enumerate(self._traces):
            text, count = REGULAR.outline(sanitize_line(line.label, 40)), len(self._traces) - index
            end = x + 51 + text.width
            if end + 80 * (count > 1) > self._frame.x1 + MARGINS[2]:
                self._write(x, y, REGULAR.outline(f"and {count} more"), self._theme.quiet)
                break
            style: dict[str, Any] = {"linewidth": 1.4} if line.live else {"linewidth": 2.2, "marker": "o"}
            style |= {"color": colour, "markersize": 5.5, "markeredgewidth": 0, "markevery": [1]}
            self._add(Line2D([x, x + 11, x + 22], [y + 4] * 3, **style))
            self._write(x + 29, y, text, self._theme.quiet)
            x = end


def _run_role(run: PanelRun) -> ColorRole:
    """Return blue for a run, because green and red belong to alarms, unless the run went wrong."""
    return "bad" if fmt.run_marker(run)[1] == "bad" else "run"
