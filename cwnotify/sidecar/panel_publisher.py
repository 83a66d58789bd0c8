"""Build snapshots for panels, with their plots, in a separate thread: a plot must not delay an alert."""

from __future__ import annotations

import logging
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cwnotify.alerts.serialization import to_json_dict
from cwnotify.host.load_history import LoadHistory
from cwnotify.sidecar.protocol import Pipe, encode_pipe_message
from cwnotify.sidecar.snapshot_builder import build_snapshot, downsample_line
from cwnotify.store.alarm_states import AlarmStateStore
from cwnotify.store.outbox import Outbox
from cwnotify.store.run_history import list_recent_runs, load_slack_health
from cwnotify.view.snapshot import PanelRequest, Snapshot
from cwnotify.watch.observation import PanelObservation

if TYPE_CHECKING:
    from cwnotify.view.plot import PlotRenderer

# In seconds. A plot is drawn again when its points have moved by a few pixels.
PUBLISH_INTERVAL = 5.0
MAX_PLOT_INTERVAL = 30.0
PLOT_UPDATES_PER_SPAN = 1200
MAX_POINTS_PER_LINE = 60

log = logging.getLogger(__name__)


@dataclass
class _Panel:
    """A panel, and what its last plot shows."""

    request: PanelRequest
    destination: str
    drawn_at: float = 0.0
    drawn_content: object = None


class SnapshotPublisher(threading.Thread):
    """Sends snapshots to the kernel's panels until the process exits.

    Parameters
    ----------
    connect
        Opens a connection to the outbox, for this thread's own use.
    answers
        The pipe to the kernel.
    load_history
        This host's load.
    observations
        Returns what the poller observed, by panel.
    cpu_by_run
        Returns CPU samples of each open run, by its id.
    """

    def __init__(
        self,
        connect: Callable[[], Outbox],
        answers: Pipe,
        load_history: LoadHistory,
        observations: Callable[[], Mapping[str, PanelObservation]],
        cpu_by_run: Callable[[], Mapping[str, tuple[float, ...]]],
    ) -> None:
        super().__init__(name="cwnotify-panels", daemon=True)
        self._connect = connect
        self._answers = answers
        self._load_history = load_history
        self._observations, self._cpu_by_run = observations, cpu_by_run
        self._panels: dict[str, _Panel] = {}
        self._wake_event = threading.Event()
        self._renderer: PlotRenderer | None = None

    def add_panel(self, panel: str, request: PanelRequest, destination: str) -> None:
        """Add a panel, or change its request or destination."""
        self._panels = {**self._panels, panel: _Panel(request, destination)}
        self._wake_event.set()

    def remove_panel(self, panel: str) -> None:
        """Remove a panel."""
        self._panels = {id: value for id, value in self._panels.items() if id != panel}

    def request_update(self) -> None:
        """Publish now instead of after `PUBLISH_INTERVAL`."""
        self._wake_event.set()

    def run(self) -> None:
        """Publish until the process exits."""
        outbox = self._connect()
        while True:
            self._wake_event.wait(PUBLISH_INTERVAL)
            self._wake_event.clear()
            for id, panel in self._panels.items():
                try:
                    self._publish(id, panel, outbox)
                except Exception:
                    log.exception("a snapshot could not be published")
            if self._renderer is None and any(panel.request.pictures for panel in self._panels.values()):
                # The import takes a second. The panel's texts are there before.
                from cwnotify.view.plot import PlotRenderer

                self._renderer = PlotRenderer()
                self._wake_event.set()

    def _publish(self, id: str, panel: _Panel, outbox: Outbox) -> None:
        now = time.time()
        observation = self._observations().get(id) or PanelObservation.initial(panel.request)
        runs = list_recent_runs(outbox, now - panel.request.span, self._cpu_by_run())
        muted_until = AlarmStateStore(outbox).muted_until(panel.destination)
        health = load_slack_health(outbox, panel.destination, muted_until)
        snapshot = build_snapshot(replace(observation, request=panel.request), now, self._load_history, runs, health)
        plots = self._draw_if_changed(panel, snapshot)
        lines = tuple(downsample_line(line, MAX_POINTS_PER_LINE) for line in snapshot.lines)
        message = encode_pipe_message(
            "snapshot", panel=id, snapshot=to_json_dict(replace(snapshot, lines=lines)), **plots
        )
        if not self._answers.try_send(message):
            # The kernel does not read at the moment. Draw again for the next snapshot.
            panel.drawn_content = None

    def _draw_if_changed(self, panel: _Panel, snapshot: Snapshot) -> dict[str, str]:
        """Return the plot for light and dark pages, or nothing if it would look like the last one."""
        if self._renderer is None or not panel.request.pictures:
            return {}
        cloudwatch_lines = tuple(line for line in snapshot.lines if not line.live)
        runs = [(run.name, run.ended) for run in snapshot.runs]
        content = cloudwatch_lines, snapshot.alarms, runs, panel.request
        interval = min(max(PUBLISH_INTERVAL, panel.request.span / PLOT_UPDATES_PER_SPAN), MAX_PLOT_INTERVAL)
        if content == panel.drawn_content and snapshot.at - panel.drawn_at < interval:
            return {}
        panel.drawn_content, panel.drawn_at = content, snapshot.at
        return {
            theme: b64encode(self._renderer.render_png(snapshot, theme == "dark")).decode()
            for theme in ("light", "dark")
        }
