"""One run from its beginning to its end, as the magics, `notify` and ``cwnotify run`` all record it.

Nothing here raises and nothing waits: the work that is recorded must not notice. Standard library, `alerts`,
`errors`, `settings`, `failures`, `ranks`, `inbox`, `values`, `patience` and `sidecar.link` only.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from itertools import islice
from random import Random
from typing import Any

from cwnotify import settings
from cwnotify.alerts import locale
from cwnotify.alerts.events.run_options import RunOptions
from cwnotify.alerts.events.runs import (
    CapturedValue,
    FailedCommand,
    Outcome,
    Run,
    RunFailure,
    RunKind,
    RunLocation,
    RunLoss,
    RunResult,
    WaitReason,
)
from cwnotify.alerts.text_limits import MAX_RUN_NAME_LENGTH, MAX_VALUE_LABEL_LENGTH, REDACTION_MARGIN
from cwnotify.console import warn_once
from cwnotify.runs import distributed, input_detection
from cwnotify.runs.child_notes import AncestorSender, NoteMessage, NoteReceiver
from cwnotify.runs.deadline import USER_CODE_TIMEOUT, call_with_timeout
from cwnotify.runs.value_format import MAX_SHOWN_VALUES, format_error_name, format_value
from cwnotify.sidecar.client import SidecarClient, get_sidecar_client

MAX_COUNTED_RUN_NAMES = 10_000
# How many names are counted that a run has noted and that its alert leaves out.
MAX_DROPPED = 10_000
# Up to this many notes are passed on at once, then one a second.
NOTE_BURST = 20.0
_HOST = os.uname().nodename
# Not the system's, for the cell would wait for that; not the one that a cell may seed.
_random = Random()
os.register_at_fork(after_in_child=_random.seed)
# The runs of this process that are under way, in the order in which they began.
_under_way: list[Recording] = []
# The run that began last in this thread or task. It may be over: see `get_current_recording`.
_innermost: ContextVar[Recording | None] = ContextVar("cwnotify_run", default=None)
# How many runs of each name this process has begun.
_ordinals: dict[str, int] = {}


class _Clock:
    """The clocks as they were when this was loaded: a cell may put others in their place, stop them or break them."""

    now = staticmethod(time.time)
    steady = staticmethod(time.monotonic)


def note(values: Mapping[str, object] | None = None, /, **more: object) -> None:
    """Keep values of the run that is under way: its alert shows the newest of each name, however the run ends.

    They reach the alert also when the process is killed, for the sidecar hears of them as training goes on::

        for epoch in range(90):
            loss = train_one_epoch()
            cwnotify.note(epoch=epoch, loss=loss)

    It takes microseconds and raises nothing. Of several runs in one process it means the innermost one of this thread
    or task; where there is none, the run that began last. In a child process without a run of its own, it means the run
    of the parent. Without any run it does nothing.

    Parameters
    ----------
    values, more
        Names and values. A value is turned into text when it is passed on, which happens at most once a second where
        notes come faster than that; so a tensor on a GPU is not waited for in every step.
    """
    try:
        run = get_current_recording()
        (_upward if run is None else run).note({**(values or {}), **more})
    except Exception as error:
        warn_once(f"cwnotify.note could not keep these values: {type(error).__name__}: {error}")


def get_current_recording() -> Recording | None:
    """The run that notes belong to here: the innermost of this thread or task, else the newest; None in a child."""
    run = _innermost.get()
    if run is None or run.is_over:
        run = next(iter_enclosing_recordings(), None) or (_under_way[-1] if _under_way else None)
    return run if run and run.is_here else None


def iter_enclosing_recordings() -> Iterator[Recording]:
    """The runs around this place in this thread or task that are under way, the innermost first."""
    run = _innermost.get()
    while run is not None:
        if not run.is_over:
            yield run
        run = run.outer


class use_recording:  # noqa: N801 (used like a function)
    """A context in which notes belong to `run`; after it, to the run that they belonged to before."""

    def __init__(self, run: Recording | None) -> None:
        self._run = run

    def __enter__(self) -> None:
        self._before = _innermost.get()
        if self._run:
            _innermost.set(self._run)

    def __exit__(self, *error: object) -> None:
        _innermost.set(self._before)


def record_interrupt() -> None:
    """Record that the user interrupted the current run, for a framework that ends normally after an interrupt."""
    if run := get_current_recording():
        run.was_interrupted = True


def build_shown_values(values: Mapping[str, object]) -> tuple[CapturedValue, ...]:
    """The first `MAX_SHOWN_VALUES` as the alert shows them; one without a text, or with a late one, is shown by its error."""
    # At once, for another thread may note something meanwhile.
    asked = [
        (str(name)[: MAX_VALUE_LABEL_LENGTH + REDACTION_MARGIN], value)
        for name, value in tuple(islice(values.items(), MAX_SHOWN_VALUES))
    ]
    shown: list[CapturedValue] = []

    def ask() -> None:
        for name, value in asked:
            shown.append(_shown(name, value))

    if asked:
        try:
            call_with_timeout(USER_CODE_TIMEOUT, ask)
        except TimeoutError:
            shown += [CapturedValue(name, error=TimeoutError.__name__) for name, _ in asked[len(shown) :]]
    return tuple(shown)


def _shown(name: str, value: object) -> CapturedValue:
    if type(value) is CapturedValue:
        # A child process's, which has made a text of it.
        return value
    try:
        return CapturedValue(name, value=format_value(value))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Also `SystemExit`: a value that is only shown ends nothing.
        return CapturedValue(name, error=format_error_name(error))


class _Notes:
    """Values by name, the newest `MAX_SHOWN_VALUES`; at most `NOTE_BURST` at once are passed on, then one a second."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self._dropped: set[str] = set()
        self._left, self._at = NOTE_BURST, _Clock.steady()

    def keep(self, values: Mapping[str, object]) -> None:
        """Keep `values`, the oldest ones give way."""
        self.values.update(
            (str(name)[: MAX_VALUE_LABEL_LENGTH + REDACTION_MARGIN], value) for name, value in values.items()
        )
        while len(self.values) > MAX_SHOWN_VALUES:
            name = next(iter(self.values))
            self.values.pop(name, None)
            if len(self._dropped) < MAX_DROPPED:
                self._dropped.add(name)

    def left_out(self) -> int:
        """How many names are no longer kept, of the first `MAX_DROPPED`."""
        return len(self._dropped - self.values.keys())

    def take_turn(self) -> bool:
        """Whether they may be passed on now."""
        now = _Clock.steady()
        self._left, self._at = min(NOTE_BURST, self._left + now - self._at), now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def shown(self) -> tuple[CapturedValue, ...]:
        """All of them as texts. Where that takes too long, it is not done again while the work goes on."""
        began = _Clock.steady()
        shown = build_shown_values(self.values)
        if _Clock.steady() - began > USER_CODE_TIMEOUT:
            self._left = -math.inf
        return shown


