"""Fonts that are installed after matplotlib listed them."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder  # type: ignore[import-untyped]
from fontTools.pens.ttGlyphPen import TTGlyphPen  # type: ignore[import-untyped]
from matplotlib.font_manager import FontEntry

from cwnotify.view.plot.fonts import (
    FONT_SEARCH_BUDGET,
    FONT_SEARCH_INTERVAL,
    FontFinder,
    TextFont,
    bundled_font_path,
)

# A cuneiform letter. Hardly any machine has a font for it.
LETTER = "\U00012000"


def write_font(path: Path, letters: str = LETTER, family: str = "Tiny", bold: bool = False) -> Path:
    """Write a font file whose `letters` are squares."""
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *(f"g{n}" for n in range(len(letters)))])
    builder.setupCharacterMap({ord(letter): f"g{n}" for n, letter in enumerate(letters)})
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 500), (500, 500), (500, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    builder.setupGlyf(dict.fromkeys(builder.font.getGlyphOrder(), square))
    builder.setupHorizontalMetrics(dict.fromkeys(builder.font.getGlyphOrder(), (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    style = "Bold" if bold else "Regular"
    builder.setupNameTable({"familyName": family, "styleName": style, "fullName": f"{family} {style}"})
    builder.setupOS2(sTypoAscender=800, usWeightClass=700 if bold else 400)
    builder.setupPost()
    data = io.BytesIO()
    builder.save(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.getvalue())
    return path


# With matplotlib's list on disk, in a process of its own

LIST_FONTS = """
import matplotlib
from matplotlib import font_manager
from matplotlib.font_manager import fontManager
fontManager.ttflist = [entry for entry in fontManager.ttflist if "DejaVu" in entry.name]
font_manager.json_dump(fontManager, matplotlib.get_cachedir() + f"/fontlist-v{fontManager.__version__}.json")
"""
DRAW_LETTER_PER_LINE = f"""
import sys
from cwnotify.view.plot.fonts import FontFinder, TextFont
font = TextFont(20, font_finder=FontFinder(interval=0.0))
for line in sys.stdin:
    print(ascii(font.drawable_text({LETTER!r})), len(font.outline({LETTER!r}).vertices), flush=True)
"""
DRAW_KOREAN = """
import warnings
from cwnotify.view.plot.fonts import TextFont
warnings.simplefilter("error")
font = TextFont(20)
print(ascii(font.drawable_text("학습 ok")), len(font.outline("학습").vertices) > 20)
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a process whose matplotlib listed its fonts before others were installed."""
    home = tmp_path / "home"
    folders = {"HOME": str(home), "MPLCONFIGDIR": str(home / "matplotlib"), "XDG_DATA_HOME": str(home / "data")}
    environ = {**os.environ, **folders}
    (home / "matplotlib").mkdir(parents=True)
    subprocess.run([sys.executable, "-c", LIST_FONTS], env=environ, check=True, timeout=60)
    return environ


@contextmanager
def assert_list_unchanged(environ: dict[str, str]) -> Iterator[None]:
    folder = Path(environ["MPLCONFIGDIR"])

    def read_list() -> dict[str, tuple[bytes, int]]:
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("fontlist*")}

    before = read_list()
    assert before
    yield
    assert read_list() == before


def test_font_installed_after_listing_draws_korean(environ: dict[str, str]) -> None:
    assert b"CJK" not in next(Path(environ["MPLCONFIGDIR"]).glob("fontlist*")).read_bytes()
    with assert_list_unchanged(environ):
        command = [sys.executable, "-c", DRAW_KOREAN]
        result = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=60)

    assert (result.stdout.strip(), result.stderr) == (ascii("학습 ok") + " True", "")


def test_font_installed_while_process_runs_is_used(environ: dict[str, str]) -> None:
    command = [sys.executable, "-c", DRAW_LETTER_PER_LINE]
    with (
        assert_list_unchanged(environ),
        subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdin
        assert process.stdout
        answers = []
        for install in (lambda: None, lambda: write_font(Path(environ["XDG_DATA_HOME"], "fonts", "tiny.ttf"))):
            install()
            process.stdin.write("\n")
            process.stdin.flush()
            answers.append(process.stdout.readline().split())
        process.stdin.close()

    assert [text for text, _ in answers] == [ascii("?"), ascii(LETTER)]
    assert int(answers[1][1]) < 10, "a square"


# In bounded time


class Clock:
    """A clock that advances by `step` seconds at each reading, as if opening a font took time."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 5000.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_folders_are_searched_once_per_interval(tmp_path: Path) -> None:
    clock, searches = Clock(), []

    def list_files() -> list[str]:
        searches.append(clock.now)
        return [str(path) for path in tmp_path.glob("*")]

    font = TextFont(20, font_finder=FontFinder(list_files, [], clock))
    for _ in range(3):
        assert font.drawable_text(LETTER) == "?"
        assert font.drawable_text(f"{LETTER}\U00012001 학습") == "? ?"
    assert len(searches) == 1

    write_font(tmp_path / "tiny.ttf")
    assert font.drawable_text(LETTER) == "?"
    clock.now += FONT_SEARCH_INTERVAL
    assert font.drawable_text(LETTER) == LETTER
    assert font.drawable_text("\U00012001") == "?", "new fonts are searched for it too"
    assert len(searches) == 2


