"""Letters on a picture, and room for them. Pillow, with the fonts that matplotlib brings or has found.

Matplotlib's own text takes 2 to 3 ms a label, most of the time of a draw; Pillow's takes a twentieth of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.font_manager import fontManager, get_font, weight_dict
from numpy.typing import NDArray
from PIL import ImageDraw, ImageFont

# For what the font that matplotlib brings has no letters for; the first that is installed.
FALLBACKS = (
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "Noto Sans CJK JP",
    "NanumGothic",
    "Apple SD Gothic Neo",
    "Malgun Gothic",
    "Source Han Sans KR",
    "UnDotum",
    "Baekmuk Gulim",
    "WenQuanYi Zen Hei",
)
Box = tuple[float, float, float, float]


def font_paths(bold: bool) -> list[str]:
    """The files to look for a letter in, in this order."""
    own = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    weight = 700 if bold else 400
    near = sorted(fontManager.ttflist, key=lambda entry: abs(_weight(entry.weight) - weight))
    spare = next((entry.fname for name in FALLBACKS for entry in near if entry.name == name), None)
    return [str(own), *([str(spare)] if spare else [])]


def _weight(word: int | str) -> int:
    """Matplotlib's weights, which are numbers or names."""
    return word if isinstance(word, int) else weight_dict.get(word, 400)


class Letters:
    """One size and weight of letters.

    Parameters
    ----------
    size
        Pixels of the em square.
    """

    def __init__(self, size: float, bold: bool = False) -> None:
        self.size = size
        paths = font_paths(bold)
        self._maps = [get_font(path) for path in paths]
        self._fonts = [ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC) for path in paths]
        self._pieces = lru_cache(maxsize=256)(self._split)

    def width(self, text: str) -> float:
        """Pixels from the beginning to the end of `text`."""
        return sum(font.getlength(piece) for font, piece in self._pieces(text))

    def draw(self, on: ImageDraw.ImageDraw, x: float, y: float, text: str, colour: str) -> None:
        """Write `text` with its beginning at `x` and its baseline at `y`, in pixels from the top left."""
        for font, piece in self._pieces(text):
            on.text((x, y), piece, fill=colour, font=font, anchor="ls")
            x += font.getlength(piece)

    def _split(self, text: str) -> list[tuple[ImageFont.FreeTypeFont, str]]:
        """`text` in pieces, each with the font that has its letters.

        Letters that no font has become one question mark; pictures that none has are left out.
        """
        pieces = []
        for index, group in groupby(text, self._font_for):
            letters = "".join(group)
            known = letters if index >= 0 else "?" * any(map(str.isalnum, letters))
            pieces.append((self._fonts[max(index, 0)], known))
        return pieces

    def _font_for(self, letter: str) -> int:
        return next((i for i, known in enumerate(self._maps) if known.get_char_index(ord(letter))), -1)


class Room:
    """Where there is room for labels: none may cover another, and the less of the lines it covers the better.

    Parameters
    ----------
    frame
        Left, bottom, right and top of where labels may stand.
    marks
        Places on what they had better not cover, as rows of x and y.
    """

    def __init__(self, frame: Box, marks: NDArray[np.float64]) -> None:
        self._frame = frame
        self._x, self._y = marks[:, 0], marks[:, 1]
        self._taken: list[Box] = []

    def take(self, box: Box) -> None:
        """Say that something stands there."""
        self._taken.append(box)

    def find(self, width: float, height: float, places: Iterable[tuple[float, float]]) -> tuple[float, float] | None:
        """Take the best of `places`, each a left and bottom; None if every one is taken.

        The first place that covers nothing wins, else the one that covers the fewest marks.
        """
        best, fewest = None, -1
        for box in self._free(width, height, places):
            covered = self._covered(box)
            if best is None or covered < fewest:
                best, fewest = box, covered
            if not covered:
                break
        if best is None:
            return None
        self.take(best)
        return best[:2]

    def _free(self, width: float, height: float, places: Iterable[tuple[float, float]]) -> Iterator[Box]:
        left, bottom, right, top = self._frame
        for x, y in places:
            x = min(max(x, left), right - width)
            box = (x, y, x + width, y + height)
            inside = x >= left and y >= bottom and box[3] <= top
            if inside and not any(_overlap(box, other) for other in self._taken):
                yield box

    def _covered(self, box: Box) -> int:
        inside = (self._x >= box[0]) & (self._x <= box[2]) & (self._y >= box[1]) & (self._y <= box[3])
        return int(np.count_nonzero(inside))


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