class _Upward:
    """Notes in a process without a run, for the run of a process around it."""

    def __init__(self) -> None:
        self._notes = _Notes()
        self._upward = AncestorSender()
        self._process = 0
        self._is_late = False

    def note(self, values: Mapping[str, object]) -> None:
        """Keep `values`, and pass them on; only rank 0 does."""
        if self._process != os.getpid():
            self._begin()
        if self._upward.has_no_receiver:
            return
        self._notes.keep(values)
        self._is_late = True
        if self._notes.take_turn():
            self.pass_on()

    def _begin(self) -> None:
        self._notes, self._upward, self._process = _Notes(), AncestorSender(), os.getpid()
        if util := sys.modules.get("multiprocessing.util"):
            # Such a child skips `atexit`.
            util.Finalize(None, self.pass_on, exitpriority=0)
        import atexit

        atexit.register(self.pass_on)

    def pass_on(self) -> None:
        """Send what has been noted since the last time."""
        if not self._is_late or self._process != os.getpid() or distributed.get_rank_number():
            return
        self._is_late = False
        run = next((run for run in (*iter_enclosing_recordings(), *_under_way[::-1])), None)
        shown = [[one.expression, one.value, one.error] for one in self._notes.shown()]
        if not self._upward.send({"run": run.run.id if run else "", "shown": shown}) and run:
            warn_once(f"values noted in a child process do not reach the alert about {run.run.name or 'this cell'}")


_upward = _Upward()


def _receive(message: NoteMessage) -> None:
    """A child process noted something."""
    runs = tuple(_under_way)
    run = next((run for run in runs if run.run.id == message.get("run")), runs[-1] if runs else None)
    if run:
        run.note_shown(tuple(CapturedValue(*map(str, one)) for one in message["shown"]))


