"""Slack tells you how your notebook cell ended, and what your EC2 instance's CPU alarm says.

In a notebook::

    %load_ext cwnotify

    %%notify_on_finish resnet50
    train()

In a program: `notify`, as a context manager or a decorator. In a shell: ``cwnotify run -- python train.py``.
"""

from __future__ import annotations

# As `typing` has it; its import takes 5 ms, and the Lambda function imports this module too.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from IPython.core.interactiveshell import InteractiveShell

    from cwnotify.notebook.panel import panel as panel
    from cwnotify.runs.notify import notify as notify
    from cwnotify.runs.recorder import note as note

__version__ = "0.1.0"
__all__ = ["load_ipython_extension", "note", "notify", "panel", "unload_ipython_extension"]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext cwnotify``: register the magics and the hooks that follow a cell."""
    from cwnotify.notebook.magics import register_extension

    register_extension(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """``%unload_ext cwnotify``: leave the shell as it was."""
    from cwnotify.notebook.magics import unregister_extension

    unregister_extension(shell)


def __getattr__(name: str) -> Any:
    if name == "notify":
        from cwnotify.runs.notify import notify

        return notify
    if name == "note":
        from cwnotify.runs.recorder import note

        return note
    if name == "panel":
        from cwnotify.notebook.panel import panel

        return panel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
