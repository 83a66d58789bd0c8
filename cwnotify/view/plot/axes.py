"""Choose the ticks of a plot and the points of its lines. Draws nothing."""

from __future__ import annotations

import time
from math import ceil, floor, isfinite

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cwnotify.view.snapshot import PlotLine, Snapshot

Points = NDArray[np.float64]  # rows of x and y
OBSTACLE_SPACING = 3.0  # CSS pixels
TIME_STEPS = tuple(60 * m for m in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 14400))  # seconds
QUARTER_HOUR = 900  # seconds; every time zone is a multiple of it away from UTC
MIN_VALUE_RANGE = 1e-280  # matplotlib does not show a smaller range
# A CloudWatch datapoint may be late by half a period. The host's own samples are delayed under load.
MAX_GAP_PERIODS, MAX_LIVE_GAP_PERIODS = 1.5, 3.5


def visible_points(line: PlotLine, start: float, end: float, column: float) -> Points:
    """Return the times and values between `start` and `end`, and a value of NaN after each unbroken piece.

    A live line becomes the mean of each `column` seconds, because single seconds are noise beside CloudWatch's means.
    """
    points: Points = np.array(line.points, dtype=np.float64).reshape(-1, 2)
    at, value = points[:, 0], points[:, 1]
    points = points[(at >= start) & (at <= end) & np.isfinite(value)]
    max_gap = line.period * (MAX_LIVE_GAP_PERIODS if line.live else MAX_GAP_PERIODS)
    result = [np.empty((0, 2))]
    for piece in np.split(points, np.flatnonzero(np.diff(points[:, 0]) > max_gap + 0.001) + 1):
        result += [_average(piece, column) if line.live else piece, piece[-1:] * (1, np.nan)]
    return np.concatenate(result)


def _average(piece: Points, column: float) -> Points:
    starts = np.flatnonzero(np.diff(np.floor(piece[:, 0] / column), prepend=-1.0))
    if len(piece) <= 1.5 * len(starts):
        return piece
    means = np.add.reduceat(piece, starts) / np.diff(starts, append=len(piece))[:, np.newaxis]
    # The line ends at the last value, which has a label.
    return np.concatenate([means, piece[-1:]])


def spread_points(path: Points) -> Points:
    """Return points along a path that are at most `OBSTACLE_SPACING` apart."""
    steps = np.ceil(np.abs(np.diff(path, axis=0)).max(axis=1, initial=0) / OBSTACLE_SPACING)
    corners = np.concatenate([[0], np.nan_to_num(steps, nan=1).clip(1)]).cumsum()
    along = np.arange(corners[-1] + 1)
    return np.stack([np.interp(along, corners, axis) for axis in path.T], axis=1) if len(path) else path


def finite_thresholds(snapshot: Snapshot) -> list[float]:
    """Return the thresholds of the alarms that have one."""
    return [a.threshold for a in snapshot.alarms if a.threshold is not None and isfinite(a.threshold)]


def value_ticks(snapshot: Snapshot) -> list[float]:
    """Return the ticks of the value axis: 0 to 100 for percentages, else round numbers around the values and zero."""
    start = snapshot.at - snapshot.request.span
    values = [value for line in snapshot.lines for at, value in line.points if at >= start and isfinite(value)]
    values += finite_thresholds(snapshot)
    if snapshot.unit == "%" and all(0 <= value <= 100 for value in values):
        return [0.0, 25.0, 50.0, 75.0, 100.0]
    low, high = min([0.0, *values]), max([0.0, *values])
    ticks = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high if high - low > MIN_VALUE_RANGE else 1)
    return [float(tick) for tick in ticks]


def time_ticks(start: float, end: float, max_count: int) -> tuple[float, list[float]]:
    """Return the step in seconds, and about `max_count` times at most that are round in this machine's time zone."""
    step = next((step for step in TIME_STEPS if (end - start) / step <= max_count), TIME_STEPS[-1])
    # The offset from UTC may change between two ticks when summer time begins or ends.
    stride = min(step, QUARTER_HOUR)
    times = range(ceil(start / stride) * stride, floor(end) + 1, stride)
    return step, [float(at) for at in times if (at + time.localtime(at).tm_gmtoff) % step == 0]
