"""What a panel has to know of its kernel, and where kernels differ. IPython, ipykernel and pyzmq."""

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
    """Which cell opened a panel, and which run of it. The page has ids for cells, but not every page does."""

    cell_id: str
    message_id: str
    request: PanelRequest

    @classmethod
    def from_shell(cls, shell: Any, request: PanelRequest) -> CellOrigin:
        """The cell that runs now."""
        parent = _parent(shell)
        cell, message = parent.get("metadata", {}).get("cellId"), parent.get("header", {}).get("msg_id")
        return cls(str(cell or ""), str(message or ""), request)

    def is_replaced_by(self, other: CellOrigin) -> bool:
        """Whether `other` is a later run of the same cell, whose old outputs the page has thrown away."""
        same = self.cell_id == other.cell_id if self.cell_id and other.cell_id else self.request == other.request
        return same and self.message_id != other.message_id

    def is_deleted(self, shell: Any) -> bool:
        """Whether the page tells, with the cell that runs now, that this one was deleted."""
        return bool(self.cell_id) and self.cell_id in _parent(shell).get("metadata", {}).get("deletedCells", ())


def _parent(shell: Any) -> dict[str, Any]:
    """The message that the kernel is answering."""
    parent = shell.get_parent() if hasattr(shell, "get_parent") else None
    return parent or {}


def has_subshells(shell: Any) -> bool:
    """Whether the kernel can handle a press while a cell runs, if the page asks it to.

    Its `kernel_info` would say so, but holds a banner, for which IPython draws from the user's random numbers.
    """
    return getattr(shell.kernel, "shell_channel_thread", None) is not None


@cache
def run_at_kernel_exit(action: Callable[[], None]) -> None:
    """Call `action` when the kernel leaves in good order, while what it says is still sent.

    pyzmq sends large messages with a helper that it stops at exit. Exit handlers run last in, first out: the helper,
    which comes with the first such message, has to be there before.
    """
    import zmq.utils.garbage  # noqa: F401

    atexit.register(action)


def copy_context_without_parent() -> contextvars.Context:
    """A copy of the cell's context in which the kernel is answering no message.

    ipykernel looks a message up in it to answer, and 7.0.1 fails where there is none. Since 7.4 a press goes to the
    thread that last wrote on the button's comm in answer to something; a comm on which nothing was answered leaves
    it to the page, and JupyterLab has a subshell for it, which is free while a cell runs.
    """
    context = contextvars.copy_context()
    for variable in context:
        if variable.name == "shell_parent":
            context.run(variable.set, {})
    return context
