"""The facts that an alert can be about, as frozen dataclasses. Standard library only.

All times are Unix seconds (UTC) and all lengths of time are seconds, as floats.
"""

from __future__ import annotations

from enum import StrEnum

from cwnotify.alerts.events.alarms import AlarmState as AlarmState
from cwnotify.alerts.events.alarms import AlarmStateChange as AlarmChanged
from cwnotify.alerts.events.alarms import ChildAlarm as ChildAlarm
from cwnotify.alerts.events.alarms import CustomNotification as CustomNotification
from cwnotify.alerts.events.alarms import Dimension as Dimension
from cwnotify.alerts.events.alarms import FunctionFailure as FunctionFailed
from cwnotify.alerts.events.alarms import InstanceNotice as InstanceNotice
from cwnotify.alerts.events.alarms import NoticeKind as NoticeKind
from cwnotify.alerts.events.alarms import UnrecognizedEvent as Plain
from cwnotify.alerts.events.alarms import WatchedMetric as WatchedMetric
from cwnotify.alerts.events.run_options import RunOptions
from cwnotify.alerts.light_dataclass import frozen


class Outcome(StrEnum):
    """How a run ended; also the one word of it that an English alert holds."""

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
    """Where something ran. Whatever is not known is left empty."""

    notebook: str = ""
    cell: int | None = None
    host: str = ""
    instance: str = ""
    instance_type: str = ""
    zone: str = ""


@frozen
class Run:
    """A registered piece of work, from the moment that it begins.

    Parameters
    ----------
    id
        Unique for ever; an alert about the run carries the same id, so that it is sent once.
    name
        As the user called it; empty for a cell without a name.
    started
        Unix seconds.
    options
        What the user asked of the alert, settings already applied.
    job
        What all ranks of a distributed launch on one machine call this run; empty for a single process.
    rank
        Which of these ranks it ran on.
    scrubbed
        Whether something that looked like a secret was taken out of its texts or of how it ended.
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
        Its message; `cwnotify.alerts.redaction.run_events` cuts it to what a person would read.
    frames
        The last frames of the traceback, innermost last, as text.
    """

    type: str
    message: str = ""
    frames: str = ""


@frozen
class CapturedValue:
    """One value that ``--show`` asked for; `error` says why there is none."""

    expression: str
    value: str = ""
    error: str = ""


@frozen
class FailedCommand:
    """A shell command of a cell (``!python train.py``) that did not exit with 0.

    Parameters
    ----------
    text
        The command as the user typed it, or its first word.
    code
        Its exit code; 0 if a signal ended it.
    signal
        ``SIGKILL`` and the like, if a signal ended it.
    """

    text: str
    code: int = 0
    signal: str = ""


class WaitReason(StrEnum):
    """What a run waits for that only a person can give."""

    DEBUGGER = "debugger"
    INPUT = "input"


@frozen
class LoadSample:
    """Load as last seen: `cpu` in percent of the host, memory in bytes."""

    at: float
    cpu: float
    memory_used: int
    memory_total: int


class LossCause(StrEnum):
    """What is known of why a kernel (or another watched process) went away in mid-run."""

    OUT_OF_MEMORY = "out of memory"
    SIGNAL = "signal"
    EXIT = "exit"
    SHUTDOWN = "shutdown"
    REBOOT = "reboot"
    UNKNOWN = "unknown"


@frozen
class RunLoss:
    """Why a run was lost, as far as it can be known.

    Parameters
    ----------
    cause
        The most telling thing known.
    signal
        ``SIGKILL`` and the like, where the process's exit status could be read.
    code
        Its exit code, likewise.
    oom_kills
        By how much the cgroup's (or else the host's) ``oom_kill`` count rose during the run.
    found_later
        True when nobody watched the end: a later start found the run open, its process gone.
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
        How long it ran; for a loss found later, until it was last seen.
    ended
        Unix seconds.
    failure, loss
        Set for `Outcome.FAILED` and `Outcome.LOST`.
    command
        The first shell command in a finished run that did not exit with 0.
    shown, tail
        What ``--show`` and ``--tail`` asked for.
    values_left_out
        How many more values there were than `shown` holds.
    cpu
        The host's CPU over the run in percent, evenly spaced, oldest first; empty if not measured.
    vitals
        Load as last seen before the end.
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
        """Whether the run's options ask for this alert. A failed shell command counts as both a finish and an error."""
        finished = self.outcome is Outcome.FINISHED
        wants = self.run.options.wants_alert
        return wants(finished, self.seconds) or (finished and self.command is not None and wants(False, self.seconds))


AlertEvent = RunResult | AlarmChanged | InstanceNotice | FunctionFailed | CustomNotification | Plain
