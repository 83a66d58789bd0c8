"""Settings are asked for with every cell and hardly ever change: what was read is kept while its sources stay.

Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class FileBackedCache(Generic[T]):
    """The last answer, and what it was made of."""

    def __init__(self) -> None:
        # In one piece, for threads may ask at once: what was asked, the files, the answer.
        self._known: tuple[object, list[_File], T] | None = None

    def get(self, asked: object, files: Callable[[], Mapping[str, float]], read: Callable[[], T]) -> T:
        """What `read` gives, or gave last time.

        Parameters
        ----------
        asked
            What the answer depends on besides files, and which files those are.
        files
            The files that may be read, there or not, and for how many seconds a look at each is good: a look is a
            system call, during which the kernel's other threads go before the cell.
        """
        now = monotonic()
        known = self._known
        if known is None or known[0] != asked or any(file.has_changed(now) for file in known[1]):
            # Looked at before they are read: what is written meanwhile is read with the next cell.
            looked = [_File(path, seconds, now) for path, seconds in files().items()]
            known = self._known = asked, looked, read()
        return known[2]

    def invalidate(self) -> None:
        """Read again next time."""
        self._known = None


class _File:
    def __init__(self, path: str, seconds: float, now: float) -> None:
        self._path, self._seconds = path, seconds
        self._looked, self._mark = now, _mark(path)

    def has_changed(self, now: float) -> bool:
        if now - self._looked < self._seconds:
            return False
        self._looked = now
        return self._mark != _mark(self._path)


def _mark(path: str) -> object:
    """What is another one when the file is."""
    try:
        found = os.stat(path)  # noqa: PTH116 (on the path of a cell)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode
