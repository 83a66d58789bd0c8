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

from cwnotify.alerts.events.runs import Failure, Loss, LossCause, Outcome, RunKind
from cwnotify.alerts.redaction.aws_events import short_name
from cwnotify.console import say, say_once
from cwnotify.host.exit_cause import judge, oom_counter
from cwnotify.runs.child_process import Child, Signals, fill_standard
from cwnotify.runs.notify import NO_WEBHOOK
from cwnotify.runs.output_tail import Tail
from cwnotify.runs.recorder import Recording, here
from cwnotify.runs.signal_forwarding import Witness, wait_for
from cwnotify.runs.stream_copy import Copies
from cwnotify.sidecar.client import shared

# How long it waits until the alert is on disk, in seconds.
STORE_TIMEOUT = 10.0


def run_program(command: Sequence[str], name: str, asked: Mapping[str, Any]) -> int:
    """Run `command`, report how it ended, and return how to `leave`.

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
    closed, signals = fill_standard(), Signals()
    recording = _register(name or short_name(" ".join(command)), asked)
    tail = Tail(recording.run.options.tail) if recording and recording.run.options.tail else None
    copies = Copies(tail, closed) if tail else None
    try:
        child = Child(command, signals, copies.streams if copies else {})
    except OSError as error:
        return _not_started(command, recording, error)
    witness = Witness(signals.passed, child.pid)
    if recording:
        recording.begin()
    if copies:
        copies.begin()
    oom_count = oom_counter(child.pid)
    before = oom_count()
    child.begin()
    status = os.waitstatus_to_exitcode(wait_for(child.pid, signals.passed, witness))
    if recording:
        recording.stop()
    witness.end()
    if copies:
        copies.end()
    if trouble := child.trouble():
        return _not_started(command, recording, trouble)
    if recording:
        outcome, failure, loss = _verdict(status, oom_count() - before)
        recording.end(outcome, failure, loss, tail=_last_lines(tail, copies))
        recording.wait(STORE_TIMEOUT)
    if copies:
        copies.hand_over(signals.passed, signals.mask)
    return status


def leave(code: int) -> NoReturn:
    """End this process as the command ended, also by the same signal: a shell's loop stops at an interrupt only so."""
    if code < 0:
        shared().close()
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
        recording = Recording(name, RunKind.COMMAND, here(), asked)
    except Exception as error:
        say(f"this run could not be registered: {type(error).__name__}")
        return None
    if recording.webhook is None:
        say_once(NO_WEBHOOK)
    return recording


def _not_started(command: Sequence[str], recording: Recording | None, error: OSError) -> int:
    say(f"{command[0]}: {error.strerror}{_meant_as_name(command)}")
    if recording:
        recording.end(Outcome.FAILED, Failure("could not be started", f"{command[0]}: {error.strerror}"))
        recording.wait(STORE_TIMEOUT)
    return 127 if isinstance(error, FileNotFoundError) else 126


def _last_lines(tail: Tail | None, copies: Copies | None) -> str:
    text = tail.stop() if tail else ""
    if copies and copies.error:
        return f"{text}\n(not all of it could be written: {copies.error.strerror})".lstrip()
    return text


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
