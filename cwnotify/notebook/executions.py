"""Track what runs in a shell and which errors IPython displays for it. Standard library and `input_detection` only."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any

from cwnotify.runs.input_detection import get_module_name

if TYPE_CHECKING:
    from cwnotify.alerts.events.runs import FailedCommand
    from cwnotify.runs.output_tail import OutputTail
    from cwnotify.runs.recorder import Recording

_SHELL_MODULE = "IPython.core.interactiveshell"
_MAGIC_RUNNERS = ("run_line_magic", "run_cell_magic", "safe_execfile", "safe_execfile_ipy", "safe_run_module")
_CELL_RUNNERS = ("run_code", "run_ast_nodes", "run_cell_async", "_run_cell", "run_cell")
_LIBRARIES = ("IPython", "ipykernel", "decorator", "cwnotify")
MAX_COMMAND_LENGTH = 120


class Execution:
    """A running cell, perhaps inside another one, or a statement of ``%notify_on_finish``.

    Attributes
    ----------
    info
        IPython's information about the cell; None for a statement.
    cell_number
        The N of In [N]; None if the cell has no number.
    parent
        The execution that runs this one.
    recording
        The recording, if the execution is registered.
    tail
        Collects the last printed lines for ``--tail``.
    swallowed_error
        An error that IPython displayed although the cell went on.
    display_error
        An error while IPython displayed the cell's value.
    failed_command
        The first shell command that did not exit with 0.
    was_command_interrupted
        Whether the user interrupted that command.
    is_over
        Whether the execution has ended.
    is_delaying_group_alert
        Whether the alert of a ``--together`` group waits for this cell.
    """

    def __init__(self, info: Any = None, number: int | None = None, parent: Execution | None = None) -> None:
        self.info = info
        self.cell_number = number
        self.parent = parent
        self.recording: Recording | None = None
        self.tail: OutputTail | None = None
        self.swallowed_error: BaseException | None = None
        self.display_error: BaseException | None = None
        self.failed_command: FailedCommand | None = None
        self.was_command_interrupted = False
        self.is_over = False
        self.is_delaying_group_alert = False

    def enter(self) -> None:
        """Make this the current execution of the context."""
        _current.set(self)

    def leave(self) -> None:
        """End this execution and make its parent the current one again."""
        self.is_over = True
        if _current.get() is self:
            _current.set(self.parent)

    def enclosing_recording(self) -> Recording | None:
        """Return the recording of this execution, or of its nearest recorded parent."""
        execution: Execution | None = self
        while execution is not None:
            if execution.recording is not None:
                return execution.recording
            execution = execution.parent
        return None

    def propagate_failure(self, error: BaseException | None) -> None:
        """Copy the failures of this execution, and `error`, to its parent."""
        if self.parent is None:
            return
        self.parent.swallowed_error = self.parent.swallowed_error or self.swallowed_error or error
        if self.parent.failed_command is None:
            self.parent.failed_command, self.parent.was_command_interrupted = (
                self.failed_command,
                self.was_command_interrupted,
            )


# A thread or task that an earlier cell started still has that cell's execution.
_current: ContextVar[Execution | None] = ContextVar("cwnotify_execution", default=None)


def current_execution() -> Execution | None:
    """Return the execution that this code belongs to; None if there is none or it has ended."""
    execution = _current.get()
    return None if execution is None or execution.is_over else execution


def classify_error_display(frame: FrameType | None, user_ns: dict[str, Any]) -> str:
    """Return why IPython displays an error, from the callers of the display.

    Parameters
    ----------
    frame
        The caller of the display.
    user_ns
        The namespace of the user's cells.

    Returns
    -------
    str
        ``magic`` if a magic or a script run displays an error that it caught; ``display`` if a cell's value could not
        be displayed; empty if it is the cell's own error, or the user's code displays it.
    """
    while frame is not None:
        module, function = get_module_name(frame), frame.f_code.co_name
        if module == _SHELL_MODULE:
            if function in _MAGIC_RUNNERS:
                return "magic"
            if function in _CELL_RUNNERS:
                return ""
        elif function == "__call__" and module == "IPython.core.displayhook":
            return "display"
        elif function == "tb" and module == "IPython.core.magics.execution":
            # `%tb` displays an earlier error again.
            return ""
        elif module == "IPython.core.events":
            return ""
        elif _is_user_code(frame, user_ns):
            # IPython itself calls a magic that the user wrote.
            return "magic" if _is_magic_runner(frame.f_back) else ""
        frame = frame.f_back
    return ""


def is_run_by_magic(frame: FrameType | None, user_ns: dict[str, Any]) -> bool:
    """Return whether a magic such as ``%%capture``, not the user's code, runs the cell whose hook called `frame`."""
    while frame is not None and not (frame.f_code.co_name == "run_cell" and get_module_name(frame) == _SHELL_MODULE):
        frame = frame.f_back
    while frame is not None and frame.f_code.co_name == "run_cell":
        # ipykernel's `run_cell` calls IPython's.
        frame = frame.f_back
    return classify_error_display(frame, user_ns) == "magic"


def find_silent_cell_info(frame: FrameType | None) -> Any:
    """Return the info of the silent cell that is about to run, from a frame of IPython's event."""
    while frame is not None and get_module_name(frame) == "IPython.core.events":
        frame = frame.f_back
    if frame is None or frame.f_code.co_name != "run_cell_async":
        return None
    info = frame.f_locals.get("info")
    return info if getattr(info, "silent", False) else None


def redact_shell_command(command: str, typed: object, frame: FrameType | None) -> str:
    """Return a shell command as the user wrote it, or its first word if the source text is unknown.

    IPython replaces ``{names}`` by values, which may be secret. Show only text that occurs in the user's code.
    """
    while frame is not None and get_module_name(frame).partition(".")[0] in _LIBRARIES:
        frame = frame.f_back
    constants = [constant for constant in (frame.f_code.co_consts if frame else ()) if isinstance(constant, str)]
    for text in (typed, command):
        if isinstance(text, str) and text.strip() and any(text.strip() in constant for constant in constants):
            line = " ".join(text.split())
            return line if len(line) <= MAX_COMMAND_LENGTH else f"{line[: MAX_COMMAND_LENGTH - 1]}…"
    words = [word for word in command.split() if "=" not in word]
    return f"{words[0][:MAX_COMMAND_LENGTH]} …" if words else "…"


def find_displayed_exception(exc_tuple: object) -> BaseException | None:
    """Return the exception that IPython is about to display; None if it was not raised here."""
    if isinstance(exc_tuple, tuple) and len(exc_tuple) == 3:
        value = exc_tuple[1]
        return value if isinstance(value, BaseException) else None
    return sys.exc_info()[1]


def _is_magic_runner(frame: FrameType | None) -> bool:
    return (
        frame is not None
        and frame.f_code.co_name in ("run_line_magic", "run_cell_magic")
        and get_module_name(frame) == _SHELL_MODULE
    )


def _is_user_code(frame: FrameType, user_ns: dict[str, Any]) -> bool:
    return frame.f_globals is user_ns or get_module_name(frame) == "__main__" or frame.f_code.co_name == "<module>"
