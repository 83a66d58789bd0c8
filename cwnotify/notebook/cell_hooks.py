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

from cwnotify.console import warn, warn_once
from cwnotify.notebook.executions import Execution, current_execution, find_silent_cell_info, is_run_by_magic
from cwnotify.notebook.ipython_patches import IPythonPatches
from cwnotify.runs import input_detection

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from cwnotify.alerts.events.runs import Outcome, RunResult
    from cwnotify.notebook.arguments import MagicArguments
    from cwnotify.runs.recorder import Recording

HEADER_PATTERN = re.compile(r"%%notify_on_finish(?![\w?])(?!.*\?\s*$)[ \t]*(.*)")
_FUTURE = re.compile(r"from\s+__future__\s+import\b")
# Cells of one Run All follow each other at once, cells that a person starts do not.
MAX_RUN_ALL_GAP = 1.0
NO_WEBHOOK_CELL_WARNING = (
    "no Slack webhook is configured, so alerts are shown here and not sent; "
    "run `%cwnotify login`, or set CWNOTIFY_WEBHOOK_URL before the kernel starts"
)


def find_header_arguments(cell: str) -> str | None:
    """The words after ``%%notify_on_finish`` on a cell's first line; None for another cell."""
    found = HEADER_PATTERN.match(cell.lstrip())
    return found[1].strip() if found else None


def transform(lines: list[str]) -> list[str]:
    """Turn the header line into the call that arms the run; pure, for IPython calls it several times a cell."""
    found = HEADER_PATTERN.match(lines[0]) if lines else None
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


def is_hook_registered(shell: InteractiveShell, event: str, hook: Callable[..., None]) -> bool:
    """Whether IPython still calls `hook`; a cell may have cleared all hooks."""
    return hook in shell.events.callbacks.get(event, ())


def unregister_hook(shell: InteractiveShell, event: str, hook: Callable[..., None]) -> None:
    """Take `hook` away, if it is still there."""
    if is_hook_registered(shell, event, hook):
        shell.events.unregister(event, hook)


def _begins_with_future(lines: list[str]) -> bool:
    """Whether the body's first statement is a ``from __future__`` import, a docstring before it allowed for."""
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return bool(code) and (
        bool(_FUTURE.match(code[0])) or (code[0].lstrip()[:1] in "\"'" and any(map(_FUTURE.match, code)))
    )


