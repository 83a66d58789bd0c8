"""Messages to the user on stderr. Standard library only; never raises."""

from __future__ import annotations

import sys

_warned: set[str] = set()


def warn(text: str) -> None:
    """Print `text` to stderr. Do nothing if a cell replaced or closed stderr."""
    if sys.stderr is None:
        # print(file=None) would write to stdout.
        return
    try:
        print(f"cwnotify: {text}", file=sys.stderr, flush=True)
    except Exception:
        pass


def warn_once(text: str) -> None:
    """Print `text` to stderr, once per process."""
    if text not in _warned:
        _warned.add(text)
        warn(text)
