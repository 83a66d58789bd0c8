"""Record one run from start to end. The magics, `notify` and ``cwnotify run`` share this module.

Nothing here raises or waits, so the user's code is not disturbed. Imports the standard library, `alerts`, `console`,
`settings`, other modules of `runs`, and `sidecar.client`.
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
# How many names of dropped values one run remembers.
MAX_DROPPED = 10_000
# This many notes are sent at once, then one a second.
NOTE_BURST = 20.0
_HOST = os.uname().nodename
# Longer names are cut to this part.
_VALUE_NAME = slice(MAX_VALUE_LABEL_LENGTH + REDACTION_MARGIN)
# Not os.urandom (it delays the cell), and not the global generator (user code may seed it).
_random = Random()
os.register_at_fork(after_in_child=_random.seed)
# The open runs of this process, oldest first.
_open_recordings: list[Recording] = []
# The newest run of this thread or task. It may have ended: see `get_current_recording`.
_innermost: ContextVar[Recording | None] = ContextVar("cwnotify_run", default=None)
# How many runs of each name this process has started.
_ordinals: dict[str, int] = {}


class _Clock:
    """The clock functions, saved at import because user code may replace the ones in `time`."""

    now = staticmethod(time.time)
    steady = staticmethod(time.monotonic)


def note(values: Mapping[str, object] | None = None, /, **more: object) -> None:
    """Store values of the current run. Its alert shows the newest value of each name, however the run ends.

    The sidecar receives them while the run goes on, so the alert shows them even if the process is killed::

        for epoch in range(90):
            loss = train_one_epoch()
            cwnotify.note(epoch=epoch, loss=loss)

    A call takes microseconds and never raises. The current run is the innermost one of this thread or task, or else
    the newest run of the process. In a child process without a run, it is the run of the parent. Without any run, the
    call does nothing.

    Parameters
    ----------
    values, more
        Names and values. Values are converted to text only when they are sent to the sidecar. Frequent notes are sent
        at most once a second, so a loop does not wait for a GPU tensor in every step.
    """
    try:
        recording = get_current_recording()
        (_ancestor_notes if recording is None else recording).note({**(values or {}), **more})
    except Exception as error:
        warn_once(f"cwnotify.note could not store these values: {type(error).__name__}: {error}")


def get_current_recording() -> Recording | None:
    """Return the innermost open run of this thread or task, or else the newest of this process; None without one."""
    recording = _innermost.get()
    if recording is None or recording.is_over:
        recording = next(iter_enclosing_recordings(), None) or (_open_recordings[-1] if _open_recordings else None)
    return recording if recording and recording.is_own_process else None


def iter_enclosing_recordings() -> Iterator[Recording]:
    """Yield the open runs around the caller in this thread or task, innermost first."""
    recording = _innermost.get()
    while recording is not None:
        if not recording.is_over:
            yield recording
        recording = recording.outer


class use_recording:  # noqa: N801 (used like a function)
    """A context manager that makes `recording` the current run, and restores the previous one afterwards."""

    def __init__(self, recording: Recording | None) -> None:
        self._recording = recording

    def __enter__(self) -> None:
        self._previous = _innermost.get()
        if self._recording:
            _innermost.set(self._recording)

    def __exit__(self, *error: object) -> None:
        _innermost.set(self._previous)


def record_interrupt() -> None:
    """Record that the user interrupted the current run, for a framework that ends normally after an interrupt."""
    if recording := get_current_recording():
        recording.was_interrupted = True


def build_shown_values(values: Mapping[str, object]) -> tuple[CapturedValue, ...]:
    """Return the first `MAX_SHOWN_VALUES` of `values` as text.

    If formatting a value fails or takes too long, the alert shows the name of the error instead.
    """
    # Copy the items first, because another thread may add a value during the loop.
    items = [(str(name)[_VALUE_NAME], value) for name, value in tuple(islice(values.items(), MAX_SHOWN_VALUES))]
    captured: list[CapturedValue] = []

    def capture() -> None:
        for name, value in items:
            captured.append(_capture_value(name, value))

    if items:
        try:
            call_with_timeout(USER_CODE_TIMEOUT, capture)
        except TimeoutError:
            captured += [CapturedValue(name, error=TimeoutError.__name__) for name, _ in items[len(captured) :]]
    return tuple(captured)


def _capture_value(name: str, value: object) -> CapturedValue:
    if type(value) is CapturedValue:
        # Already text: it comes from a child process.
        return value
    try:
        return CapturedValue(name, value=format_value(value))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Even SystemExit: showing a value must not end the program.
        return CapturedValue(name, error=format_error_name(error))


class _Notes:
    """The newest `MAX_SHOWN_VALUES` values by name, with a rate limit for sending: `NOTE_BURST`, then one a second."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self._dropped: set[str] = set()
        self._allowance, self._updated_at = NOTE_BURST, _Clock.steady()

    def add(self, values: Mapping[str, object]) -> None:
        """Add `values`, and drop the oldest if there are too many."""
        self.values.update((str(name)[_VALUE_NAME], value) for name, value in values.items())
        while len(self.values) > MAX_SHOWN_VALUES:
            name = next(iter(self.values))
            self.values.pop(name, None)
            if len(self._dropped) < MAX_DROPPED:
                self._dropped.add(name)

    def count_dropped(self) -> int:
        """Return how many names were dropped, up to `MAX_DROPPED`."""
        return len(self._dropped - self.values.keys())

    def acquire_turn(self) -> bool:
        """Return whether the values may be sent now, and count it against the rate limit."""
        now = _Clock.steady()
        self._allowance, self._updated_at = min(NOTE_BURST, self._allowance + now - self._updated_at), now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def build_shown_values(self) -> tuple[CapturedValue, ...]:
        """Return all values as text. If that takes too long, send no more until the run ends."""
        started = _Clock.steady()
        shown = build_shown_values(self.values)
        if _Clock.steady() - started > USER_CODE_TIMEOUT:
            self._allowance = -math.inf
        return shown


