"""Where things stand in a plot: limits, ticks, and lines as strokes of pixels. Numpy only, nothing is drawn here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

import numpy as np
from numpy.typing import NDArray

from cwnotify.view.snapshot import PlotLine, PlotPoint, Snapshot

PixelPoints = NDArray[np.float64]
TICK_STEPS = tuple(60 * m for m in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 14400))
QUARTER = 900
OBSTACLE_SPACING = 6.0
COLUMN_WIDTH, LIVE_COLUMN_WIDTH = 2.0, 5.0
MIN_VALUE_RANGE = 1e-300
# A point late by half a period is late; a missing one is a gap. Our own measuring may stumble under load.
MAX_GAP_PERIODS, MAX_LIVE_GAP_PERIODS = 1.5, 3.5


@dataclass(frozen=True)
class PlotArea:
    """A rectangle of pixels, from the bottom left, and what it stands for: Unix seconds by values.

    `ticks` are the round values, from the lowest that it shows to the highest.
    """

    left: float
    bottom: float
    right: float
    top: float
    start: float
    end: float
    ticks: tuple[float, ...]

    @property
    def low(self) -> float:
        """The value at the bottom."""
        return self.ticks[0]

    @property
    def high(self) -> float:
        """The value at the top."""
        return self.ticks[-1]

    def time_to_x(self, at: float) -> float:
        """Pixels from the left; a moment outside stands at the edge."""
        share = (at - self.start) / (self.end - self.start)
        return self.left + min(max(share, 0.0), 1.0) * (self.right - self.left)

    def value_to_y(self, value: float) -> float:
        """Pixels from the bottom."""
        return self.bottom + (value - self.low) / (self.high - self.low) * (self.top - self.bottom)

    def build_trace(self, line: PlotLine) -> Trace:
        """A line as it is drawn: what the plot covers of it, with a gap where points are missing."""
        points: PixelPoints = np.array(line.points, dtype=np.float64).reshape(-1, 2)
        at, value = points[:, 0], points[:, 1]
        points = points[(at >= self.start) & (at <= self.end) & np.isfinite(value)]
        across = (self.right - self.left) / (self.end - self.start)
        up = (self.top - self.bottom) / (self.high - self.low)
        pixels = (points - (self.start, self.low)) * (across, up) + (self.left, self.bottom)
        if not len(pixels):
            return Trace(line, ())
        longest = line.period * (MAX_LIVE_GAP_PERIODS if line.live else MAX_GAP_PERIODS) * across
        # A hair more: times that went through a fraction of a pixel must not become a gap.
        breaks = np.flatnonzero(np.diff(pixels[:, 0]) > longest + 1e-6) + 1
        thin = _averaged if line.live else _thinned
        return Trace(line, tuple(map(thin, np.split(pixels, breaks))), float(points[-1, 1]))

    def label_obstacles(self, traces: Iterable[Trace], heights: Iterable[float]) -> PixelPoints:
        """Places a few pixels apart on lines, and on rules at these values, for labels to keep off."""
        strokes = [stroke for trace in traces for stroke in trace.strokes]
        strokes += [
            np.array([[self.left, self.value_to_y(height)], [self.right, self.value_to_y(height)]])
            for height in heights
        ]
        return np.concatenate([np.empty((0, 2)), *map(_marked, strokes)])


@dataclass(frozen=True)
class Trace:
    """A line in pixels: unbroken pieces, rows of x and y, with no more points than one can see; and its last value."""

    line: PlotLine
    strokes: tuple[PixelPoints, ...]
    last_value: float = 0.0


def _marked(stroke: PixelPoints) -> PixelPoints:
    steps = np.ceil(np.abs(np.diff(stroke, axis=0)).max(axis=1, initial=0) / OBSTACLE_SPACING)
    along = np.concatenate([[0.0], np.cumsum(np.maximum(steps, 1))])
    every = np.arange(along[-1] + 1)
    return np.stack([np.interp(every, along, stroke[:, axis]) for axis in (0, 1)], axis=1)


def _thinned(piece: PixelPoints) -> PixelPoints:
    """At most two points for a column, the lowest and the highest in it."""
    columns = np.floor(piece[:, 0] / COLUMN_WIDTH) * COLUMN_WIDTH
    starts = np.flatnonzero(np.diff(columns, prepend=-1.0))
    if len(piece) <= 2 * len(starts):
        return piece
    low, high = np.minimum.reduceat(piece[:, 1], starts), np.maximum.reduceat(piece[:, 1], starts)
    return np.stack([np.repeat(columns[starts], 2), np.stack([low, high], axis=1).ravel()], axis=1)


def _averaged(piece: PixelPoints) -> PixelPoints:
    """The mean of each column: a host's seconds are noise beside the minutes that CloudWatch averages."""
    starts = np.flatnonzero(np.diff(np.floor(piece[:, 0] / LIVE_COLUMN_WIDTH), prepend=-1.0))
    if len(piece) <= 1.5 * len(starts):
        return piece
    means = np.add.reduceat(piece, starts) / np.diff(starts, append=len(piece))[:, np.newaxis]
    # It ends where it ends: there stands its last value.
    return np.concatenate([means, piece[-1:]])


def drawable_thresholds(snapshot: Snapshot) -> list[float]:
    """The thresholds that can be drawn."""
    return [a.threshold for a in snapshot.alarms if a.threshold is not None and isfinite(a.threshold)]


def value_ticks(snapshot: Snapshot) -> list[float]:
    """The axis of values: 0 to 100 for percent, else round numbers about what is there."""
    start = snapshot.at - snapshot.request.span
    values = [value for line in snapshot.lines for at, value in line.points if at >= start and isfinite(value)]
    values += drawable_thresholds(snapshot)
    low, high = min(values, default=0.0), max(values, default=1.0)
    if snapshot.unit == "%" and low >= 0 and high <= 100:
        return [0.0, 25.0, 50.0, 75.0, 100.0]
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < MIN_VALUE_RANGE:
        high = 1.0
    step = _nice_step((high - low) / 4)
    return [step * n for n in range(floor(low / step), ceil(high / step) + 1)]


def _nice_step(rough: float) -> float:
    """The round number (1, 2, 2.5 or 5 and zeros) next above `rough`."""
    size = 10.0 ** floor(log10(rough))
    return next((size * n for n in (1, 2, 2.5, 5) if size * n >= rough * 0.999), size * 10)


def time_ticks(start: float, end: float, most: int) -> tuple[float, list[float]]:
    """The step in seconds, and at most about `most` moments that are round in this machine's zone."""
    step = next((step for step in TICK_STEPS if (end - start) / step <= most), TICK_STEPS[-1])
    return step, list(_round_moments(start, end, step))


def _round_moments(start: float, end: float, step: int) -> Iterator[float]:
    # Every zone is a whole number of quarters from UTC; summer time may begin or end between two ticks.
    stride = min(step, QUARTER)
    for moment in range(ceil(start / stride) * stride, floor(end) + 1, stride):
        if (moment + time.localtime(moment).tm_gmtoff) % step == 0:
            yield float(moment)


def period_edges(period: PlotPoint, axes: PlotArea) -> tuple[float, float] | None:
    """The left and right edge of a period whose end may still be open (0.0); None if it lies outside."""
    start, end = period[0], period[1] or axes.end
    if not (isfinite(start) and isfinite(end)) or end < axes.start or start > axes.end or end < start:
        return None
    return axes.time_to_x(start), axes.time_to_x(end)
