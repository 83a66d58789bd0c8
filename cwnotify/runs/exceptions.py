"""An exception -> what an alert can say of it. Standard library, `alerts`, `errors`, `outcomes` and `patience` only.

The exception is the user's: its ``__str__`` may raise, block or return megabytes, its class may lie about its name.
None of that may reach the cell, so everything is contained, given a few seconds and cut here, to a margin more than a
message shows: `cwnotify.alerts.redaction.run_events` redacts and cuts it.

What a reader needs, in at most `MAX_FAILURE_LINES` lines: a place in the user's own code, the place where the error was raised,
its message and notes, the members of a group, and its deepest cause, also one in another process that came as text.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
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
# How far a chain of causes, and a tree of groups, is followed.
MAX_CAUSE_DEPTH, MAX_GROUP_ERRORS = 50, 1000
# Machinery between the user's code and the top, which an alert leaves out.
_OURS = __file__.removesuffix("runs/exceptions.py")
_MACHINERY = (
    *("/IPython/core/", "/ipykernel/", "/asyncio/", "/contextlib.py", "<frozen ", _OURS),
    *("/concurrent/futures/", "/multiprocessing/", "/joblib/externals/loky/"),
)
_STANDARD = os.path.dirname(os.__file__) + "/"  # noqa: PTH120 (pathlib is not imported in the training process)
_PACKAGES = ("/site-packages/", "/dist-packages/")
# Compiled when they are needed: a cell that succeeds must not wait for that.
_CELL = r"<ipython-input-(\d+)-"
# A traceback as text, from another process.
_BEGIN = "Traceback (most recent call last):"
_FRAME = r'\s*File "([^"\n]+)", line (\d{1,9})(?:, in (.+))?$'
_CARETS = r"[\s~^]+"
# What a function's file is called where cloudpickle has rebuilt it.
_PICKLED = "<dynamic-code>"
_NO_MESSAGE = "(its message cannot be shown)"


@frozen
class TracebackFrame:
    """One step of a traceback; `names` are the globals, through which a source in a zip file is found."""

    path: str
    line: int
    function: str
    source: str = ""
    times: int = 1
    names: dict[str, Any] | None = None


@frozen
class RemoteTraceback:
    """A traceback that came as text: what was said before it, its places, and its last line."""

    head: str
    places: list[TracebackFrame]
    error: str


def describe_exception(error: BaseException, cell: int | None = None) -> RunFailure:
    """Describe `error`, or the error behind a `SystemExit`, in at most `MAX_FAILURE_LINES` lines, type and message among them.

    Parameters
    ----------
    cell
        The execution count of the cell that failed, by which its frames are called.
    """
    error = unwrap_error(error)
    message = _in_time(lambda: _message(error), _NO_MESSAGE)
    kind = _in_time(lambda: _type(error), "Exception")
    first = message.partition("\n")[0]
    nothing: tuple[list[str], list[str]] = message.split("\n"), []
    said, more = _in_time(lambda: _details(error, message, f"{kind}: {first}", cell), nothing)
    room = MAX_FAILURE_LINES - 1 - len(more)
    no_lines: list[str] = []
    frames = _in_time(lambda: _where_raised(error, cell, room), no_lines)
    said = _cut(said, MAX_FAILURE_LINES - len(more) - len(frames))
    return RunFailure(kind, "\n".join([*said, *more]), "\n".join(frames))


def _in_time(ask: Callable[[], T], otherwise: T) -> T:
    return _contained(partial(call_with_timeout, USER_CODE_TIMEOUT, ask), otherwise)


def _contained(ask: Callable[[], T], otherwise: T) -> T:
    """What `ask` gives; `otherwise` if the exception, asked about itself, raises another, be it a `SystemExit`."""
    try:
        return ask()
    except BaseException:
        return otherwise


def _type(error: BaseException) -> str:
    return str.__str__(type(error).__name__)[: MAX_ERROR_TYPE_LENGTH + REDACTION_MARGIN]


def _message(error: BaseException) -> str:
    reason = getattr(error, "msg", None) if issubclass(type(error), SyntaxError) else None
    text = str.__str__(reason if isinstance(reason, str) else str(error)).strip("\n")
    return text[:MAX_UNREDACTED_MESSAGE] + ("…" if len(text) > MAX_UNREDACTED_MESSAGE else "")


# What goes into the lines


def _details(error: BaseException, message: str, known: str, cell: int | None) -> tuple[list[str], list[str]]:
    """The lines of the message, and those below it: notes, the members of a group, the cause."""
    remote = _remote(_whole(error) if _BEGIN in message else message)
    cause = _from_remote(remote, "", cell) if remote else _cause(error, known, cell)
    left = MAX_FAILURE_LINES - 3
    parts = []
    for part, most in ((cause, 5), (_members(error, cell), MAX_ERROR_KINDS + 3), (_notes(error), MAX_EXCEPTION_NOTES)):
        parts.append(_cut(part, min(most, left)))
        left -= len(parts[-1])
    cause, members, notes = parts
    return (remote.head if remote else message).split("\n"), [*notes, *members, *cause]


def _cut(lines: list[str], most: int) -> list[str]:
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"{lines[most - 1]} …"] if most > 0 else []


def _whole(error: BaseException) -> str:
    """The message, long enough for a traceback in it."""
    return str.__str__(str(error))[: 20 * MAX_UNREDACTED_MESSAGE]


def _line(error: BaseException) -> str:
    """Its type and the first line of its message."""
    first = _contained(lambda: _message(error), _NO_MESSAGE).partition("\n")[0]
    return ": ".join(filter(None, (_contained(lambda: _type(error), "Exception"), first)))[:MAX_UNREDACTED_LINE]


def _attribute(error: BaseException, name: str) -> Any:
    """An attribute as Python keeps it, whatever the exception's own class puts in its place."""
    return vars(BaseException)[name].__get__(error)


