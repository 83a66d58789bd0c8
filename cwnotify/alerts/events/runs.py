"""What an alert about a run reports, as frozen dataclasses.

May import the standard library and the pure parts of `cwnotify.alerts`. All times are Unix seconds (UTC) and all
durations are seconds, as floats.
"""

from __future__ import annotations

from enum import StrEnum

from cwnotify.alerts.events.alarms import (
    AlarmStateChange,
    CustomNotification,
    FunctionFailure,
    InstanceNotice,
    UnrecognizedEvent,
)
from cwnotify.alerts.events.run_options import RunOptions
from cwnotify.alerts.light_dataclass import frozen


class Outcome(StrEnum):
    """How a run ended. The English alert contains exactly one of these words."""

    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    LOST = "lost"


class RunKind(StrEnum):
    """What ran."""

    CELL = "cell"
    CODE = "code"
    COMMAND = "command"


@frozen
class RunLocation:
    """Where a run happened. Unknown fields are empty."""

    notebook: str = ""
    cell: int | None = None
    host: str = ""
    instance: str = ""
    instance_type: str = ""
    zone: str = ""


@frozen
class Run:
    """A run, from its start.

    Parameters
    ----------
    id
        Globally unique. The run's alert has the same id, which prevents a second alert.
    name
        The user's name for the run; empty for a cell without a name.
    started
        Unix seconds.
    options
        The options of its alert, after the settings were applied.
    job
        An id shared by all ranks of a distributed launch on one machine; empty for a single process.
    rank
        The rank that it ran on.
    scrubbed
        Whether text that looked like a secret was removed from the run or its result.
    """

    id: str
    name: str
    started: float
    kind: RunKind = RunKind.CELL
    place: RunLocation = RunLocation()
    options: RunOptions = RunOptions()
    job: str = ""
    rank: int = 0
    scrubbed: bool = False


@frozen
class RunFailure:
    """Why a run failed.

    Parameters
    ----------
    type
        The exception's class name (``ValueError``) or, for a command, ``exit code 3``.
    message
        Its message; `cwnotify.alerts.redaction.run_events` shortens it to a readable length.
    frames
        The last frames of the traceback, innermost last, as text.
    """

    type: str
    message: str = ""
    frames: str = ""


@frozen
class CapturedValue:
    """One value for ``--show``, or the `error` that occurred instead."""

    expression: str
    value: str = ""
    error: str = ""


@frozen
class FailedCommand:
    """A shell command of a cell (``!python train.py``) that did not exit with 0.

    Parameters
    ----------
    text
        The command that the user typed, or its first word.
    code
        Its exit code; 0 if a signal ended it.
    signal
        The signal that ended it, such as ``SIGKILL``, if any.
    """

    text: str
    code: int = 0
    signal: str = ""


class WaitReason(StrEnum):
    """Why a run waits for the user."""

    DEBUGGER = "debugger"
    INPUT = "input"


@frozen
class LoadSample:
    """The host's load at one time: `cpu` in percent, memory in bytes."""

    at: float
    cpu: float
    memory_used: int
    memory_total: int


class LossCause(StrEnum):
    """Why a kernel or another watched process exited mid-run, as far as known."""

    OUT_OF_MEMORY = "out of memory"
    SIGNAL = "signal"
    EXIT = "exit"
    SHUTDOWN = "shutdown"
    REBOOT = "reboot"
    UNKNOWN = "unknown"


@frozen
class RunLoss:
    """Why a run was lost, as far as known.

    Parameters
    ----------
    cause
        The most specific known cause.
    signal
        The signal that ended the process, such as ``SIGKILL``, if its exit status could be read.
    code
        The process's exit code, if its exit status could be read.
    oom_kills
        How much the ``oom_kill`` count of the cgroup, or of the host, rose during the run.
    found_later
        True if no sidecar saw the end: a later one found the run open and its process gone.
    """

    cause: LossCause
    signal: str = ""
    code: int | None = None
    oom_kills: int = 0
    found_later: bool = False


@frozen
class RunResult:
    """A run and how it ended.

    Parameters
    ----------
    seconds
        How long it ran; for a loss found later, how long it was seen running.
    ended
        Unix seconds.
    failure, loss
        Set for `Outcome.FAILED` and `Outcome.LOST`.
    command
        The first shell command in a finished run that did not exit with 0.
    shown, tail
        The values and output for ``--show`` and ``--tail``.
    values_left_out
        How many more values there were than `shown` contains.
    cpu
        The host's CPU during the run in percent, evenly spaced, oldest first; empty if not measured.
    vitals
        The last measured load before the end.
    """

    run: Run
    outcome: Outcome
    seconds: float
    ended: float
    failure: RunFailure | None = None
    loss: RunLoss | None = None
    shown: tuple[CapturedValue, ...] = ()
    tail: str = ""
    cpu: tuple[float, ...] = ()
    vitals: LoadSample | None = None
    command: FailedCommand | None = None
    values_left_out: int = 0

    @property
    def is_alert_wanted(self) -> bool:
        """Whether the run's options request this alert. A failed shell command counts as both a finish and an error."""
        finished = self.outcome is Outcome.FINISHED
        wants = self.run.options.wants_alert
        return wants(finished, self.seconds) or (finished and self.command is not None and wants(False, self.seconds))


AlertEvent = RunResult | AlarmStateChange | InstanceNotice | FunctionFailure | CustomNotification | UnrecognizedEvent
