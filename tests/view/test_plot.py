"""The picture: what is drawn is looked for in its pixels, whatever the snapshot holds."""

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
from dataclasses import replace
from math import inf, nan, sin

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cwnotify.view.format import DARK, LIGHT, Theme, build_alt_text, format_local_time, format_with_unit, sanitize_line
from cwnotify.view.plot import PlotRenderer
from cwnotify.view.plot.axes import time_ticks, value_ticks
from cwnotify.view.plot.fonts import FontFinder
from cwnotify.view.plot.text import LabelLayout, TextRenderer
from cwnotify.view.snapshot import PanelAlarm, PanelRequest, PanelRun, PlotLine, Snapshot
from tests.hostile import HOSTILE_STRINGS
from tests.support.panel_feed import healthy_snapshot, troubled_snapshot

AT = 1_795_400_647.0
PLOT = PlotRenderer(720, 240, 1.0)
LARGEST = 40_000


def draw(snapshot: Snapshot, dark: bool = False, plot: PlotRenderer = PLOT) -> NDArray[np.int32]:
    """The picture's pixels: rows from the top, and in them red, green and blue."""
    return np.asarray(Image.open(io.BytesIO(plot.render_png(snapshot, dark))).convert("RGB")).astype(np.int32)


def count(pixels: NDArray[np.int32], colour: str, near: int = 24) -> int:
    """How many pixels are that colour, give or take what smooth edges do to it."""
    return int((np.abs(pixels - list(bytes.fromhex(colour[1:]))).sum(axis=2) <= near).sum())


def only(*lines: PlotLine, **more: object) -> Snapshot:
    return replace(Snapshot(AT, PanelRequest(), lines=lines, updated=AT), **more)


def cloud(*points: tuple[float, float], period: float = 300.0) -> PlotLine:
    return PlotLine("CloudWatch, 5 min", False, period, points)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("scene", [healthy_snapshot, troubled_snapshot])
def test_the_picture_is_small_and_of_its_size(scene, dark):
    picture = PlotRenderer().render_png(scene(AT), dark)
    image = Image.open(io.BytesIO(picture))

    assert (image.format, image.size, image.mode) == ("PNG", (1440, 450), "P")
    assert len(picture) < LARGEST


def test_every_theme_has_its_own_page_and_colours():
    light, dark = draw(healthy_snapshot(AT)), draw(healthy_snapshot(AT), dark=True)

    for pixels, theme, other in ((light, LIGHT, DARK), (dark, DARK, LIGHT)):
        assert pixels[0, 0].tolist() == list(bytes.fromhex(theme.page[1:]))
        for colour in (theme.lines[0], theme.live, theme.foreground_color("bad"), theme.foreground_color("good")):
            assert count(pixels, colour) > 20, colour
        assert count(pixels, other.live) == 0


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_words_stand_out_from_the_page(theme: Theme):
    def light(colour: str) -> float:
        shares = [part / 255 for part in bytes.fromhex(colour[1:])]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in shares]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    def contrast(one: str, other: str) -> float:
        low, high = sorted((light(one), light(other)))
        return (high + 0.05) / (low + 0.05)

    for colour in (
        theme.ink,
        theme.quiet,
        theme.warning,
        theme.live,
        *map(theme.foreground_color, ("good", "bad", "run")),
    ):
        assert contrast(colour, theme.page) >= 4.5, colour
    for tone in ("good", "bad"):
        assert contrast(theme.foreground_color(tone), theme.tinted_background(tone)) >= 4.5, tone
    assert contrast("#ffffff", theme.pressed) >= 4.5


def test_drawing_again_draws_the_same():
    first = PLOT.render_png(healthy_snapshot(AT), False)
    PLOT.render_png(troubled_snapshot(AT), True)

    assert PLOT.render_png(healthy_snapshot(AT), False) == first