def _notes(error: BaseException) -> list[str]:
    """What was added by ``add_note``, or by hand."""
    notes = _contained(lambda: getattr(error, "__notes__", None), None)
    texts = [note for note in notes if isinstance(note, str)] if isinstance(notes, list | tuple) else []
    lines = [line.rstrip()[:MAX_UNREDACTED_LINE] for text in texts for line in str.__str__(text).splitlines()]
    return [line for line in lines if line]


def _members(error: BaseException, cell: int | None) -> list[str]:
    """The kinds of errors in a group, the most frequent first; of that, where it was raised, or its cause."""
    leaves = list(_leaves(error))
    kinds = Counter(map(_line, leaves)).most_common()
    lines = []
    for kind, count in kinds[:MAX_ERROR_KINDS]:
        first = next(leaf for leaf in leaves if _line(leaf) == kind)
        lines.append(f"{count} × {kind}")
        if not lines[1:]:
            lines += _cause(first, kind, cell) or _where_raised(first, cell, 2)
    return [*lines, f"… and {len(kinds) - MAX_ERROR_KINDS} other kinds"] if len(kinds) > MAX_ERROR_KINDS else lines


def _leaves(error: BaseException) -> Iterator[BaseException]:
    waiting = [error]
    for _ in range(MAX_GROUP_ERRORS):
        if not waiting:
            return
        one = waiting.pop()
        inner = _inner(one)
        waiting += reversed(inner)
        if not inner and one is not error:
            yield one


def _inner(error: BaseException) -> tuple[BaseException, ...]:
    if not issubclass(type(error), BaseExceptionGroup):
        return ()
    return tuple(vars(BaseExceptionGroup)["exceptions"].__get__(error))


def _cause(error: BaseException, known: str, cell: int | None) -> list[str]:
    """The deepest cause that says something else than `known`, and where it was raised."""
    for cause, how in reversed(list(_chain(error))):
        remote = _remote(_contained(lambda cause=cause: _whole(cause), ""))  # type: ignore[misc]
        if remote:
            return _from_remote(remote, known, cell)
        line = _line(cause)
        if line != known:
            members = _members(cause, cell)
            return [f"{how} {line}", *(members or _where_raised(cause, cell, 4)), *_notes(cause)[:1]]
    return []


