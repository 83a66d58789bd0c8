"""Decide which tests may run a second time: those that drive a real kernel or browser.

Timing on a busy machine can make these fail. Any other test fails only because of a defect. A test drives one if the
test, one of its fixtures, or a function of the tests that these call names one of `DRIVER_CLASSES`. Modules whose
kernel runs in another process set the mark themselves. Imports only the standard library and pytest.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

import pytest

DRIVER_CLASSES = {("tests.support.kernel", "Kernel"), ("tests.support.lab", "Lab")}
BROWSER_FUNCTION = "sync_playwright"
MAX_REASON_LENGTH = 300


def drives_kernel_or_browser(item: pytest.Function) -> bool:
    """Return whether `item`, its fixtures or the functions that they call name a driver."""
    fixtures = (definitions[-1].func for definitions in item._fixtureinfo.name2fixturedefs.values())
    pending: list[Callable[..., Any]] = [item.function, *fixtures]
    visited: set[CodeType] = set()
    while pending:
        function = inspect.unwrap(pending.pop())
        code = getattr(function, "__code__", None)
        if code is None or code in visited:
            continue
        visited.add(code)
        names = set(_names_in(code))
        if BROWSER_FUNCTION in names:
            return True
        for value in map(function.__globals__.get, names):
            module = getattr(value, "__module__", None) or ""
            if (module, getattr(value, "__qualname__", "")) in DRIVER_CLASSES:
                return True
            if inspect.isfunction(value) and module.startswith("tests."):
                pending.append(value)
    return False


def _names_in(code: CodeType) -> Iterator[str]:
    """Yield the names that `code` and its inner functions use."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def failure_reason(report: pytest.TestReport) -> str:
    """Return why a test failed, in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = str(crash.message if crash else report.longrepr).strip().splitlines() or ["unknown reason"]
    return f"{report.when}: {lines[0] if crash else lines[-1]}"[:MAX_REASON_LENGTH]