class _AncestorNotes:
    """Notes of a process without a run. They are added to a run of a parent process."""

    def __init__(self) -> None:
        self._notes = _Notes()
        self._sender = AncestorSender()
        self._process = 0
        self._has_unsent = False

    def note(self, values: Mapping[str, object]) -> None:
        """Store `values` and send them if the rate limit allows it."""
        if self._process != os.getpid():
            self._start_in_process()
        if self._sender.has_no_receiver:
            return
        self._notes.add(values)
        self._has_unsent = True
        if self._notes.acquire_turn():
            self.flush()

    def _start_in_process(self) -> None:
        self._notes, self._sender, self._process = _Notes(), AncestorSender(), os.getpid()
        if util := sys.modules.get("multiprocessing.util"):
            # A multiprocessing child skips `atexit`.
            util.Finalize(None, self.flush, exitpriority=0)
        import atexit

        atexit.register(self.flush)

    def flush(self) -> None:
        """Send the values noted since the last call. In a distributed job only rank 0 sends them."""
        if not self._has_unsent or self._process != os.getpid() or distributed.get_rank_number():
            return
        self._has_unsent = False
        # A forked child has copies of its parent's open runs.
        parent = next(iter((*iter_enclosing_recordings(), *_open_recordings[::-1])), None)
        shown = [[value.expression, value.value, value.error] for value in self._notes.build_shown_values()]
        if not self._sender.send({"run": parent.run.id if parent else "", "shown": shown}) and parent:
            name = parent.run.name or "this cell"
            warn_once(f"values noted in a child process do not reach the alert about {name}")


_ancestor_notes = _AncestorNotes()


def _receive_note(message: NoteMessage) -> None:
    recordings = tuple(_open_recordings)
    newest = recordings[-1] if recordings else None
    recording = next((recording for recording in recordings if recording.run.id == message.get("run")), newest)
    if recording:
        recording.note_shown(tuple(CapturedValue(*map(str, fields)) for fields in message["shown"]))


class _ProcessReceiver:
    """The receiver of notes from child processes. A forked child gets its own."""

    def __init__(self) -> None:
        self.receiver = NoteReceiver(_receive_note)
        os.register_at_fork(after_in_child=self._replace)

    def _replace(self) -> None:
        self.receiver.discard_after_fork()
        self.receiver = NoteReceiver(_receive_note)