def _chain(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """The causes of `error`, the deepest last, and what each one is for the one before. As Python shows them."""
    seen = {id(error)}
    for _ in range(MAX_CAUSE_DEPTH):
        cause, how = _attribute(error, "__cause__"), "Caused by"
        if cause is None and not _attribute(error, "__suppress_context__"):
            cause, how = _attribute(error, "__context__"), "While handling"
        if cause is None or id(cause) in seen:
            return
        seen.add(id(cause))
        yield cause, how
        error = cause


def _from_remote(remote: RemoteTraceback, known: str, cell: int | None) -> list[str]:
    head = f"Caused by {remote.error}" if remote.error and remote.error != known else "In another process:"
    return [head[:MAX_UNREDACTED_LINE], *_lines(_choose([_found_again(place) for place in remote.places], 2), cell)]


def _found_again(place: TracebackFrame) -> TracebackFrame:
    """`place` by its file here, if cloudpickle has sent the user's function to a worker without it."""
    code = getattr(vars(sys.modules.get("__main__")).get(place.function), "__code__", None)
    if place.path != _PICKLED or code is None:
        return place
    lines = [line for _, _, line in code.co_lines() if line]
    return TracebackFrame(code.co_filename, place.line, place.function) if place.line in lines else place


def _remote(text: str) -> RemoteTraceback | None:
    """A traceback in `text`; of several, the first, which Python writes for the deepest cause."""
    before, begins, after = text.partition(_BEGIN)
    lines = (after if begins else text).splitlines()
    first = next((number for number, line in enumerate(lines) if re.match(_FRAME, line)), None)
    if first is None:
        return None
    # What precedes "Traceback" in its line, as in "Original Traceback", and rulers are no part of the message.
    before = before.rpartition("\n")[0] if begins else "\n".join(lines[:first])
    said = [line for line in before.strip().strip("\"'").splitlines() if line.strip(" -=\"'")]
    places: list[TracebackFrame] = []
    for line in lines[first:]:
        if match := re.match(_FRAME, line):
            places.append(TracebackFrame(match[1], int(match[2]), (match[3] or "").strip()))
        elif re.fullmatch(_CARETS, line) or not line.strip():
            continue
        elif not line[:1].isspace():
            return RemoteTraceback("\n".join(said), places, line.strip()[:MAX_UNREDACTED_LINE])
        elif places and not places[-1].source:
            last = places.pop()
            places.append(TracebackFrame(last.path, last.line, last.function, line.strip()[:MAX_UNREDACTED_LINE]))
    return RemoteTraceback("\n".join(said), places, "")


# Where it was raised


def _where_raised(error: BaseException, cell: int | None, most: int) -> list[str]:
    """The lines for the most useful places, at most `most` lines."""
    if issubclass(type(error), SyntaxError):
        syntax = _syntax_frame(error, cell)  # type: ignore[arg-type]
        if syntax:
            return syntax
    places = _places(_attribute(error, "__traceback__"))
    return _lines(_choose(places, max(most // 2, 1)), cell)


def _places(trace: TracebackType | None) -> list[TracebackFrame]:
    places: list[TracebackFrame] = []
    for frame, line in traceback.walk_tb(trace):
        code = frame.f_code
        place = TracebackFrame(code.co_filename, line, code.co_name, names=frame.f_globals)
        if places and (place.path, line, place.function) == (places[-1].path, places[-1].line, places[-1].function):
            # A recursion.
            place = TracebackFrame(place.path, line, place.function, "", places.pop().times + 1, frame.f_globals)
        places.append(place)
    return places


def _choose(places: list[TracebackFrame], most: int) -> list[TracebackFrame]:
    """At most `most` places: the user's last, the one that raised the error, the user's first, and more of the user's.

    Where there is nothing of the user's, the last ones.
    """
    most = min(most, MAX_SHOWN_FRAMES)
    numbers = [number for number, place in enumerate(places) if not _is_machinery(place)]
    own = [number for number in numbers if _is_own(places[number])]
    if not own:
        numbers = (numbers or list(range(len(places))[-1:]))[-most:]
        return [places[number] for number in numbers]
    order: Iterable[int] = (own[-1], *numbers[-1:], own[0], *reversed(own))
    chosen = sorted(list(dict.fromkeys(order))[:most])
    return [places[number] for number in chosen]


def _is_machinery(place: TracebackFrame) -> bool:
    return any(sign in place.path for sign in _MACHINERY)


def _is_own(place: TracebackFrame) -> bool:
    """Whether it is the user's code: a cell, a script, a module of theirs; no library's."""
    return not (place.path.startswith(_STANDARD) or _in_package(place.path) or _is_machinery(place))


def _lines(places: list[TracebackFrame], cell: int | None) -> list[str]:
    """Each as ``In [11], line 4, in <module>`` with its source in the line below."""
    lines = []
    for place in places:
        where = f"{_where(place, cell)}, line {place.line}"
        where += f", in {place.function}" if place.function else ""
        lines.append(where + (f" ({place.times} times)" if place.times > 1 else ""))
        if source := place.source or _source(place):
            lines.append(f"    {source}")
    return lines


def _source(place: TracebackFrame) -> str:
    import linecache

    return _contained(lambda: linecache.getline(place.path, place.line, place.names).strip()[:MAX_UNREDACTED_LINE], "")


def _syntax_frame(error: SyntaxError, cell: int | None) -> list[str]:
    if error.lineno is None:
        return []
    text = error.text.strip()[:MAX_UNREDACTED_LINE] if isinstance(error.text, str) else ""
    return _lines([TracebackFrame(str(error.filename), error.lineno, "", text)], cell)


def _where(place: TracebackFrame, cell: int | None) -> str:
    path = place.path
    # ipykernel compiles a cell as /tmp/ipykernel_PID/HASH.py, IPython as <ipython-input-N-…>.
    if "ipykernel_" in path or path.startswith("<ipython-input-"):
        return "the cell" if cell is None else f"In [{_number(path, cell)}]"
    if _is_own(place):
        return path.rpartition("/")[2][:120]
    # A library's file says little without its package.
    return (_in_package(path) or path.removeprefix(_STANDARD))[-120:]


def _in_package(path: str) -> str:
    """The path of a library's file inside the folder that all libraries are installed in; empty for another file."""
    return next((path.rpartition(folder)[2] for folder in _PACKAGES if folder in path), "")


def _number(path: str, cell: int) -> int:
    """The cell that holds the code at `path`, which may be an earlier one than the one that failed."""
    if match := re.match(_CELL, path):
        return int(match[1])
    ipython: Any = sys.modules.get("IPython")
    number = _contained(lambda: ipython.get_ipython().compile._filename_map.get(path), None)
    return number if isinstance(number, int) else cell
