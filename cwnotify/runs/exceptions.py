"""Describe an exception in the few lines that an alert has room for.

Imports the standard library, `alerts`, `runs.outcome` and `runs.deadline`.

The exception belongs to the user: its ``__str__`` may raise, block or return megabytes, and its class may lie about its
name. So each part is guarded, has a time limit, and is cut to a margin more than a message shows. Then
`cwnotify.alerts.redaction.run_events` redacts it and cuts it to size.

The description has up to `MAX_FAILURE_LINES` lines: a place in the user's code, the place that raised the error, its
message and notes, the members of a group, and the deepest cause, even one that another process sent as text.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from cwnotify.alerts.events.runs import RunFailure
from cwnotify.alerts.light_dataclass import frozen
from cwnotify.alerts.text_limits import (
    MAX_ERROR_MESSAGE_LENGTH,
    MAX_ERROR_TYPE_LENGTH,
    MAX_FRAME_LINE_LENGTH,
    REDACTION_MARGIN,
)
from cwnotify.runs.deadline import USER_CODE_TIMEOUT, call_with_timeout
from cwnotify.runs.outcome import unwrap_error

T = TypeVar("T")
MAX_FAILURE_LINES = 12
MAX_UNREDACTED_MESSAGE = MAX_ERROR_MESSAGE_LENGTH + REDACTION_MARGIN
MAX_SHOWN_FRAMES = 5
MAX_UNREDACTED_LINE = MAX_FRAME_LINE_LENGTH + REDACTION_MARGIN
MAX_EXCEPTION_NOTES, MAX_ERROR_KINDS = 3, 3
# Limits for following a chain of causes and a tree of groups.
MAX_CAUSE_DEPTH, MAX_GROUP_ERRORS = 50, 1000
# Files of the machinery that runs the user's code. An alert leaves their frames out.
_OWN_PACKAGE = __file__.removesuffix("runs/exceptions.py")
_MACHINERY = (
    *("/IPython/core/", "/ipykernel/", "/asyncio/", "/contextlib.py", "<frozen ", _OWN_PACKAGE),
    *("/concurrent/futures/", "/multiprocessing/", "/joblib/externals/loky/"),
)
_STANDARD_LIBRARY = os.path.dirname(os.__file__) + "/"  # noqa: PTH120 (no pathlib in the training process)
_PACKAGE_FOLDERS = ("/site-packages/", "/dist-packages/")
# Patterns are compiled when an error needs them, so that a successful cell does not wait for it.
_CELL_FILE = r"<ipython-input-(\d+)-"
# The parts of a traceback that another process sent as text.
_TRACEBACK_HEADER = "Traceback (most recent call last):"
_FRAME_LINE = r'\s*File "([^"\n]+)", line (\d{1,9})(?:, in (.+))?$'
_CARET_LINE = r"[\s~^]+"
# The file name of a function that cloudpickle has rebuilt.
_PICKLED_FILE = "<dynamic-code>"
_NO_MESSAGE = "(its message cannot be shown)"


@frozen
class TracebackFrame:
    """One step of a traceback. `names` are its globals, which find the source of a module in a zip file."""

    path: str
    line: int
    function: str
    source: str = ""
    times: int = 1
    names: dict[str, Any] | None = None


@frozen
class RemoteTraceback:
    """A traceback as text: the text before it, its frames, and its last line."""

    head: str
    frames: list[TracebackFrame]
    error: str


def describe_exception(error: BaseException, cell: int | None = None) -> RunFailure:
    """Describe `error`, or the error behind a `SystemExit`, in up to `MAX_FAILURE_LINES` lines.

    Parameters
    ----------
    cell
        The execution count of the failed cell. It names the cell's frames.
    """
    error = unwrap_error(error)
    message = _evaluate(lambda: _get_message(error), _NO_MESSAGE, USER_CODE_TIMEOUT)
    kind = _evaluate(lambda: _get_type_name(error), "Exception", USER_CODE_TIMEOUT)
    message_lines = message.split("\n")
    summary = f"{kind}: {message_lines[0]}"
    no_details: tuple[list[str], list[str]] = message_lines, []
    head, details = _evaluate(lambda: _build_details(error, message, summary, cell), no_details, USER_CODE_TIMEOUT)
    max_frame_lines = MAX_FAILURE_LINES - 1 - len(details)
    no_frames: list[str] = []
    frames = _evaluate(lambda: _build_frame_lines(error, cell, max_frame_lines), no_frames, USER_CODE_TIMEOUT)
    head = _cut_lines(head, MAX_FAILURE_LINES - len(details) - len(frames))
    return RunFailure(kind, "\n".join([*head, *details]), "\n".join(frames))


def _evaluate(function: Callable[[], T], default: T, timeout: float | None = None) -> T:
    """Return what `function` returns, or `default` if it raises anything or takes longer than `timeout` seconds."""
    try:
        return function() if timeout is None else call_with_timeout(timeout, function)
    except BaseException:
        # Even SystemExit: describing an error must not end the program.
        return default


def _get_type_name(error: BaseException) -> str:
    return str.__str__(type(error).__name__)[: MAX_ERROR_TYPE_LENGTH + REDACTION_MARGIN]


def _get_message(error: BaseException) -> str:
    reason = getattr(error, "msg", None) if issubclass(type(error), SyntaxError) else None
    text = str.__str__(reason if isinstance(reason, str) else str(error)).strip("\n")
    return text[:MAX_UNREDACTED_MESSAGE] + ("…" if len(text) > MAX_UNREDACTED_MESSAGE else "")


def _build_details(error: BaseException, message: str, summary: str, cell: int | None) -> tuple[list[str], list[str]]:
    """Return the lines of the message, and the lines below it: notes, members of a group, cause.

    Parameters
    ----------
    summary
        The first line of the message with its type. A cause that only repeats it is left out.
    """
    remote = _parse_remote_traceback(_get_long_message(error) if _TRACEBACK_HEADER in message else message)
    cause = _describe_remote(remote, "", cell) if remote else _describe_cause(error, summary, cell)
    room = MAX_FAILURE_LINES - 3
    parts = []
    for lines, limit in (
        (cause, 5),
        (_describe_members(error, cell), MAX_ERROR_KINDS + 3),
        (_get_notes(error), MAX_EXCEPTION_NOTES),
    ):
        parts.append(_cut_lines(lines, min(limit, room)))
        room -= len(parts[-1])
    cause, members, notes = parts
    return (remote.head if remote else message).split("\n"), [*notes, *members, *cause]


def _cut_lines(lines: list[str], limit: int) -> list[str]:
    if len(lines) <= limit:
        return lines
    return [*lines[: limit - 1], f"{lines[limit - 1]} …"] if limit > 0 else []


def _get_long_message(error: BaseException) -> str:
    """Return the message, cut less than in an alert, because a whole traceback may be in it."""
    return str.__str__(str(error))[: 20 * MAX_UNREDACTED_MESSAGE]


def _summarize(error: BaseException) -> str:
    """Return the type and the first line of the message."""
    first = _evaluate(lambda: _get_message(error), _NO_MESSAGE).partition("\n")[0]
    return ": ".join(filter(None, (_evaluate(lambda: _get_type_name(error), "Exception"), first)))[:MAX_UNREDACTED_LINE]


def _get_slot(error: BaseException, name: str) -> Any:
    """Return an attribute as Python stores it, even if the exception's class overrides it."""
    return vars(BaseException)[name].__get__(error)


