"""An open panel in a kernel, from its first snapshot to its last picture. It shows what snapshots say, nothing else.

Snapshots come from the sidecar and are shown in the link's thread, so the panel lives while a cell keeps the kernel
busy. Nothing is imported in that thread, and nothing of the process is touched: no rcParams, no streams, no loop.

A notebook saves no widgets. So below the widget stands a second output, which the page hides while the panel is
live: the panel as a still picture, made new every half minute and at the end. It is what a saved notebook, GitHub
or nbconvert shows.
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

# So long the cell that opens a panel waits for its first picture, so that a program which runs the notebook keeps it.
FIRST_PICTURE_TIMEOUT = 4.0
STATIC_PANEL_INTERVAL = 30.0
MUTE_DURATION = 3600.0
BUSY_KERNEL_NOTE = "A cell is running: buttons answer when it ends."
EMPTY_MIME_BUNDLE = {"text/html": "<span></span>", "text/plain": ""}


class SnapshotSource(Protocol):
    """What a panel needs of `cwnotify.sidecar.client.SidecarClient`."""

    def set_webhook(self, webhook: Secret | None) -> None:
        """Send alerts to `webhook`."""

    def subscribe(self, panel_id: str, request: PanelRequest, heard: Callable[[dict[str, Any]], None]) -> None:
        """Let `heard` have the snapshots for `request`, in a thread of the link's; again, to ask for something else."""

    def unsubscribe(self, panel_id: str) -> None:
        """No more snapshots."""

    def send_command(self, kind: str, **values: Any) -> None:
        """Tell the sidecar to do something."""


@dataclass(frozen=True)
class RenderedSnapshot:
    """A snapshot, and as PNG the last pictures that came from the sidecar."""

    snapshot: Snapshot
    light: bytes = b""
    dark: bytes = b""

    @classmethod
    def from_message(cls, line: Mapping[str, Any], last: RenderedSnapshot | None) -> RenderedSnapshot:
        """Read a line of the protocol; a ValueError or KeyError says that it is none that we know.

        A line without pictures has new words only: those of the `last` one are still right.
        """
        snapshot = from_json_dict(Snapshot, line["snapshot"])
        if line.get("light") and line.get("dark"):
            return cls(snapshot, b64decode(line["light"]), b64decode(line["dark"]))
        return replace(last, snapshot=snapshot) if last else cls(snapshot)

    def static_mime_bundle(self) -> dict[str, Any]:
        """The still picture, in every form that a page may want."""
        bundle = {
            "text/html": html.render_static_panel(self.snapshot, self.light, self.dark),
            "text/plain": render_text(self.snapshot),
        }
        return bundle | ({"image/png": b64encode(self.light).decode()} if self.light else {})


_open: list[Panel] = []


