"""Which tests may run twice: those that drive a real kernel or browser, which share two cores here. Standard library.

All others have no reason to fail but a fault. A test drives one if it, a fixture of its, or a function of the tests
that they use names one of `DRIVER_CLASSES`. Modules whose kernel runs in another process bear the mark themselves.
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
    """Whether `item` names a driver, itself or by what it uses."""
    fixtures = (definitions[-1].func for definitions in item._fixtureinfo.name2fixturedefs.values())
    todo: list[Callable[..., Any]] = [item.function, *fixtures]
    done: set[CodeType] = set()
    while todo:
        function = inspect.unwrap(todo.pop())
        code = getattr(function, "__code__", None)
        if code is None or code in done:
            continue
        done.add(code)
        names = set(_names(code))
        if BROWSER_FUNCTION in names:
            return True
        for value in map(function.__globals__.get, names):
            module = getattr(value, "__module__", None) or ""
            if (module, getattr(value, "__qualname__", "")) in DRIVER_CLASSES:
                return True
            if inspect.isfunction(value) and module.startswith("tests."):
                todo.append(value)
    return False


def _names(code: CodeType) -> Iterator[str]:
    """The names that `code` uses, and those of the functions within."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def failure_reason(report: pytest.TestReport) -> str:
    """Why a test failed, in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = str(crash.message if crash else report.longrepr).strip().splitlines() or ["no reason is known"]
    return f"{report.when}: {lines[0] if crash else lines[-1]}"[:MAX_REASON_LENGTH]
