"""The open panels of one kernel. The modules that serve them are imported when the first panel opens."""

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
    """Opens and closes panels, and passes news to the threads that serve them.

    Parameters
    ----------
    connect
        Opens a connection to the outbox for the thread that calls it.
    answers
        The pipe to the kernel.
    instance
        Knows which instance this host is.
    on_enqueued
        Called when messages were added to the outbox.
    cpu_by_run
        Returns CPU samples of each open run, by its id.
    """

    def __init__(
        self,
        connect: Callable[[], Outbox],
        answers: Pipe,
        instance: InstanceMonitor,
        on_enqueued: Callable[[], None],
        cpu_by_run: Callable[[], Mapping[str, tuple[float, ...]]],
    ) -> None:
        self._connect, self._answers, self._instance = connect, answers, instance
        self._on_enqueued, self._cpu_by_run = on_enqueued, cpu_by_run
        self._requests: dict[str, PanelRequest] = {}
        self._load_history = LoadHistory()
        self._threads: tuple[AwsPoller, SnapshotPublisher] | None = None

    @property
    def has_open_panels(self) -> bool:
        """Whether a panel is open."""
        return bool(self._requests)

    def open_panel(self, panel: str, request: PanelRequest, destination: str, environ: Mapping[str, str]) -> None:
        """Open or change a panel.

        Parameters
        ----------
        destination
            Where changes of its alarms are sent.
        environ
            The kernel's AWS variables, or none to use the current ones.
        """
        self._requests[panel] = request
        is_aws_changed = bool(environ) and apply_environment(environ, lambda name: name.startswith("AWS_"))
        if self._threads is None:
            self._threads = self._start_threads()
        poller, publisher = self._threads
        poller.add_panel(panel, request, destination)
        if is_aws_changed:
            poller.request_poll(renew_session=True)
        publisher.add_panel(panel, request, destination)

    def set_destination(self, destination: str) -> None:
        """Send changes of all panels' alarms to this destination."""
        for panel, request in self._requests.items():
            self.open_panel(panel, request, destination, {})

    def close_panel(self, panel: str) -> None:
        """Close a panel."""
        self._requests.pop(panel, None)
        if self._threads:
            for thread in self._threads:
                thread.remove_panel(panel)

    def close_all(self) -> None:
        """Close all panels."""
        for panel in list(self._requests):
            self.close_panel(panel)

    def refresh(self) -> None:
        """Poll AWS now."""
        if self._threads:
            self._threads[0].request_poll(renew_session=True)

    def add_load_sample(self, sample: LoadSample) -> None:
        """Add a sample of this host's load."""
        self._load_history.add(sample)

    def request_update(self) -> None:
        """Update the panels soon, because a run began or ended, or an alert was sent."""
        if self._threads and self._requests:
            self._threads[1].request_update()

    def _start_threads(self) -> tuple[AwsPoller, SnapshotPublisher]:
        from cwnotify.sidecar.panel_publisher import SnapshotPublisher
        from cwnotify.watch.poller import AwsPoller

        poller = AwsPoller(self._connect, self._instance, self.request_update, self._on_enqueued)
        publisher = SnapshotPublisher(
            self._connect, self._answers, self._load_history, lambda: poller.observations, self._cpu_by_run
        )
        poller.start()
        publisher.start()
        return poller, publisher
