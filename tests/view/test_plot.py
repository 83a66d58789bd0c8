"""The pixels of plots, whatever their snapshots hold."""

from __future__ import annotations

import gc
import io
import json
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan, sin
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image

from cwnotify.view.format import (
    DARK,
    LIGHT,
    ColorRole,
    Theme,
    build_alt_text,
    format_local_time,
    format_with_unit,
    sanitize_line,
)
from cwnotify.view.plot import PlotRenderer
from cwnotify.view.plot.axes import spread_points, time_ticks, value_ticks, visible_points
from cwnotify.view.plot.fonts import FontFinder, TextFont
from cwnotify.view.plot.labels import LabelLayout
from cwnotify.view.snapshot import PanelAlarm, PanelRequest, PanelRun, PlotLine, Snapshot
from tests.hostile import HOSTILE_STRINGS
from tests.support.panel_feed import healthy_snapshot, troubled_snapshot

AT = 1_795_400_647.0
PLOT = PlotRenderer(720, 240, 1.0)
MAX_BYTES = 40_000
FRAME = Bbox.from_extents(0, 0, 300, 100)


def render_pixels(snapshot: Snapshot, dark: bool = False, plot: PlotRenderer = PLOT) -> NDArray[np.int32]:
    """Return the red, green and blue of each pixel, in rows from the top."""
    return np.asarray(Image.open(io.BytesIO(plot.render_png(snapshot, dark))).convert("RGB")).astype(np.int32)


def match_colour(pixels: NDArray[np.int32], colour: str, tolerance: int = 24) -> NDArray[np.bool_]:
    """Return which pixels have `colour`. The tolerance covers smooth edges."""
    matches: NDArray[np.bool_] = np.abs(pixels - list(bytes.fromhex(colour[1:]))).sum(axis=2) <= tolerance
    return matches


def count_pixels(pixels: NDArray[np.int32], colour: str, tolerance: int = 24) -> int:
    return int(match_colour(pixels, colour, tolerance).sum())


def snapshot_of(*lines: PlotLine, **fields: Any) -> Snapshot:
    return replace(Snapshot(AT, PanelRequest(), lines=lines, updated=AT), **fields)


def cloudwatch_line(*points: tuple[float, float], period: float = 300.0) -> PlotLine:
    return PlotLine("CloudWatch, 5 min", False, period, points)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("scene", [healthy_snapshot, troubled_snapshot])
def test_picture_has_its_size_and_few_bytes(scene: Callable[[float], Snapshot], dark: bool) -> None:
    png = PlotRenderer().render_png(scene(AT), dark)
    image = Image.open(io.BytesIO(png))

    assert (image.format, image.size, image.mode) == ("PNG", (1440, 450), "P")
    assert len(png) < MAX_BYTES


def test_theme_sets_page_and_colours() -> None:
    light, dark = render_pixels(healthy_snapshot(AT)), render_pixels(healthy_snapshot(AT), dark=True)

    for pixels, theme, other in ((light, LIGHT, DARK), (dark, DARK, LIGHT)):
        assert pixels[0, 0].tolist() == list(bytes.fromhex(theme.page[1:]))
        for colour in (theme.lines[0], theme.live, theme.foreground_color("bad"), theme.foreground_color("good")):
            assert count_pixels(pixels, colour) > 20, colour
        assert count_pixels(pixels, other.live) == 0


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_contrasts_with_page(theme: Theme) -> None:
    def luminance(colour: str) -> float:
        shares = [part / 255 for part in bytes.fromhex(colour[1:])]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in shares]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    def contrast(colour: str, background: str) -> float:
        low, high = sorted((luminance(colour), luminance(background)))
        return (high + 0.05) / (low + 0.05)

    run, good, bad = theme.foreground_color("run"), theme.foreground_color("good"), theme.foreground_color("bad")
    for colour in (theme.ink, theme.quiet, theme.warning, theme.live, good, bad, run):
        assert contrast(colour, theme.page) >= 4.5, colour
    assert contrast(good, theme.tinted_background("good")) >= 4.5
    assert contrast(bad, theme.tinted_background("bad")) >= 4.5
    assert contrast("#ffffff", theme.pressed) >= 4.5


