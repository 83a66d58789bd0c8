"""Slack alerts for notebook cells, scripts and EC2 alarms.

In a notebook::

    %load_ext cwnotify

    %%notify_on_finish resnet50
    train()

In a script, use `notify` as a context manager or a decorator. In a shell, run ``cwnotify run -- python train.py``.
"""

from __future__ import annotations

# Instead of the constant in `typing`, whose import takes 5 ms. The Lambda function imports this module too.
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
    """Register the magics and the cell hooks, for ``%load_ext cwnotify``."""
    from cwnotify.notebook.magics import register_extension

    register_extension(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Remove the magics and the cell hooks, for ``%unload_ext cwnotify``."""
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
