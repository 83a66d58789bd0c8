"""Waiting for what another thread or process does, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
CONDITION_POLL_INTERVAL = 0.005


def until(condition: Callable[[], T], seconds: float = 10.0, what: str = "it") -> T:
    """Call `condition` until it returns a true value, and return that.

    Raises
    ------
    AssertionError
        If that takes longer than `seconds`. `what` names the condition.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds:g} s (last: {value!r})")
        time.sleep(CONDITION_POLL_INTERVAL)
    return value