class CellHooks:
    """The hooks of one shell.

    Parameters
    ----------
    overrides
        Gives what ``%config CWNotify`` sets.
    """

    def __init__(self, shell: InteractiveShell, overrides: Callable[[], dict[str, str]]) -> None:
        self.notify_all_arguments: MagicArguments | None = None
        self._shell = shell
        self._overrides = overrides
        self._running = threading.local()
        self._leaves = False
        self._hooks = IPythonPatches(shell)
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
        input_detection.add_wait_listener(self, kernel, debuggers=kernel is None)

    def detach(self) -> None:
        """Leave no hook behind."""
        if transform in self._shell.input_transformers_cleanup:
            self._shell.input_transformers_cleanup.remove(transform)
        for event, hook in self._events[:2]:
            unregister_hook(self._shell, event, hook)
        # At once, before another instance of us wraps them too.
        self._hooks.detach()
        input_detection.remove_wait_listener(self)
        self._leaves = True
        self._leave()

    def _leave(self) -> None:
        # The cell that unloads us, or loads us anew, may be registered: its end is still told.
        if self._leaves and not self._frames():
            for event, hook in self._events[2:]:
                unregister_hook(self._shell, event, hook)

    def register_current_cell(self, line: str) -> None:
        """The header was executed: the cell that runs now is registered."""
        frames = self._frames()
        try:
            if not is_hook_registered(self._shell, "post_run_cell", self._after):
                warn(
                    "this will not reach Slack, for IPython's hooks are gone, and ours with them: %reload_ext cwnotify"
                )
            elif frames and not frames[-1].recording:
                self.start_recording(self.parse_header_arguments(line), frames[-1])
        except Exception as error:
            # Not even our own modules could be read, as where no descriptor is left. The cell runs all the same.
            warn(f"this will not reach Slack, for it could not be registered: {type(error).__name__}")

    def parse_header_arguments(self, line: str) -> MagicArguments:
        """Read a header; what cannot be understood in it is shown and ignored."""
        from cwnotify.notebook.arguments import parse_cell_arguments

        asked = parse_cell_arguments(line)
        warn_ignored_options(asked)
        return asked

    def start_recording(self, asked: MagicArguments, frame: Execution) -> None:
        """Begin to record what `frame` runs; if that fails, say so on the screen."""
        try:
            recording = self._record(asked)
            # Before it begins: an interrupt in there finds a run to end.
            frame.recording = recording
            recording.begin()
            if recording.run.options.tail:
                from cwnotify.runs.output_tail import OutputTail

                frame.tail = OutputTail(recording.run.options.tail)
                frame.tail.start()
        except Exception as error:
            warn(f"this may not reach Slack, for it could not be registered: {type(error).__name__}")

    def begin_statement(self, asked: MagicArguments) -> Execution:
        """Begin to record a statement inside the current cell."""
        frame = Execution(parent=current_execution())
        self.start_recording(asked, frame)
        frame.enter()
        return frame

    def end_statement(self, frame: Execution, error: BaseException | None, names: dict[str, Any] | None = None) -> None:
        """Report how a statement ended; what went wrong in it went wrong in its cell."""
        frame.leave()
        frame.propagate_failure(None)
        self.finish_recording(frame, error, names)

    def _record(self, asked: MagicArguments) -> Recording:
        # What its end needs is loaded by now: the cell may leave us no descriptor to read a file with, or no file.
        from cwnotify.alerts.events.runs import RunKind
        from cwnotify.notebook import show_option  # noqa: F401
        from cwnotify.runs import exceptions  # noqa: F401
        from cwnotify.runs.recorder import Recording, locate_run

        # VS Code names the notebook in the namespace, Jupyter's server in the environment.
        path = self._shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
        frames = self._frames()
        place = locate_run(path if isinstance(path, str) else "", frames[0].cell_number if frames else None)
        recording = Recording(asked.name, RunKind.CELL, place, asked.options, self._overrides())
        if recording.webhook is None and asked is not self.notify_all_arguments:
            warn_once(NO_WEBHOOK_CELL_WARNING)
        return recording

    def finish_recording(
        self, frame: Execution, error: BaseException | None, names: dict[str, Any] | None = None
    ) -> None:
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
        from cwnotify.notebook.show_option import evaluate_expressions
        from cwnotify.runs.exceptions import describe_exception

        recording.stop_timer()
        error = error or frame.swallowed_error
        outcome = _outcome(frame, error)
        if recording.run.options.together:
            self._group, self._group_quiet_since = recording, 0.0
        try:
            failure = (
                describe_exception(error, recording.run.place.cell) if error and outcome is Outcome.FAILED else None
            )
            shown = evaluate_expressions(recording.run.options.show, self._shell, names)
            hold = hasattr(self._shell, "kernel")
            left_out = len(recording.run.options.show) - len(shown)
            details: dict[str, Any] = {
                "shown": shown,
                "left_out": left_out,
                "tail": tail,
                "command": frame.failed_command,
            }
            ended = recording.report_end(outcome, failure, hold=hold, **details)
            if recording.webhook is None:
                _preview(ended)
        except BaseException as trouble:
            # An impatient interrupt, or a fault of ours: the outcome is known and is told all the same.
            warn(f"the alert tells the outcome only, for its details could not be had: {type(trouble).__name__}")
            try:
                recording.report_end(outcome)
            except Exception as error:
                warn(f"this may not reach Slack: {type(error).__name__}")

    # Waiting for a person

    def report_waiting(self, wait: str, in_notebook: bool) -> None:
        """Code asks a person: report it for the run that the code belongs to, or else for the newest."""
        if recording := _recording_here():
            recording.report_waiting(wait, in_notebook)

    def report_resumed(self) -> None:
        """The person answered."""
        if recording := _recording_here():
            recording.report_resumed()

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
            self._hooks.reapply_display_patches()
        frame = self._push(info, self._number(info))
        if self._group is not None and len(frames) == 1:
            self._continue_group(frame)
        line = find_header_arguments(info.raw_cell)
        if line is not None and _begins_with_future(info.raw_cell.lstrip().splitlines()[1:]):
            self.register_current_cell(line)
        elif line is None and self.notify_all_arguments is not None and len(frames) == 1:
            self.start_recording(self.notify_all_arguments, frame)

    def _before_silent(self) -> None:
        """Follow a cell of a notebook or an IPython script that ``%run`` runs: for these, IPython calls only this."""
        caller = sys._getframe(1)
        info = find_silent_cell_info(caller)
        if info is None or not is_run_by_magic(caller, self._shell.user_ns):
            return
        self._push(info, None)
        line = find_header_arguments(info.raw_cell)
        if line is not None and _begins_with_future(info.raw_cell.lstrip().splitlines()[1:]):
            self.register_current_cell(line)

    def _after_silent(self) -> None:
        frames = self._frames()
        if frames and frames[-1].info is not None and frames[-1].info.silent:
            result = self._shell.last_execution_result
            if result is not None and result.info is frames[-1].info:
                self._after(result)

    def _push(self, info: Any, number: int | None) -> Execution:
        frames = self._frames()
        frame = Execution(info, number, (current_execution() or frames[-1]) if frames else None)
        frames.append(frame)
        frame.enter()
        return frame

    def _after(self, result: Any) -> None:
        frame, inner = self._pop(result)
        self._leave()
        if frame is None:
            return
        error = _error_of(result, frame)
        for one in reversed(inner):
            # They never ended: what broke this cell broke them.
            one.leave()
            self.finish_recording(one, error)
        frame.leave()
        line = find_header_arguments(frame.info.raw_cell)
        if frame.recording is None and line is not None and error is not None:
            # A syntax error kept even the header from running.
            self._frames().append(frame)
            self.register_current_cell(line)
            self._frames().pop()
        went_wrong = error or frame.swallowed_error or frame.failed_command
        if frame.parent is not None and went_wrong and is_run_by_magic(sys._getframe(1), self._shell.user_ns):
            frame.propagate_failure(error)
        self.finish_recording(frame, error)
        if frame.is_delaying_group_alert and self._group is not None:
            self._group.report_busy(False)
            self._group_quiet_since = self._group.seconds_since_end()

    def _continue_group(self, frame: Execution) -> None:
        """A cell right after one with ``--together`` may belong to the same Run All: its alert waits for this cell."""
        assert self._group is not None
        if self._group.seconds_since_end() - self._group_quiet_since < MAX_RUN_ALL_GAP:
            frame.is_delaying_group_alert = True
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
    return error or frame.swallowed_error or frame.display_error


