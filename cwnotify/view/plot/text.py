"""Letters on a picture, and room for them. Pillow, with the fonts that `fonts` finds.

Matplotlib's own text takes 2 to 3 ms a label, most of the time of a draw; Pillow's takes a twentieth of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby

import numpy as np
from matplotlib.font_manager import get_font
from numpy.typing import NDArray
from PIL import ImageDraw, ImageFont

from cwnotify.view.plot.fonts import FONT_FINDER, FontFinder, bundled_font_path

# Every font keeps a file open.
MAX_FONTS = 8
Box = tuple[float, float, float, float]
FontSegment = tuple[ImageFont.FreeTypeFont, str]


class TextRenderer:
    """One size and weight of letters.

    Parameters
    ----------
    size
        Pixels of the em square.
    fonts
        Where to look for letters that the font of matplotlib's own lacks.
    """

    def __init__(self, size: float, bold: bool = False, font_finder: FontFinder = FONT_FINDER) -> None:
        self.size = size
        self._bold, self._fonts = bold, font_finder
        self._maps = [get_font(bundled_font_path(bold))]
        self._faces = [self._face(bundled_font_path(bold))]
        self._complete = lru_cache(maxsize=256)(self._split)

    def width(self, text: str) -> float:
        """Pixels from the beginning to the end of `text`."""
        return sum(font.getlength(piece) for font, piece in self.split_by_font(text))

    def draw(self, on: ImageDraw.ImageDraw, x: float, y: float, text: str, colour: str) -> None:
        """Write `text` with its beginning at `x` and its baseline at `y`, in pixels from the top left."""
        for font, piece in self.split_by_font(text):
            on.text((x, y), piece, fill=colour, font=font, anchor="ls")
            x += font.getlength(piece)

    def split_by_font(self, text: str) -> list[FontSegment]:
        """`text` in pieces, each with the font that has its letters.

        Letters that no font has become one question mark; pictures that none has are left out.
        """
        try:
            return self._complete(text)
        except LookupError:
            # Not kept: a font with the missing letters may be installed later.
            return self._pieces(text)

    def _split(self, text: str) -> list[FontSegment]:
        """`text` in pieces.

        Raises
        ------
        LookupError
            If a letter is in no font.
        """
        if any(letter.isalnum() and self._index(letter) < 0 for letter in text):
            raise LookupError
        return self._pieces(text)

    def _pieces(self, text: str) -> list[FontSegment]:
        pieces = []
        for index, group in groupby(text, self._index):
            letters = "".join(group)
            known = letters if index >= 0 else "?" * any(map(str.isalnum, letters))
            pieces.append((self._faces[max(index, 0)], known))
        return pieces

    def _index(self, letter: str) -> int:
        """Which of our fonts has `letter`; -1 for none."""
        index = next((i for i, known in enumerate(self._maps) if known.get_char_index(ord(letter))), -1)
        if index >= 0 or not letter.isalnum() or len(self._maps) == MAX_FONTS:
            return index
        if (path := self._fonts.find(letter, self._bold)) is None:
            return -1
        try:
            font, face = get_font(path), self._face(path)
        except (OSError, RuntimeError):
            # It went away, or has letters of one size only.
            self._fonts.exclude_font(path)
            return -1
        self._maps.append(font)
        self._faces.append(face)
        return len(self._maps) - 1

    def _face(self, path: str) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(path, self.size, layout_engine=ImageFont.Layout.BASIC)


class LabelLayout:
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

    def reserve(self, box: Box) -> None:
        """Say that something stands there."""
        self._taken.append(box)

    def reserve_best_position(
        self, width: float, height: float, places: Iterable[tuple[float, float]]
    ) -> tuple[float, float] | None:
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
        self.reserve(best)
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