class Panel:
    """One open panel, in a kernel.

    Parameters
    ----------
    link
        Where snapshots come from.
    shell
        The kernel's IPython.
    """

    def __init__(self, request: PanelRequest, link: SnapshotSource, shell: Any) -> None:
        self.request = request
        self.origin = CellOrigin.from_shell(shell, request)
        self._link, self._shell = link, shell
        self._id = secrets.token_hex(8)
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._first = threading.Event()
        self._heard: RenderedSnapshot | None = None
        self._hooks = {"pre_run_cell": self._cell_began, "post_run_cell": self._cell_ended}
        self._busy, self._waits = True, not has_subshells(shell)
        self._tested = self._kept_at = 0.0
        self._news: object = None
        self._live: Any = None
        self._still: Any = None
        self._closed = False
        self._context = copy_context_without_parent()
        self._page = contextvars.copy_context()
        self._view = self._context.run(PanelWidgets, self._pressed)

    def open(self) -> None:
        """Begin to watch, and show the panel below the cell. What an earlier run of the cell opened is closed."""
        from IPython.display import display

        for other in [other for other in _open if other.origin.is_replaced_by(self.origin)]:
            other.close()
        _open.append(self)
        for event, hook in self._hooks.items():
            self._shell.events.register(event, hook)
        try:
            with self._lock:
                self._live = display(self._view.bundle(), raw=True, display_id=True)
            self._link.subscribe(self._id, self.request, self._hear)
            self._first.wait(FIRST_PICTURE_TIMEOUT)
            with self._lock:
                self._still = display(self._kept(), raw=True, display_id=True)
        except BaseException:
            # Somebody was impatient: nothing may stay behind that no page shows.
            self.close()
            raise

    def close(self) -> None:
        """End it; its last picture stays below the cell."""
        with self._lock:
            if self._closed or os.getpid() != self._pid:
                return
            self._closed = True
        _open.remove(self)
        self._link.unsubscribe(self._id)
        for event, hook in self._hooks.items():
            unregister_hook(self._shell, event, hook)
        with self._lock:
            self._context.run(self._leave)

    def _ipython_display_(self) -> None:
        """It is shown where it was opened; as a cell's value it shows nothing more."""

    # In the link's thread

    def _hear(self, line: dict[str, Any]) -> None:
        """Show a snapshot. Whatever comes of it, the link goes on listening, and the next one may do better."""
        try:
            with self._lock:
                if self._closed:
                    return
                self._heard = RenderedSnapshot.from_message(line, self._heard)
                self._context.run(self._show, self._heard)
        except Exception:
            return
        if self._heard.light:
            self._first.set()

    def _show(self, heard: RenderedSnapshot) -> None:
        snapshot = heard.snapshot
        asked = next((name for name, span in RANGE_BUTTONS.items() if span == self.request.span), "")
        self._view.update(snapshot, heard.light, heard.dark, self._notes(snapshot), asked)
        states = [(alarm.name, alarm.state) for alarm in snapshot.alarms]
        news = states, [run.outcome for run in snapshot.runs], bool(heard.light)
        due = time.monotonic() - self._kept_at >= STATIC_PANEL_INTERVAL
        if self._still is not None and (due or news != self._news):
            self._news, self._kept_at = news, time.monotonic()
            self._page.run(self._still.update, heard.static_mime_bundle(), raw=True)

    def _notes(self, snapshot: Snapshot) -> list[str]:
        notes = [BUSY_KERNEL_NOTE] if self._busy and self._waits else []
        if self._tested > max(snapshot.health.delivered, 0.0):
            notes.append(f"Test asked for at {format_local_time(self._tested, snapshot.at, show_seconds=True)}")
        return notes

    # In the thread that the kernel chooses: a subshell's, or its main one once no cell runs

    def _pressed(self, name: str) -> None:
        # On the main thread a press can only come between cells: others will have to wait as well.
        self._waits = threading.current_thread() is threading.main_thread()
        if name == CLOSE_BUTTON:
            self.close()
            return
        with self._lock:
            if self._closed:
                return
            muted = self._heard is not None and self._heard.snapshot.health.muted_until > time.time()
            if name in RANGE_BUTTONS:
                self.request = replace(self.request, span=RANGE_BUTTONS[name])
            if name == TEST_BUTTON:
                self._tested = time.time()
            self._context.run(self._view.mark_pending, name)
        if name in RANGE_BUTTONS:
            self._link.subscribe(self._id, self.request, self._hear)
        elif name == REFRESH_BUTTON:
            self._link.send_command("refresh", panel=self._id)
        elif name == TEST_BUTTON:
            self._link.send_command("greet")
        elif name == MUTE_BUTTON:
            self._link.send_command("mute", seconds=0.0 if muted else MUTE_DURATION)

    # In the main thread

    def _cell_began(self, info: Any) -> None:
        self._busy = True
        # A program that runs a notebook keeps of a new picture only what comes as from the cell that it waits for.
        # Without the lock: the cell would wait for a picture that is being sent.
        self._page = contextvars.copy_context()
        if self.origin.is_deleted(self._shell):
            self.close()

    def _cell_ended(self, result: Any) -> None:
        self._busy = False

    def _kept(self) -> dict[str, Any]:
        if self._heard is None:
            return {"text/plain": "cwnotify: nothing read yet", "text/html": html.render_empty_static_panel()}
        return self._heard.static_mime_bundle()

    def _leave(self) -> None:
        if self._still is not None:
            self._page.run(self._still.update, self._kept(), raw=True)
        if self._live is not None:
            # The page could show only that it does not know this widget any more.
            self._live.update(EMPTY_MIME_BUNDLE, raw=True)
        self._view.close()


def close_all_panels() -> None:
    """Close every panel, at the kernel's end or the extension's."""
    for one in _open[:]:
        one.close()
