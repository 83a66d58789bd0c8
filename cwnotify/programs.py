"""Runs outside notebooks: `notify` for Python code, `run_program` for whole commands.

Standard library, `alerts`, `recording`, `failures` and the sidecar's link and postmortem only.
"""

from __future__ import annotations

import functools
import inspect
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, TracebackType
from typing import IO, Any, TypeVar

from cwnotify.alerts import options
from cwnotify.alerts.events import Failure, Loss, LossCause, Outcome, RunKind, Shown
from cwnotify.alerts.redact import short_name
from cwnotify.failures import describe, outcome_of
from cwnotify.recording import Recording, as_shown, here
from cwnotify.screen import say, say_once
from cwnotify.sidecar.postmortem import judge, oom_counter
from cwnotify.tail import Tail

F = TypeVar("F", bound=Callable[..., Any])
NO_WEBHOOK = "no Slack webhook is set, so nobody will be told; to set one: cwnotify login (or CWNOTIFY_WEBHOOK_URL)"
# How long a container's first process waits for Slack before it ends and takes the sidecar along.
LAST_WORDS = 10.0


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


def run_program(command: Sequence[str], name: str, asked: Mapping[str, Any]) -> int:
    """Run `command`, tell Slack how it ended, and give the exit code to leave with.

    Parameters
    ----------
    command
        The program and its arguments.
    name
        What the alert calls it; the command itself if empty.
    asked
        Fields of `RunOptions` that were given. With ``tail``, what it prints passes through a pipe.

    Returns
    -------
    int
        The program's own exit code; 128 + n if signal n ended it; 127 or 126 if it could not be started.
    """
    recording = _begin(name or short_name(shlex.join(command)), RunKind.COMMAND, asked)
    tail = Tail(recording.run.options.tail) if recording and recording.run.options.tail else None
    pipe = subprocess.PIPE if tail else None
    signals = _Signals()
    try:
        child = subprocess.Popen(command, stdout=pipe, stderr=pipe)
    except OSError as error:
        say(f"{command[0]}: {error.strerror}{_meant_as_name(command)}")
        if recording:
            recording.end(Outcome.FAILED, Failure("could not be started", f"{command[0]}: {error.strerror}"))
            _last_words(recording)
        return 127 if isinstance(error, FileNotFoundError) else 126
    signals.pass_to(child)
    oom_count = oom_counter(child.pid)
    before = oom_count()
    copiers = _copy(child, tail) if tail else []
    status = child.wait()
    for copier in copiers:
        copier.join()
    if recording:
        outcome, failure, loss = _verdict(status, oom_count() - before)
        recording.end(outcome, failure, loss, tail=tail.stop() if tail else "")
        _last_words(recording)
    return status if status >= 0 else 128 - status


def _meant_as_name(command: Sequence[str]) -> str:
    """What to type, if the program that does not exist was to be the run's name."""
    if "--" not in command[1:2]:
        return ""
    return f"; to call the run so: cwnotify run --name {shlex.quote(command[0])} -- {shlex.join(command[2:])}"


def _verdict(status: int, oom_kills: int) -> tuple[Outcome, Failure | None, Loss | None]:
    if status == 0:
        return Outcome.FINISHED, None, None
    if status in (-signal.SIGINT, 128 + signal.SIGINT):
        return Outcome.INTERRUPTED, None, None
    if status < 0:
        return Outcome.LOST, None, judge(-status, oom_kills, goodbye=False)
    if status == 128 + signal.SIGKILL and oom_kills > 0:
        # A shell in between reports its child's signal so.
        return Outcome.LOST, None, Loss(LossCause.OUT_OF_MEMORY, "SIGKILL", oom_kills=oom_kills)
    return Outcome.FAILED, Failure(f"exit code {status}"), None


class _Signals:
    """Passes signals on. A terminal's interrupt reaches the child by itself. What comes before the child is kept."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._kept: list[int] = []
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._pass_on)
        signal.signal(signal.SIGINT, self._stay)

    def pass_to(self, child: subprocess.Popen[bytes]) -> None:
        """From now on, and what was kept first."""
        self._child = child
        for number in self._kept:
            child.send_signal(number)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if self._child is None:
            self._kept.append(number)
        else:
            self._child.send_signal(number)

    def _stay(self, number: int, frame: FrameType | None) -> None:
        if not os.isatty(0):
            self._pass_on(number, frame)


def _copy(child: subprocess.Popen[bytes], tail: Tail) -> list[threading.Thread]:
    def copy(source: IO[bytes], sink: IO[bytes]) -> None:
        while piece := os.read(source.fileno(), 1 << 16):
            tail.keep(piece.decode("utf-8", "replace"))
            sink.write(piece)
            sink.flush()

    pairs = ((child.stdout, sys.stdout.buffer), (child.stderr, sys.stderr.buffer))
    threads = [threading.Thread(target=copy, args=pair, daemon=True) for pair in pairs]
    for thread in threads:
        thread.start()
    return threads


def _last_words(recording: Recording) -> None:
    """See the alert on disk; where we are a container's first process, see it delivered if that is soon."""
    recording.wait(LAST_WORDS, delivered=1 in (os.getpid(), os.getppid()) and recording.webhook is not None)
