"""Record cells from their header to their end, without changing them. Uses IPython's events and input transformers.

A cell that begins with ``%%notify_on_finish ARGS`` keeps its lines. A pure transformer turns only the header into a
call that registers the run, and ``post_run_cell`` reports how the run ended. The result, the traceback, ``await`` and
``inspect.getsource`` stay IPython's own, and no exception of ours reaches the cell.

``%load_ext cwnotify`` imports this module, so it imports almost nothing of ours until the first cell is registered.
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
# The line magic that a header is turned into. Users do not type it.
REGISTER_CELL_MAGIC = "_cwnotify_register_cell"
_FUTURE_IMPORT = re.compile(r"from\s+__future__\s+import\b")
# In seconds. The cells of a Run All follow each other faster than cells that a person starts.
MAX_RUN_ALL_GAP = 1.0
NO_WEBHOOK_CELL_WARNING = (
    "no Slack webhook is configured, so alerts are shown here and not sent; "
    "run `%cwnotify login`, or set CWNOTIFY_WEBHOOK_URL before the kernel starts"
)


def find_header_arguments(cell: str) -> str | None:
    """Return the text after ``%%notify_on_finish`` on a cell's first line; None if the cell has no such header."""
    match = HEADER_PATTERN.match(cell.lstrip())
    return match[1].strip() if match else None


def transform(lines: list[str]) -> list[str]:
    """Turn the header line into the call that registers the cell.

    This function is pure because IPython calls it several times for each cell.
    """
    match = HEADER_PATTERN.match(lines[0]) if lines else None
    if not match:
        return lines
    rest = lines[1:]
    if _starts_with_future_import(rest):
        # No code may precede such an import: `pre_run_cell` registers the cell instead.
        return ["\n", *rest]
    body = next((index for index, line in enumerate(rest) if line.strip()), None)
    if body is not None and rest[body].startswith("%%"):
        rest = [*rest[:body], *cell_magic(rest[body:])]
    return [f"get_ipython().run_line_magic('{REGISTER_CELL_MAGIC}', {match[1].strip()!r})\n", *rest]


# Without this, IPython in a terminal runs a cell at the first Enter after its header.
transform.has_side_effects = True  # type: ignore[attr-defined]


def is_hook_registered(shell: InteractiveShell, event: str, hook: Callable[..., None]) -> bool:
    """Return whether IPython still calls `hook`; a cell may have removed all hooks."""
    return hook in shell.events.callbacks.get(event, ())


def unregister_hook(shell: InteractiveShell, event: str, hook: Callable[..., None]) -> None:
    """Remove `hook` if it is still registered."""
    if is_hook_registered(shell, event, hook):
        shell.events.unregister(event, hook)


def _starts_with_future_import(lines: list[str]) -> bool:
    """Return whether the first statement, after an optional docstring, is a ``from __future__`` import."""
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return bool(code) and (
        bool(_FUTURE_IMPORT.match(code[0])) or (code[0].lstrip()[:1] in "\"'" and any(map(_FUTURE_IMPORT.match, code)))
    )


