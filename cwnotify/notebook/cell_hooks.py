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

from cwnotify.console import say, say_once
from cwnotify.notebook.executions import Execution, current, is_run_by_magic, silent_info
from cwnotify.notebook.ipython_patches import Hooks
from cwnotify.runs import input_detection

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from cwnotify.alerts.events.runs import Outcome, RunEnded
    from cwnotify.notebook.arguments import Asked
    from cwnotify.runs.recorder import Recording

HEADER = re.compile(r"%%notify_on_finish(?![\w?])(?!.*\?\s*$)[ \t]*(.*)")
_FUTURE = re.compile(r"from\s+__future__\s+import\b")
# Cells of one Run All follow each other at once, cells that a person starts do not.
RUN_ALL_GAP = 1.0
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


def is_registered(shell: InteractiveShell, event: str, hook: Callable[..., None]) -> bool:
    """Whether IPython still calls `hook`; a cell may have cleared all hooks."""
    return hook in shell.events.callbacks.get(event, ())


def unregister(shell: InteractiveShell, event: str, hook: Callable[..., None]) -> None:
    """Take `hook` away, if it is still there."""
    if is_registered(shell, event, hook):
        shell.events.unregister(event, hook)


def _begins_with_future(lines: list[str]) -> bool:
    """Whether the body's first statement is a ``from __future__`` import, a docstring before it allowed for."""
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return bool(code) and (
        bool(_FUTURE.match(code[0])) or (code[0].lstrip()[:1] in "\"'" and any(map(_FUTURE.match, code)))
    )


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
        self._hooks = Hooks(shell)
        self._events: tuple[tuple[str, Callable[..., None]], ...] = (
            ("pre_execute", self._before_silent),
            ("pre_run_cell", self._before),
            ("post_execute", self._after_silent),
            ("post_run_cell", self._after),
        )
        self._group_quiet_since = 0.0
        # The last run that ended with `--together`; its alert is held while the cells of its Run All go on.
        self._group: Recording | None = None

    def attach(self) -> None:
        """Begin to follow cells."""
        self._shell.input_transformers_cleanup.append(transform)
        for event, hook in self._events:
            self._shell.events.register(event, hook)
        self._hooks.attach()
        kernel = getattr(self._shell, "kernel", None)
        input_detection.watch(self, kernel, debuggers=kernel is None)

    def detach(self) -> None:
        """Leave no hook behind."""
        if transform in self._shell.input_transformers_cleanup:
            self._shell.input_transformers_cleanup.remove(transform)
        for event, hook in self._events[:2]:
            unregister(self._shell, event, hook)
        # At once, before another instance of us wraps them too.
        self._hooks.detach()
        input_detection.unwatch(self)
        self._leaves = True
        self._leave()

    def _leave(self) -> None:
        # The cell that unloads us, or loads us anew, may be registered: its end is still told.
        if self._leaves and not self._frames():
            for event, hook in self._events[2:]:
                unregister(self._shell, event, hook)

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

    def begin(self, asked: Asked, frame: Execution) -> None:
        """Begin to record what `frame` runs; if that fails, say so on the screen."""
        try:
            recording = self._record(asked)
            # Before it begins: an interrupt in there finds a run to end.
            frame.recording = recording
            recording.begin()
            if recording.run.options.tail:
                from cwnotify.runs.output_tail import Tail

                frame.tail = Tail(recording.run.options.tail)
                frame.tail.start()
        except Exception as error:
            say(f"this may not reach Slack, for it could not be registered: {type(error).__name__}")

    def begin_statement(self, asked: Asked) -> Execution:
        """Begin to record a statement inside the current cell."""
        frame = Execution(parent=current())
        self.begin(asked, frame)
        frame.begin()
        return frame

    def end_statement(self, frame: Execution, error: BaseException | None, names: dict[str, Any] | None = None) -> None:
        """Report how a statement ended; what went wrong in it went wrong in its cell."""
        frame.end()
        frame.pass_on(None)
        self.finish(frame, error, names)

    def _record(self, asked: Asked) -> Recording:
        # What its end needs is loaded by now: the cell may leave us no descriptor to read a file with, or no file.
        from cwnotify.alerts.events.runs import RunKind
        from cwnotify.notebook import show_option  # noqa: F401
        from cwnotify.runs import exceptions  # noqa: F401
        from cwnotify.runs.recorder import Recording, here

        # VS Code names the notebook in the namespace, Jupyter's server in the environment.
        path = self._shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
        frames = self._frames()
        place = here(path if isinstance(path, str) else "", frames[0].number if frames else None)
        recording = Recording(asked.name, RunKind.CELL, place, asked.options, self._overrides())
        if recording.webhook is None and asked is not self.every:
            say_once(NO_WEBHOOK)
        return recording

    def finish(self, frame: Execution, error: BaseException | None, names: dict[str, Any] | None = None) -> None:
        """Report how a recorded execution ended.

        Parameters
        ----------
        error
            What it raised; without one, `frame` knows what a magic in it swallowed.
        names
            Local names that ``--show`` may use.
        """
        tail = frame.tail.stop() if frame.tail else ""
        recording = frame.recording
        if recording is None:
            return
        from cwnotify.alerts.events.runs import Outcome
        from cwnotify.notebook.show_option import evaluate
        from cwnotify.runs.exceptions import describe

        recording.stop()
        error = error or frame.error
        outcome = _outcome(frame, error)
        if recording.run.options.together:
            self._group, self._group_quiet_since = recording, 0.0
        try:
            failure = describe(error, recording.run.place.cell) if error and outcome is Outcome.FAILED else None
            shown = evaluate(recording.run.options.show, self._shell, names)
            hold = hasattr(self._shell, "kernel")
            left_out = len(recording.run.options.show) - len(shown)
            details: dict[str, Any] = {"shown": shown, "left_out": left_out, "tail": tail, "command": frame.command}
            ended = recording.end(outcome, failure, hold=hold, **details)
            if recording.webhook is None:
                _preview(ended)
        except BaseException as trouble:
            # An impatient interrupt, or a fault of ours: the outcome is known and is told all the same.
            say(f"the alert tells the outcome only, for its details could not be had: {type(trouble).__name__}")
            try:
                recording.end(outcome)
            except Exception as error:
                say(f"this may not reach Slack: {type(error).__name__}")

    # Waiting for a person

    def waits(self, wait: str, in_notebook: bool) -> None:
        """Code asks a person: report it for the run that the code belongs to, or else for the newest."""
        if recording := _recording_here():
            recording.waits(wait, in_notebook)

    def resumes(self) -> None:
        """The person answered."""
        if recording := _recording_here():
            recording.resumes()

    def _frames(self) -> list[Execution]:
        frames: list[Execution] | None = getattr(self._running, "frames", None)
        if frames is None:
            frames = self._running.frames = []
        return frames

    def _number(self, info: Any) -> int | None:
        """The N of In [N], before the cell is stored; on newer IPythons `execution_count` is one ahead by now."""
        history = self._shell.history_manager
        return len(history.input_hist_raw) if history and info.store_history else None

    def _before(self, info: Any) -> None:
        frames = self._frames()
        if not frames:
            self._hooks.attach_again()
        frame = self._push(info, self._number(info))
        if self._group is not None and len(frames) == 1:
            self._continue_group(frame)
        line = header_of(info.raw_cell)
        if line is not None and _begins_with_future(info.raw_cell.lstrip().splitlines()[1:]):
            self.arm(line)
        elif line is None and self.every is not None and len(frames) == 1:
            self.begin(self.every, frame)

    def _before_silent(self) -> None:
        """Follow a cell of a notebook or an IPython script that ``%run`` runs: for these, IPython calls only this."""
        caller = sys._getframe(1)
        info = silent_info(caller)
        if info is None or not is_run_by_magic(caller, self._shell.user_ns):
            return
        self._push(info, None)
        line = header_of(info.raw_cell)
        if line is not None and _begins_with_future(info.raw_cell.lstrip().splitlines()[1:]):
            self.arm(line)

    def _after_silent(self) -> None:
        frames = self._frames()
        if frames and frames[-1].info is not None and frames[-1].info.silent:
            result = self._shell.last_execution_result
            if result is not None and result.info is frames[-1].info:
                self._after(result)

    def _push(self, info: Any, number: int | None) -> Execution:
        frames = self._frames()
        frame = Execution(info, number, (current() or frames[-1]) if frames else None)
        frames.append(frame)
        frame.begin()
        return frame

    def _after(self, result: Any) -> None:
        frame, inner = self._pop(result)
        self._leave()
        if frame is None:
            return
        error = _error_of(result, frame)
        for one in reversed(inner):
            # They never ended: what broke this cell broke them.
            one.end()
            self.finish(one, error)
        frame.end()
        line = header_of(frame.info.raw_cell)
        if frame.recording is None and line is not None and error is not None:
            # A syntax error kept even the header from running.
            self._frames().append(frame)
            self.arm(line)
            self._frames().pop()
        went_wrong = error or frame.error or frame.command
        if frame.parent is not None and went_wrong and is_run_by_magic(sys._getframe(1), self._shell.user_ns):
            frame.pass_on(error)
        self.finish(frame, error)
        if frame.holds_group and self._group is not None:
            self._group.report_busy(False)
            self._group_quiet_since = self._group.seconds_since_end()

    def _continue_group(self, frame: Execution) -> None:
        """A cell right after one with ``--together`` may belong to the same Run All: its alert waits for this cell."""
        assert self._group is not None
        if self._group.seconds_since_end() - self._group_quiet_since < RUN_ALL_GAP:
            frame.holds_group = True
            self._group.report_busy(True)
        else:
            self._group = None
            self._group_quiet_since = 0.0

    def _pop(self, result: Any) -> tuple[Execution | None, list[Execution]]:
        """Return the frame of the cell that ended, and the frames of cells inside it that never ended."""
        frames = self._frames()
        if not frames:
            return None, []
        if result is None:
            # ipykernel's way of saying that a cell which awaits was cancelled.
            return frames.pop(), []
        for index in range(len(frames) - 1, -1, -1):
            if frames[index].info is result.info:
                frame, inner = frames[index], frames[index + 1 :]
                del frames[index:]
                return frame, inner
        # IPython makes a new info for a cell that broke its runner.
        return (frames.pop() if frames[-1].info.raw_cell == result.info.raw_cell else None), []