_child_notes = _ProcessReceiver()


class Recording:
    """A run in progress.

    Parameters
    ----------
    name
        The user's name for it.
    options
        Fields of `RunOptions` that the user gave. The settings supply the others.
    overrides
        The values of ``%config CWNotify``.
    """

    def __init__(
        self,
        name: str,
        kind: RunKind,
        place: RunLocation,
        options: Mapping[str, Any],
        overrides: Mapping[str, str] | None = None,
        client: SidecarClient | None = None,
    ) -> None:
        run_settings, problems = settings.load_settings(overrides=overrides)
        locale.override_translations(run_settings.words)
        for problem in problems:
            warn_once(problem)
        self.webhook = run_settings.webhook
        self._client = client or get_sidecar_client()
        self._process = os.getpid()
        self._rank = distributed.find_rank()
        self._had_launched_ranks = distributed.has_launched_ranks()
        self._started_at = _Clock.steady()
        self._seconds: float | None = None
        self._notes = _Notes()
        self._sent_values: dict[str, CapturedValue] = {}
        self._name = name
        self._is_reported = False
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
            options=_resolve_options(options, run_settings),
            **self._build_job_fields(),
        )

    def _build_job_fields(self, is_launcher: bool = False) -> dict[str, Any]:
        if self._rank is None:
            return {}
        return {
            "job": distributed.make_job_id(self._name, self._ordinal, is_launcher=is_launcher),
            "rank": self._rank.number,
        }

    def begin(self) -> None:
        """Report the start to the sidecar, and show warnings about earlier alerts.

        Separate from the constructor, so that the caller has an object to end if this method is interrupted.
        """
        self._started_at = _Clock.steady()
        self.outer = next(iter_enclosing_recordings(), None)
        _innermost.set(self)
        _open_recordings.append(self)
        if self._is_reporting_rank:
            self._is_reported = True
            self._client.set_webhook(self.webhook)
            self._client.report_run_started(self.run)
        _child_notes.receiver.open()
        if self.run.kind is RunKind.CODE:
            input_detection.add_wait_listener(self)
        self._show_warnings()

    def _show_warnings(self) -> None:
        while self._client.pending_warnings:
            warn_once(self._client.pending_warnings.pop(0))

    @property
    def is_own_process(self) -> bool:
        """Whether the run belongs to this process. A forked child has copies of its parent's runs."""
        return self._process == os.getpid()

    @property
    def _is_reporting_rank(self) -> bool:
        return self._rank is None or self._rank.number == 0

    def note(self, values: Mapping[str, object]) -> None:
        """Store `values`, and send them to the sidecar if the rate limit allows it."""
        self._notes.add(values)
        if self._is_reporting_rank and self._notes.acquire_turn():
            self._send_progress(self._notes.build_shown_values())

    def note_shown(self, values: tuple[CapturedValue, ...]) -> None:
        """Store values of a child process, which are already text.

        Runs in the receiver's thread, so it does not format any other value.
        """
        by_name = {value.expression: value for value in values}
        self._notes.add(by_name)
        if self._is_reporting_rank and self._notes.acquire_turn():
            self._send_progress(tuple((self._sent_values | by_name).values())[-MAX_SHOWN_VALUES:])

    def _send_progress(self, shown: tuple[CapturedValue, ...]) -> None:
        self._sent_values = {value.expression: value for value in shown}
        self._client.report_run_progress(self._build_result(Outcome.LOST, shown))

    def report_waiting(self, wait: str, in_notebook: bool) -> None:
        """Report that the run waits for the user. The sidecar sends one such alert per run."""
        if self._is_reporting_rank:
            self._client.report_run_waiting(self.run, WaitReason(wait), in_notebook)

    def report_resumed(self) -> None:
        """Report the end of a wait. It withdraws the alert if the run was still too short for one."""
        if self._is_reporting_rank and _Clock.now() < self.run.started + self.run.options.min_seconds:
            self._client.report_run_resumed(self.run)

    def report_busy(self, is_busy: bool) -> None:
        """Report the start or the end of a cell that may belong to the same Run All as this run."""
        self._client.report_cell_activity(is_busy)

    def stop_timer(self) -> None:
        """Stop the clock. The time to describe how the run ended does not count as its duration."""
        self._seconds = _Clock.steady() - self._started_at

    def seconds_since_end(self) -> float:
        """Return the seconds since `stop_timer`."""
        return _Clock.steady() - self._started_at - (self._seconds or 0.0)

    def _build_result(
        self, outcome: Outcome, shown: tuple[CapturedValue, ...] = (), left_out: int = 0, **details: Any
    ) -> RunResult:
        seconds = _Clock.steady() - self._started_at if self._seconds is None else self._seconds
        left_out += self._notes.count_dropped()
        return RunResult(self.run, outcome, seconds, _Clock.now(), shown=shown, values_left_out=left_out, **details)

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
        """Report how the run ended; return the result that was reported.

        Parameters
        ----------
        left_out
            How many values `shown` leaves out.
        hold
            Whether the sidecar delays the alert about an interrupt, because the kernel may be shutting down.
        """
        self._close()
        input_detection.remove_wait_listener(self)
        if outcome is Outcome.FINISHED and self.was_interrupted:
            outcome = Outcome.INTERRUPTED
        details: dict[str, Any] = {"failure": failure, "loss": loss, "tail": tail}
        if outcome is Outcome.FINISHED:
            details["command"] = command
        result = self._build_result(outcome, (*shown, *build_shown_values(self._notes.values)), left_out, **details)
        result = self._send_result(result, hold)
        self._show_warnings()
        # Release the user's objects, which may use much memory.
        self._notes = _Notes()
        return result

    def _send_result(self, result: RunResult, hold: bool) -> RunResult:
        """Send `result` unless another rank reports the run; return it as it was sent."""
        if not self._is_reporting_rank:
            if self._rank and (failure := result.failure):
                message = f"[{self._rank.label}] {failure.message}".rstrip()
                result = replace(result, failure=replace(failure, message=message))
            if result.outcome not in (Outcome.FAILED, Outcome.LOST):
                if not self._is_reported:
                    return result
                # The rank became known only after the start was reported. Close the run without an alert.
                options = replace(result.run.options, min_seconds=math.inf)
                result = replace(result, run=replace(result.run, options=options))
        # Another run of this process may have set another webhook since the start.
        self._client.set_webhook(self.webhook)
        self._client.report_run_ended(result, hold)
        return result

    def _close(self) -> None:
        """Receive the last notes of child processes, then accept no more."""
        if self.is_own_process:
            _child_notes.receiver.drain()
        self.is_over = True
        if self in _open_recordings:
            _open_recordings.remove(self)
        if _innermost.get() is self:
            _innermost.set(self.outer)
        if self._rank is None:
            self._update_rank()

    def _update_rank(self) -> None:
        """Look up the rank again. A program may join a distributed job only after the run started."""
        is_launcher = not self._had_launched_ranks and distributed.has_launched_ranks()
        rank = distributed.find_rank() or (distributed.FIRST_RANK if is_launcher else None)
        if rank is not None:
            self._rank = rank
            self.run = replace(self.run, **self._build_job_fields(is_launcher))

    def wait_until_stored(self, seconds: float) -> None:
        """Wait up to `seconds` until the result is on disk, for callers that have time."""
        self._client.wait_until_stored(seconds)


def _resolve_options(options: Mapping[str, Any], run_settings: settings.Settings) -> RunOptions:
    """Return the user's options, with the settings as defaults."""
    # Not `dataclasses.replace`: it would make RunOptions a full dataclass, which delays the first cell.
    user_options = {name: value for name, value in options.items() if value is not None}
    defaults = {name: getattr(run_settings, name) for name in ("min_seconds", "mention", "lang", "channel", "zone")}
    return RunOptions(**defaults | user_options)


def locate_run(notebook: str = "", cell: int | None = None) -> RunLocation:
    """Return this machine, and the place in the notebook."""
    return RunLocation(notebook=os.path.basename(notebook), cell=cell, host=_HOST)  # noqa: PTH119 (no pathlib in the kernel)
