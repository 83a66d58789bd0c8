"""``%cwnotify`` and `cwnotify.panel`: open a panel, or print what it would show where there is none."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Any

from cwnotify import settings
from cwnotify.alerts.records import from_record
from cwnotify.notebook.panel_text import text
from cwnotify.notebook.panel_words import Words, make_request
from cwnotify.screen import say, say_once
from cwnotify.sidecar.link import shared
from cwnotify.sidecar.snapshot import Request, Snapshot

if TYPE_CHECKING:
    from cwnotify.notebook.panel_live import Panel, Watcher

FIRST_SECONDS = 20.0


def panel(
    instance: Words = (),
    *,
    tag: str = "",
    metric: str = "cpu",
    alarms: Words = (),
    alarm_slack: str = "auto",
    range: str = "3h",
    link: Watcher | None = None,
) -> Panel | None:
    """Show CPU, alarms and runs below this cell, live, while cells run. In a terminal, print them once.

    Parameters
    ----------
    instance
        EC2 instance ids: a list, or a text with commas between them. By default the setting ``CWNOTIFY_INSTANCE``,
        else the instance that this is, else this host alone.
    tag
        ``KEY=VALUE``: all instances that carry it.
    metric
        ``cpu``; ``gpu``, ``mem`` or ``disk`` of the CloudWatch agent; or ``NAMESPACE/NAME``.
    alarms
        Their names, or prefixes that end in ``*``. By default the setting ``CWNOTIFY_ALARMS``, else those of the
        instances.
    alarm_slack
        ``always`` or ``never`` tell Slack of alarms that change; ``auto`` does unless the deployed stack does.
    range
        How much of the past the plot covers, ``5m`` to ``15d``.
    link
        Where snapshots come from; by default this process's sidecar.

    Returns
    -------
    Panel or None
        The open panel, whose `close` ends it; None in a terminal.

    Raises
    ------
    UsageError
        If any of these cannot be.
    """
    found, troubles = settings.gather()
    for trouble in troubles:
        say_once(trouble)
    chosen = instance or ("" if tag else found.instance)
    request = make_request(chosen, tag, metric, alarms or found.alarms, alarm_slack, range)
    source: Watcher = link or shared()
    source.aim(found.webhook)
    shell = _shell()
    if not hasattr(shell, "kernel"):
        _print(request, source)
        return None
    from cwnotify.notebook.panel_kernel import at_exit
    from cwnotify.notebook.panel_live import Panel, close_all

    # A kernel that is shut down in good order leaves the last picture below the cell.
    at_exit(close_all)
    opened = Panel(request, source, shell)
    opened.open()
    return opened


def _shell() -> Any:
    from IPython.core.getipython import get_ipython

    return get_ipython()


def _print(request: Request, link: Watcher) -> None:
    """Wait for the first snapshot and print it."""
    first = threading.Event()
    came: list[dict[str, Any]] = []

    def hear(line: dict[str, Any]) -> None:
        if not came:
            came.append(line)
            first.set()

    id = secrets.token_hex(8)
    link.watch(id, request, hear)
    try:
        first.wait(FIRST_SECONDS)
    finally:
        link.unwatch(id)
    if came:
        print(text(from_record(Snapshot, came[0]["snapshot"])))
    else:
        say(f"no word came from the sidecar within {FIRST_SECONDS:g} s; try again, or look at: cwnotify doctor")