def test_later_picture_keeps_nothing_of_earlier_one() -> None:
    first = PLOT.render_png(healthy_snapshot(AT), False)
    PLOT.render_png(troubled_snapshot(AT), True)

    assert PLOT.render_png(healthy_snapshot(AT), False) == first


def test_missing_points_leave_gap() -> None:
    points = [(AT - 9000 + 300 * i, 50.0) for i in range(30)]
    whole = render_pixels(snapshot_of(cloudwatch_line(*points)))
    gap = render_pixels(snapshot_of(cloudwatch_line(*points[:10], *points[20:])))
    columns = np.flatnonzero(match_colour(gap, LIGHT.lines[0])[60:200].any(axis=0))

    assert count_pixels(gap, LIGHT.lines[0]) < 0.75 * count_pixels(whole, LIGHT.lines[0])
    assert np.diff(columns).max() > 100, "a gap as wide as what is missing"


def test_late_point_leaves_no_gap() -> None:
    line = cloudwatch_line((AT - 900, 1.0), (AT - 600, 2.0), (AT - 150, 3.0), (AT + 1, 4.0))

    assert visible_points(line, AT - 10800, AT, 60).tolist()[:3] == [list(point) for point in line.points[:3]]


def test_live_line_is_mean_of_each_column_and_ends_at_last_value() -> None:
    line = PlotLine("live", True, 2.0, tuple((at, at % 4) for at in np.arange(0.0, 120.0, 2.0).tolist()))
    points = visible_points(line, 0.0, 120.0, 60.0)

    assert points[:, 1].tolist() == pytest.approx([1.0, 1.0, 2.0, nan], nan_ok=True)


def test_lone_point_is_visible_with_its_value() -> None:
    pixels = render_pixels(snapshot_of(cloudwatch_line((AT - 3000, 42.0))))
    empty = render_pixels(snapshot_of(cloudwatch_line()))

    assert count_pixels(pixels, LIGHT.lines[0]) > count_pixels(empty, LIGHT.lines[0]) + 60


def test_low_values_are_low() -> None:
    def height(value: float) -> float:
        line = cloudwatch_line(*((AT - 9000 + 300 * i, value) for i in range(30)))
        matches = match_colour(render_pixels(snapshot_of(line))[40:], LIGHT.lines[0])
        return float(np.mean(np.flatnonzero(matches[:, 200:500].any(axis=1))))

    assert height(90) < height(50) < height(10)


@pytest.mark.parametrize(("good", "role"), [(False, "bad"), (True, "good"), (None, "calm")])
def test_threshold_and_firing_periods_have_alarms_colour(good: bool | None, role: ColorRole) -> None:
    alarm = PanelAlarm("busy", "ALARM", AT - 600, good, 50.0, periods=((AT - 3600, AT - 1800), (AT - 600, 0.0)))
    pixels = render_pixels(snapshot_of(cloudwatch_line((AT - 5000, 20.0)), alarms=(alarm,)))

    assert count_pixels(pixels, LIGHT.foreground_color(role)) > 200
    assert count_pixels(pixels, LIGHT.tinted_background(role), tolerance=6) > 2000


def test_runs_are_tinted_and_short_failed_run_is_visible() -> None:
    finished = PanelRun("finished", AT - 9000, AT - 5000, "finished")
    failed = PanelRun("failed", AT - 3000, AT - 2999, "failed")
    snapshot = snapshot_of(cloudwatch_line((AT - 100, 20.0)), runs=(finished, failed))
    pixels = render_pixels(snapshot, plot=PlotRenderer())

    assert count_pixels(pixels, LIGHT.tinted_background("run"), tolerance=6) > 5000
    assert count_pixels(pixels, LIGHT.foreground_color("bad")) > 20


