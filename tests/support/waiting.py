"""Waiting for what another thread or process does, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
CONDITION_POLL_INTERVAL = 0.005


def until(condition: Callable[[], T], seconds: float = 10.0, what: str = "it") -> T:
    """Ask `condition` again and again until it holds, and give what it gave.

    Raises
    ------
    AssertionError
        If it does not hold within `seconds`; `what` names what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {seconds:g} s (last: {found!r})")
        time.sleep(CONDITION_POLL_INTERVAL)
    return found