class CellHooks:
    """The hooks that record cells in one shell.

    Parameters
    ----------
    overrides
        Returns the settings from ``%config CWNotify``.
    """

    def __init__(self, shell: InteractiveShell, overrides: Callable[[], dict[str, str]]) -> None:
        self.notify_all_arguments: MagicArguments | None = None
        self._shell = shell
        self._overrides = overrides
        self._local = threading.local()
        self._is_detached = False
        self._patches = IPythonPatches(shell)
        self._hooks: tuple[tuple[str, Callable[..., None]], ...] = (
            ("pre_execute", self._handle_silent_start),
            ("pre_run_cell", self._handle_start),
            ("post_execute", self._handle_silent_end),
            ("post_run_cell", self._handle_end),
        )
        # The last run that ended with `--together`. The sidecar holds its alert while the Run All goes on.
        self._group: Recording | None = None
        # Seconds from the end of that run to the end of the last cell that may be in the same Run All.
        self._group_quiet_since = 0.0

    def attach(self) -> None:
        """Start to follow cells."""
        self._shell.input_transformers_cleanup.append(transform)
        for event, hook in self._hooks:
            self._shell.events.register(event, hook)
        self._patches.attach()
        kernel = getattr(self._shell, "kernel", None)
        input_detection.add_wait_listener(self, kernel, debuggers=kernel is None)

    def detach(self) -> None:
        """Remove every hook."""
        if transform in self._shell.input_transformers_cleanup:
            self._shell.input_transformers_cleanup.remove(transform)
        for event, hook in self._hooks[:2]:
            unregister_hook(self._shell, event, hook)
        # Detach now, before another instance wraps the same methods.
        self._patches.detach()
        input_detection.remove_wait_listener(self)
        self._is_detached = True
        self._remove_end_hooks()

    def _remove_end_hooks(self) -> None:
        # If the cell that unloads the extension is itself registered, its end must still be reported.
        if self._is_detached and not self._running_cells():
            for event, hook in self._hooks[2:]:
                unregister_hook(self._shell, event, hook)

    def register_current_cell(self, line: str) -> None:
        """Register the running cell. Its header calls this method."""
        cells = self._running_cells()
        try:
            if not is_hook_registered(self._shell, "post_run_cell", self._handle_end):
                warn("this will not reach Slack: a cell removed IPython's hooks. To restore them: %reload_ext cwnotify")
            elif cells and not cells[-1].recording:
                self.start_recording(self.parse_header_arguments(line), cells[-1])
        except Exception as error:
            # Our own modules may be unreadable, for example without free file descriptors. The cell runs anyway.
            warn(f"this will not reach Slack: the cell could not be registered ({type(error).__name__})")

    def parse_header_arguments(self, line: str) -> MagicArguments:
        """Parse a header. Warn about invalid options and ignore them."""
        from cwnotify.notebook.arguments import parse_cell_arguments

        arguments = parse_cell_arguments(line)
        warn_ignored_options(arguments)
        return arguments

    def start_recording(self, arguments: MagicArguments, execution: Execution) -> None:
        """Start to record `execution`; show a warning if that fails."""
        try:
            recording = self._create_recording(arguments)
            # Set before `begin`, so that an interrupt in it finds a run to end.
            execution.recording = recording
            recording.begin()
            if recording.run.options.tail:
                from cwnotify.runs.output_tail import OutputTail

                execution.tail = OutputTail(recording.run.options.tail)
                execution.tail.start()
        except Exception as error:
            warn(f"this may not reach Slack: the run could not be registered ({type(error).__name__})")

    def begin_statement(self, arguments: MagicArguments) -> Execution:
        """Start to record a statement inside the current cell."""
        execution = Execution(parent=current_execution())
        self.start_recording(arguments, execution)
        execution.enter()
        return execution

    def end_statement(
        self, execution: Execution, error: BaseException | None, names: dict[str, Any] | None = None
    ) -> None:
        """Report how a statement ended. Its failures also count as failures of its cell."""
        execution.leave()
        execution.propagate_failure(None)
        self.finish_recording(execution, error, names)

    def _create_recording(self, arguments: MagicArguments) -> Recording:
        # Import now what the end of the run needs, because the cell may use up all file descriptors.
        from cwnotify.alerts.events.runs import RunKind
        from cwnotify.notebook import show_option  # noqa: F401
        from cwnotify.runs import exceptions  # noqa: F401
        from cwnotify.runs.recorder import Recording, locate_run

        # VS Code stores the notebook's path in the namespace, Jupyter's server in the environment.
        path = self._shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
        cells = self._running_cells()
        place = locate_run(path if isinstance(path, str) else "", cells[0].cell_number if cells else None)
        recording = Recording(arguments.name, RunKind.CELL, place, arguments.options, self._overrides())
        if recording.webhook is None and arguments is not self.notify_all_arguments:
            warn_once(NO_WEBHOOK_CELL_WARNING)
        return recording

    def finish_recording(
        self, execution: Execution, error: BaseException | None, names: dict[str, Any] | None = None
    ) -> None:
        """Report how a recorded execution ended.

        Parameters
        ----------
        error
            What the execution raised. If None, `execution.swallowed_error` is used: an error that a magic caught.
        names
            Local names that ``--show`` may use.
        """
        tail = execution.tail.stop() if execution.tail else ""
        recording = execution.recording
        if recording is None:
            return
        recording.stop_timer()
        error = error or execution.swallowed_error
        outcome = _determine_outcome(execution, error)
        if recording.run.options.together:
            self._group, self._group_quiet_since = recording, 0.0
        try:
            self._report_end(execution, recording, outcome, error, tail, names)
        except BaseException as problem:
            # A second interrupt, or a bug of ours. The outcome is known and is still reported.
            warn(
                f"the alert only says how the run ended; its details could not be collected ({type(problem).__name__})"
            )
            try:
                recording.report_end(outcome)
            except Exception as failure:
                warn(f"this may not reach Slack: its end could not be reported ({type(failure).__name__})")

    def _report_end(
        self,
        execution: Execution,
        recording: Recording,
        outcome: Outcome,
        error: BaseException | None,
        tail: str,
        names: dict[str, Any] | None,
    ) -> None:
        from cwnotify.alerts.events.runs import Outcome
        from cwnotify.notebook.show_option import evaluate_expressions
        from cwnotify.runs.exceptions import describe_exception

        run = recording.run
        failure = describe_exception(error, run.place.cell) if error and outcome is Outcome.FAILED else None
        values = evaluate_expressions(run.options.show, self._shell, names)
        result = recording.report_end(
            outcome,
            failure,
            shown=values,
            left_out=len(run.options.show) - len(values),
            tail=tail,
            hold=hasattr(self._shell, "kernel"),
            command=execution.failed_command,
        )
        if recording.webhook is None:
            _print_unsent_alert(result)

    # Waiting for input. These two methods make this class an `input_detection.WaitListener`.

    def report_waiting(self, wait: str, in_notebook: bool) -> None:
        """Report that the run of the calling code waits for input."""
        if recording := _find_current_recording():
            recording.report_waiting(wait, in_notebook)

    def report_resumed(self) -> None:
        """Report that the input arrived."""
        if recording := _find_current_recording():
            recording.report_resumed()

    # IPython's events

    def _running_cells(self) -> list[Execution]:
        """Return this thread's stack of running cells, the innermost last."""
        cells: list[Execution] | None = getattr(self._local, "cells", None)
        if cells is None:
            cells = self._local.cells = []
        return cells

    def _cell_number(self, info: Any) -> int | None:
        """Return the N of In [N] before IPython stores the cell.

        Newer IPython versions increase `execution_count` earlier than older ones.
        """
        history = self._shell.history_manager
        return len(history.input_hist_raw) if history and info.store_history else None

    def _handle_start(self, info: Any) -> None:
        cells = self._running_cells()
        if not cells:
            self._patches.reapply_display_patches()
        cell = self._push(info, self._cell_number(info))
        if self._group is not None and len(cells) == 1:
            self._continue_group(cell)
        line = find_header_arguments(info.raw_cell)
        if line is not None and _starts_with_future_import(info.raw_cell.lstrip().splitlines()[1:]):
            self.register_current_cell(line)
        elif line is None and self.notify_all_arguments is not None and len(cells) == 1:
            self.start_recording(self.notify_all_arguments, cell)

    def _handle_silent_start(self) -> None:
        """Follow a cell of a notebook or IPython script that ``%run`` runs; IPython sends only this event for it."""
        caller = sys._getframe(1)
        info = find_silent_cell_info(caller)
        if info is None or not is_run_by_magic(caller, self._shell.user_ns):
            return
        self._push(info, None)
        line = find_header_arguments(info.raw_cell)
        if line is not None and _starts_with_future_import(info.raw_cell.lstrip().splitlines()[1:]):
            self.register_current_cell(line)

    def _handle_silent_end(self) -> None:
        cells = self._running_cells()
        if cells and cells[-1].info is not None and cells[-1].info.silent:
            result = self._shell.last_execution_result
            if result is not None and result.info is cells[-1].info:
                self._handle_end(result)

    def _handle_end(self, result: Any) -> None:
        cell, unfinished = self._pop(result)
        self._remove_end_hooks()
        if cell is None:
            return
        error = _error_of(result, cell)
        for inner in reversed(unfinished):
            # The error that ended this cell also ended them.
            inner.leave()
            self.finish_recording(inner, error)
        cell.leave()
        line = find_header_arguments(cell.info.raw_cell)
        if cell.recording is None and line is not None and error is not None:
            # After a syntax error not even the header ran.
            self._running_cells().append(cell)
            self.register_current_cell(line)
            self._running_cells().pop()
        has_failed = error or cell.swallowed_error or cell.failed_command
        if cell.parent is not None and has_failed and is_run_by_magic(sys._getframe(1), self._shell.user_ns):
            cell.propagate_failure(error)
        self.finish_recording(cell, error)
        if cell.is_delaying_group_alert and self._group is not None:
            self._group.report_busy(False)
            self._group_quiet_since = self._group.seconds_since_end()

    def _continue_group(self, cell: Execution) -> None:
        """Hold the alert of a ``--together`` group while this cell runs, if it may belong to the same Run All."""
        assert self._group is not None
        if self._group.seconds_since_end() - self._group_quiet_since < MAX_RUN_ALL_GAP:
            cell.is_delaying_group_alert = True
            self._group.report_busy(True)
        else:
            self._group = None
            self._group_quiet_since = 0.0

    def _push(self, info: Any, number: int | None) -> Execution:
        cells = self._running_cells()
        cell = Execution(info, number, (current_execution() or cells[-1]) if cells else None)
        cells.append(cell)
        cell.enter()
        return cell

    def _pop(self, result: Any) -> tuple[Execution | None, list[Execution]]:
        """Return the cell that ended, and the cells inside it that did not end."""
        cells = self._running_cells()
        if not cells:
            return None, []
        if result is None:
            # ipykernel passes None if a cell that awaits was cancelled.
            return cells.pop(), []
        for index in range(len(cells) - 1, -1, -1):
            if cells[index].info is result.info:
                cell, unfinished = cells[index], cells[index + 1 :]
                del cells[index:]
                return cell, unfinished
        # IPython creates a new info object if a cell broke the runner.
        return (cells.pop() if cells[-1].info.raw_cell == result.info.raw_cell else None), []