def three_days_line(period: float, live: bool) -> PlotLine:
    points = tuple((AT - n * period, 50 + 40 * sin(n / 40)) for n in range(int(3 * 86400 / period), -1, -1))
    return PlotLine("three days", live, period, points)


@pytest.mark.parametrize(("period", "live"), [(300.0, False), (60.0, False), (2.0, True)])
def test_three_days_are_small_and_quick(period: float, live: bool) -> None:
    snapshot = snapshot_of(three_days_line(period, live), request=PanelRequest(span=3 * 86400.0))
    plot = PlotRenderer()
    plot.render_png(snapshot, False)
    began = time.process_time()
    png = plot.render_png(snapshot, False)

    assert len(png) < MAX_BYTES
    # The goal is 60 ms for some thousands of points. A busy CI machine needs more.
    assert time.process_time() - began < 0.5


STRANGE_ALARM = PanelAlarm("a", "ALARM", nan, None, nan, periods=((nan, inf), (9e99, 0.0)))
STRANGE_RUNS = PanelRun("r", inf), PanelRun("r", AT, AT - 5, "lost"), PanelRun("r", -1e18, 1e18, "finished")
STRANGE_SNAPSHOTS = {
    "nothing": Snapshot(AT, PanelRequest()),
    "an empty line": snapshot_of(cloudwatch_line()),
    "no numbers": snapshot_of(cloudwatch_line((AT, nan), (AT, inf), (AT, -inf))),
    "two points at once": snapshot_of(cloudwatch_line((AT, 50.0), (AT, 60.0))),
    "the future": snapshot_of(cloudwatch_line((AT + 900, 50.0))),
    "outside of 0 to 100 %": snapshot_of(cloudwatch_line((AT - 60, -30.0), (AT, 400.0))),
    "zeros": snapshot_of(cloudwatch_line((AT - 60, 0.0), (AT, 0.0)), unit="B"),
    "astronomical": snapshot_of(cloudwatch_line((AT - 60, 1e300), (AT, -1e300)), unit="B"),
    "tiny": snapshot_of(cloudwatch_line((AT - 60, 1e-300), (AT, 1e-310)), unit="B"),
    "a strange alarm": snapshot_of(cloudwatch_line((AT - 60, 5.0)), alarms=(STRANGE_ALARM,)),
    "strange runs": snapshot_of(runs=STRANGE_RUNS),
    "many lines": snapshot_of(*(cloudwatch_line((AT - 600, float(n)), (AT - 300, 50.0)) for n in range(60))),
    "many alarms": snapshot_of(alarms=tuple(PanelAlarm(f"a{n}", "OK", 0.0, True, n * 1.0) for n in range(100))),
    "15 days": replace(healthy_snapshot(AT), request=PanelRequest(span=15 * 86400.0)),
    "5 minutes": replace(healthy_snapshot(AT), request=PanelRequest(span=300.0)),
}


@pytest.mark.parametrize("snapshot", STRANGE_SNAPSHOTS.values(), ids=STRANGE_SNAPSHOTS)
def test_strange_snapshot_is_drawn(snapshot: Snapshot) -> None:
    for dark in (False, True):
        assert render_pixels(snapshot, dark).shape == (240, 720, 3)


