"""Fonts that are installed after matplotlib has listed them, as on a machine that gets its fonts later."""

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
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import FontEntry

from cwnotify.view.plot.fonts import FONT_SEARCH_BUDGET, FONT_SEARCH_INTERVAL, FontFinder, bundled_font_path
from cwnotify.view.plot.text import TextRenderer

# A cuneiform letter, which hardly any machine has a font for.
LETTER = "\U00012000"


def font(path: Path, letters: str = LETTER, family: str = "Tiny", bold: bool = False) -> Path:
    """A font file with these letters, each a square."""
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


def shown(letters: TextRenderer, text: str) -> str:
    return "".join(piece for _, piece in letters.split_by_font(text))


# With a real matplotlib in a process of its own, and its list on disk

LIST_FONTS = """
import matplotlib
from matplotlib import font_manager
from matplotlib.font_manager import fontManager
fontManager.ttflist = [one for one in fontManager.ttflist if "DejaVu" in one.name]
font_manager.json_dump(fontManager, matplotlib.get_cachedir() + f"/fontlist-v{fontManager.__version__}.json")
"""
WAIT_FOR_FONT = f"""
import sys
from cwnotify.view.plot.fonts import FontFinder
from cwnotify.view.plot.text import TextRenderer
letters = Letters(20, fonts=Fonts(interval=0.0))
for line in sys.stdin:
    print(ascii("".join(piece for _, piece in letters.pieces({LETTER!r}))), flush=True)
"""
WRITE_KOREAN = """
from cwnotify.view.plot.text import TextRenderer
print(ascii("".join(piece for _, piece in Letters(20).pieces("학습 ok"))))
"""


@pytest.fixture
def listed(tmp_path: Path) -> dict[str, str]:
    """The environment of a process for which matplotlib has listed its fonts before others were installed."""
    home = tmp_path / "home"
    own = {"HOME": str(home), "MPLCONFIGDIR": str(home / "matplotlib"), "XDG_DATA_HOME": str(home / "data")}
    environ = {**os.environ, **own}
    (home / "matplotlib").mkdir(parents=True)
    subprocess.run([sys.executable, "-c", LIST_FONTS], env=environ, check=True, timeout=60)
    return environ


@contextmanager
def the_list_stays(environ: dict[str, str]) -> Iterator[None]:
    folder = Path(environ["MPLCONFIGDIR"])

    def content() -> dict[str, tuple[bytes, int]]:
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("fontlist*")}

    before = content()
    assert before
    yield
    assert content() == before


def test_a_font_that_was_installed_after_matplotlib_listed_them_writes_korean(listed: dict[str, str]):
    """As by `make demo` and then `make test`, which installs the fonts."""
    assert b"CJK" not in next(Path(listed["MPLCONFIGDIR"]).glob("fontlist*")).read_bytes()
    with the_list_stays(listed):
        done = subprocess.run(
            [sys.executable, "-c", WRITE_KOREAN], env=listed, capture_output=True, text=True, check=True, timeout=60
        )

    assert (done.stdout.strip(), done.stderr) == (ascii("학습 ok"), "")


