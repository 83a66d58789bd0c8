"""`run_program`: a whole command as a run, for ``cwnotify run``.

Standard library, `alerts`, `programs`, `recording`, `screen`, `tail` and the sidecar's postmortem only.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import IO, Any

from cwnotify.alerts.events import Failure, Loss, LossCause, Outcome, RunKind
from cwnotify.programs import _begin
from cwnotify.recording import Recording
from cwnotify.screen import say
from cwnotify.sidecar.postmortem import judge, oom_counter
from cwnotify.tail import Tail

# How long a container's first process waits for Slack before it ends and takes the sidecar along.
LAST_WORDS = 10.0


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
    recording = _begin(name or " ".join(command)[:80], RunKind.COMMAND, asked)
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
