"""`notify`: report the end of a ``with`` block or of a function call, in any Python program.

Imports the standard library, `alerts`, `console` and other modules of `runs`.
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
    """Send an alert to Slack when a piece of code ends, however it ends.

    A context manager and a decorator, for sync and async code::

        with cwnotify.notify("resnet50", show=lambda: {"loss": loss}):
            train()

        @cwnotify.notify(min="5m")
        def train(): ...

    The code keeps its return value, its exception and its speed. Each ``with`` block and each call is a separate run,
    even if one object is used several times, concurrently or nested. A generator's run ends when the generator is
    exhausted or closed. In distributed jobs only rank 0 sends alerts; a failure on any rank is reported once per
    machine.

    Parameters
    ----------
    name
        The run's name in the alert. By default the function's name, or the script's.
    min
        Send an alert only if the run took at least this long: seconds, or text such as ``"5m"``.
    on
        ``"finish"``, ``"error"`` or ``"always"``.
    mention
        ``"@here"``, ``"@channel"``, a member ID (``U…``) or a user group ID (``S…``).
    show
        Called when the code has ended. It returns a mapping of the values to show in the alert.
    lang
        ``"en"`` or ``"ko"``.
    channel
        Another channel. Only legacy webhooks support this.

    Raises
    ------
    UsageError
        If an argument is invalid, or if the calls of the decorated object cannot be followed.
    """

    def __new__(cls, name: str | Callable[..., Any] = "", **options: Any) -> Any:
        """Return the decorated function if `notify` is used as a decorator without parentheses."""
        is_decorator = not isinstance(name, str) and (callable(name) or isinstance(name, classmethod | staticmethod))
        return cls(**options)(name) if is_decorator else super().__new__(cls)  # type: ignore[type-var]

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
        self._options = {
            "min_seconds": None if min is None else run_options.parse_duration(_to_duration_text(min)),
            "on": None if on is None else run_options.make_choice_parser("on", run_options.ON_CHOICES)(on),
            "mention": None if mention is None else run_options.parse_mention(mention),
            "lang": None if lang is None else run_options.make_choice_parser("lang", run_options.LANGUAGES)(lang),
            "channel": channel,
        }
        self._show = show
        # The open `with` blocks: the id of the frame that entered each, and its run.
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
        """Decorate `function`, so that each call is a separate run."""
        name = self._name or derive_name_from_function(
            getattr(function, "callback", None) if is_click_command(function) else function
        )

        def create_for_call() -> notify:
            copy = notify(name, show=self._show)
            copy._options = self._options
            return copy

        return decorate(function, create_for_call)  # type: ignore[no-any-return]

    def activate(self) -> use_recording:
        """Return a context manager in which this object's run is the current one, for code that runs in steps."""
        return use_recording(self._entries[-1][1] if self._entries else None)

    def _enter(self, frame: FrameType) -> notify:
        self._entries.append((id(frame), _start_recording(self._name, RunKind.CODE, self._options)))
        return self

    def _exit(self, frame: FrameType, error: BaseException | None) -> None:
        recording = self._pop_recording(frame)
        if recording is None:
            return
        recording.stop_timer()
        try:
            outcome = _determine_program_outcome(error)
            failure = (
                describe_exception(error, recording.run.place.cell) if error and outcome is Outcome.FAILED else None
            )
            shown, left_out = _capture_shown_values(self._show)
            recording.report_end(outcome, failure, shown=shown, left_out=left_out)
        except Exception as report_error:
            warn(f"the end of this run could not be reported: {type(report_error).__name__}")

    def _pop_recording(self, frame: FrameType) -> Recording | None:
        """Remove and return the run that ends.

        It is the run that `frame` entered, or else the innermost open one here, or else the newest.
        """
        entries = self._entries[::-1]
        enclosing = list(iter_enclosing_recordings()) if len(entries) > 1 else []
        entry = next((entry for entry in entries if entry[0] == id(frame)), None)
        entry = entry or next((entry for run in enclosing for entry in entries if entry[1] is run), None)
        entry = entry or (entries[0] if entries else None)
        try:
            self._entries.remove(entry)  # type: ignore[arg-type]
        except ValueError:
            return None
        return entry[1] if entry else None


class _Ready(Generic[T]):
    """An awaitable that does not wait, so that its creator ran in the frame of the ``async with`` block."""

    def __init__(self, value: T) -> None:
        self._value = value

    def __await__(self) -> Generator[None, None, T]:
        yield from ()
        return self._value


def _to_duration_text(duration: float | str | timedelta) -> str:
    return str(duration.total_seconds() if isinstance(duration, timedelta) else duration)


def _start_recording(name: str, kind: RunKind, options: Mapping[str, Any]) -> Recording | None:
    try:
        # In a notebook without a known path the name stays empty, and the alert shows the cell's number.
        recording = Recording(
            name or run_name.derive_name_from_program(),
            kind,
            locate_run(run_name.get_notebook_path(), run_name.get_cell_number()),
            options,
        )
    except Exception as error:
        warn(f"this run could not be registered: {type(error).__name__}")
        return None
    if recording.webhook is None:
        warn_once(NO_WEBHOOK_WARNING)
    recording.begin()
    return recording


def _determine_program_outcome(error: BaseException | None) -> Outcome:
    """Return the outcome as for a cell, except that ``sys.exit(0)`` and a closed generator count as finished.

    Looks at the type itself, because `isinstance` would run the exception's own ``__class__``.
    """
    kind = type(error)
    if issubclass(kind, GeneratorExit) or (issubclass(kind, SystemExit) and getattr(error, "code", 1) in (None, 0)):
        return Outcome.FINISHED
    return determine_outcome(error)


def _capture_shown_values(
    show: Callable[[], Mapping[str, object]] | None,
) -> tuple[tuple[CapturedValue, ...], int]:
    """Return the values that the alert shows, and how many it leaves out."""
    if show is None:
        return (), 0
    try:
        values = show()
        shown = build_shown_values(values)
        return shown, max(len(values) - len(shown), 0)
    except Exception as error:
        return (CapturedValue("show", error=format_error_name(error)),), 0
