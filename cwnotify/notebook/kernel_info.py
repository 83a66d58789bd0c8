"""Read what a panel needs to know about its kernel, and handle differences between kernels.

May import IPython, ipykernel and pyzmq.
"""

from __future__ import annotations

import atexit
import contextvars
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from cwnotify.view.snapshot import PanelRequest


@dataclass(frozen=True)
class CellOrigin:
    """The cell that opened a panel.

    Parameters
    ----------
    cell_id
        The front end's ID of the cell; empty if the front end sends none.
    message_id
        The ID of the execute request, different for each run of the cell.
    request
        What the panel shows. It identifies the cell if the ID is missing.
    """

    cell_id: str
    message_id: str
    request: PanelRequest

    @classmethod
    def from_shell(cls, shell: Any, request: PanelRequest) -> CellOrigin:
        """Return the cell that runs now."""
        parent = _get_parent_message(shell)
        cell, message = parent.get("metadata", {}).get("cellId"), parent.get("header", {}).get("msg_id")
        return cls(str(cell or ""), str(message or ""), request)

    def is_replaced_by(self, other: CellOrigin) -> bool:
        """Return whether `other` is a later run of the same cell. The page has dropped the old outputs then."""
        is_same = self.cell_id == other.cell_id if self.cell_id and other.cell_id else self.request == other.request
        return is_same and self.message_id != other.message_id

    def is_deleted(self, shell: Any) -> bool:
        """Return whether the front end reports, with the current request, that this cell was deleted."""
        return bool(self.cell_id) and self.cell_id in _get_parent_message(shell).get("metadata", {}).get(
            "deletedCells", ()
        )


def _get_parent_message(shell: Any) -> dict[str, Any]:
    """Return the request that the kernel is handling."""
    parent = shell.get_parent() if hasattr(shell, "get_parent") else None
    return parent or {}


def has_subshells(shell: Any) -> bool:
    """Return whether the kernel can handle a button press while a cell runs.

    Do not read `kernel_info`: it contains a banner, for which IPython uses the user's random numbers.
    """
    return getattr(shell.kernel, "shell_channel_thread", None) is not None


@cache
def run_at_kernel_exit(action: Callable[[], None]) -> None:
    """Call `action` when the kernel shuts down, while it can still send messages.

    pyzmq sends large messages with the help of an object that it stops in an exit handler. Exit handlers run last in,
    first out, so that handler must be registered before ours. The import does it.
    """
    import zmq.utils.garbage  # noqa: F401

    atexit.register(action)


def copy_context_without_parent() -> contextvars.Context:
    """Return a copy of the cell's context in which the kernel handles no request.

    ipykernel looks up the request in the context to reply to it; 7.0.1 fails if the variable is missing. Since 7.4, a
    button press goes to the thread that last sent a reply on the button's comm. If there was none, the page chooses,
    and JupyterLab chooses a subshell, which is free while a cell runs.
    """
    context = contextvars.copy_context()
    for variable in context:
        if variable.name == "shell_parent":
            context.run(variable.set, {})
    return context