def _error_of(result: Any, frame: Execution) -> BaseException | None:
    """Return what IPython displayed as the error of this cell, or stopped it with."""
    if result is None:
        return sys.exc_info()[1]
    error: BaseException | None = result.error_before_exec or result.error_in_exec
    return error or frame.error or frame.display_error


def _outcome(frame: Execution, error: BaseException | None) -> Outcome:
    """Return how it ended. A shell command that the user interrupted was what the cell did."""
    from cwnotify.alerts.events.runs import Outcome
    from cwnotify.runs.exceptions import outcome_of

    return Outcome.INTERRUPTED if error is None and frame.was_interrupted else outcome_of(error)


def _recording_here() -> Recording | None:
    """Return the recording that the calling code belongs to; for a thread that belongs to none, the newest one."""
    execution = current()
    if execution is not None:
        return execution.run_around()
    # A thread without a context. Without a registered cell this module is not imported.
    recording = sys.modules.get("cwnotify.runs.recorder")
    found: Recording | None = recording.current() if recording else None
    return found


def complain(asked: Asked) -> None:
    """Show what of the options was ignored."""
    if asked.problems:
        say("\n".join((*asked.problems, "This cell runs and is reported all the same, without these options.")))


def _preview(ended: RunEnded) -> None:
    """With nowhere to send it, show what Slack would say."""
    from cwnotify.alerts.locale import plain
    from cwnotify.alerts.messages.run import sentence

    if ended.is_wanted:
        print(f"cwnotify, not sent: {plain(sentence(ended))}")
