"""A cached value that is read again when the files it depends on change.

Settings are needed for every cell and rarely change. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class FileBackedCache(Generic[T]):
    """The last value that was read, with its key and the files it depends on."""

    def __init__(self) -> None:
        # One tuple (key, files, value), because several threads may call `get` at once.
        self._entry: tuple[object, list[_WatchedFile], T] | None = None

    def get(self, key: object, check_intervals: Callable[[], Mapping[str, float]], read: Callable[[], T]) -> T:
        """Return the cached value, or call `read` if the key or a file changed.

        Parameters
        ----------
        key
            All that the value depends on besides the contents of files.
        check_intervals
            Returns the files that `read` may read, existing or not, and how often to check each (seconds). Each check
            is a system call, which lets the kernel's other threads run before the cell.
        """
        now = monotonic()
        entry = self._entry
        if entry is None or entry[0] != key or any(file.has_changed(now) for file in entry[1]):
            # Fingerprint before reading: a write in between is noticed by the next call.
            files = [_WatchedFile(path, seconds, now) for path, seconds in check_intervals().items()]
            entry = self._entry = key, files, read()
        return entry[2]

    def invalidate(self) -> None:
        """Read again at the next call."""
        self._entry = None


class _WatchedFile:
    """A file's fingerprint, and when it was last checked."""

    def __init__(self, path: str, check_interval: float, now: float) -> None:
        self._path, self._check_interval = path, check_interval
        self._checked_at, self._fingerprint = now, _fingerprint(path)

    def has_changed(self, now: float) -> bool:
        if now - self._checked_at < self._check_interval:
            return False
        self._checked_at = now
        return self._fingerprint != _fingerprint(self._path)


def _fingerprint(path: str) -> object:
    """Return a value that differs if the file changed."""
    try:
        status = os.stat(path)  # noqa: PTH116 (runs for every cell)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_mode