def test_a_gap_is_not_bridged():
    even = [(AT - 9000 + 300 * i, 50.0) for i in range(30)]
    whole = draw(only(cloud(*even)))
    gap = draw(only(cloud(*even[:10], *even[20:])))
    blue = np.abs(gap - list(bytes.fromhex(LIGHT.lines[0][1:]))).sum(axis=2) <= 24
    columns = np.flatnonzero(blue[60:200].any(axis=0))

    assert count(gap, LIGHT.lines[0]) < 0.75 * count(whole, LIGHT.lines[0])
    assert np.diff(columns).max() > 100, "a gap as wide as what is missing"


def test_one_lone_point_is_seen_with_its_value():
    pixels = draw(only(cloud((AT - 3000, 42.0))))

    assert count(pixels, LIGHT.lines[0]) > count(draw(only(cloud())), LIGHT.lines[0]) + 60


def test_what_is_low_stands_low():
    def height(value: float) -> float:
        pixels = draw(only(cloud(*((AT - 9000 + 300 * i, value) for i in range(30)))))
        blue = np.abs(pixels[40:] - list(bytes.fromhex(LIGHT.lines[0][1:]))).sum(axis=2) <= 24
        return float(np.mean(np.flatnonzero(blue[:, 200:500].any(axis=1))))

    assert height(90) < height(50) < height(10)


@pytest.mark.parametrize(("good", "tone"), [(False, "bad"), (True, "good"), (None, "calm")])
def test_an_alarms_threshold_and_its_times_are_in_its_tone(good, tone):
    alarm = PanelAlarm("busy", "ALARM", AT - 600, good, 50.0, periods=((AT - 3600, AT - 1800), (AT - 600, 0.0)))
    pixels = draw(only(cloud((AT - 5000, 20.0)), alarms=(alarm,)))

    assert count(pixels, LIGHT.foreground_color(tone)) > 200
    assert count(pixels, LIGHT.tinted_background(tone), near=6) > 2000


def test_runs_are_marked_and_what_failed_is_seen():
    fine = PanelRun("fine", AT - 9000, AT - 5000, "finished")
    short = PanelRun("short", AT - 3000, AT - 2999, "failed")
    pixels = draw(only(cloud((AT - 100, 20.0)), runs=(fine, short)))

    assert count(pixels, LIGHT.tinted_background("run"), near=6) > 5000
    assert count(pixels, LIGHT.foreground_color("bad")) > 20


def three_days(period: float, live: bool) -> PlotLine:
    points = tuple((AT - n * period, 50 + 40 * sin(n / 40)) for n in range(int(3 * 86400 / period), -1, -1))
    return PlotLine("three days", live, period, points)


@pytest.mark.parametrize(("period", "live"), [(300.0, False), (60.0, False), (2.0, True)])
def test_three_days_of_points_stay_small_and_quick(period, live):
    snapshot = only(three_days(period, live), request=PanelRequest(span=3 * 86400.0))
    plot = PlotRenderer()
    plot.render_png(snapshot, False)
    before = time.process_time()
    picture = plot.render_png(snapshot, False)

    assert len(picture) < LARGEST
    # 40 ms is the aim, for at most some thousands of points; a busy CI machine gets its allowance.
    assert time.process_time() - before < 0.5


