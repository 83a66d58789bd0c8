"""The panel's widgets: what stands where, and what a press is called. ipywidgets; no logic, no I/O of its own.

Imports ipywidgets, so it is itself imported in the cell that opens the first panel, never in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets  # type: ignore[import-untyped]
from traitlets import Unicode

from cwnotify.view import html
from cwnotify.view.css import build_stylesheet
from cwnotify.view.format import build_alt_text
from cwnotify.view.snapshot import Snapshot

RANGE_BUTTONS = {"1 h": 3600.0, "3 h": 3 * 3600.0, "12 h": 12 * 3600.0, "3 d": 3 * 86400.0}
REFRESH_BUTTON, TEST_BUTTON, MUTE_BUTTON, CLOSE_BUTTON = "Refresh", "Send a test", "Mute 1 h", "Close"
UNMUTE = "Unmute"
_HINTS = {
    REFRESH_BUTTON: "Read CloudWatch again now",
    TEST_BUTTON: "Send a test message to Slack",
    MUTE_BUTTON: "Say nothing of alarms in Slack for an hour",
    CLOSE_BUTTON: "Close this panel; its last picture stays",
}


class DescribedImage(ipywidgets.Image):  # type: ignore[misc]
    """An image whose tooltip is its text for those who cannot see it.

    Before a page sets a tooltip it looks whether there is a description, and ipywidgets' own image, which can have
    none, fails there.
    """

    description = Unicode("").tag(sync=True)


class PanelWidgets:
    """One panel's widgets.

    Parameters
    ----------
    pressed
        Is told a button's name, in whichever thread the kernel handles the press.
    """

    def __init__(self, pressed: Callable[[str], None]) -> None:
        self._subject, self._fresh, self._notices, self._runs = (ipywidgets.HTML() for _ in range(4))
        self._status = _classed(ipywidgets.HTML(), "cw-status")
        self._pictures = {kind: _classed(DescribedImage(), kind, "cw-empty") for kind in ("cw-light", "cw-dark")}
        hints = {name: f"Show the last {name}" for name in RANGE_BUTTONS} | _HINTS
        self._buttons = {name: ipywidgets.Button(description=name, tooltip=hint) for name, hint in hints.items()}
        for name, button in self._buttons.items():
            button.on_click(lambda _, name=name: pressed(name))
        head = ipywidgets.Box([self._subject, self._fresh])
        *left, test, mute, close = self._buttons.values()
        controls = ipywidgets.Box([*left, self._status, test, mute, close])
        rules = _classed(ipywidgets.HTML(f"<style>{build_stylesheet()}</style>"), "cw-style")
        head, controls = _classed(head, "cw-head"), _classed(controls, "cw-controls")
        parts = [rules, head, self._notices, *self._pictures.values(), self._runs, controls]
        self.box = _classed(ipywidgets.Box(parts), "cwnotify", "cwnotify-live")
        self._all = [*self.box.children, *head.children, *controls.children, self.box]
        self._subject.value = '<span class="cw-subject">cwnotify</span><span class="cw-quiet">starts…</span>'

    def bundle(self) -> dict[str, Any]:
        """What `IPython.display.display` takes as raw data."""
        bundle: dict[str, Any] = self.box._repr_mimebundle_()
        return bundle | {"text/plain": "cwnotify: a live panel"}

    def update(self, snapshot: Snapshot, light: bytes, dark: bytes, notes: Iterable[str], pending_range: str) -> None:
        """Show all of it; only what has changed travels to the page.

        Parameters
        ----------
        asked
            The name of the span that was asked for, where the snapshot has not got it yet.
        """
        self._subject.value = html.render_subject(snapshot)
        self._fresh.value = html.render_freshness(snapshot)
        self._notices.value = html.render_notices(snapshot)
        self._runs.value = html.render_runs(snapshot)
        self._status.value = html.render_status(snapshot, notes)
        for kind, png in (("cw-light", light), ("cw-dark", dark)):
            if png:
                self._pictures[kind].value = png
                self._pictures[kind].tooltip = build_alt_text(snapshot)
                _mark(self._pictures[kind], "cw-empty", False)
        for name, span in RANGE_BUTTONS.items():
            _mark(self._buttons[name], "cw-on", span == snapshot.request.span)
            _mark(self._buttons[name], "cw-asked", name == pending_range)
        for name in (TEST_BUTTON, MUTE_BUTTON):
            self._buttons[name].disabled = not snapshot.health.webhook
        self._buttons[MUTE_BUTTON].description = UNMUTE if snapshot.health.muted_until > snapshot.at else MUTE_BUTTON
        _mark(self._buttons[REFRESH_BUTTON], "cw-asked", False)

    def mark_pending(self, name: str) -> None:
        """Show that a press was heard: until what it asks for is there, the button is dashed."""
        for other in RANGE_BUTTONS if name in RANGE_BUTTONS else ():
            _mark(self._buttons[other], "cw-asked", other == name)
        _mark(self._buttons[name], "cw-asked", True)

    def close(self) -> None:
        """Take the widgets off the page and let the kernel forget them."""
        for widget in self._all:
            for part in (getattr(widget, "style", None), widget.layout, widget):
                if part is not None:
                    part.close()


def _classed(widget: Any, *names: str) -> Any:
    for name in names:
        widget.add_class(name)
    return widget


def _mark(widget: Any, name: str, marked: bool) -> None:
    # Neither sends anything to the page where it changes nothing.
    (widget.add_class if marked else widget.remove_class)(name)
