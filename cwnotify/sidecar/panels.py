"""The panels' side of the sidecar: nothing of it is loaded before the first panel opens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cwnotify.alerts.events.runs import Vitals
from cwnotify.host.load_history import Live
from cwnotify.settings.child_environment import adopt
from cwnotify.sidecar.protocol import Pipe
from cwnotify.store.outbox import Outbox
from cwnotify.view.snapshot import Request
from cwnotify.watch.ec2_notices import Machine

if TYPE_CHECKING:
    from cwnotify.sidecar.panel_publisher import Painter
    from cwnotify.watch.poller import Watch


class Panels:
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
        machine: Machine,
        told: Callable[[], None],
        running: Callable[[], Mapping[str, tuple[float, ...]]],
    ) -> None:
        self._connect, self._answers, self._machine = connect, answers, machine
        self._told, self._running = told, running
        self._open: dict[str, Request] = {}
        self._live = Live()
        self._watch: Watch | None = None
        self._painter: Painter | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a panel."""
        return bool(self._open)

    def watch(self, panel: str, request: Request, destination: str, environ: Mapping[str, str]) -> None:
        """Show `panel` what it asks for; AWS is asked as the kernel's `environ` says now."""
        self._open[panel] = request
        anew = _adopt(environ)
        if self._watch is None or self._painter is None:
            self._start()
        assert self._watch
        assert self._painter
        self._watch.ask(panel, request, destination)
        if anew:
            self._watch.refresh(anew=True)
        self._painter.show(panel, request, destination)

    def aim(self, destination: str) -> None:
        """Alarms that change are told to this webhook from now on."""
        for panel, request in self._open.items():
            self.watch(panel, request, destination, {})

    def unwatch(self, panel: str) -> None:
        """`panel` is closed."""
        self._open.pop(panel, None)
        if self._watch and self._painter:
            self._watch.drop(panel)
            self._painter.drop(panel)

    def close(self) -> None:
        """All panels are closed."""
        for panel in list(self._open):
            self.unwatch(panel)

    def refresh(self) -> None:
        """Look at AWS again now."""
        if self._watch:
            self._watch.refresh(anew=True)

    def add(self, sample: Vitals) -> None:
        """A second of this host's load."""
        self._live.add(sample)

    def news(self) -> None:
        """A run began or ended, or an alert went out."""
        if self._painter and self._open:
            self._painter.news()

    def _start(self) -> None:
        from cwnotify.sidecar.panel_publisher import Painter
        from cwnotify.watch.poller import Watch

        self._watch = watch = Watch(self._connect, self._machine, self.news, self._told)
        self._painter = Painter(self._connect, self._answers, self._live, lambda: watch.sights, self._running)
        self._watch.start()
        self._painter.start()


def _adopt(environ: Mapping[str, str]) -> bool:
    """Take over what the kernel says of AWS now; tells whether that is something new."""
    return bool(environ) and adopt(environ, lambda name: name.startswith("AWS_"))