STRANGE_ALARM = PanelAlarm("a", "ALARM", nan, None, nan, periods=((nan, inf), (9e99, 0.0)))
STRANGE_RUNS = PanelRun("r", inf), PanelRun("r", AT, AT - 5, "lost"), PanelRun("r", -1e18, 1e18, "finished")
STRANGE = {
    "nothing": Snapshot(AT, PanelRequest()),
    "an empty line": only(cloud()),
    "no numbers": only(cloud((AT, nan), (AT, inf), (AT, -inf))),
    "two points at once": only(cloud((AT, 50.0), (AT, 60.0))),
    "the future": only(cloud((AT + 900, 50.0))),
    "more than all": only(cloud((AT - 60, -30.0), (AT, 400.0))),
    "nothing at all": only(cloud((AT - 60, 0.0), (AT, 0.0)), unit="B"),
    "astronomical": only(cloud((AT - 60, 1e300), (AT, -1e300)), unit="B"),
    "tiny": only(cloud((AT - 60, 1e-300), (AT, 1e-310)), unit="B"),
    "a strange alarm": only(cloud((AT - 60, 5.0)), alarms=(STRANGE_ALARM,)),
    "strange runs": only(runs=STRANGE_RUNS),
    "many lines": only(*(cloud((AT - 600, float(n)), (AT - 300, 50.0)) for n in range(60))),
    "many alarms": only(alarms=tuple(PanelAlarm(f"a{n}", "OK", 0.0, True, n * 1.0) for n in range(100))),
    "15 days": replace(healthy_snapshot(AT), request=PanelRequest(span=15 * 86400.0)),
    "5 minutes": replace(healthy_snapshot(AT), request=PanelRequest(span=300.0)),
}


@pytest.mark.parametrize("snapshot", STRANGE.values(), ids=STRANGE)
def test_whatever_it_holds_is_drawn(snapshot):
    for dark in (False, True):
        assert draw(snapshot, dark).shape == (240, 720, 3)


HOSTILE = (*HOSTILE_STRINGS, "학습 🚀 완료", "$\\frac{1}{0}$", "اسم", "")


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_names(name: str):
    shown = healthy_snapshot(AT)
    hostile = replace(
        shown,
        title=name,
        lines=tuple(replace(line, label=name) for line in shown.lines),
        alarms=tuple(replace(alarm, name=name) for alarm in shown.alarms),
        runs=tuple(replace(run, name=name) for run in shown.runs),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(PLOT.render_png(hostile, False)) < LARGEST


def test_korean_is_written_with_letters_and_not_with_boxes():
    pieces = TextRenderer(20).split_by_font("학습 ok")

    assert [piece for _, piece in pieces if "?" in piece] == []
    assert pieces[0][0] is not pieces[-1][0], "the font that matplotlib brings knows no Korean"


def test_what_no_font_knows_is_no_box():
    letters = TextRenderer(20, font_finder=FontFinder(list_files=list))

    assert [piece for _, piece in letters.split_by_font("a\U0001f680b")] == ["a", "", "b"]
    assert [piece for _, piece in letters.split_by_font("\U00012000")] == ["?"], "a letter, at least"


boxes = st.tuples(st.floats(0, 300), st.floats(0, 100))


@given(st.lists(st.tuples(st.floats(5, 120), st.floats(5, 40), st.lists(boxes, max_size=6)), max_size=20))
def test_no_label_covers_another_or_leaves_the_frame(wishes):
    room, taken = LabelLayout((0, 0, 300, 100), np.empty((0, 2))), []
    for width, height, places in wishes:
        if found := room.reserve_best_position(width, height, places):
            taken.append((found[0], found[1], found[0] + width, found[1] + height))

    for index, (left, bottom, right, top) in enumerate(taken):
        assert left >= 0
        assert bottom >= 0
        assert right <= 300.001
        assert top <= 100.001
        for other in taken[:index]:
            assert right <= other[0] or other[2] <= left or top <= other[1] or other[3] <= bottom


def test_a_label_goes_where_it_covers_least():
    room = LabelLayout((0, 0, 300, 100), np.array([[50.0, 10.0], [60.0, 10.0], [150.0, 10.0]]))

    assert room.reserve_best_position(30, 20, [(40, 0), (140, 0)]) == (140, 0)
    assert room.reserve_best_position(30, 20, [(140, 5), (200, 0)]) == (200, 0), "the first is taken"


@given(st.floats(0, 4e9), st.sampled_from((3600.0, 3 * 3600.0, 43200.0, 3 * 86400.0, 15 * 86400.0)))
def test_ticks_are_round_in_local_time_and_not_too_many(end, span):
    step, ticks = time_ticks(end - span, end, 12)

    assert 1 <= len(ticks) <= 14
    assert all(end - span <= tick <= end for tick in ticks)
    for tick in ticks:
        local = time.localtime(tick)
        seconds = local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec
        assert seconds % min(step, 86400) == 0


@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), max_size=5))
def test_the_axis_holds_every_value(values):
    ticks = value_ticks(only(cloud(*((AT - 60, value) for value in values)), unit="B"))

    assert 2 <= len(ticks) <= 9
    assert ticks[0] <= min([*values, 0.0])
    assert ticks[-1] >= max([*values, 0.0]) * 0.999999


