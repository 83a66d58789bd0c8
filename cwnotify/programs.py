"""`notify` for Python code outside notebooks.

Standard library, `alerts`, `recording` and `failures` only.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TypeVar

from cwnotify.alerts import options
from cwnotify.alerts.events import Outcome, RunKind, Shown
from cwnotify.failures import describe, outcome_of
from cwnotify.recording import Recording, as_shown, here
from cwnotify.screen import say, say_once

F = TypeVar("F", bound=Callable[..., Any])
NO_WEBHOOK = "no Slack webhook is set, so nobody will be told; to set one: cwnotify login (or CWNOTIFY_WEBHOOK_URL)"


class notify:  # noqa: N801 (used like a function)
    """Tell Slack when a piece of code ends, however it ends.

    A context manager and a decorator, for plain and for async code::

        with cwnotify.notify("resnet50", show=lambda: {"loss": loss}):
            train()

        @cwnotify.notify(min="5m")
        def train(): ...

    The code's value, its exception and its time stay what they are. Of a distributed job only rank 0 is told,
    except that a failure on any rank is told once.

    Parameters
    ----------
    name
        What the alert calls it; by default the function's name, or the script's.
    min
        Tell only if it ran at least so long: seconds, or text such as ``"5m"``.
    on
        ``"finish"``, ``"error"`` or ``"always"``.
    mention
        ``"@here"``, ``"@channel"``, a member's ID (``U…``) or a user group's (``S…``).
    show
        Called when the code has ended; the mapping that it returns is shown in the alert.
    lang
        ``"en"`` or ``"ko"``.
    channel
        Another channel; only legacy webhooks heed it.

    Raises
    ------
    UsageError
        At once, if an argument cannot be understood.
    """

    def __new__(cls, name: str | Callable[..., Any] = "", **options: Any) -> Any:
        """`notify` itself as a decorator, without brackets, gives the decorated function."""
        return cls()(name) if callable(name) else super().__new__(cls)

    def __init__(
        self,
        name: str | Callable[..., Any] = "",
        *,
        min: float | str | None = None,
        on: str | None = None,
        mention: str | None = None,
        show: Callable[[], Mapping[str, object]] | None = None,
        lang: str | None = None,
        channel: str | None = None,
    ) -> None:
        self._name = name if isinstance(name, str) else ""
        self._asked = {
            "min_seconds": None if min is None else options.duration(str(min)),
            "on": None if on is None else options.one_of("on", options.WHEN)(on),
            "mention": None if mention is None else options.mention(mention),
            "lang": None if lang is None else options.one_of("lang", options.LANGUAGES)(lang),
            "channel": channel,
        }
        self._show = show
        self._recording: Recording | None = None

    def __enter__(self) -> notify:
        self._recording = _begin(self._name or _script(), RunKind.CODE, self._asked)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        recording, self._recording = self._recording, None
        if recording is None:
            return
        recording.stop()
        try:
            outcome = _outcome(error)
            failure = describe(error) if error and outcome is Outcome.FAILED else None
            recording.end(outcome, failure, shown=_shown(self._show))
        except Exception as trouble:
            say(f"the end of this run could not be told: {type(trouble).__name__}")

    async def __aenter__(self) -> notify:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: F) -> F:
        """Decorate `function`: each call is a run of its own."""
        name = self._name or function.__qualname__

        def fresh() -> notify:
            one = notify(name, show=self._show)
            one._asked = self._asked
            return one

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with fresh():
                    return await function(*args, **kwargs)

            return awaited  # type: ignore[return-value]

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with fresh():
                return function(*args, **kwargs)

        return called  # type: ignore[return-value]


def _begin(name: str, kind: RunKind, asked: Mapping[str, Any]) -> Recording | None:
    try:
        recording = Recording(name, kind, here(), asked)
    except Exception as error:
        say(f"this run could not be registered: {type(error).__name__}")
        return None
    if recording.webhook is None:
        say_once(NO_WEBHOOK)
    recording.begin()
    return recording


def _outcome(error: BaseException | None) -> Outcome:
    """As in a cell, but a program that leaves with ``sys.exit(0)`` has finished."""
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return Outcome.FINISHED
    return outcome_of(error)


def _script() -> str:
    return os.path.basename(sys.argv[0]) or "python"  # noqa: PTH119 (no further import in the training process)


def _shown(show: Callable[[], Mapping[str, object]] | None) -> tuple[Shown, ...]:
    if show is None:
        return ()
    try:
        return as_shown(show())
    except Exception as error:
        return (Shown("show", error=type(error).__name__),)
