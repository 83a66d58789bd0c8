"""The widgets of a panel: their layout, and the names of the buttons. No logic and no I/O.

Imports ipywidgets, so this module is imported in the cell that opens the first panel, never in a thread.
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
_TOOLTIPS = {
    REFRESH_BUTTON: "Query CloudWatch now",
    TEST_BUTTON: "Send a test message to Slack",
    MUTE_BUTTON: "Send no alarms to Slack for an hour",
    CLOSE_BUTTON: "Close this panel and keep its last picture",
}


class DescribedImage(ipywidgets.Image):  # type: ignore[misc]
    """An image whose tooltip is its alternative text.

    Before a page sets a tooltip, it reads the description. ipywidgets' own image has none, and the page fails.
    """

    description = Unicode("").tag(sync=True)


class PanelWidgets:
    """The widgets of one panel.

    Parameters
    ----------
    on_press
        Called with the name of a pressed button, in the thread in which the kernel handles the press.
    """

    def __init__(self, on_press: Callable[[str], None]) -> None:
        self._subject, self._freshness, self._notices, self._runs = (ipywidgets.HTML() for _ in range(4))
        self._status = _add_classes(ipywidgets.HTML(), "cw-status")
        self._pictures = {kind: _add_classes(DescribedImage(), kind, "cw-empty") for kind in ("cw-light", "cw-dark")}
        tooltips = {name: f"Show the last {name}" for name in RANGE_BUTTONS} | _TOOLTIPS
        self._buttons = {name: ipywidgets.Button(description=name, tooltip=text) for name, text in tooltips.items()}
        for name, button in self._buttons.items():
            button.on_click(lambda _, name=name: on_press(name))
        *left_buttons, test, mute, close = self._buttons.values()
        head = _add_classes(ipywidgets.Box([self._subject, self._freshness]), "cw-head")
        controls = _add_classes(ipywidgets.Box([*left_buttons, self._status, test, mute, close]), "cw-controls")
        style = _add_classes(ipywidgets.HTML(f"<style>{build_stylesheet()}</style>"), "cw-style")
        parts = [style, head, self._notices, *self._pictures.values(), self._runs, controls]
        self.box = _add_classes(ipywidgets.Box(parts), "cwnotify", "cwnotify-live")
        self._all = [*self.box.children, *head.children, *controls.children, self.box]
        self._subject.value = '<span class="cw-subject">cwnotify</span><span class="cw-quiet">starting…</span>'

    def bundle(self) -> dict[str, Any]:
        """Return the widget as raw data for `IPython.display.display`."""
        bundle: dict[str, Any] = self.box._repr_mimebundle_()
        return bundle | {"text/plain": "cwnotify: a live panel"}

    def update(self, snapshot: Snapshot, light: bytes, dark: bytes, notes: Iterable[str], pending_range: str) -> None:
        """Show a snapshot. The kernel sends only what changed to the page.

        Parameters
        ----------
        light, dark
            The plot as PNG for each theme; empty to keep the last one.
        notes
            Sentences about the buttons.
        pending_range
            The name of the button for the requested range; empty if no button matches.
        """
        self._subject.value = html.render_subject(snapshot)
        self._freshness.value = html.render_freshness(snapshot)
        self._notices.value = html.render_notices(snapshot)
        self._runs.value = html.render_runs(snapshot)
        self._status.value = html.render_status(snapshot, notes)
        for kind, png in (("cw-light", light), ("cw-dark", dark)):
            if png:
                self._pictures[kind].value = png
                self._pictures[kind].tooltip = build_alt_text(snapshot)
                _toggle_class(self._pictures[kind], "cw-empty", False)
        for name, span in RANGE_BUTTONS.items():
            _toggle_class(self._buttons[name], "cw-on", span == snapshot.request.span)
            _toggle_class(self._buttons[name], "cw-pending", name == pending_range)
        for name in (TEST_BUTTON, MUTE_BUTTON):
            self._buttons[name].disabled = not snapshot.health.webhook
        self._buttons[MUTE_BUTTON].description = UNMUTE if snapshot.health.muted_until > snapshot.at else MUTE_BUTTON
        _toggle_class(self._buttons[REFRESH_BUTTON], "cw-pending", False)

    def mark_pending(self, name: str) -> None:
        """Draw a pressed button dashed until its effect arrives."""
        for other in RANGE_BUTTONS if name in RANGE_BUTTONS else ():
            _toggle_class(self._buttons[other], "cw-pending", other == name)
        _toggle_class(self._buttons[name], "cw-pending", True)

    def close(self) -> None:
        """Remove the widgets from the page and free them in the kernel."""
        for widget in self._all:
            for part in (getattr(widget, "style", None), widget.layout, widget):
                if part is not None:
                    part.close()


def _add_classes(widget: Any, *names: str) -> Any:
    for name in names:
        widget.add_class(name)
    return widget


def _toggle_class(widget: Any, name: str, is_on: bool) -> None:
    # Neither call sends anything if it changes nothing.
    (widget.add_class if is_on else widget.remove_class)(name)
