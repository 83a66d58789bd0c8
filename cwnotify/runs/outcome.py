"""An exception -> how its run ended. Standard library and `alerts` only.

The exception belongs to the user. Its class may lie about itself, so only its type and the slots that every
exception has are read.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from cwnotify.alerts.events.runs import Outcome

MAX_CHAINED_ERRORS = 50
_LIBRARIES = ("/site-packages/", "/dist-packages/", os.__file__.removesuffix("os.py"))
# The slots themselves: a class may put a property of its own over them.
_SLOTS: Any = BaseException
_CAUSE, _CONTEXT = _SLOTS.__cause__, _SLOTS.__context__
_SUPPRESSED, _TRACEBACK = _SLOTS.__suppress_context__, _SLOTS.__traceback__
_CODE: Any = SystemExit.code
_MEMBERS: Any = BaseExceptionGroup.exceptions


def determine_outcome(error: BaseException | None) -> Outcome:
    """Return finished, failed or interrupted.

    Call it where the exception was caught: an interrupt of code that awaits leaves a CancelledError, and only the
    signal handler of that moment shows whether there was an interrupt.
    """
    if error is None:
        return Outcome.FINISHED
    error = _behind_display(error)
    return Outcome.INTERRUPTED if _is_interrupt(error) else Outcome.FAILED


def unwrap_error(error: BaseException) -> BaseException:
    """Return the error behind ``sys.exit(1)`` in an ``except`` block; otherwise `error` itself."""
    error = _behind_display(error)
    if not issubclass(type(error), SystemExit):
        return error
    code: object = _CODE.__get__(error)
    if code is None or (isinstance(code, int) and code == 0):
        return error
    behind = _cause(error)
    for _ in range(MAX_CHAINED_ERRORS):
        if behind is None:
            return error
        kind = type(behind)
        if issubclass(kind, Exception) and not (kind.__name__ == "Exit" and issubclass(kind, RuntimeError)):
            # click's `Exit` only carries the exit code.
            return behind
        behind = _cause(behind)
    return error


def _behind_display(error: BaseException) -> BaseException:
    """Return the cell's own error if IPython could not display it and raised `error` instead (IPython 8.18 does)."""
    for _ in range(MAX_CHAINED_ERRORS):
        last = _innermost(error)
        context: BaseException | None = _CONTEXT.__get__(error)
        if last is None or context is None or last.tb_frame.f_globals.get("__name__") != "IPython.core.ultratb":
            break
        error = context
    return error


def _innermost(error: BaseException) -> TracebackType | None:
    last: TracebackType | None = _TRACEBACK.__get__(error)
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last


def _cause(error: BaseException) -> BaseException | None:
    cause: BaseException | None = _CAUSE.__get__(error)
    if cause is None and not _SUPPRESSED.__get__(error):
        cause = _CONTEXT.__get__(error)
    return cause


def _is_interrupt(error: BaseException) -> bool:
    bdb, asyncio = sys.modules.get("bdb"), sys.modules.get("asyncio")
    for one, was_handled in _with_causes(error):
        kind = type(one)
        if issubclass(kind, KeyboardInterrupt):
            return not was_handled
        if one is error and bdb and issubclass(kind, bdb.BdbQuit):
            # The user left the debugger.
            return True
        if asyncio and issubclass(kind, asyncio.CancelledError) and not was_handled and _interrupt_arrived():
            return True
    return False


def _with_causes(error: BaseException) -> Iterator[tuple[BaseException, bool]]:
    """Yield `error`, its causes and a group's members, and whether the user's code handled each before it went wrong.

    A library that turns an interrupt into another error was interrupted. The user's own ``except`` block handles it;
    what fails in there later is a failure.
    """
    waiting, seen = [(error, False)], set[int]()
    while waiting and len(seen) < MAX_CHAINED_ERRORS:
        one, was_handled = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one, was_handled
        if issubclass(type(one), BaseExceptionGroup):
            waiting += [(member, was_handled) for member in _MEMBERS.__get__(one)]
        context: BaseException | None = _CONTEXT.__get__(one)
        cause: BaseException | None = _CAUSE.__get__(one)
        if context is not None and context is not cause:
            waiting.append((context, was_handled or not _is_passed_on(context, one)))
        if cause is not None:
            waiting.append((cause, was_handled))


def _is_passed_on(caught: BaseException, raised: BaseException) -> bool:
    """Whether `raised` only replaces `caught`: an exit, a library's doing, or raised by the ``except`` block itself."""
    if issubclass(type(raised), SystemExit):
        return True
    where: TracebackType | None = _TRACEBACK.__get__(caught)
    if where is None:
        return True
    path = where.tb_frame.f_code.co_filename
    if any(folder in path for folder in _LIBRARIES):
        return True
    last = _innermost(raised)
    return last is not None and last.tb_frame is where.tb_frame


def _interrupt_arrived() -> bool:
    """Whether the SIGINT handler that cancels a task was called: ipykernel's for a cell, or that of `asyncio.run`."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        runner = getattr(getattr(handler, "func", None), "__self__", None)
        if getattr(runner, "_interrupt_count", 0):
            return True
        # ipykernel's holds the future that it sets.
        held = [cell.cell_contents for cell in getattr(handler, "__closure__", None) or ()]
        return any(type(one).__name__ == "Future" and one.done() and not one.cancelled() for one in held)
    except Exception:
        return False
