"""Snapshots for panels, with their pictures, in a thread of its own: a drawing must not hold up an alert."""

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

# A panel's words are made new so often, and its picture when a point of it has moved by a few pixels.
PUBLISH_INTERVAL = 5.0
PLOT_UPDATES_PER_SPAN = 1200
MAX_PLOT_INTERVAL = 30.0
MAX_POINTS_PER_LINE = 60

log = logging.getLogger(__name__)


@dataclass
class _Easel:
    """One panel: what it asked for, and when and of what its last picture was drawn."""

    request: PanelRequest
    destination: str
    drawn_at: float = 0.0
    drawn: object = None


class SnapshotPublisher(threading.Thread):
    """Shows panels what is known, again and again, for as long as the process lives.

    Parameters
    ----------
    connect
        Opens a connection to the outbox, for this thread's own use.
    answers
        The pipe to the kernel.
    sights
        Gives what the watch sees, by panel.
    running
        Gives CPU over the runs that are open, by id.
    """

    def __init__(
        self,
        connect: Callable[[], Outbox],
        answers: Pipe,
        live: LoadHistory,
        sights: Callable[[], Mapping[str, PanelObservation]],
        running: Callable[[], Mapping[str, tuple[float, ...]]],
    ) -> None:
        super().__init__(name="cwnotify-painter", daemon=True)
        self._connect = connect
        self._answers = answers
        self._live = live
        self._sights, self._running = sights, running
        self._easels: dict[str, _Easel] = {}
        self._news = threading.Event()
        self._plot: PlotRenderer | None = None

    def add_panel(self, panel: str, request: PanelRequest, destination: str) -> None:
        """Show `panel` from now on what it asks for."""
        self._easels = {**self._easels, panel: _Easel(request, destination)}
        self._news.set()

    def remove_panel(self, panel: str) -> None:
        """`panel` is closed."""
        self._easels = {id: easel for id, easel in self._easels.items() if id != panel}

    def request_update(self) -> None:
        """There is something new to show: soon, and not with the next tick."""
        self._news.set()

    def run(self) -> None:
        """Paint for ever."""
        outbox = self._connect()
        while True:
            self._news.wait(PUBLISH_INTERVAL)
            self._news.clear()
            for panel, easel in self._easels.items():
                try:
                    self._show(panel, easel, outbox)
                except Exception:
                    log.exception("a panel could not be shown")
            if self._plot is None and any(easel.request.pictures for easel in self._easels.values()):
                # Takes a second: the panel's words are there before.
                from cwnotify.view.plot import PlotRenderer

                self._plot = PlotRenderer()
                self._news.set()

    def _show(self, panel: str, easel: _Easel, outbox: Outbox) -> None:
        now = time.time()
        sight = self._sights().get(panel) or PanelObservation.initial(easel.request)
        runs = list_recent_runs(outbox, now - easel.request.span, self._running())
        muted = AlarmStateStore(outbox).muted_until(easel.destination)
        health = load_slack_health(outbox, easel.destination, muted)
        snapshot = build_snapshot(replace(sight, request=easel.request), now, self._live, runs, health)
        pictures = self._pictures(easel, snapshot) if self._plot and easel.request.pictures else {}
        told = replace(snapshot, lines=tuple(downsample_line(line, MAX_POINTS_PER_LINE) for line in snapshot.lines))
        if not self._answers.try_send(
            encode_pipe_message("snapshot", panel=panel, snapshot=to_json_dict(told), **pictures)
        ):
            # Nobody reads just now; the next one is drawn anew.
            easel.drawn = None

    def _pictures(self, easel: _Easel, snapshot: Snapshot) -> dict[str, str]:
        """The plot for light and dark pages, if it would look different from the last one."""
        still = tuple(line for line in snapshot.lines if not line.live)
        content = still, snapshot.alarms, [(run.name, run.ended) for run in snapshot.runs], easel.request
        pause = min(max(PUBLISH_INTERVAL, easel.request.span / PLOT_UPDATES_PER_SPAN), MAX_PLOT_INTERVAL)
        if content == easel.drawn and snapshot.at - easel.drawn_at < pause:
            return {}
        assert self._plot
        easel.drawn, easel.drawn_at = content, snapshot.at
        return {name: b64encode(self._plot.render_png(snapshot, name == "dark")).decode() for name in ("light", "dark")}
