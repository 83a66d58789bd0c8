"""An open panel in a kernel. It shows what snapshots contain, and nothing else.

Snapshots come from the sidecar and are shown in the sidecar client's thread, so the panel updates while a cell keeps
the kernel busy. That thread imports nothing and changes nothing of the process: no rcParams, no streams, no loop.

A notebook saves no widgets. A second output below the widget holds the panel as a static picture. It is updated every
half minute and at the end, and the page hides it while the panel is live. A saved notebook, GitHub and nbconvert show
this output.
"""

from __future__ import annotations

import contextvars
import os
import secrets
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cwnotify.alerts.serialization import from_json_dict
from cwnotify.notebook.cell_hooks import unregister_hook
from cwnotify.notebook.kernel_info import CellOrigin, copy_context_without_parent, has_subshells
from cwnotify.notebook.panel_widgets import (
    CLOSE_BUTTON,
    MUTE_BUTTON,
    RANGE_BUTTONS,
    REFRESH_BUTTON,
    TEST_BUTTON,
    PanelWidgets,
)
from cwnotify.settings import Secret
from cwnotify.view import html
from cwnotify.view.format import format_local_time
from cwnotify.view.snapshot import PanelRequest, Snapshot
from cwnotify.view.text import render_text

# In seconds. The cell that opens a panel waits this long, so that a program that runs the notebook gets a picture.
FIRST_PICTURE_TIMEOUT = 4.0
STATIC_PANEL_INTERVAL = 30.0  # seconds
MUTE_DURATION = 3600.0  # seconds
BUSY_KERNEL_NOTE = "A cell is running: buttons answer when it ends."
EMPTY_MIME_BUNDLE = {"text/html": "<span></span>", "text/plain": ""}


class SnapshotSource(Protocol):
    """The part of `cwnotify.sidecar.client.SidecarClient` that a panel uses."""

    def set_webhook(self, webhook: Secret | None) -> None:
        """Send alerts to `webhook`."""

    def subscribe(self, panel_id: str, request: PanelRequest, receive: Callable[[dict[str, Any]], None], /) -> None:
        """Call `receive` with each snapshot for `request`, in a thread. Another call replaces the request."""

    def unsubscribe(self, panel_id: str) -> None:
        """Stop sending snapshots."""

    def send_command(self, kind: str, **values: Any) -> None:
        """Send a command to the sidecar: ``refresh``, ``greet`` or ``mute``."""


@dataclass(frozen=True)
class RenderedSnapshot:
    """A snapshot and the latest plots as PNG; the plots may be empty."""

    snapshot: Snapshot
    light: bytes = b""
    dark: bytes = b""

    @classmethod
    def from_message(cls, message: Mapping[str, Any], previous: RenderedSnapshot | None) -> RenderedSnapshot:
        """Read a message of the protocol. If it has no plots, keep those of `previous`, which are still current.

        Raises
        ------
        ValueError, KeyError
            If the message is invalid.
        """
        snapshot = from_json_dict(Snapshot, message["snapshot"])
        if message.get("light") and message.get("dark"):
            return cls(snapshot, b64decode(message["light"]), b64decode(message["dark"]))
        return replace(previous, snapshot=snapshot) if previous else cls(snapshot)

    def static_mime_bundle(self) -> dict[str, Any]:
        """Return the static panel as HTML, as text and, if there is a plot, as PNG."""
        bundle = {
            "text/html": html.render_static_panel(self.snapshot, self.light, self.dark),
            "text/plain": render_text(self.snapshot),
        }
        return bundle | ({"image/png": b64encode(self.light).decode()} if self.light else {})


_open: list[Panel] = []