class _Inboxes:
    """The inbox of this process; a forked child gets one of its own."""

    def __init__(self) -> None:
        self.inbox = NoteReceiver(_receive)
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self.inbox.discard_after_fork()
        self.inbox = NoteReceiver(_receive)


_inboxes = _Inboxes()


class Recording:
    """A run that has begun.

    Parameters
    ----------
    name
        As the user called it.
    asked
        Fields of `RunOptions` that were given; the settings fill the rest.
    overrides
        What ``%config CWNotify`` sets.
    """

    def __init__(
        self,
        name: str,
        kind: RunKind,
        place: RunLocation,
        asked: Mapping[str, Any],
        overrides: Mapping[str, str] | None = None,
        link: SidecarClient | None = None,
    ) -> None:
        found, troubles = settings.load_settings(overrides=overrides)
        locale.override_translations(found.words)
        for trouble in troubles:
            warn_once(trouble)
        self.webhook = found.webhook
        self._link = link or get_sidecar_client()
        self._process = os.getpid()
        self._rank = distributed.find_rank()
        self._was_local = distributed.has_launched_ranks()
        self._began = _Clock.steady()
        self._seconds: float | None = None
        self._notes = _Notes()
        self._passed: dict[str, CapturedValue] = {}
        self._name = name
        self._is_open = False
        if len(_ordinals) > MAX_COUNTED_RUN_NAMES:
            _ordinals.clear()
        self._ordinal = _ordinals[name] = _ordinals.get(name, 0) + 1
        self.is_over = False
        self.outer: Recording | None = None
        self.was_interrupted = False
        self.run = Run(
            id=f"{_random.getrandbits(96):024x}",
            name=name[: MAX_RUN_NAME_LENGTH + REDACTION_MARGIN],
            started=_Clock.now(),
            kind=kind,
            place=place,
            options=resolve_options(asked, found),
            **self._in_job(),
        )

    def _in_job(self, launches: bool = False) -> dict[str, Any]:
        if self._rank is None:
            return {}
        return {
            "job": distributed.make_job_id(self._name, self._ordinal, is_launcher=launches),
            "rank": self._rank.number,
        }

    def begin(self) -> None:
        """Tell that it began, and at the screen what went wrong with earlier alerts.

        Apart from the constructor, so that a caller who is interrupted in here holds something to end.
        """
        self._began = _Clock.steady()
        self.outer = next(iter_enclosing_recordings(), None)
        _innermost.set(self)
        _under_way.append(self)
        if self._speaks:
            self._is_open = True
            self._link.set_webhook(self.webhook)
            self._link.report_run_started(self.run)
        _inboxes.inbox.open()
        if self.run.kind is RunKind.CODE:
            input_detection.add_wait_listener(self)
        self._complain()

    def _complain(self) -> None:
        while self._link.pending_warnings:
            warn_once(self._link.pending_warnings.pop(0))

    @property
    def is_here(self) -> bool:
        """Whether it is this process's; a forked child has copies of its parent's."""
        return self._process == os.getpid()

    @property
    def _speaks(self) -> bool:
        return self._rank is None or self._rank.number == 0

    def note(self, values: Mapping[str, object]) -> None:
        """Keep `values` for the end, and let the sidecar know of them in case that this process is lost."""
        self._notes.keep(values)
        if self._speaks and self._notes.take_turn():
            self._pass_on(self._notes.shown())

    def note_shown(self, values: tuple[CapturedValue, ...]) -> None:
        """As `note`, for texts from a child process. In another thread, so no other value is turned into text."""
        self._notes.keep({one.expression: one for one in values})
        if self._speaks and self._notes.take_turn():
            self._pass_on(tuple((self._passed | {one.expression: one for one in values}).values())[-MAX_SHOWN_VALUES:])

    def _pass_on(self, shown: tuple[CapturedValue, ...]) -> None:
        self._passed = {one.expression: one for one in shown}
        self._link.report_run_progress(self._ended(Outcome.LOST, shown))

    def report_waiting(self, wait: str, in_notebook: bool) -> None:
        """Report at once that the run waits for a person; the sidecar sends one such alert for each run."""
        if self._speaks:
            self._link.report_run_waiting(self.run, WaitReason(wait), in_notebook)

    def report_resumed(self) -> None:
        """The wait is over. An alert that was not due yet, because the run was too short for one, is dropped."""
        if self._speaks and _Clock.now() < self.run.started + self.run.options.min_seconds:
            self._link.report_run_resumed(self.run)

    def report_busy(self, is_busy: bool) -> None:
        """Report that a cell began, or ended, that may belong to the same Run All as this run."""
        self._link.report_cell_activity(is_busy)

    def stop_timer(self) -> None:
        """The work is over; the time that it takes to say how is not its own."""
        self._seconds = _Clock.steady() - self._began

    def seconds_since_end(self) -> float:
        """Return how long ago the run ended."""
        return _Clock.steady() - self._began - (self._seconds or 0.0)

    def _ended(
        self, outcome: Outcome, shown: tuple[CapturedValue, ...] = (), left_out: int = 0, **how: Any
    ) -> RunResult:
        seconds = _Clock.steady() - self._began if self._seconds is None else self._seconds
        left_out += self._notes.left_out()
        return RunResult(self.run, outcome, seconds, _Clock.now(), shown=shown, values_left_out=left_out, **how)

    def report_end(
        self,
        outcome: Outcome,
        failure: RunFailure | None = None,
        loss: RunLoss | None = None,
        shown: tuple[CapturedValue, ...] = (),
        left_out: int = 0,
        tail: str = "",
        hold: bool = False,
        command: FailedCommand | None = None,
    ) -> RunResult:
        """Report how the run ended; return what was reported.

        Parameters
        ----------
        left_out
            How many more values there were than `shown` holds.
        """
        self._close()
        input_detection.remove_wait_listener(self)
        if outcome is Outcome.FINISHED and self.was_interrupted:
            outcome = Outcome.INTERRUPTED
        how: dict[str, Any] = {"failure": failure, "loss": loss, "tail": tail}
        if outcome is Outcome.FINISHED:
            how["command"] = command
        ended = self._ended(outcome, (*shown, *build_shown_values(self._notes.values)), left_out, **how)
        if not self._speaks and self._rank and failure:
            ended = replace(ended, failure=replace(failure, message=f"[{self._rank.label}] {failure.message}".rstrip()))
        failed = outcome in (Outcome.FAILED, Outcome.LOST)
        if not self._speaks and not failed and self._is_open:
            # It turned out to be another rank than the first after the sidecar had heard of it.
            ended = replace(ended, run=replace(ended.run, options=replace(ended.run.options, min_seconds=math.inf)))
        if self._speaks or failed or self._is_open:
            self._link.set_webhook(self.webhook)
            self._link.report_run_ended(ended, hold)
        self._complain()
        # They may hold much of the user's memory.
        self._notes = _Notes()
        return ended

    def _close(self) -> None:
        """It takes no more notes, once those that children have sent are here."""
        if self.is_here:
            _inboxes.inbox.drain()
        self.is_over = True
        if self in _under_way:
            _under_way.remove(self)
        if _innermost.get() is self:
            _innermost.set(self.outer)
        if self._rank is None:
            self._find_rank()

    def _find_rank(self) -> None:
        """What this process has learned of its rank since the run began."""
        launches = not self._was_local and distributed.has_launched_ranks()
        rank = distributed.find_rank() or (distributed.FIRST_RANK if launches else None)
        if rank is not None:
            self._rank = rank
            self.run = replace(self.run, **self._in_job(launches))

    def wait_until_stored(self, seconds: float) -> None:
        """Wait until the end is on disk, for callers that have time."""
        self._link.wait_until_stored(seconds)


def resolve_options(asked: Mapping[str, Any], found: settings.Settings) -> RunOptions:
    """What was asked, with the settings where nothing was."""
    # Not `dataclasses.replace`, which would make a dataclass first, on the path of the first cell.
    given = {name: value for name, value in asked.items() if value is not None}
    defaults = {name: getattr(found, name) for name in ("min_seconds", "mention", "lang", "channel", "zone")}
    return RunOptions(**defaults | given)


def locate_run(notebook: str = "", cell: int | None = None) -> RunLocation:
    """This machine, and the notebook's place on it."""
    return RunLocation(notebook=os.path.basename(notebook), cell=cell, host=_HOST)  # noqa: PTH119 (in the kernel)