HOSTILE_NAMES = (*HOSTILE_STRINGS, "학습 🚀 완료", "$\\frac{1}{0}$", "اسم", "")


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def test_hostile_names_are_drawn_without_warning(name: str) -> None:
    snapshot = healthy_snapshot(AT)
    hostile = replace(
        snapshot,
        title=name,
        unit=name,
        lines=tuple(replace(line, label=name) for line in snapshot.lines),
        alarms=tuple(replace(alarm, name=name) for alarm in snapshot.alarms),
        runs=tuple(replace(run, name=name) for run in snapshot.runs),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(PLOT.render_png(hostile, False)) < MAX_BYTES


def test_dollar_signs_are_no_formula() -> None:
    font = TextFont(20)

    assert font.outline("$x$").width > font.outline("xx").width


def test_korean_is_written_with_letters() -> None:
    font = TextFont(20)

    assert font.drawable_text("학습 ok") == "학습 ok"
    assert not np.array_equal(font.outline("학").vertices, font.outline("습").vertices), "boxes are alike"


def test_text_without_font_is_no_box() -> None:
    font = TextFont(20, font_finder=FontFinder(list_files=list))

    assert font.drawable_text("a\U0001f680b") == "ab"
    assert font.drawable_text("\U00012300\U00012301 a") == "? a"


corners = st.tuples(st.floats(0, 300), st.floats(0, 100))


@given(st.lists(st.tuples(st.floats(5, 120), st.floats(5, 40), st.lists(corners, max_size=6)), max_size=20))
def test_labels_stay_apart_and_in_frame(labels: list[tuple[float, float, list[tuple[float, float]]]]) -> None:
    layout, boxes = LabelLayout(FRAME, np.empty((0, 2))), []
    for width, height, positions in labels:
        if corner := layout.reserve_best_position(width, height, positions):
            boxes.append((corner[0], corner[1], corner[0] + width, corner[1] + height))

    for index, (left, bottom, right, top) in enumerate(boxes):
        assert left >= 0
        assert bottom >= 0
        assert right <= 300.001
        assert top <= 100.001
        for other in boxes[:index]:
            assert right <= other[0] or other[2] <= left or top <= other[1] or other[3] <= bottom


def test_label_covers_fewest_obstacles() -> None:
    layout = LabelLayout(FRAME, np.array([[50.0, 10.0], [60.0, 10.0], [150.0, 10.0]]))

    assert layout.reserve_best_position(30, 20, [(40, 0), (140, 0)]) == (140, 0)
    assert layout.reserve_best_position(30, 20, [(140, 5), (200, 0)]) == (200, 0), "the first is reserved"


def test_obstacles_are_close_together_on_steep_line() -> None:
    path = np.array([[0.0, 0.0], [1.0, 90.0], [1.0, nan], [50.0, 20.0]])
    points = spread_points(path)

    assert np.abs(np.diff(points[:31], axis=0)).max() <= 3.0
    assert points[30].tolist() == [1.0, 90.0]
    assert points[-1].tolist() == [50.0, 20.0]


@given(st.floats(0, 4e9), st.sampled_from((3600.0, 3 * 3600.0, 43200.0, 3 * 86400.0, 15 * 86400.0)))
def test_time_ticks_are_few_and_round_in_local_time(end: float, span: float) -> None:
    step, ticks = time_ticks(end - span, end, 12)

    assert 1 <= len(ticks) <= 14
    assert all(end - span <= tick <= end for tick in ticks)
    for tick in ticks:
        local = time.localtime(tick)
        seconds = local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec
        assert seconds % min(step, 86400) == 0


@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), max_size=5))
def test_value_axis_holds_every_value(values: list[float]) -> None:
    ticks = value_ticks(snapshot_of(cloudwatch_line(*((AT - 60, value) for value in values)), unit="B"))

    assert 2 <= len(ticks) <= 9
    invisible = (ticks[-1] - ticks[0]) * 1e-9
    assert ticks[0] <= min([*values, 0.0]) + invisible
    assert ticks[-1] >= max([*values, 0.0]) - invisible


def test_percent_axis_goes_from_0_to_100() -> None:
    assert value_ticks(healthy_snapshot(AT)) == [0, 25, 50, 75, 100]