def test_percent_goes_from_0_to_100():
    assert value_ticks(healthy_snapshot(AT)) == [0, 25, 50, 75, 100]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(88.2, "88 %"), (0.42, "0.4 %"), (0.0, "0 %"), (100.0, "100 %"), (-3.25, "-3.2 %"), (nan, "?"), (1.5e6, "1.5 M%")],
)
def test_numbers_are_read_at_a_glance(value, shown):
    assert format_with_unit(value) == shown


def test_names_are_one_clean_line():
    assert sanitize_line("a\nb\x1b[31m\u202e\ud800 c" + "x" * 99) == "a b[31m c" + "x" * 38 + "…"


def test_a_day_that_is_not_today_is_told():
    assert format_local_time(AT, AT) == time.strftime("%H:%M", time.localtime(AT))
    assert format_local_time(AT - 3 * 86400, AT).endswith(" " + format_local_time(AT, AT))
    assert format_local_time(nan, AT) == format_local_time(1e99, AT) == "?"


def test_the_picture_is_told_in_words():
    words = build_alt_text(healthy_snapshot(AT))

    for word in ("CPU over the last 3 h", "last 8 %", "alarm train-off: ALARM", "run resnet50: finished in 2 h 14 min"):
        assert word in words


def test_nothing_of_the_process_is_touched(monkeypatch: pytest.MonkeyPatch):
    matplotlib.rcParams["axes.facecolor"] = "red"
    before = dict(matplotlib.rcParams)
    state, filters, handler = random.getstate(), list(warnings.filters), signal.getsignal(signal.SIGINT)
    legacy = np.random.get_state()[1].tolist()
    try:
        PLOT.render_png(healthy_snapshot(AT), False)

        assert dict(matplotlib.rcParams) == before
    finally:
        matplotlib.rcParams["axes.facecolor"] = "white"
    assert (random.getstate(), list(warnings.filters), signal.getsignal(signal.SIGINT)) == (state, filters, handler)
    assert np.random.get_state()[1].tolist() == legacy


HOSTILE_STYLE = {
    "text.usetex": True,
    "axes.facecolor": "red",
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
    "figure.autolayout": True,
    "figure.frameon": False,
    "text.parse_math": False,
}


def test_a_users_style_changes_nothing():
    plain = PlotRenderer(720, 240, 1.0).render_png(healthy_snapshot(AT), False)
    with matplotlib.rc_context(HOSTILE_STYLE):
        assert PlotRenderer(720, 240, 1.0).render_png(healthy_snapshot(AT), False) == plain


def test_it_needs_no_pyplot_and_no_screen(tmp_path):
    script = """
import json, sys
from cwnotify.view.plot import PlotRenderer
from tests.support.panel_feed import healthy_snapshot
Plot().draw(well(1795400647.0), False)
print(json.dumps([name for name in sys.modules if name in ("matplotlib.pyplot", "tkinter", "IPython")]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == []


def test_drawing_on_and_on_takes_no_more_memory():
    for _ in range(3):
        PLOT.render_png(healthy_snapshot(AT), False)
    gc.collect()
    before = len(gc.get_objects())
    for n in range(10):
        PLOT.render_png(healthy_snapshot(AT + n), bool(n % 2))
    gc.collect()

    assert len(gc.get_objects()) - before < 500