def test_each_of_many_fonts_is_read_within_budget(tmp_path: Path) -> None:
    files = [str(shutil.copy(bundled_font_path(False), tmp_path / f"{number:02}.ttf")) for number in range(20)]
    files.append(str(write_font(tmp_path / "last.ttf")))
    clock = Clock(step=FONT_SEARCH_BUDGET / 6)
    finder = FontFinder(lambda: files, [], clock)
    path, searches, max_duration = None, 0, 0.0
    while path is None and searches < 60:
        began = clock.now
        path = finder.find(LETTER, False)
        max_duration = max(max_duration, clock.now - began)
        clock.now += FONT_SEARCH_INTERVAL
        searches += 1

    assert path == files[-1]
    assert searches > 3
    # Each reading of this clock takes time, also those that do not count towards the budget.
    assert max_duration < 3 * FONT_SEARCH_BUDGET


def make_entry(path: Path, name: str = "Tiny", weight: int = 400) -> FontEntry:
    return FontEntry(fname=str(path), name=name, weight=weight, style="normal")


def test_missing_and_damaged_fonts_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "damaged.ttf").write_bytes(b"no font at all")
    (tmp_path / "empty.otf").touch()
    whole = write_font(tmp_path / "whole.ttf")
    files = [str(tmp_path / name) for name in ("damaged.ttf", "empty.otf", "missing.ttf", whole.name)]
    entries = [make_entry(tmp_path / "gone.ttf"), make_entry(tmp_path / "damaged.ttf")]
    font = TextFont(20, font_finder=FontFinder(lambda: files, entries, Clock()))

    assert font.drawable_text(f"a{LETTER}") == f"a{LETTER}"


def test_incomplete_font_is_read_again(tmp_path: Path) -> None:
    whole, clock = write_font(tmp_path / "whole.ttf"), Clock()
    half = tmp_path / "half.ttf"
    half.write_bytes(whole.read_bytes()[:100])
    finder = FontFinder(lambda: [str(half)], [], clock)
    assert finder.find(LETTER, False) is None

    shutil.copy(whole, half)
    clock.now += FONT_SEARCH_INTERVAL
    assert finder.find(LETTER, False) == str(half)


def test_placeholder_font_is_not_used(tmp_path: Path) -> None:
    boxes = write_font(tmp_path / "boxes.ttf", family="LastResort")

    assert FontFinder(list, [make_entry(boxes, "Last Resort High-Efficiency")], Clock()).find(LETTER, False) is None
    assert FontFinder(lambda: [str(boxes)], [], Clock()).find(LETTER, False) is None


def test_weight_selects_font_of_family(tmp_path: Path) -> None:
    files = [str(write_font(tmp_path / f"{bold}.ttf", bold=bold)) for bold in (True, False)]
    finder = FontFinder(lambda: files, [], Clock())

    assert finder.find(LETTER, bold=True) == files[0]
    assert finder.find(LETTER, bold=False) == files[1]


def test_preferred_font_comes_first(tmp_path: Path) -> None:
    other, preferred = write_font(tmp_path / "other.ttf", "학"), write_font(tmp_path / "preferred.ttf", "학")
    finder = FontFinder(list, [make_entry(other, "Batang"), make_entry(preferred, "NanumGothic")], Clock())

    assert finder.find("학", False) == str(preferred)
