"""Observes IPython's own methods: which error is displayed, and how a shell command ends. Uses `waiting` only.

Each is called as before; only what goes in and comes out is read. They are wrapped when the extension is loaded, so a
cell pays nothing for it, and put back when it is unloaded.
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


class IPythonPatches:
    """The hooks of one shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._display = [
            AttributePatch(shell, "showtraceback", self._showtraceback),
            AttributePatch(shell, "_showtraceback", self._show),
        ]
        self._commands = self._command_patches()

    def attach(self) -> None:
        """Wrap what is not wrapped yet."""
        for patch in (*self._display, *self._commands):
            patch.apply()

    def reapply_display_patches(self) -> None:
        """Wrap what a cell may have replaced, as `rich` does with the display of errors."""
        for patch in self._display:
            patch.apply()

    def detach(self) -> None:
        """Put everything back."""
        for patch in (*self._display, *self._commands):
            patch.undo()

    # Errors

    def _showtraceback(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def showtraceback(*args: Any, **kwargs: Any) -> Any:
            self._see(find_displayed_exception(args[0] if args else kwargs.get("exc_tuple")), sys._getframe(1))
            return original(*args, **kwargs)

        return showtraceback

    def _show(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _showtraceback(*args: Any, **kwargs: Any) -> Any:
            value = args[1] if len(args) > 1 else kwargs.get("evalue")
            self._see(value if value is sys.exc_info()[1] else None, sys._getframe(1))
            return original(*args, **kwargs)

        return _showtraceback

    def _see(self, error: BaseException | None, frame: FrameType) -> None:
        execution = current_execution()
        if error is None or execution is None:
            return
        try:
            replaced = vars(self._shell).get("showtraceback")
            if frame.f_code is getattr(getattr(replaced, "__func__", replaced), "__code__", None):
                # The user's own display of errors, not the user's code that displays one.
                frame = frame.f_back or frame
            by = classify_error_display(frame, self._shell.user_ns)
        except Exception:
            return
        if by == "magic" and execution.swallowed_error is None:
            execution.swallowed_error = error
        elif by == "display":
            execution.display_error = error

    # Shell commands

    def _command_patches(self) -> list[AttributePatch]:
        from IPython.utils import _process_common

        method = type(self._shell).system
        module = sys.modules.get(method.__module__)
        patches = [AttributePatch(_process_common, "process_handler", self._process_handler)]
        if method.__name__ == "system_piped" and callable(getattr(module, "system", None)):
            patches.append(AttributePatch(module, "system", self._system))
        else:
            patches.append(AttributePatch(self._shell, "system", self._system_method))
        return patches

    def _system(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the function that ``system_piped`` calls with the command in which names are replaced by values."""

        @functools.wraps(original)
        def system(cmd: str, *args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1)
            with _Interrupts() as interrupts:
                code = original(cmd, *args, **kwargs)
            self._ran(cmd, caller, code, interrupts.arrived)
            return code

        return system

    def _system_method(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``system_raw``, IPython's in a terminal, which keeps the exit code only in the user's names."""
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
                # It looks for names so many frames up, and there are two frames more.
                restore()
                expanded: str = expand(text, depth + 2, *rest, **more)
                return expanded

            vars(shell)["var_expand"] = var_expand
            try:
                with _Interrupts() as interrupts:
                    return original(cmd, *args, **kwargs)
            finally:
                restore()
                self._ran(cmd, caller, shell.user_ns.get("_exit_code"), interrupts.arrived)

        return system

    def _process_handler(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap what runs the commands of ``x = !command`` and ``%sx``, of which IPython drops the exit code."""

        @functools.wraps(original)
        def process_handler(cmd: Any, callback: Callable[[Any], Any], *args: Any, **kwargs: Any) -> Any:
            processes: list[Any] = []

            def called(process: Any) -> Any:
                processes.append(process)
                return callback(process)

            getoutput = _getoutput_frame(sys._getframe(1))
            with _Interrupts() as interrupts:
                result = original(cmd, called, *args, **kwargs)
            if getoutput is not None and processes:
                self._ran(str(cmd), getoutput, processes[0].returncode, interrupts.arrived)
            return result

        return process_handler

    def _ran(self, command: str, frame: FrameType, code: object, was_interrupted: bool) -> None:
        """Keep the first command of the current execution that did not exit with 0."""
        execution = current_execution()
        if code == 0 or not (code or was_interrupted):
            return
        if execution is None or execution.failed_command is not None or execution.enclosing_recording() is None:
            return
        try:
            from cwnotify.alerts.events.runs import FailedCommand

            number = code if isinstance(code, int) else 0
            ended_by = -number if number < 0 else number - SIGNAL_EXIT_CODE_BASE
            name = _signal_name(ended_by)
            is_shells = get_module_name(frame).startswith(("IPython.", "ipykernel."))
            text = redact_shell_command(command, frame.f_locals.get("cmd") if is_shells else None, frame)
            execution.failed_command = FailedCommand(text, 0 if name else number, name)
            execution.was_command_interrupted = was_interrupted or name == "SIGINT"
        except Exception:
            return


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _getoutput_frame(frame: FrameType | None) -> FrameType | None:
    """Return the frame of the shell's `getoutput` that runs this command."""
    for _ in range(4):
        if frame is None:
            return None
        if frame.f_code.co_name == "getoutput" and get_module_name(frame) == "IPython.core.interactiveshell":
            return frame
        frame = frame.f_back
    return None


class _Interrupts:
    """Notices interrupts while a command runs, which IPython swallows. The handler that was there still gets them."""

    def __init__(self) -> None:
        self.arrived = False
        self._before: Any = None

    def __enter__(self) -> _Interrupts:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            # SIG_IGN and SIG_DFL are no functions; what C installed is None.
            if callable(before):
                self._before = before
                signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.arrived = True
        self._before(number, frame)

    def __exit__(self, *error: object) -> None:
        if self._before is not None and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._before)
