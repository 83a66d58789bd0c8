"""Find the fonts for a text: matplotlib's own font first, then installed fonts for the letters that it lacks.

Matplotlib stores its list of fonts in a file and does not update it. The font folders are searched again when a letter
is missing, without changing that file.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import groupby
from pathlib import Path as FilePath

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.font_manager import FontEntry, FontProperties, fontManager, ttfFontProperty, weight_dict
from matplotlib.ft2font import FT2Font
from matplotlib.path import Path
from matplotlib.textpath import text_to_path

# Tried in this order, before any other font.
PREFERRED_FONTS = (
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
# These fonts show a box for every letter.
PLACEHOLDER_FONTS = ("lastresort", "last resort", "adobe blank", "adobe notdef")
FONT_SEARCH_INTERVAL = 60.0  # seconds between two searches of the folders
FONT_SEARCH_BUDGET = 0.1  # seconds per interval for opening font files
MAX_CACHED_OUTLINES = 256  # per size, of some 10 kB each
MAX_FALLBACK_FONTS = 7  # matplotlib keeps the file of each font open

log = logging.getLogger(__name__)


def bundled_font_path(bold: bool) -> str:
    """Return the path of the font that matplotlib ships."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return str(FilePath(matplotlib.get_data_path(), "fonts", "ttf", name))


def list_font_files() -> list[str]:
    """Return the font files of the system and the user, newest first.

    Fontconfig is not used because it may take seconds, and writes into the home folder.
    """
    folders = [*font_manager.X11FontDirectories, *(f"{sys.prefix}/{below}" for below in ("fonts", "share/fonts"))]
    if sys.platform == "darwin":
        folders += font_manager.OSXFontDirectories
    return sorted(font_manager.findSystemFonts(folders), key=_installed_at, reverse=True)


def _installed_at(path: str) -> float:
    try:
        # Packages preserve the modification time of the font's build.
        return FilePath(path).stat().st_ctime
    except OSError:
        return 0.0


class FontFinder:
    """Find a font for a letter in bounded time.

    Parameters
    ----------
    list_files
        Returns the paths of the font files that are installed now.
    known_entries
        The fonts that matplotlib has listed; by default those of its font manager.
    clock
        Returns seconds of a monotonic clock.
    interval
        Seconds until the folders may be searched again.
    """

    def __init__(
        self,
        list_files: Callable[[], list[str]] = list_font_files,
        known_entries: Iterable[FontEntry] | None = None,
        clock: Callable[[], float] = time.monotonic,
        interval: float = FONT_SEARCH_INTERVAL,
    ) -> None:
        self._list_files, self._clock, self._interval = list_files, clock, interval
        entries = list(fontManager.ttflist if known_entries is None else known_entries)
        self._entries = sorted(filter(_has_letters, entries), key=_rank)
        self._known_paths = {str(entry.fname) for entry in entries}
        self._unread: list[str] = []
        # For each missing letter, how many entries were searched.
        self._searched: dict[str, int] = {}
        self._time_left = FONT_SEARCH_BUDGET
        self._next_search = -float("inf")

    def find(self, letter: str, bold: bool) -> str | None:
        """Return the path of a font that has `letter`; None if the search found none within its time."""
        entry = self._search(letter)
        if entry is None and self._clock() >= self._next_search:
            self._next_search = self._clock() + self._interval
            self._time_left = FONT_SEARCH_BUDGET
            self._unread = [path for path in self._list_files() if path not in self._known_paths]
        if entry is None and self._unread:
            self._read_new_files()
            entry = self._search(letter)
        return None if entry is None else str(self._match_weight(entry, letter, 700 if bold else 400).fname)

    def _search(self, letter: str) -> FontEntry | None:
        searched = self._searched.get(letter, 0)
        while searched < len(self._entries) and self._time_left > 0:
            if self._has_letter(self._entries[searched], letter):
                break
            searched += 1
        self._searched[letter] = searched
        return self._entries[searched] if searched < len(self._entries) and self._time_left > 0 else None

    def _match_weight(self, entry: FontEntry, letter: str, weight: int) -> FontEntry:
        """Return the font of the same family that has the nearest weight."""
        family = (other for other in self._entries if (other.name, other.style) == (entry.name, entry.style))
        for other in sorted(family, key=lambda other: abs(_weight(other.weight) - weight)):
            if other is entry or self._has_letter(other, letter):
                return other
        return entry

    def _has_letter(self, entry: FontEntry, letter: str) -> bool:
        began = self._clock()
        try:
            return _has_glyph(FT2Font(str(entry.fname)), letter)
        except (OSError, RuntimeError):
            # The file was removed or damaged after matplotlib listed it.
            return False
        finally:
            self._time_left -= self._clock() - began

    def _read_new_files(self) -> None:
        """Add unread files to the list while there is time; the next search adds the others."""
        entries = []
        while self._unread and self._time_left > 0:
            path, began = self._unread.pop(0), self._clock()
            try:
                entries.append(ttfFontProperty(FT2Font(path)))
                self._known_paths.add(path)
            except Exception as error:
                # The file may be incomplete; a later search reads it again.
                log.debug("cannot read font %s: %s", path, error)
            self._time_left -= self._clock() - began
        self._entries += sorted(filter(_has_letters, entries), key=_rank)


