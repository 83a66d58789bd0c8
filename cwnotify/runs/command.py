"""`run_program`: a whole command as a run, for ``cwnotify run``.

Standard library, `alerts`, `child`, `copying`, `forwarding`, `programs`, `recording`, `screen`, `tail` and the
sidecar's link and postmortem only.
"""

from __future__ import annotations

import os
import resource
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from cwnotify.alerts.events.runs import LossCause, Outcome, RunFailure, RunKind, RunLoss
from cwnotify.alerts.redaction.aws_events import shorten_derived_name
from cwnotify.console import warn, warn_once
from cwnotify.host.exit_cause import create_oom_kill_counter, infer_loss
from cwnotify.runs.child_process import DeferredChild, InheritedSignals, reserve_standard_streams
from cwnotify.runs.notify import NO_WEBHOOK_WARNING
from cwnotify.runs.output_tail import OutputTail
from cwnotify.runs.recorder import Recording, locate_run
from cwnotify.runs.signal_forwarding import GroupSignalProbe, wait_and_forward_signals
from cwnotify.runs.stream_copy import OutputTee
from cwnotify.sidecar.client import get_sidecar_client

# How long it waits until the alert is on disk, in seconds.
RUN_STORE_TIMEOUT = 10.0


def run_program(command: Sequence[str], name: str, asked: Mapping[str, Any]) -> int:
    """Run `command`, report how it ended, and return how to `exit_like_command`.

    Nothing but its parent tells the command that it does not run in our place.

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
        The program's own exit code; -n if signal n ended it; 127 or 126 if it could not be started.
    """
    closed, signals = reserve_standard_streams(), InheritedSignals()
    recording = _register(name or shorten_derived_name(" ".join(command)), asked)
    tail = OutputTail(recording.run.options.tail) if recording and recording.run.options.tail else None
    copies = OutputTee(tail, closed) if tail else None
    try:
        child = DeferredChild(command, signals, copies.child_streams if copies else {})
    except OSError as error:
        return _not_started(command, recording, error)
    witness = GroupSignalProbe(signals.forwarded, child.pid)
    if recording:
        recording.begin()
    if copies:
        copies.start()
    oom_count = create_oom_kill_counter(child.pid)
    before = oom_count()
    child.start_command()
    status = os.waitstatus_to_exitcode(wait_and_forward_signals(child.pid, signals.forwarded, witness))
    if recording:
        recording.stop_timer()
    witness.stop()
    if copies:
        copies.finish()
    if trouble := child.read_exec_error():
        return _not_started(command, recording, trouble)
    if recording:
        outcome, failure, loss = _verdict(status, oom_count() - before)
        recording.report_end(outcome, failure, loss, tail=_last_lines(tail, copies))
        recording.wait_until_stored(RUN_STORE_TIMEOUT)
    if copies:
        copies.hand_over(signals.forwarded, signals.original_mask)
    return status


def exit_like_command(code: int) -> NoReturn:
    """End this process as the command ended, also by the same signal: a shell's loop stops at an interrupt only so."""
    if code < 0:
        get_sidecar_client().close()
        # The command has left the core file that there is to leave; see `sidecar.__main__` for the limit.
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (min(hard, 1) if hard >= 0 else 1, hard))
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
    # A container's first process survives its own signals.
    sys.exit(code if code >= 0 else 128 - code)


def _register(name: str, asked: Mapping[str, Any]) -> Recording | None:
    try:
        recording = Recording(name, RunKind.COMMAND, locate_run(), asked)
    except Exception as error:
        warn(f"this run could not be registered: {type(error).__name__}")
        return None
    if recording.webhook is None:
        warn_once(NO_WEBHOOK_WARNING)
    return recording


def _not_started(command: Sequence[str], recording: Recording | None, error: OSError) -> int:
    warn(f"{command[0]}: {error.strerror}{_meant_as_name(command)}")
    if recording:
        recording.report_end(Outcome.FAILED, RunFailure("could not be started", f"{command[0]}: {error.strerror}"))
        recording.wait_until_stored(RUN_STORE_TIMEOUT)
    return 127 if isinstance(error, FileNotFoundError) else 126


def _last_lines(tail: OutputTail | None, copies: OutputTee | None) -> str:
    text = tail.stop() if tail else ""
    if copies and copies.write_error:
        return f"{text}\n(not all of it could be written: {copies.write_error.strerror})".lstrip()
    return text


def _meant_as_name(command: Sequence[str]) -> str:
    """What to type, if the program that does not exist was to be the run's name."""
    if "--" not in command[1:2]:
        return ""
    return f"; to call the run so: cwnotify run --name {shlex.quote(command[0])} -- {shlex.join(command[2:])}"


def _verdict(status: int, oom_kills: int) -> tuple[Outcome, RunFailure | None, RunLoss | None]:
    if status == 0:
        return Outcome.FINISHED, None, None
    if status in (-signal.SIGINT, 128 + signal.SIGINT):
        return Outcome.INTERRUPTED, None, None
    if status < 0:
        return Outcome.LOST, None, infer_loss(-status, oom_kills, announced_exit=False)
    if status == 128 + signal.SIGKILL and oom_kills > 0:
        # A shell in between reports its child's signal so.
        return Outcome.LOST, None, RunLoss(LossCause.OUT_OF_MEMORY, "SIGKILL", oom_kills=oom_kills)
    return Outcome.FAILED, RunFailure(f"exit code {status}"), None
