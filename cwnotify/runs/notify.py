"""`notify` for Python code outside notebooks.

Standard library, `alerts`, `recording`, `decorate`, `names` and `failures` only.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Generator, Mapping
from datetime import timedelta
from types import FrameType, TracebackType
from typing import Any, Generic, TypeVar

from cwnotify.alerts.events import run_options
from cwnotify.alerts.events.runs import CapturedValue, Outcome, RunKind
from cwnotify.console import warn, warn_once
from cwnotify.runs import run_name
from cwnotify.runs.decorator import decorate, is_click_command
from cwnotify.runs.exceptions import describe_exception
from cwnotify.runs.outcome import determine_outcome
from cwnotify.runs.recorder import Recording, build_shown_values, iter_enclosing_recordings, locate_run, use_recording
from cwnotify.runs.run_name import derive_name_from_function
from cwnotify.runs.value_format import format_error_name
from cwnotify.settings import NO_WEBHOOK_HINT, NO_WEBHOOK_MESSAGE

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
NO_WEBHOOK_WARNING = f"{NO_WEBHOOK_MESSAGE}, so alerts are not sent; {NO_WEBHOOK_HINT}"


class notify:  # noqa: N801 (used like a function)
    """Report to Slack when a piece of code ends, however it ends.

    A context manager and a decorator, for plain and for async code::

        with cwnotify.notify("resnet50", show=lambda: {"loss": loss}):
            train()

        @cwnotify.notify(min="5m")
        def train(): ...

    The code's value, its exception and its time stay what they are. Each ``with`` block and each call is a run of its
    own, also if one object is used several times, at once or nested. A generator's run lasts until it is exhausted or
    closed. In distributed jobs only rank 0 sends alerts; a failure on any rank is reported once per machine.

    Parameters
    ----------
    name
        What the alert calls it; by default the function's name, or the script's.
    min
        Notify only if the run took at least this long: seconds, or text such as ``"5m"``.
    on
        ``"finish"``, ``"error"`` or ``"always"``.
    mention
        ``"@here"``, ``"@channel"``, a member's ID (``U…``) or a user group's (``S…``).
    show
        Called when the code has ended; the alert shows the mapping that it returns.
    lang
        ``"en"`` or ``"ko"``.
    channel
        Another channel; only legacy webhooks support this.

    Raises
    ------
    UsageError
        At once, if an argument cannot be understood, or something is decorated whose calls cannot be followed.
    """

    def __new__(cls, name: str | Callable[..., Any] = "", **options: Any) -> Any:
        """`notify` itself as a decorator, without brackets, gives the decorated function."""
        decorates = not isinstance(name, str) and (callable(name) or isinstance(name, classmethod | staticmethod))
        return cls(**options)(name) if decorates else super().__new__(cls)  # type: ignore[type-var]

    def __init__(
        self,
        name: str | Callable[..., Any] = "",
        *,
        min: float | str | timedelta | None = None,
        on: str | None = None,
        mention: str | None = None,
        show: Callable[[], Mapping[str, object]] | None = None,
        lang: str | None = None,
        channel: str | None = None,
    ) -> None:
        self._name = name if isinstance(name, str) else ""
        self._asked = {
            "min_seconds": None if min is None else run_options.parse_duration(_seconds(min)),
            "on": None if on is None else run_options.make_choice_parser("on", run_options.ON_CHOICES)(on),
            "mention": None if mention is None else run_options.parse_mention(mention),
            "lang": None if lang is None else run_options.make_choice_parser("lang", run_options.LANGUAGES)(lang),
            "channel": channel,
        }
        self._show = show
        # What was entered and not left yet, with the frame that entered it.
        self._entries: list[tuple[int, Recording | None]] = []

    def __enter__(self) -> notify:
        return self._enter(sys._getframe(1))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit(sys._getframe(1), error)

    def __aenter__(self) -> Awaitable[notify]:
        return _Ready(self._enter(sys._getframe(1)))

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Awaitable[None]:
        self._exit(sys._getframe(1), error)
        return _Ready(None)

    def __call__(self, function: F) -> F:
        """Decorate `function`: each call is a run of its own."""
        name = self._name or derive_name_from_function(
            getattr(function, "callback", None) if is_click_command(function) else function
        )

        def fresh() -> notify:
            one = notify(name, show=self._show)
            one._asked = self._asked
            return one

        return decorate(function, fresh)  # type: ignore[no-any-return]

    def activate(self) -> use_recording:
        """A context in which notes belong to this object's run; for code that runs in steps."""
        return use_recording(self._entries[-1][1] if self._entries else None)

    def _enter(self, frame: FrameType) -> notify:
        self._entries.append((id(frame), _begin(self._name, RunKind.CODE, self._asked)))
        return self

    def _exit(self, frame: FrameType, error: BaseException | None) -> None:
        recording = self._leave(frame)
        if recording is None:
            return
        recording.stop_timer()
        try:
            outcome = _outcome(error)
            failure = (
                describe_exception(error, recording.run.place.cell) if error and outcome is Outcome.FAILED else None
            )
            shown, left_out = _shown(self._show)
            recording.report_end(outcome, failure, shown=shown, left_out=left_out)
        except Exception as trouble:
            warn(f"the end of this run could not be reported: {type(trouble).__name__}")

    def _leave(self, frame: FrameType) -> Recording | None:
        """The run that ends: the one that `frame` began, else the innermost one here, else the one that began last."""
        entries = self._entries[::-1]
        around = list(iter_enclosing_recordings()) if len(entries) > 1 else []
        entry = next((one for one in entries if one[0] == id(frame)), None)
        entry = entry or next((one for run in around for one in entries if one[1] is run), None)
        entry = entry or (entries[0] if entries else None)
        try:
            self._entries.remove(entry)  # type: ignore[arg-type]
        except ValueError:
            return None
        return entry[1] if entry else None


