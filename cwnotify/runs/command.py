"""Run a command and report how it ended, for ``cwnotify run``.

Imports the standard library, `alerts`, `console`, `host.exit_cause`, other modules of `runs`, and `sidecar.client`.
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

# How long to wait until the alert is on disk.
RUN_STORE_TIMEOUT = 10.0  # seconds


def run_program(command: Sequence[str], name: str, options: Mapping[str, Any]) -> int:
    """Run `command`, report how it ended, and return the code for `exit_like_command`.

    The command runs as it would without cwnotify. Only its parent process differs.

    Parameters
    ----------
    command
        The program and its arguments.
    name
        The run's name in the alert. If empty, the command itself.
    options
        Fields of `RunOptions` that the user gave. With ``tail``, the output passes through a pipe.

    Returns
    -------
    int
        The program's exit code; -n if signal n ended it; 127 or 126 if it could not be started.
    """
    closed, signals = reserve_standard_streams(), InheritedSignals()
    recording = _register(name or shorten_derived_name(" ".join(command)), options)
    tail = OutputTail(recording.run.options.tail) if recording and recording.run.options.tail else None
    tee = OutputTee(tail, closed) if tail else None
    try:
        child = DeferredChild(command, signals, tee.child_streams if tee else {})
    except OSError as error:
        return _report_not_started(command, recording, error)
    probe = GroupSignalProbe(signals.forwarded, child.pid)
    if recording:
        recording.begin()
    if tee:
        tee.start()
    count_oom_kills = create_oom_kill_counter(child.pid)
    earlier_oom_kills = count_oom_kills()
    child.start_command()
    status = os.waitstatus_to_exitcode(wait_and_forward_signals(child.pid, signals.forwarded, probe))
    if recording:
        recording.stop_timer()
    probe.stop()
    if tee:
        tee.finish()
    if exec_error := child.read_exec_error():
        return _report_not_started(command, recording, exec_error)
    if recording:
        outcome, failure, loss = _classify_exit(status, count_oom_kills() - earlier_oom_kills)
        recording.report_end(outcome, failure, loss, tail=_get_last_lines(tail, tee))
        recording.wait_until_stored(RUN_STORE_TIMEOUT)
    if tee:
        tee.hand_over(signals.forwarded, signals.original_mask)
    return status


def exit_like_command(code: int) -> NoReturn:
    """End this process as the command ended, by the same signal if any. Otherwise Ctrl-C does not stop a shell loop."""
    if code < 0:
        get_sidecar_client().close()
        # The command has written its core file already; see `sidecar.__main__` for the limit.
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (min(hard, 1) if hard >= 0 else 1, hard))
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
    # The first process of a container survives its own signals.
    sys.exit(code if code >= 0 else 128 - code)


def _register(name: str, options: Mapping[str, Any]) -> Recording | None:
    try:
        recording = Recording(name, RunKind.COMMAND, locate_run(), options)
    except Exception as error:
        warn(f"this run could not be registered: {type(error).__name__}")
        return None
    if recording.webhook is None:
        warn_once(NO_WEBHOOK_WARNING)
    return recording


def _report_not_started(command: Sequence[str], recording: Recording | None, error: OSError) -> int:
    warn(f"{command[0]}: {error.strerror}{_suggest_name_option(command)}")
    if recording:
        recording.report_end(Outcome.FAILED, RunFailure("could not be started", f"{command[0]}: {error.strerror}"))
        recording.wait_until_stored(RUN_STORE_TIMEOUT)
    return 127 if isinstance(error, FileNotFoundError) else 126


def _get_last_lines(tail: OutputTail | None, tee: OutputTee | None) -> str:
    text = tail.stop() if tail else ""
    if tee and tee.write_error:
        return f"{text}\n(not all of it could be written: {tee.write_error.strerror})".lstrip()
    return text


def _suggest_name_option(command: Sequence[str]) -> str:
    """Return what to type if the missing program was meant as the run's name: ``cwnotify run NAME -- COMMAND``."""
    if "--" not in command[1:2]:
        return ""
    return f"; to name the run: cwnotify run --name {shlex.quote(command[0])} -- {shlex.join(command[2:])}"


def _classify_exit(status: int, oom_kills: int) -> tuple[Outcome, RunFailure | None, RunLoss | None]:
    if status == 0:
        return Outcome.FINISHED, None, None
    if status in (-signal.SIGINT, 128 + signal.SIGINT):
        return Outcome.INTERRUPTED, None, None
    if status < 0:
        return Outcome.LOST, None, infer_loss(-status, oom_kills, announced_exit=False)
    if status == 128 + signal.SIGKILL and oom_kills > 0:
        # A shell in between reports its child's signal in this way.
        return Outcome.LOST, None, RunLoss(LossCause.OUT_OF_MEMORY, "SIGKILL", oom_kills=oom_kills)
    return Outcome.FAILED, RunFailure(f"exit code {status}"), None
