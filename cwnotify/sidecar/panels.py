"""The panels' side of the sidecar: nothing of it is loaded before the first panel opens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cwnotify.alerts.events.runs import LoadSample
from cwnotify.host.load_history import LoadHistory
from cwnotify.settings.child_environment import apply_environment
from cwnotify.sidecar.protocol import Pipe
from cwnotify.store.outbox import Outbox
from cwnotify.view.snapshot import PanelRequest
from cwnotify.watch.ec2_notices import InstanceMonitor

if TYPE_CHECKING:
    from cwnotify.sidecar.panel_publisher import SnapshotPublisher
    from cwnotify.watch.poller import AwsPoller


class PanelManager:
    """All panels of one kernel.

    Parameters
    ----------
    connect
        Opens a connection to the outbox for the thread that calls it.
    answers
        The pipe to the kernel.
    machine
        Knows which instance this is.
    told
        Called when messages were put into the outbox.
    running
        Gives CPU over the runs that are open, by id.
    """

    def __init__(
        self,
        connect: Callable[[], Outbox],
        answers: Pipe,
        machine: InstanceMonitor,
        told: Callable[[], None],
        running: Callable[[], Mapping[str, tuple[float, ...]]],
    ) -> None:
        self._connect, self._answers, self._machine = connect, answers, machine
        self._told, self._running = told, running
        self._open: dict[str, PanelRequest] = {}
        self._live = LoadHistory()
        self._watch: AwsPoller | None = None
        self._painter: SnapshotPublisher | None = None

    @property
    def has_open_panels(self) -> bool:
        """Whether there is a panel."""
        return bool(self._open)

    def open_panel(self, panel: str, request: PanelRequest, destination: str, environ: Mapping[str, str]) -> None:
        """Show `panel` what it asks for; AWS is asked as the kernel's `environ` says now."""
        self._open[panel] = request
        anew = _adopt(environ)
        if self._watch is None or self._painter is None:
            self._start()
        assert self._watch
        assert self._painter
        self._watch.add_panel(panel, request, destination)
        if anew:
            self._watch.request_poll(renew_session=True)
        self._painter.add_panel(panel, request, destination)

    def set_destination(self, destination: str) -> None:
        """Alarms that change are told to this webhook from now on."""
        for panel, request in self._open.items():
            self.open_panel(panel, request, destination, {})

    def close_panel(self, panel: str) -> None:
        """`panel` is closed."""
        self._open.pop(panel, None)
        if self._watch and self._painter:
            self._watch.remove_panel(panel)
            self._painter.remove_panel(panel)

    def close_all(self) -> None:
        """All panels are closed."""
        for panel in list(self._open):
            self.close_panel(panel)

    def refresh(self) -> None:
        """Look at AWS again now."""
        if self._watch:
            self._watch.request_poll(renew_session=True)

    def add_load_sample(self, sample: LoadSample) -> None:
        """A second of this host's load."""
        self._live.add(sample)

    def request_update(self) -> None:
        """A run began or ended, or an alert went out."""
        if self._painter and self._open:
            self._painter.request_update()

    def _start(self) -> None:
        from cwnotify.sidecar.panel_publisher import SnapshotPublisher
        from cwnotify.watch.poller import AwsPoller

        self._watch = watch = AwsPoller(self._connect, self._machine, self.request_update, self._told)
        self._painter = SnapshotPublisher(
            self._connect, self._answers, self._live, lambda: watch.observations, self._running
        )
        self._watch.start()
        self._painter.start()


def _adopt(environ: Mapping[str, str]) -> bool:
    """Take over what the kernel says of AWS now; tells whether that is something new."""
    return bool(environ) and apply_environment(environ, lambda name: name.startswith("AWS_"))