class _Ready(Generic[T]):
    """An awaitable that does not wait. Its maker was called in the frame of the ``async with`` block itself."""

    def __init__(self, value: T) -> None:
        self._value = value

    def __await__(self) -> Generator[None, None, T]:
        yield from ()
        return self._value


def _seconds(length: float | str | timedelta) -> str:
    return str(length.total_seconds() if isinstance(length, timedelta) else length)


def _begin(name: str, kind: RunKind, asked: Mapping[str, Any]) -> Recording | None:
    try:
        # A notebook without a name leaves it to the cell's number.
        recording = Recording(
            name or run_name.derive_name_from_program(),
            kind,
            locate_run(run_name.get_notebook_path(), run_name.get_cell_number()),
            asked,
        )
    except Exception as error:
        warn(f"this run could not be registered: {type(error).__name__}")
        return None
    if recording.webhook is None:
        warn_once(NO_WEBHOOK_WARNING)
    recording.begin()
    return recording


def _outcome(error: BaseException | None) -> Outcome:
    """As in a cell, but a program that leaves with ``sys.exit(0)`` has finished, and so has a generator that is closed.

    The type itself is looked at: `isinstance` would also ask the exception what it is.
    """
    kind = type(error)
    if issubclass(kind, GeneratorExit) or (issubclass(kind, SystemExit) and getattr(error, "code", 1) in (None, 0)):
        return Outcome.FINISHED
    return determine_outcome(error)


def _shown(show: Callable[[], Mapping[str, object]] | None) -> tuple[tuple[CapturedValue, ...], int]:
    """The values that the alert shows, and how many it leaves out."""
    if show is None:
        return (), 0
    try:
        values = show()
        shown = build_shown_values(values)
        return shown, max(len(values) - len(shown), 0)
    except Exception as error:
        return (CapturedValue("show", error=format_error_name(error)),), 0
