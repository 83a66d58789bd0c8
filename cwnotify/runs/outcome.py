"""Determine from an exception how a run ended. Imports the standard library and `alerts`.

The exception belongs to the user, and its class may override any attribute. So this module reads only its type and the
built-in slots of all exceptions.
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
# The built-in slots, because a class may override them with properties.
_SLOTS: Any = BaseException
_CAUSE, _CONTEXT = _SLOTS.__cause__, _SLOTS.__context__
_SUPPRESSED, _TRACEBACK = _SLOTS.__suppress_context__, _SLOTS.__traceback__
_CODE: Any = SystemExit.code
_MEMBERS: Any = BaseExceptionGroup.exceptions


def determine_outcome(error: BaseException | None) -> Outcome:
    """Return whether a run finished, failed or was interrupted.

    Call it where the exception is caught. An interrupt of async code raises a CancelledError, and only the
    signal handler at that moment shows whether there was an interrupt.
    """
    if error is None:
        return Outcome.FINISHED
    error = _skip_display_error(error)
    return Outcome.INTERRUPTED if _is_interrupt(error) else Outcome.FAILED


def unwrap_error(error: BaseException) -> BaseException:
    """Return the error behind ``sys.exit(1)`` in an ``except`` block; otherwise `error` itself."""
    error = _skip_display_error(error)
    if not issubclass(type(error), SystemExit):
        return error
    code: object = _CODE.__get__(error)
    if code is None or (isinstance(code, int) and code == 0):
        return error
    cause = _get_cause(error)
    for _ in range(MAX_CHAINED_ERRORS):
        if cause is None:
            return error
        kind = type(cause)
        # click's `Exit` is not an error: it only carries the exit code.
        if issubclass(kind, Exception) and not (kind.__name__ == "Exit" and issubclass(kind, RuntimeError)):
            return cause
        cause = _get_cause(cause)
    return error


def _skip_display_error(error: BaseException) -> BaseException:
    """Return the cell's own error if IPython failed to display it and raised `error` instead, as IPython 8.18 does."""
    for _ in range(MAX_CHAINED_ERRORS):
        innermost = _get_innermost_traceback(error)
        context: BaseException | None = _CONTEXT.__get__(error)
        if (
            innermost is None
            or context is None
            or innermost.tb_frame.f_globals.get("__name__") != "IPython.core.ultratb"
        ):
            break
        error = context
    return error


def _get_innermost_traceback(error: BaseException) -> TracebackType | None:
    trace: TracebackType | None = _TRACEBACK.__get__(error)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _get_cause(error: BaseException) -> BaseException | None:
    cause: BaseException | None = _CAUSE.__get__(error)
    if cause is None and not _SUPPRESSED.__get__(error):
        cause = _CONTEXT.__get__(error)
    return cause


def _is_interrupt(error: BaseException) -> bool:
    bdb, asyncio = sys.modules.get("bdb"), sys.modules.get("asyncio")
    for related, was_handled in _iter_related_errors(error):
        kind = type(related)
        if issubclass(kind, KeyboardInterrupt):
            return not was_handled
        if related is error and bdb and issubclass(kind, bdb.BdbQuit):
            # The user left the debugger.
            return True
        if asyncio and issubclass(kind, asyncio.CancelledError) and not was_handled and _has_interrupt_arrived():
            return True
    return False


def _iter_related_errors(error: BaseException) -> Iterator[tuple[BaseException, bool]]:
    """Yield `error`, its causes and group members, each with whether the user's code handled it.

    If a library turns an interrupt into another error, the run was interrupted. If the user's own ``except`` block
    handles the interrupt and then fails, the run failed.
    """
    stack, visited = [(error, False)], set[int]()
    while stack and len(visited) < MAX_CHAINED_ERRORS:
        related, was_handled = stack.pop()
        if id(related) in visited:
            continue
        visited.add(id(related))
        yield related, was_handled
        if issubclass(type(related), BaseExceptionGroup):
            stack += [(member, was_handled) for member in _MEMBERS.__get__(related)]
        context: BaseException | None = _CONTEXT.__get__(related)
        cause: BaseException | None = _CAUSE.__get__(related)
        if context is not None and context is not cause:
            stack.append((context, was_handled or not _is_replacement(context, related)))
        if cause is not None:
            stack.append((cause, was_handled))


def _is_replacement(caught: BaseException, raised: BaseException) -> bool:
    """Return whether `raised` replaces `caught`: an exit, or raised by a library or the ``except`` block itself."""
    if issubclass(type(raised), SystemExit):
        return True
    trace: TracebackType | None = _TRACEBACK.__get__(caught)
    if trace is None:
        return True
    path = trace.tb_frame.f_code.co_filename
    if any(folder in path for folder in _LIBRARIES):
        return True
    innermost = _get_innermost_traceback(raised)
    return innermost is not None and innermost.tb_frame is trace.tb_frame


def _has_interrupt_arrived() -> bool:
    """Return whether a SIGINT cancelled the task, through the handler of ipykernel or of `asyncio.run`."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        runner = getattr(getattr(handler, "func", None), "__self__", None)
        if getattr(runner, "_interrupt_count", 0):
            return True
        # ipykernel's handler completes a future that is in its closure.
        contents = [cell.cell_contents for cell in getattr(handler, "__closure__", None) or ()]
        return any(type(item).__name__ == "Future" and item.done() and not item.cancelled() for item in contents)
    except Exception:
        return False
