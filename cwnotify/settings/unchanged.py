"""Settings are asked for with every cell and hardly ever change: what was read is kept while its sources stay.

Standard library only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Unchanged(Generic[T]):
    """The last answer, and what it was made of."""

    def __init__(self) -> None:
        self._asked: object = None
        self._files: list[_File] = []
        self._answer: T | None = None

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
        now = time.monotonic()
        if self._answer is None or asked != self._asked or any(file.has_changed(now) for file in self._files):
            # Looked at before they are read: what is written meanwhile is read with the next cell.
            self._asked, self._files = asked, [_File(path, seconds, now) for path, seconds in files().items()]
            self._answer = read()
        return self._answer


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