@pytest.mark.parametrize(
    ("value", "text"),
    [(88.2, "88 %"), (0.42, "0.4 %"), (0.0, "0 %"), (100.0, "100 %"), (-3.25, "-3.2 %"), (nan, "?"), (1.5e6, "1.5 M%")],
)
def test_value_is_formatted_with_few_digits(value: float, text: str) -> None:
    assert format_with_unit(value) == text


def test_name_is_sanitized_to_one_line() -> None:
    assert sanitize_line("a\nb\x1b[31m\u202e\ud800 c" + "x" * 99) == "a b[31m c" + "x" * 38 + "…"


def test_time_of_another_day_has_its_date() -> None:
    assert format_local_time(AT, AT) == time.strftime("%H:%M", time.localtime(AT))
    assert format_local_time(AT - 3 * 86400, AT).endswith(" " + format_local_time(AT, AT))
    assert format_local_time(nan, AT) == format_local_time(1e99, AT) == "?"


def test_alt_text_describes_picture() -> None:
    text = build_alt_text(healthy_snapshot(AT))

    for part in ("CPU over the last 3 h", "last 8 %", "alarm train-off: ALARM", "run resnet50: finished in 2 h 14 min"):
        assert part in text


def test_rendering_changes_no_global_state() -> None:
    matplotlib.rcParams["axes.facecolor"] = "red"
    before = dict(matplotlib.rcParams)
    state, filters, handler = random.getstate(), list(warnings.filters), signal.getsignal(signal.SIGINT)
    numpy_state = str(np.random.get_state())
    try:
        PLOT.render_png(healthy_snapshot(AT), False)

        assert dict(matplotlib.rcParams) == before
    finally:
        matplotlib.rcParams["axes.facecolor"] = "white"
    assert (random.getstate(), list(warnings.filters), signal.getsignal(signal.SIGINT)) == (state, filters, handler)
    assert str(np.random.get_state()) == numpy_state


HOSTILE_STYLE: Any = {
    "text.usetex": True,
    "axes.facecolor": "red",
    "axes.xmargin": 0.4,
    "lines.linewidth": 20,
    "lines.dashed_pattern": [1, 1],
    "font.size": 40,
    "text.color": "red",
    "path.sketch": (5, 50, 5),
    "figure.facecolor": "red",
    "lines.marker": "X",
    "patch.linewidth": 9,
    "savefig.dpi": 10,
    "lines.scale_dashes": False,
    "lines.antialiased": False,
    "lines.solid_capstyle": "projecting",
    "lines.markerfacecolor": "red",
    "markers.fillstyle": "none",
    "patch.force_edgecolor": True,
    "patch.antialiased": False,
    "path.snap": False,
    "path.simplify_threshold": 1.0,
    "figure.autolayout": True,
    "figure.frameon": False,
    "text.parse_math": True,
}


def test_users_style_changes_nothing() -> None:
    plain = PlotRenderer(720, 240, 1.0).render_png(healthy_snapshot(AT), False)
    with matplotlib.rc_context(HOSTILE_STYLE):
        assert PlotRenderer(720, 240, 1.0).render_png(healthy_snapshot(AT), False) == plain
        assert PLOT.render_png(healthy_snapshot(AT), False) == plain


def test_rendering_imports_no_pyplot() -> None:
    script = """
import json, sys
from cwnotify.view.plot import PlotRenderer
from tests.support.panel_feed import healthy_snapshot
PlotRenderer().render_png(healthy_snapshot(1795400647.0), False)
print(json.dumps([name for name in sys.modules if name in ("matplotlib.pyplot", "tkinter", "IPython")]))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert json.loads(result.stdout) == []


def test_rendering_leaks_no_objects() -> None:
    for _ in range(3):
        PLOT.render_png(healthy_snapshot(AT), False)
    gc.collect()
    before = len(gc.get_objects())
    for n in range(10):
        PLOT.render_png(healthy_snapshot(AT + n), bool(n % 2))
    gc.collect()

    assert len(gc.get_objects()) - before < 500