def _outcome(frame: Execution, error: BaseException | None) -> Outcome:
    """Return how it ended. A shell command that the user interrupted was what the cell did."""
    from cwnotify.alerts.events.runs import Outcome
    from cwnotify.runs.outcome import determine_outcome

    return Outcome.INTERRUPTED if error is None and frame.was_command_interrupted else determine_outcome(error)


def _recording_here() -> Recording | None:
    """Return the recording that the calling code belongs to; for a thread that belongs to none, the newest one."""
    execution = current_execution()
    if execution is not None:
        return execution.enclosing_recording()
    # A thread without a context. Without a registered cell this module is not imported.
    recording = sys.modules.get("cwnotify.runs.recorder")
    found: Recording | None = recording.current() if recording else None
    return found


def warn_ignored_options(asked: MagicArguments) -> None:
    """Show what of the options was ignored."""
    if asked.problems:
        warn("\n".join((*asked.problems, "This cell runs and is reported all the same, without these options.")))


def _preview(ended: RunResult) -> None:
    """With nowhere to send it, show what Slack would say."""
    from cwnotify.alerts.locale import to_plain_text
    from cwnotify.alerts.messages.run import run_headline

    if ended.is_alert_wanted:
        print(f"cwnotify, not sent: {to_plain_text(run_headline(ended))}")
