"""Detect when code waits for the user: ``input()``, ``getpass()`` and debuggers. Imports the standard library only.

The prompt functions are wrapped; arguments, result and errors pass through unchanged. When the last listener leaves,
each attribute is restored, unless other code has replaced it.
"""

from __future__ import annotations

import builtins
import functools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

_DEBUGGERS = ("pdb", "bdb", "IPython.core.debugger", "IPython.terminal.debugger")
_PROMPT_FUNCTIONS = ("interaction", "cmdloop", "_cmdloop", "_cmdloop_async")
MAX_CALLER_FRAMES = 30


class WaitListener(Protocol):
    """A `cwnotify.runs.recorder.Recording`, or an object that forwards to the one of the current cell."""

    def report_waiting(self, wait: str, in_notebook: bool) -> None: ...

    def report_resumed(self) -> None: ...


class AttributePatch:
    """A wrapped attribute of an object, a class or a module.

    Parameters
    ----------
    wrap
        Returns the new value for the current one.
    """

    def __init__(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        self.owner, self.name = owner, name
        self._wrap = wrap
        self._wrapper: Any = None
        self._original: Any = None
        self._was_own_attribute = False

    def apply(self) -> None:
        """Wrap the current value, unless it is wrapped already."""
        attributes = vars(self.owner)
        if self._wrapper is not None and attributes.get(self.name) is self._wrapper:
            return
        self._was_own_attribute, self._original = self.name in attributes, getattr(self.owner, self.name)
        self._wrapper = self._wrap(self._original)
        setattr(self.owner, self.name, self._wrapper)

    def undo(self) -> None:
        """Restore the original value, unless other code has replaced the wrapper."""
        if self._wrapper is None or vars(self.owner).get(self.name) is not self._wrapper:
            return
        if self._was_own_attribute:
            setattr(self.owner, self.name, self._original)
        else:
            delattr(self.owner, self.name)
        self._wrapper = None


def _wrap_prompt(
    listener: WaitListener, original: Callable[..., Any], wait: str, in_notebook: bool
) -> Callable[..., Any]:
    """Wrap a function that prompts the user.

    `wait` is ``debugger`` or ``input``. If it is empty, the callers decide.
    """

    @functools.wraps(original)
    def prompt(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        _call_safely(lambda: listener.report_waiting(wait or _find_wait_reason(sys._getframe(3)), in_notebook))
        try:
            return original(*args, **kwargs)
        finally:
            _call_safely(listener.report_resumed)

    return prompt


def _call_safely(action: Callable[[], None]) -> None:
    try:
        action()
    except Exception:
        # The user's prompt must work even if the report fails.
        return


def get_module_name(frame: FrameType) -> str:
    """Return the name of a frame's module; empty if the user has replaced ``__name__`` by something else."""
    name = dict.get(frame.f_globals, "__name__")
    return name if type(name) is str else ""


def _find_wait_reason(frame: FrameType | None) -> str:
    """Return ``debugger`` if a debugger's prompt is among the callers, otherwise ``input``."""
    for _ in range(MAX_CALLER_FRAMES):
        if frame is None:
            break
        if frame.f_code.co_name in _PROMPT_FUNCTIONS and get_module_name(frame) in _DEBUGGERS:
            return "debugger"
        frame = frame.f_back
    return "input"


_listeners: list[WaitListener] = []
_patches: list[AttributePatch] = []


class _NewestListener:
    """Forwards to the listener that was added last."""

    def report_waiting(self, wait: str, in_notebook: bool) -> None:
        if _listeners and (in_notebook or (sys.stdin is not None and sys.stdin.isatty())):
            _listeners[-1].report_waiting(wait, in_notebook)

    def report_resumed(self) -> None:
        if _listeners:
            _listeners[-1].report_resumed()


def add_wait_listener(listener: WaitListener, kernel: Any = None, debuggers: bool = False) -> None:
    """Notify `listener` when this process waits for the user at its terminal or notebook.

    Parameters
    ----------
    kernel
        The notebook's kernel. By default the one whose method is ``input``.
    debuggers
        Also watch debuggers that do not prompt with ``input()``, such as IPython's in a terminal.
    """
    _listeners.append(listener)
    kernel = kernel or getattr(builtins.input, "__self__", None)
    if hasattr(kernel, "_input_request"):
        _patch(kernel, "_input_request", lambda original: _wrap_prompt(_NewestListener(), original, "", True))
        # The debugger of the front end. It also handles `breakpoint()` in code that it debugs.
        client = getattr(getattr(kernel, "debugger", None), "debugpy_client", None)
        _patch(client, "event_callback", _wrap_debugger_events)
        return
    import getpass

    _patch(builtins, "input", lambda original: _wrap_prompt(_NewestListener(), original, "", False))
    _patch(getpass, "_raw_input", lambda original: _wrap_prompt(_NewestListener(), original, "input", False))
    if debuggers:
        import pdb

        _patch(pdb.Pdb, "interaction", lambda original: _wrap_prompt(_NewestListener(), original, "debugger", False))


def _patch(owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    is_patched = any(patch.owner is owner and patch.name == name for patch in _patches)
    if not is_patched and hasattr(owner, name):
        patch = AttributePatch(owner, name, wrap)
        patch.apply()
        _patches.append(patch)


def _wrap_debugger_events(original: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """Wrap the callback for events of the debugger that stops a notebook's threads."""
    listener = _NewestListener()

    @functools.wraps(original)
    def event_callback(message: dict[str, Any]) -> Any:
        event = message.get("event")
        if event == "stopped":
            _call_safely(lambda: listener.report_waiting("debugger", True))
        elif event == "continued":
            _call_safely(listener.report_resumed)
        return original(message)

    return event_callback


def remove_wait_listener(listener: WaitListener) -> None:
    """Stop notifying `listener`. Restore all attributes if it was the last one."""
    if listener in _listeners:
        _listeners.remove(listener)
        while _patches and not _listeners:
            _patches.pop().undo()
