"""Follows cells from their header to their end, without touching them. IPython's events and input transformers.

A cell that begins with ``%%notify_on_finish ARGS`` keeps its lines: a pure transformer turns the header alone into
a call that arms the run, and ``post_run_cell`` tells how it ended. So the result, the single traceback, ``await``
and ``inspect.getsource`` are IPython's own. No exception of ours reaches the cell.

``%load_ext cwnotify`` imports this module, so it imports nothing of ours before the first cell is registered.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.inputtransformer2 import cell_magic

from cwnotify.screen import say, say_once

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from cwnotify.alerts.events import RunEnded
    from cwnotify.notebook.arguments import Asked
    from cwnotify.recording import Recording
    from cwnotify.tail import Tail

HEADER = re.compile(r"%%notify_on_finish(?![\w?])(?!.*\?\s*$)[ \t]*(.*)")
_FUTURE = re.compile(r"from\s+__future__\s+import\b")
_SCRIPT = re.compile(r"\s*%run\s")
NO_WEBHOOK = (
    "no Slack webhook is set, so nobody will be told; what Slack would say appears here. "
    "To set one: %cwnotify login (or the variable CWNOTIFY_WEBHOOK_URL)"
)


def header_of(cell: str) -> str | None:
    """The words after ``%%notify_on_finish`` on a cell's first line; None for another cell."""
    found = HEADER.match(cell.lstrip())
    return found[1].strip() if found else None


def transform(lines: list[str]) -> list[str]:
    """Turn the header line into the call that arms the run; pure, for IPython calls it several times a cell."""
    found = HEADER.match(lines[0]) if lines else None
    if not found:
        return lines
    rest = lines[1:]
    if _begins_with_future(rest):
        # Only comments may stand before it: the run is armed before the cell instead.
        return ["\n", *rest]
    body = next((i for i, line in enumerate(rest) if line.strip()), None)
    if body is not None and rest[body].startswith("%%"):
        rest = [*rest[:body], *cell_magic(rest[body:])]
    return [f"get_ipython().run_line_magic('cwnotify', {'arm ' + found[1].strip()!r})\n", *rest]


# Without it, terminal IPython runs a cell whose header stands alone at the first Enter.
transform.has_side_effects = True  # type: ignore[attr-defined]


def is_registered(shell: InteractiveShell, event: str, hook: Callable[[Any], None]) -> bool:
    """Whether IPython still calls `hook`; a cell may have cleared all hooks."""
    return hook in shell.events.callbacks.get(event, ())


def unregister(shell: InteractiveShell, event: str, hook: Callable[[Any], None]) -> None:
    """Take `hook` away, if it is still there."""
    if is_registered(shell, event, hook):
        shell.events.unregister(event, hook)


def _begins_with_future(lines: list[str]) -> bool:
    """Whether the body's first statement is a ``from __future__`` import, a docstring before it allowed for."""
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return bool(code) and (
        bool(_FUTURE.match(code[0])) or (code[0].lstrip()[:1] in "\"'" and any(map(_FUTURE.match, code)))
    )


class _Frame:
    """One cell that runs, perhaps inside another."""

    def __init__(self, info: Any, number: int | None) -> None:
        self.info = info
        self.number = number
        self.last_error: BaseException | None = getattr(sys, "last_value", None)
        self.recording: Recording | None = None
        self.tail: Tail | None = None