class Panel:
    """An open panel.

    Parameters
    ----------
    source
        Where snapshots come from.
    shell
        The kernel's IPython shell.
    """

    def __init__(self, request: PanelRequest, source: SnapshotSource, shell: Any) -> None:
        self.request = request
        self.origin = CellOrigin.from_shell(shell, request)
        self._source, self._shell = source, shell
        self._id = secrets.token_hex(8)
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._has_picture = threading.Event()
        self._rendered: RenderedSnapshot | None = None
        self._hooks = {"pre_run_cell": self._handle_cell_start, "post_run_cell": self._handle_cell_end}
        self._is_cell_running = True
        # Whether a press waits for the running cell.
        self._is_press_delayed = not has_subshells(shell)
        self._test_requested_at = 0.0
        # Of the static panel: what it last showed, and when (`time.monotonic`).
        self._static_state: object = None
        self._static_updated_at = 0.0
        self._live_display: Any = None
        self._static_display: Any = None
        self._is_closed = False
        self._context = copy_context_without_parent()
        # The context of the newest cell: a program that runs the notebook ignores updates from any other.
        self._cell_context = contextvars.copy_context()
        self._view = self._context.run(PanelWidgets, self._handle_press)

    def open(self) -> None:
        """Subscribe to snapshots and show the panel below the cell. Close panels of an earlier run of the cell."""
        from IPython.display import display

        for other in [panel for panel in _open if panel.origin.is_replaced_by(self.origin)]:
            other.close()
        _open.append(self)
        for event, hook in self._hooks.items():
            self._shell.events.register(event, hook)
        try:
            with self._lock:
                self._live_display = display(self._view.bundle(), raw=True, display_id=True)
            self._source.subscribe(self._id, self.request, self._receive)
            self._has_picture.wait(FIRST_PICTURE_TIMEOUT)
            with self._lock:
                self._static_display = display(self._static_bundle(), raw=True, display_id=True)
        except BaseException:
            # An interrupt: leave no panel behind that no page shows.
            self.close()
            raise

    def close(self) -> None:
        """Close the panel and keep its last picture below the cell."""
        with self._lock:
            if self._is_closed or os.getpid() != self._pid:
                return
            self._is_closed = True
        _open.remove(self)
        self._source.unsubscribe(self._id)
        for event, hook in self._hooks.items():
            unregister_hook(self._shell, event, hook)
        with self._lock:
            self._context.run(self._remove_widgets)

    def _ipython_display_(self) -> None:
        """Display nothing: `open` has already shown the panel."""

    # In the sidecar client's thread

    def _receive(self, message: dict[str, Any]) -> None:
        """Show a snapshot. Ignore errors, because the client's thread must go on and the next snapshot may succeed."""
        try:
            with self._lock:
                if self._is_closed:
                    return
                self._rendered = RenderedSnapshot.from_message(message, self._rendered)
                self._context.run(self._show, self._rendered)
        except Exception:
            return
        if self._rendered.light:
            self._has_picture.set()

    def _show(self, rendered: RenderedSnapshot) -> None:
        snapshot = rendered.snapshot
        pending_range = next((name for name, span in RANGE_BUTTONS.items() if span == self.request.span), "")
        self._view.update(snapshot, rendered.light, rendered.dark, self._notes(snapshot), pending_range)
        alarm_states = [(alarm.name, alarm.state) for alarm in snapshot.alarms]
        state = alarm_states, [run.outcome for run in snapshot.runs], bool(rendered.light)
        is_due = time.monotonic() - self._static_updated_at >= STATIC_PANEL_INTERVAL
        if self._static_display is not None and (is_due or state != self._static_state):
            self._static_state, self._static_updated_at = state, time.monotonic()
            self._cell_context.run(self._static_display.update, rendered.static_mime_bundle(), raw=True)

    def _notes(self, snapshot: Snapshot) -> list[str]:
        notes = [BUSY_KERNEL_NOTE] if self._is_cell_running and self._is_press_delayed else []
        if self._test_requested_at > max(snapshot.health.delivered, 0.0):
            at = format_local_time(self._test_requested_at, snapshot.at, show_seconds=True)
            notes.append(f"Test requested at {at}")
        return notes

    # In a thread that the kernel chooses: a subshell's, or the main thread when no cell runs

    def _handle_press(self, name: str) -> None:
        # The main thread handles presses only between cells, so later presses must wait too.
        self._is_press_delayed = threading.current_thread() is threading.main_thread()
        if name == CLOSE_BUTTON:
            self.close()
            return
        with self._lock:
            if self._is_closed:
                return
            is_muted = self._rendered is not None and self._rendered.snapshot.health.muted_until > time.time()
            if name in RANGE_BUTTONS:
                self.request = replace(self.request, span=RANGE_BUTTONS[name])
            if name == TEST_BUTTON:
                self._test_requested_at = time.time()
            self._context.run(self._view.mark_pending, name)
        if name in RANGE_BUTTONS:
            self._source.subscribe(self._id, self.request, self._receive)
        elif name == REFRESH_BUTTON:
            self._source.send_command("refresh")
        elif name == TEST_BUTTON:
            self._source.send_command("greet")
        elif name == MUTE_BUTTON:
            self._source.send_command("mute", seconds=0.0 if is_muted else MUTE_DURATION)

    # In the main thread

    def _handle_cell_start(self, info: Any) -> None:
        self._is_cell_running = True
        # Without the lock, because the cell would wait while a picture is being sent.
        self._cell_context = contextvars.copy_context()
        if self.origin.is_deleted(self._shell):
            self.close()

    def _handle_cell_end(self, result: Any) -> None:
        self._is_cell_running = False

    def _static_bundle(self) -> dict[str, Any]:
        if self._rendered is None:
            return {"text/plain": "cwnotify: nothing read yet", "text/html": html.render_empty_static_panel()}
        return self._rendered.static_mime_bundle()

    def _remove_widgets(self) -> None:
        if self._static_display is not None:
            self._cell_context.run(self._static_display.update, self._static_bundle(), raw=True)
        if self._live_display is not None:
            # Without this, the page shows an error about an unknown widget.
            self._live_display.update(EMPTY_MIME_BUNDLE, raw=True)
        self._view.close()


def close_all_panels() -> None:
    """Close every panel. Called when the kernel exits or the extension is unloaded."""
    for panel in _open[:]:
        panel.close()