def _error_of(result: Any, cell: Execution) -> BaseException | None:
    """Return the error that ended a cell, or that IPython displayed for it."""
    if result is None:
        return sys.exc_info()[1]
    error: BaseException | None = result.error_before_exec or result.error_in_exec
    return error or cell.swallowed_error or cell.display_error


def _determine_outcome(execution: Execution, error: BaseException | None) -> Outcome:
    """Return how an execution ended. An interrupted shell command counts as an interrupt of the cell."""
    from cwnotify.alerts.events.runs import Outcome
    from cwnotify.runs.outcome import determine_outcome

    return Outcome.INTERRUPTED if error is None and execution.was_command_interrupted else determine_outcome(error)


def _find_current_recording() -> Recording | None:
    """Return the recording that the calling code belongs to, or the newest one in a thread without a context."""
    execution = current_execution()
    if execution is not None:
        return execution.enclosing_recording()
    # This thread has no context. The recorder is imported only when a cell is registered.
    recorder = sys.modules.get("cwnotify.runs.recorder")
    recording: Recording | None = recorder.get_current_recording() if recorder else None
    return recording


def warn_ignored_options(arguments: MagicArguments) -> None:
    """Show which options were ignored, and why."""
    if arguments.problems:
        warn("\n".join((*arguments.problems, "This cell runs and is reported all the same, without these options.")))


def _print_unsent_alert(result: RunResult) -> None:
    """Print the first line of an alert that cannot be sent because no webhook is set."""
    from cwnotify.alerts.locale import to_plain_text
    from cwnotify.alerts.messages.run import run_headline

    if result.is_alert_wanted:
        print(f"cwnotify, not sent: {to_plain_text(run_headline(result))}")