class Cells:
    """The hooks of one shell.

    Parameters
    ----------
    overrides
        Gives what ``%config CWNotify`` sets.
    """

    def __init__(self, shell: InteractiveShell, overrides: Callable[[], dict[str, str]]) -> None:
        self.every: Asked | None = None
        self._shell = shell
        self._overrides = overrides
        self._running = threading.local()
        self._leaves = False

    def attach(self) -> None:
        """Begin to follow cells."""
        self._shell.input_transformers_cleanup.append(transform)
        self._shell.events.register("pre_run_cell", self._before)
        self._shell.events.register("post_run_cell", self._after)

    def detach(self) -> None:
        """Leave no hook behind."""
        if transform in self._shell.input_transformers_cleanup:
            self._shell.input_transformers_cleanup.remove(transform)
        unregister(self._shell, "pre_run_cell", self._before)
        self._leaves = True
        self._leave()

    def _leave(self) -> None:
        # The cell that unloads us, or loads us anew, may be registered: its end is still told.
        if self._leaves and not self._frames():
            unregister(self._shell, "post_run_cell", self._after)

    def arm(self, line: str) -> None:
        """The header was executed: the cell that runs now is registered."""
        frames = self._frames()
        try:
            if not is_registered(self._shell, "post_run_cell", self._after):
                say("this will not reach Slack, for IPython's hooks are gone, and ours with them: %reload_ext cwnotify")
            elif frames and not frames[-1].recording:
                self.begin(self.read(line), frames[-1])
        except Exception as error:
            # Not even our own modules could be read, as where no descriptor is left. The cell runs all the same.
            say(f"this will not reach Slack, for it could not be registered: {type(error).__name__}")

    def read(self, line: str) -> Asked:
        """Read a header; what cannot be understood in it is shown and ignored."""
        from cwnotify.notebook.arguments import read_cell

        asked = read_cell(line)
        complain(asked)
        return asked

    def begin(self, asked: Asked, frame: _Frame | None = None) -> Recording | None:
        """Begin to record something that runs here; None, and a word on the screen, where that fails."""
        recording = None
        try:
            recording = self._record(asked)
            if frame:
                # Before it begins: an interrupt in there finds a run to end.
                frame.recording = recording
            recording.begin()
            if frame and recording.run.options.tail:
                from cwnotify.tail import Tail

                frame.tail = Tail(recording.run.options.tail)
                frame.tail.start()
        except Exception as error:
            say(f"this may not reach Slack, for it could not be registered: {type(error).__name__}")
        return recording

    def _record(self, asked: Asked) -> Recording:
        # What its end needs is loaded by now: the cell may leave us no descriptor to read a file with, or no file.
        from cwnotify import failures  # noqa: F401
        from cwnotify.alerts.events import RunKind
        from cwnotify.notebook import show  # noqa: F401
        from cwnotify.recording import Recording, here

        # VS Code names the notebook in the namespace, Jupyter's server in the environment.
        path = self._shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
        frames = self._frames()
        place = here(path if isinstance(path, str) else "", frames[0].number if frames else None)
        recording = Recording(asked.name, RunKind.CELL, place, asked.options, self._overrides())
        if recording.webhook is None and asked is not self.every:
            say_once(NO_WEBHOOK)
        return recording

    def finish(self, recording: Recording | None, error: BaseException | None, tail: str = "") -> None:
        """Tell how a recorded run ended."""
        if recording is None:
            return
        from cwnotify.alerts.events import Outcome
        from cwnotify.failures import describe, outcome_of
        from cwnotify.notebook.show import evaluate

        recording.stop()
        outcome = outcome_of(error)
        try:
            cell = recording.run.place.cell
            failure = describe(error, cell) if error and outcome is Outcome.FAILED else None
            shown = evaluate(recording.run.options.show, self._shell)
            ended = recording.end(outcome, failure, shown=shown, tail=tail, hold=hasattr(self._shell, "kernel"))
            if recording.webhook is None:
                _preview(ended)
        except BaseException as trouble:
            # An impatient interrupt, or a fault of ours: the outcome is known and is told all the same.
            say(f"the alert tells the outcome only, for its details could not be had: {type(trouble).__name__}")
            try:
                recording.end(outcome)
            except Exception as error:
                say(f"this may not reach Slack: {type(error).__name__}")

    def _frames(self) -> list[_Frame]:
        frames: list[_Frame] | None = getattr(self._running, "frames", None)
        if frames is None:
            frames = self._running.frames = []
        return frames

    def _number(self, info: Any) -> int | None:
        """The N of In [N], before the cell is stored; on newer IPythons `execution_count` is one ahead by now."""
        history = self._shell.history_manager
        return len(history.input_hist_raw) if history and info.store_history else None

    def _before(self, info: Any) -> None:
        frame = _Frame(info, self._number(info))
        frames = self._frames()
        frames.append(frame)
        line = header_of(info.raw_cell)
        if line is not None and _begins_with_future(info.raw_cell.lstrip().splitlines()[1:]):
            self.arm(line)
        elif line is None and self.every is not None and len(frames) == 1:
            self.begin(self.every, frame)

    def _after(self, result: Any) -> None:
        frame = self._pop(result)
        self._leave()
        if frame is None:
            return
        tail = frame.tail.stop() if frame.tail else ""
        error = _error_of(result, frame, self._shell)
        line = header_of(frame.info.raw_cell)
        if frame.recording is None and line is not None and error is not None:
            # A syntax error kept even the header from running.
            self._frames().append(frame)
            self.arm(line)
            self._frames().pop()
        self.finish(frame.recording, error, tail)

    def _pop(self, result: Any) -> _Frame | None:
        """The frame of the cell that ended; cells inside it that never ended go with it."""
        frames = self._frames()
        if not frames:
            return None
        if result is None:
            # ipykernel's way of saying that a cell which awaits was cancelled.
            return frames.pop()
        for index in range(len(frames) - 1, -1, -1):
            if frames[index].info is result.info:
                frame = frames[index]
                del frames[index:]
                return frame
        # IPython makes a new info for a cell that broke its runner.
        return frames.pop() if frames[-1].info.raw_cell == result.info.raw_cell else None


def _error_of(result: Any, frame: _Frame, shell: InteractiveShell) -> BaseException | None:
    """What the cell raised, also where a magic beneath the header swallowed it."""
    if result is None:
        return sys.exc_info()[1]
    error: BaseException | None = result.error_before_exec or result.error_in_exec
    if error is not None:
        return error
    last: BaseException | None = getattr(sys, "last_value", None)
    shown = last is not None and last is not frame.last_error
    lines = [line for line in frame.info.raw_cell.splitlines() if line.strip()]
    under_magic = any(line.startswith("%%") and not HEADER.match(line) for line in lines[:2])
    # A script's error is shown, and the cell goes on.
    under_magic = under_magic or any(map(_SCRIPT.match, lines))
    broken_display = getattr(shell, "_last_traceback_during_displayhook", False)
    return last if shown and (under_magic or broken_display) else None


def complain(asked: Asked) -> None:
    """Show what of the options was ignored."""
    if asked.problems:
        say("\n".join((*asked.problems, "This cell runs and is reported all the same, without these options.")))


def _preview(ended: RunEnded) -> None:
    """With nowhere to send it, show what Slack would say."""
    from cwnotify.alerts.events import Outcome
    from cwnotify.alerts.runs import sentence
    from cwnotify.alerts.words import plain

    if ended.run.options.wants(ended.outcome is Outcome.FINISHED, ended.seconds):
        print(f"cwnotify, not sent: {plain(sentence(ended))}")