def test_a_font_that_is_installed_while_the_sidecar_runs_is_used(listed: dict[str, str]):
    command = [sys.executable, "-c", WAIT_FOR_FONT]
    with (
        the_list_stays(listed),
        subprocess.Popen(command, env=listed, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdin
        assert process.stdout
        told = []
        for install in (lambda: None, lambda: font(Path(listed["XDG_DATA_HOME"], "fonts", "tiny.ttf"))):
            install()
            process.stdin.write("\n")
            process.stdin.flush()
            told.append(process.stdout.readline().strip())
        process.stdin.close()

    assert told == [ascii("?"), ascii(LETTER)]


# In bounded time


class Clock:
    """Seconds that pass by themselves with each look, so that reading a font takes time."""

    def __init__(self, passes: float = 0.0) -> None:
        self.now, self.passes = 5000.0, passes

    def __call__(self) -> float:
        self.now += self.passes
        return self.now


def test_the_folders_are_searched_once_a_minute_however_many_letters_are_missing(tmp_path: Path):
    clock, searches = Clock(), []
    fonts = FontFinder(lambda: searches.append(1) or [str(path) for path in tmp_path.glob("*")], [], clock)
    letters = TextRenderer(20, font_finder=fonts)
    for _ in range(3):
        assert shown(letters, LETTER) == "?"
        assert shown(letters, f"{LETTER}\U00012001 학습") == "? ?"
    assert len(searches) == 1

    font(tmp_path / "tiny.ttf")
    assert shown(letters, LETTER) == "?"
    clock.now += FONT_SEARCH_INTERVAL
    assert shown(letters, LETTER) == LETTER
    assert shown(letters, "\U00012001") == "?", "it is searched for in what is new too"
    assert len(searches) == 2


def test_thousands_of_fonts_take_no_more_than_their_time_and_each_is_read_some_day(tmp_path: Path):
    files = [str(shutil.copy(bundled_font_path(False), tmp_path / f"{number:02}.ttf")) for number in range(20)]
    files.append(str(font(tmp_path / "last.ttf")))
    clock = Clock(passes=FONT_SEARCH_BUDGET / 6)
    fonts = FontFinder(lambda: files, [], clock)
    path, minutes, longest = None, 0, 0.0
    while path is None and minutes < 60:
        began = clock.now
        path = fonts.find(LETTER, False)
        longest = max(longest, clock.now - began)
        clock.now += FONT_SEARCH_INTERVAL
        minutes += 1

    assert path == files[-1]
    assert minutes > 3
    # Each look at this clock takes time, also those that are not counted.
    assert longest < 3 * FONT_SEARCH_BUDGET


def entry(path: Path, name: str = "Tiny", weight: int = 400) -> FontEntry:
    return FontEntry(fname=str(path), name=name, weight=weight, style="normal")


def test_a_font_that_is_listed_and_gone_or_damaged_is_passed_over(tmp_path: Path):
    (tmp_path / "damaged.ttf").write_bytes(b"no font at all")
    (tmp_path / "empty.otf").touch()
    whole = font(tmp_path / "whole.ttf")
    files = [str(tmp_path / "damaged.ttf"), str(tmp_path / "empty.otf"), str(tmp_path / "just gone.ttf"), str(whole)]
    listed = [entry(tmp_path / "gone.ttf"), entry(tmp_path / "damaged.ttf")]

    assert shown(TextRenderer(20, font_finder=FontFinder(lambda: files, listed, Clock())), f"a{LETTER}") == f"a{LETTER}"


def test_a_font_that_was_half_copied_is_read_again(tmp_path: Path):
    whole, clock = font(tmp_path / "whole.ttf"), Clock()
    half = tmp_path / "half.ttf"
    half.write_bytes(whole.read_bytes()[:100])
    fonts = FontFinder(lambda: [str(half)], [], clock)
    assert fonts.find(LETTER, False) is None

    shutil.copy(whole, half)
    clock.now += FONT_SEARCH_INTERVAL
    assert fonts.find(LETTER, False) == str(half)


def test_a_font_of_boxes_for_every_letter_is_not_taken(tmp_path: Path):
    boxes = font(tmp_path / "boxes.ttf", family="LastResort")

    assert FontFinder(list, [entry(boxes, "Last Resort High-Efficiency")], Clock()).find(LETTER, False) is None
    assert FontFinder(lambda: [str(boxes)], [], Clock()).find(LETTER, False) is None


def test_bold_letters_come_from_the_bold_font_of_the_family(tmp_path: Path):
    files = [str(font(tmp_path / f"{bold}.ttf", bold=bold)) for bold in (True, False)]
    fonts = FontFinder(lambda: files, [], Clock())

    assert fonts.find(LETTER, bold=True) == files[0]
    assert fonts.find(LETTER, bold=False) == files[1]


def test_a_preferred_font_comes_first(tmp_path: Path):
    other, ours = font(tmp_path / "other.ttf", "학"), font(tmp_path / "ours.ttf", "학")
    fonts = FontFinder(list, [entry(other, "Batang"), entry(ours, "NanumGothic")], Clock())

    assert fonts.find("학", False) == str(ours)
