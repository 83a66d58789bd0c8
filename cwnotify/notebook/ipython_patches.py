"""Observe IPython's own methods: which error is displayed, and how a shell command ends.

Each wrapper calls the original method unchanged and only reads its arguments and result. The methods are wrapped when
the extension is loaded, so that a cell pays nothing for it, and restored when it is unloaded. Imports the standard
library, `executions` and `input_detection` only.
"""

from __future__ import annotations

import functools
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from cwnotify.notebook.executions import (
    classify_error_display,
    current_execution,
    find_displayed_exception,
    redact_shell_command,
)
from cwnotify.runs.input_detection import AttributePatch, get_module_name

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

# A shell reports that signal N ended a command by the exit code 128 + N.
SIGNAL_EXIT_CODE_BASE = 128
# `getoutput` is at most this many frames above the function that runs the command.
_MAX_GETOUTPUT_DEPTH = 4


class IPythonPatches:
    """The wrapped methods of one shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._display_patches = [
            AttributePatch(shell, "showtraceback", self._wrap_showtraceback),
            AttributePatch(shell, "_showtraceback", self._wrap_traceback_printer),
        ]
        self._command_patches = self._create_command_patches()

    def attach(self) -> None:
        """Wrap every method that is not wrapped yet."""
        for patch in (*self._display_patches, *self._command_patches):
            patch.apply()

    def reapply_display_patches(self) -> None:
        """Wrap the error display again if a cell replaced it, as `rich` does."""
        for patch in self._display_patches:
            patch.apply()

    def detach(self) -> None:
        """Restore every method."""
        for patch in (*self._display_patches, *self._command_patches):
            patch.undo()

    # Displayed errors

    def _wrap_showtraceback(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def showtraceback(*args: Any, **kwargs: Any) -> Any:
            error = find_displayed_exception(args[0] if args else kwargs.get("exc_tuple"))
            self._record_displayed_error(error, sys._getframe(1))
            return original(*args, **kwargs)

        return showtraceback

    def _wrap_traceback_printer(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _showtraceback(*args: Any, **kwargs: Any) -> Any:
            value = args[1] if len(args) > 1 else kwargs.get("evalue")
            self._record_displayed_error(value if value is sys.exc_info()[1] else None, sys._getframe(1))
            return original(*args, **kwargs)

        return _showtraceback

    def _record_displayed_error(self, error: BaseException | None, frame: FrameType) -> None:
        execution = current_execution()
        if error is None or execution is None:
            return
        try:
            replacement = vars(self._shell).get("showtraceback")
            if frame.f_code is getattr(getattr(replacement, "__func__", replacement), "__code__", None):
                # The caller is the user's replacement of the error display. Its caller decides.
                frame = frame.f_back or frame
            cause = classify_error_display(frame, self._shell.user_ns)
        except Exception:
            return
        if cause == "magic" and execution.swallowed_error is None:
            execution.swallowed_error = error
        elif cause == "display":
            execution.display_error = error

    # Shell commands

    def _create_command_patches(self) -> list[AttributePatch]:
        from IPython.utils import _process_common

        method = type(self._shell).system
        module = sys.modules.get(method.__module__)
        patches = [AttributePatch(_process_common, "process_handler", self._wrap_process_handler)]
        if method.__name__ == "system_piped" and callable(getattr(module, "system", None)):
            patches.append(AttributePatch(module, "system", self._wrap_system_function))
        else:
            patches.append(AttributePatch(self._shell, "system", self._wrap_system_method))
        return patches

    def _wrap_system_function(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the function that ``system_piped`` calls after it has replaced names by values."""

        @functools.wraps(original)
        def system(cmd: str, *args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1)
            with _InterruptDetector() as interrupt:
                code = original(cmd, *args, **kwargs)
            self._record_failed_command(cmd, caller, code, interrupt.has_arrived)
            return code

        return system

    def _wrap_system_method(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``system_raw``, which terminals use. It stores the exit code only in the user's namespace."""
        shell = self._shell

        @functools.wraps(original)
        def system(cmd: str, *args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1)
            expand, own = shell.var_expand, vars(shell).get("var_expand")

            def restore() -> None:
                if own is None:
                    vars(shell).pop("var_expand", None)
                else:
                    vars(shell)["var_expand"] = own

            def var_expand(text: str, depth: int = 0, *rest: Any, **more: Any) -> str:
                # IPython looks up names `depth` frames above; our wrappers add two frames.
                restore()
                expanded: str = expand(text, depth + 2, *rest, **more)
                return expanded

            vars(shell)["var_expand"] = var_expand
            try:
                with _InterruptDetector() as interrupt:
                    return original(cmd, *args, **kwargs)
            finally:
                restore()
                self._record_failed_command(cmd, caller, shell.user_ns.get("_exit_code"), interrupt.has_arrived)

        return system

    def _wrap_process_handler(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the function that runs ``x = !command`` and ``%sx``. IPython drops the exit code of both."""

        @functools.wraps(original)
        def process_handler(cmd: Any, callback: Callable[[Any], Any], *args: Any, **kwargs: Any) -> Any:
            processes: list[Any] = []

            def record_process(process: Any) -> Any:
                processes.append(process)
                return callback(process)

            getoutput = _find_getoutput_frame(sys._getframe(1))
            with _InterruptDetector() as interrupt:
                result = original(cmd, record_process, *args, **kwargs)
            if getoutput is not None and processes:
                self._record_failed_command(str(cmd), getoutput, processes[0].returncode, interrupt.has_arrived)
            return result

        return process_handler

    def _record_failed_command(self, command: str, frame: FrameType, code: object, was_interrupted: bool) -> None:
        """Store the first command of the current execution that did not exit with 0."""
        execution = current_execution()
        if code == 0 or not (code or was_interrupted):
            return
        if execution is None or execution.failed_command is not None or execution.enclosing_recording() is None:
            return
        try:
            from cwnotify.alerts.events.runs import FailedCommand

            number = code if isinstance(code, int) else 0
            signal_number = -number if number < 0 else number - SIGNAL_EXIT_CODE_BASE
            name = _signal_name(signal_number)
            is_shell_frame = get_module_name(frame).startswith(("IPython.", "ipykernel."))
            text = redact_shell_command(command, frame.f_locals.get("cmd") if is_shell_frame else None, frame)
            execution.failed_command = FailedCommand(text, 0 if name else number, name)
            execution.was_command_interrupted = was_interrupted or name == "SIGINT"
        except Exception:
            return


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _find_getoutput_frame(frame: FrameType | None) -> FrameType | None:
    """Return the frame of the shell's `getoutput` that runs this command."""
    for _ in range(_MAX_GETOUTPUT_DEPTH):
        if frame is None:
            return None
        if frame.f_code.co_name == "getoutput" and get_module_name(frame) == "IPython.core.interactiveshell":
            return frame
        frame = frame.f_back
    return None


class _InterruptDetector:
    """Detect interrupts that IPython swallows while a command runs. The previous handler still receives them."""

    def __init__(self) -> None:
        self.has_arrived = False
        self._previous: Any = None

    def __enter__(self) -> _InterruptDetector:
        if threading.current_thread() is threading.main_thread():
            previous = signal.getsignal(signal.SIGINT)
            # SIG_IGN and SIG_DFL are not functions; a handler from C is None.
            if callable(previous):
                self._previous = previous
                signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.has_arrived = True
        self._previous(number, frame)

    def __exit__(self, *error: object) -> None:
        if self._previous is not None and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._previous)
