"""The fonts of this machine, and which of them has a letter. Matplotlib's list, and the folders where fonts are put.

Matplotlib lists the fonts once and keeps that list in a file for ever; a font that is installed later is not in it. So
the folders are searched again when a letter is missing. The list in the user's file stays as it is.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.font_manager import FontEntry, fontManager, ttfFontProperty, weight_dict
from matplotlib.ft2font import FT2Font

# For what the font that matplotlib brings has no letters for: preferred in this order, then any other font.
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
# They have a box for every letter.
_EMPTY = ("lastresort", "last resort", "adobe blank", "adobe notdef")
FONT_SEARCH_INTERVAL = 60.0  # seconds between two searches of the folders
FONT_SEARCH_BUDGET = 0.1  # seconds that may be spent on reading font files, per interval

log = logging.getLogger(__name__)


def bundled_font_path(bold: bool) -> str:
    """The font file that matplotlib brings."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", name))


def list_font_files() -> list[str]:
    """Return the font files in the folders where systems and users put them, the newest first.

    Without fontconfig, which matplotlib asks too: it may take seconds, and writes into the user's home.
    """
    folders = [*font_manager.X11FontDirectories, *(f"{sys.prefix}/{below}" for below in ("fonts", "share/fonts"))]
    if sys.platform == "darwin":
        folders += font_manager.OSXFontDirectories
    return sorted(font_manager.findSystemFonts(folders), key=_changed, reverse=True)


def _changed(path: str) -> float:
    try:
        # Not when it was written: a package's files keep that from where they were made.
        return Path(path).stat().st_ctime
    except OSError:
        return 0.0


class FontFinder:
    """Finds fonts by the letters they have, in bounded time.

    Parameters
    ----------
    files
        Gives the paths of the font files that are installed now.
    listed
        What matplotlib has listed.
    clock
        Seconds on a clock that is never set.
    interval
        Seconds after which the folders may be searched again.
    """

    def __init__(
        self,
        list_files: Callable[[], list[str]] = list_font_files,
        known_entries: Iterable[FontEntry] | None = None,
        clock: Callable[[], float] = time.monotonic,
        interval: float = FONT_SEARCH_INTERVAL,
    ) -> None:
        self._files, self._clock, self._interval = list_files, clock, interval
        known = fontManager.ttflist if known_entries is None else known_entries
        self._entries = sorted((entry for entry in known if _has_letters(entry)), key=_rank)
        self._known = {str(entry.fname) for entry in known}
        self._new: list[str] = []
        # How many of the entries were searched for each letter that was missing.
        self._searched: dict[str, int] = {}
        self._time_left = FONT_SEARCH_BUDGET
        self._search_again = -float("inf")

    def find(self, letter: str, bold: bool) -> str | None:
        """Return the path of a font that has `letter`; None if there is none, or none was found in the time."""
        entry = self._search(letter)
        if entry is None and self._clock() >= self._search_again:
            self._search_again = self._clock() + self._interval
            self._time_left = FONT_SEARCH_BUDGET
            self._new = [path for path in self._files() if path not in self._known]
        if entry is None and self._new:
            self._read_new()
            entry = self._search(letter)
        return None if entry is None else str(self._like(entry, letter, 700 if bold else 400).fname)

    def exclude_font(self, path: str) -> None:
        """Do not return this font again."""
        self._entries = [entry for entry in self._entries if str(entry.fname) != path]
        self._searched.clear()

    def _search(self, letter: str) -> FontEntry | None:
        searched = self._searched.get(letter, 0)
        while searched < len(self._entries) and self._time_left > 0:
            if self._has(self._entries[searched], letter):
                break
            searched += 1
        self._searched[letter] = searched
        return self._entries[searched] if searched < len(self._entries) and self._time_left > 0 else None

    def _like(self, entry: FontEntry, letter: str, weight: int) -> FontEntry:
        """The font of the same family whose weight is nearest."""
        family = (one for one in self._entries if (one.name, one.style) == (entry.name, entry.style))
        for one in sorted(family, key=lambda one: abs(_weight(one.weight) - weight)):
            if one is entry or self._has(one, letter):
                return one
        return entry

    def _has(self, entry: FontEntry, letter: str) -> bool:
        began = self._clock()
        try:
            return bool(_opened(str(entry.fname)).get_char_index(ord(letter)))
        except (OSError, RuntimeError):
            # It is gone since matplotlib listed it.
            return False
        finally:
            self._time_left -= self._clock() - began

    def _read_new(self) -> None:
        """Take the files that are new into the list; what there is no time for waits for the next search."""
        read = []
        while self._new and self._time_left > 0:
            path, began = self._new.pop(0), self._clock()
            try:
                read.append(ttfFontProperty(_opened(path)))
                self._known.add(path)
            except Exception as error:
                # Damaged, or half copied by now: it is tried again.
                log.debug("%s is no font: %s", path, error)
            self._time_left -= self._clock() - began
        self._entries += sorted(filter(_has_letters, read), key=_rank)


def _opened(path: str) -> FT2Font:
    # Not matplotlib's `get_font`, which keeps its files open.
    return FT2Font(path)


def _has_letters(entry: FontEntry) -> bool:
    return not entry.name.lower().lstrip(".").startswith(_EMPTY)


def _rank(entry: FontEntry) -> tuple[int, bool, int]:
    preferred = PREFERRED_FONTS.index(entry.name) if entry.name in PREFERRED_FONTS else len(PREFERRED_FONTS)
    return preferred, entry.style != "normal", abs(_weight(entry.weight) - 400)


def _weight(weight: int | str) -> int:
    """Matplotlib's weights, which are numbers or names."""
    return weight if isinstance(weight, int) else weight_dict.get(weight, 400)


FONT_FINDER = FontFinder()