def _get_notes(error: BaseException) -> list[str]:
    """Return the lines of the notes, from ``add_note`` or set by hand."""
    notes = _evaluate(lambda: getattr(error, "__notes__", None), None)
    texts = [note for note in notes if isinstance(note, str)] if isinstance(notes, list | tuple) else []
    lines = [line.rstrip()[:MAX_UNREDACTED_LINE] for text in texts for line in str.__str__(text).splitlines()]
    return [line for line in lines if line]


def _describe_members(error: BaseException, cell: int | None) -> list[str]:
    """Return the kinds of errors in a group, most frequent first. The first has its cause or its place below it."""
    leaves = list(_iter_leaves(error))
    kinds = Counter(map(_summarize, leaves)).most_common()
    lines = []
    for kind, count in kinds[:MAX_ERROR_KINDS]:
        first = next(leaf for leaf in leaves if _summarize(leaf) == kind)
        lines.append(f"{count} × {kind}")
        if not lines[1:]:
            lines += _describe_cause(first, kind, cell) or _build_frame_lines(first, cell, 2)
    return [*lines, f"… and {len(kinds) - MAX_ERROR_KINDS} other kinds"] if len(kinds) > MAX_ERROR_KINDS else lines


def _iter_leaves(group: BaseException) -> Iterator[BaseException]:
    """Yield the errors in `group` that are no groups, up to a limit."""
    stack = [group]
    for _ in range(MAX_GROUP_ERRORS):
        if not stack:
            return
        error = stack.pop()
        members = _get_members(error)
        stack += reversed(members)
        if not members and error is not group:
            yield error


