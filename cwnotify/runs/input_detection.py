"""Notices when code waits for a person: ``input()``, ``getpass()`` and debuggers. Standard library only.

What asks is called as before, with the same arguments, and its result or error is passed on. Each attribute is put
back when the last watcher leaves, if it is still ours.
"""

from __future__ import annotations

import builtins
import functools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

_DEBUGGERS = ("pdb", "bdb", "IPython.core.debugger", "IPython.terminal.debugger")
_PROMPTS = ("interaction", "cmdloop", "_cmdloop", "_cmdloop_async")
MAX_CALLER_FRAMES = 30


class WaitListener(Protocol):
    """A `cwnotify.runs.recorder.Recording`, or what stands for the one of the current cell."""

    def report_waiting(self, wait: str, in_notebook: bool) -> None: ...

    def report_resumed(self) -> None: ...


class AttributePatch:
    """An attribute of an object, a class or a module, wrapped until `undo`.

    Parameters
    ----------
    wrap
        Makes the new value from the one that is there.
    """

    def __init__(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        self.owner, self.name = owner, name
        self._wrap = wrap
        self._ours: Any = None
        self._before: Any = None
        self._had_own = False

    def apply(self) -> None:
        """Wrap what is there, unless it is wrapped already."""
        own = vars(self.owner)
        if self._ours is not None and own.get(self.name) is self._ours:
            return
        self._had_own, self._before = self.name in own, getattr(self.owner, self.name)
        self._ours = self._wrap(self._before)
        setattr(self.owner, self.name, self._ours)

    def undo(self) -> None:
        """Put back what was there, unless other code has replaced ours."""
        if self._ours is None or vars(self.owner).get(self.name) is not self._ours:
            return
        if self._had_own:
            setattr(self.owner, self.name, self._before)
        else:
            delattr(self.owner, self.name)
        self._ours = None


def wrap_prompt(
    watcher: WaitListener, original: Callable[..., Any], wait: str, in_notebook: bool
) -> Callable[..., Any]:
    """Wrap a function that asks a person; `wait` is ``debugger`` or ``input``, or empty to look at the callers."""

    @functools.wraps(original)
    def asked(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        _notify(lambda: watcher.report_waiting(wait or _reason(sys._getframe(3)), in_notebook))
        try:
            return original(*args, **kwargs)
        finally:
            _notify(watcher.report_resumed)

    return asked


def _notify(action: Callable[[], None]) -> None:
    try:
        action()
    except Exception:
        # The user's prompt matters more.
        return


def get_module_name(frame: FrameType) -> str:
    """Return the name of the module that a frame's code belongs to; the user may have put anything in its place."""
    name = dict.get(frame.f_globals, "__name__")
    return name if type(name) is str else ""


def _reason(frame: FrameType | None) -> str:
    """Return ``debugger`` if a debugger's prompt is among the callers."""
    for _ in range(MAX_CALLER_FRAMES):
        if frame is None:
            break
        if frame.f_code.co_name in _PROMPTS and get_module_name(frame) in _DEBUGGERS:
            return "debugger"
        frame = frame.f_back
    return "input"


_watchers: list[WaitListener] = []
_patches: list[AttributePatch] = []


class _Newest:
    """Passes on to the watcher that came last."""

    def report_waiting(self, wait: str, in_notebook: bool) -> None:
        if _watchers and (in_notebook or (sys.stdin is not None and sys.stdin.isatty())):
            _watchers[-1].report_waiting(wait, in_notebook)

    def report_resumed(self) -> None:
        if _watchers:
            _watchers[-1].report_resumed()


def add_wait_listener(watcher: WaitListener, kernel: Any = None, debuggers: bool = False) -> None:
    """Report to `watcher` when this process asks the person at its terminal or its notebook.

    Parameters
    ----------
    kernel
        The notebook's kernel; without one it is looked for behind ``input``.
    debuggers
        Also watch debuggers that do not use ``input()`` for their prompt, as IPython's in a terminal.
    """
    _watchers.append(watcher)
    kernel = kernel or getattr(builtins.input, "__self__", None)
    if hasattr(kernel, "_input_request"):
        _patch(kernel, "_input_request", lambda original: wrap_prompt(_Newest(), original, "", True))
        # The debugger of the front end, which also gets the `breakpoint()` of code that it debugs.
        client = getattr(getattr(kernel, "debugger", None), "debugpy_client", None)
        _patch(client, "event_callback", _debugger_events)
        return
    import getpass

    _patch(builtins, "input", lambda original: wrap_prompt(_Newest(), original, "", False))
    _patch(getpass, "_raw_input", lambda original: wrap_prompt(_Newest(), original, "input", False))
    if debuggers:
        import pdb

        _patch(pdb.Pdb, "interaction", lambda original: wrap_prompt(_Newest(), original, "debugger", False))


def _patch(owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    is_patched = any(patch.owner is owner and patch.name == name for patch in _patches)
    if not is_patched and hasattr(owner, name):
        patch = AttributePatch(owner, name, wrap)
        patch.apply()
        _patches.append(patch)


def _debugger_events(original: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """Wrap what gets the events of the debugger that stops a notebook's threads."""
    newest = _Newest()

    @functools.wraps(original)
    def event_callback(message: dict[str, Any]) -> Any:
        event = message.get("event")
        if event == "stopped":
            _notify(lambda: newest.report_waiting("debugger", True))
        elif event == "continued":
            _notify(newest.report_resumed)
        return original(message)

    return event_callback


def remove_wait_listener(watcher: WaitListener) -> None:
    """Stop reporting to `watcher`; without watchers everything is put back."""
    if watcher in _watchers:
        _watchers.remove(watcher)
        while _patches and not _watchers:
            _patches.pop().undo()
