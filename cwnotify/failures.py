"""An exception -> what an alert can say of it. Standard library, `alerts`, `errors` and `patience` only.

The exception is the user's: its ``__str__`` may raise, block or return megabytes, its class may lie about its name.
None of that may reach the cell, so everything is contained, given a few seconds and cut here, to a margin more than a
message shows: `cwnotify.alerts.scrub` redacts and cuts it.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import partial
from types import TracebackType

from cwnotify.alerts.events import Failure, Outcome
from cwnotify.alerts.limits import MARGIN, MAX_FRAME_LINE, MAX_MESSAGE, MAX_TYPE
from cwnotify.patience import MOST_SECONDS, within

MOST_FRAMES = 5
# Machinery between the user's code and the top: nobody wants to read of it.
_OURS = __file__.removesuffix("failures.py")
_MACHINERY = ("/IPython/core/", "/ipykernel/", "/asyncio/", "/contextlib.py", _OURS)


def outcome_of(error: BaseException | None) -> Outcome:
    """Finished, failed or interrupted. Interrupting a cell that awaits cancels it, hence CancelledError."""
    if error is None:
        return Outcome.FINISHED
    asyncio = sys.modules.get("asyncio")
    # The type itself: `isinstance` would also ask the exception what it is.
    kind = type(error)
    if issubclass(kind, KeyboardInterrupt) or (asyncio and issubclass(kind, asyncio.CancelledError)):
        return Outcome.INTERRUPTED
    return Outcome.FAILED


def describe(error: BaseException, cell: int | None = None) -> Failure:
    """Describe `error` with the last frames of its traceback.

    Parameters
    ----------
    cell
        The execution count, by which frames of the cell itself are called.
    """
    return Failure(
        type=_in_time(lambda: type(error).__name__[: MAX_TYPE + MARGIN], "Exception"),
        message=_in_time(lambda: _message(error), "(its message cannot be shown)"),
        frames=_in_time(lambda: _where_raised(error, cell), ""),
    )


def _in_time(ask: Callable[[], str], otherwise: str) -> str:
    return _contained(partial(within, MOST_SECONDS, ask), otherwise)


def _contained(ask: Callable[[], str], otherwise: str) -> str:
    """What `ask` gives; `otherwise` if the exception, asked about itself, raises another, be it a `SystemExit`."""
    try:
        return ask()
    except BaseException:
        return otherwise


def _message(error: BaseException) -> str:
    reason = getattr(error, "msg", None) if issubclass(type(error), SyntaxError) else None
    text = reason if isinstance(reason, str) else str(error)
    return text[: MAX_MESSAGE + MARGIN]


def _where_raised(error: BaseException, cell: int | None) -> str:
    if issubclass(type(error), SyntaxError):
        return _syntax_frame(error, cell)  # type: ignore[arg-type]
    return _frames(error.__traceback__, cell)


def _frames(trace: TracebackType | None, cell: int | None) -> str:
    """The user's last frames as ``In [11], line 4, in <module>`` with the line below."""
    found = [(frame.f_code.co_filename, line, frame.f_code.co_name, frame) for frame, line in traceback.walk_tb(trace)]
    own = [one for one in found if not any(sign in one[0] for sign in _MACHINERY)] or found[-1:]
    lines = []
    for path, number, function, frame in own[-MOST_FRAMES:]:
        lines.append(f"{_where(path, cell)}, line {number}, in {function}")
        if source := _source(path, number, frame.f_globals):
            lines.append(f"    {source}")
    return "\n".join(lines)


def _source(path: str, number: int, names: dict[str, object]) -> str:
    import linecache

    return _contained(lambda: linecache.getline(path, number, names).strip()[: MAX_FRAME_LINE + MARGIN], "")


def _syntax_frame(error: SyntaxError, cell: int | None) -> str:
    if error.lineno is None:
        return ""
    text = error.text.strip()[: MAX_FRAME_LINE + MARGIN] if isinstance(error.text, str) else ""
    head = f"{_where(str(error.filename), cell)}, line {error.lineno}"
    return f"{head}\n    {text}" if text else head


def _where(path: str, cell: int | None) -> str:
    # ipykernel compiles a cell as /tmp/ipykernel_PID/HASH.py, IPython as <ipython-input-N-…>.
    if "ipykernel_" in path or path.startswith("<ipython-input-"):
        return "the cell" if cell is None else f"In [{cell}]"
    return path.rpartition("/")[2][:MARGIN]
