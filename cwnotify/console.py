"""Words for the person at the screen, on stderr. Standard library only; never raises."""

from __future__ import annotations

import sys

_said: set[str] = set()


def warn(text: str) -> None:
    """Say `text`; a cell may have replaced or closed stderr, and then there is nobody to say it to."""
    if sys.stderr is None:
        # Closed by the caller. `print` would take stdout instead.
        return
    try:
        print(f"cwnotify: {text}", file=sys.stderr, flush=True)
    except Exception:
        pass


def warn_once(text: str) -> None:
    """Say `text`, once a process."""
    if text not in _said:
        _said.add(text)
        warn(text)