def _has_glyph(font: FT2Font, letter: str) -> bool:
    return bool(font.get_char_index(ord(letter)))


def _has_letters(entry: FontEntry) -> bool:
    return not entry.name.lower().lstrip(".").startswith(PLACEHOLDER_FONTS)


def _rank(entry: FontEntry) -> tuple[int, bool, int]:
    preference = PREFERRED_FONTS.index(entry.name) if entry.name in PREFERRED_FONTS else len(PREFERRED_FONTS)
    return preference, entry.style != "normal", abs(_weight(entry.weight) - 400)


def _weight(weight: int | str) -> int:
    """Return the number of a weight that matplotlib may give as a name."""
    return weight if isinstance(weight, int) else weight_dict.get(weight, 400)


FONT_FINDER = FontFinder()


class TextOutline(Path):
    """The outlines of a text's letters. Its baseline begins at (0, 0)."""

    @property
    def width(self) -> float:
        """The width in points."""
        return float(np.asarray(self.vertices)[:, 0].max(initial=0.0))


class TextFont:
    """A size and weight of text, with fallback fonts that are added when a text needs them.

    Parameters
    ----------
    size
        In points.
    font_finder
        Finds fonts for letters that matplotlib's own font lacks.
    """

    def __init__(self, size: float, bold: bool = False, font_finder: FontFinder = FONT_FINDER) -> None:
        self._size, self._bold, self._font_finder = size, bold, font_finder
        self._fonts: dict[str, FT2Font] = {}
        self._add(bundled_font_path(bold))
        # To lay out and rasterize a text takes matplotlib 2 ms per picture, a cached outline 0.3 ms.
        self._cached_outline = lru_cache(MAX_CACHED_OUTLINES)(self._build_outline)

    def outline(self, text: str) -> TextOutline:
        """Return the outlines of the letters of `text`."""
        return self._cached_outline(self.drawable_text(text))

    def _build_outline(self, drawable_text: str) -> TextOutline:
        properties = FontProperties(family=list(self._fonts), weight=400)
        vertices, codes = text_to_path.get_text_path(properties, drawable_text)
        # An empty text has no codes.
        return TextOutline(np.reshape(vertices, (-1, 2)) * self._size / text_to_path.FONT_SCALE, codes or None)

    def drawable_text(self, text: str) -> str:
        """Return `text` with a question mark in place of letters, and nothing in place of symbols, that no font has."""
        groups = [(has_font, "".join(letters)) for has_font, letters in groupby(text, self._has_font)]
        return "".join(part if has_font else "?" * any(map(str.isalnum, part)) for has_font, part in groups)

    def _has_font(self, letter: str) -> bool:
        if any(_has_glyph(font, letter) for font in self._fonts.values()):
            return True
        if not letter.isalnum() or len(self._fonts) > MAX_FALLBACK_FONTS:
            return False
        path = self._font_finder.find(letter, self._bold)
        return path is not None and self._add(path)

    def _add(self, path: str) -> bool:
        try:
            self._fonts[path] = FT2Font(path)
        except (OSError, RuntimeError):
            # The file was removed in the meantime.
            return False
        # A family of its own selects exactly this file, whatever other fonts have its name.
        if not any(entry.name == path for entry in fontManager.ttflist):
            fontManager.ttflist.append(FontEntry(fname=path, name=path, weight=400, size="scalable"))
        return True