def _get_members(error: BaseException) -> tuple[BaseException, ...]:
    if not issubclass(type(error), BaseExceptionGroup):
        return ()
    return tuple(vars(BaseExceptionGroup)["exceptions"].__get__(error))


def _describe_cause(error: BaseException, summary: str, cell: int | None) -> list[str]:
    """Describe the deepest cause that differs from `summary`, and the place that raised it."""
    for cause, relation in reversed(list(_iter_causes(error))):
        remote = _parse_remote_traceback(_evaluate(lambda cause=cause: _get_long_message(cause), ""))  # type: ignore[misc]
        if remote:
            return _describe_remote(remote, summary, cell)
        line = _summarize(cause)
        if line != summary:
            members = _describe_members(cause, cell)
            return [f"{relation} {line}", *(members or _build_frame_lines(cause, cell, 4)), *_get_notes(cause)[:1]]
    return []


def _iter_causes(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """Yield the causes of `error` as Python shows them, the deepest last, each with its relation to the one before."""
    visited = {id(error)}
    for _ in range(MAX_CAUSE_DEPTH):
        cause, relation = _get_slot(error, "__cause__"), "Caused by"
        if cause is None and not _get_slot(error, "__suppress_context__"):
            cause, relation = _get_slot(error, "__context__"), "While handling"
        if cause is None or id(cause) in visited:
            return
        visited.add(id(cause))
        yield cause, relation
        error = cause


def _describe_remote(remote: RemoteTraceback, summary: str, cell: int | None) -> list[str]:
    head = f"Caused by {remote.error}" if remote.error and remote.error != summary else "In another process:"
    frames = _select_frames([_find_original_file(frame) for frame in remote.frames], 2)
    return [head[:MAX_UNREDACTED_LINE], *_format_frames(frames, cell)]


def _find_original_file(frame: TracebackFrame) -> TracebackFrame:
    """Return `frame` with its file here, if cloudpickle sent the user's function to a worker without the file."""
    code = getattr(vars(sys.modules.get("__main__")).get(frame.function), "__code__", None)
    if frame.path != _PICKLED_FILE or code is None:
        return frame
    lines = [line for _, _, line in code.co_lines() if line]
    return TracebackFrame(code.co_filename, frame.line, frame.function) if frame.line in lines else frame


def _parse_remote_traceback(text: str) -> RemoteTraceback | None:
    """Return the traceback in `text`, or None. If there are several, the first is the one of the deepest cause."""
    before, header, after = text.partition(_TRACEBACK_HEADER)
    lines = (after if header else text).splitlines()
    first = next((number for number, line in enumerate(lines) if re.match(_FRAME_LINE, line)), None)
    if first is None:
        return None
    # Rulers, and the rest of the header's line (as in "Original Traceback"), are no part of the message.
    before = before.rpartition("\n")[0] if header else "\n".join(lines[:first])
    head = "\n".join(line for line in before.strip().strip("\"'").splitlines() if line.strip(" -=\"'"))
    frames: list[TracebackFrame] = []
    for line in lines[first:]:
        if match := re.match(_FRAME_LINE, line):
            frames.append(TracebackFrame(match[1], int(match[2]), (match[3] or "").strip()))
        elif re.fullmatch(_CARET_LINE, line) or not line.strip():
            continue
        elif not line[:1].isspace():
            return RemoteTraceback(head, frames, line.strip()[:MAX_UNREDACTED_LINE])
        elif frames and not frames[-1].source:
            last = frames.pop()
            frames.append(TracebackFrame(last.path, last.line, last.function, line.strip()[:MAX_UNREDACTED_LINE]))
    return RemoteTraceback(head, frames, "")


def _build_frame_lines(error: BaseException, cell: int | None, limit: int) -> list[str]:
    """Return up to `limit` lines for the most useful places of the traceback."""
    if issubclass(type(error), SyntaxError):
        syntax = _describe_syntax_error(error, cell)  # type: ignore[arg-type]
        if syntax:
            return syntax
    frames = _read_frames(_get_slot(error, "__traceback__"))
    return _format_frames(_select_frames(frames, max(limit // 2, 1)), cell)


def _read_frames(trace: TracebackType | None) -> list[TracebackFrame]:
    """Return the frames of a traceback. Repeated frames of a recursion count as one."""
    frames: list[TracebackFrame] = []
    for python_frame, line in traceback.walk_tb(trace):
        code, names = python_frame.f_code, python_frame.f_globals
        path, function, times = code.co_filename, code.co_name, 1
        if frames and (path, line, function) == (frames[-1].path, frames[-1].line, frames[-1].function):
            times = frames.pop().times + 1
        frames.append(TracebackFrame(path, line, function, times=times, names=names))
    return frames


def _select_frames(frames: list[TracebackFrame], limit: int) -> list[TracebackFrame]:
    """Return up to `limit` frames: the user's last, the one that raised, the user's first, then more of the user's.

    If none is in the user's code, return the last frames.
    """
    limit = min(limit, MAX_SHOWN_FRAMES)
    numbers = [number for number, frame in enumerate(frames) if not _is_machinery(frame)]
    users = [number for number in numbers if _is_user_code(frames[number])]
    if not users:
        numbers = (numbers or list(range(len(frames))[-1:]))[-limit:]
        return [frames[number] for number in numbers]
    order: Iterable[int] = (users[-1], *numbers[-1:], users[0], *reversed(users))
    return [frames[number] for number in sorted(list(dict.fromkeys(order))[:limit])]


def _is_machinery(frame: TracebackFrame) -> bool:
    return any(part in frame.path for part in _MACHINERY)


def _is_user_code(frame: TracebackFrame) -> bool:
    """Return whether the frame is in a cell, a script or a module of the user, not in a library."""
    is_library = frame.path.startswith(_STANDARD_LIBRARY) or _get_path_in_packages(frame.path)
    return not (is_library or _is_machinery(frame))


def _format_frames(frames: list[TracebackFrame], cell: int | None) -> list[str]:
    """Format each frame as ``In [11], line 4, in <module>``, with its source in the next line."""
    lines = []
    for frame in frames:
        place = f"{_format_file(frame, cell)}, line {frame.line}"
        place += f", in {frame.function}" if frame.function else ""
        lines.append(place + (f" ({frame.times} times)" if frame.times > 1 else ""))
        if source := frame.source or _read_source(frame):
            lines.append(f"    {source}")
    return lines


def _read_source(frame: TracebackFrame) -> str:
    import linecache

    return _evaluate(lambda: linecache.getline(frame.path, frame.line, frame.names).strip()[:MAX_UNREDACTED_LINE], "")


def _describe_syntax_error(error: SyntaxError, cell: int | None) -> list[str]:
    if error.lineno is None:
        return []
    text = error.text.strip()[:MAX_UNREDACTED_LINE] if isinstance(error.text, str) else ""
    return _format_frames([TracebackFrame(str(error.filename), error.lineno, "", text)], cell)


def _format_file(frame: TracebackFrame, cell: int | None) -> str:
    path = frame.path
    # ipykernel compiles a cell as /tmp/ipykernel_PID/HASH.py, IPython as <ipython-input-N-…>.
    if "ipykernel_" in path or path.startswith("<ipython-input-"):
        return "the cell" if cell is None else f"In [{_find_cell_number(path, cell)}]"
    if _is_user_code(frame):
        return path.rpartition("/")[2][:120]
    # The file name of a library means little without its package.
    return (_get_path_in_packages(path) or path.removeprefix(_STANDARD_LIBRARY))[-120:]


def _get_path_in_packages(path: str) -> str:
    """Return the path of a library's file below the folder of installed packages; empty for any other file."""
    return next((path.rpartition(folder)[2] for folder in _PACKAGE_FOLDERS if folder in path), "")


def _find_cell_number(path: str, cell: int) -> int:
    """Return the number of the cell with the code at `path`. It may be an earlier cell than the failed one, `cell`."""
    if match := re.match(_CELL_FILE, path):
        return int(match[1])
    ipython: Any = sys.modules.get("IPython")
    number = _evaluate(lambda: ipython.get_ipython().compile._filename_map.get(path), None)
    return number if isinstance(number, int) else cell
