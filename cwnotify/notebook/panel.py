"""``%cwnotify`` and `cwnotify.panel`: open a panel, or print what it would show where there is none."""

from __future__ import annotations

import secrets
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cwnotify import settings
from cwnotify.alerts.serialization import from_record
from cwnotify.console import say, say_once
from cwnotify.sidecar.client import shared
from cwnotify.view.options import Words, resolve
from cwnotify.view.snapshot import Request, Snapshot
from cwnotify.view.text import text

if TYPE_CHECKING:
    from cwnotify.notebook.live_panel import Panel, Watcher

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
    shell = _shell()
    magics = shell.magics_manager.registry.get("CWNotify") if shell else None
    found, troubles = settings.gather(overrides=magics.overrides() if magics else {})
    for trouble in troubles:
        say_once(trouble)
    request = resolve(
        found, instance=instance, tag=tag, metric=metric, alarms=alarms, alarm_slack=alarm_slack, range=range
    )
    source: Watcher = link or shared()
    source.aim(found.webhook)
    if not hasattr(shell, "kernel"):
        _print(replace(request, pictures=False), source)
        return None
    from cwnotify.notebook.kernel_info import at_exit
    from cwnotify.notebook.live_panel import Panel, close_all

    # A kernel that is shut down in good order leaves the last picture below the cell.
    at_exit(close_all)
    opened = Panel(request, source, shell)
    opened.open()
    return opened


def _shell() -> Any:
    from IPython.core.getipython import get_ipython

    return get_ipython()


def _print(request: Request, link: Watcher) -> None:
    """Wait until something was read, or could not be, and print it."""
    read = threading.Event()
    last: list[Snapshot] = []

    def hear(line: dict[str, Any]) -> None:
        last[:] = [from_record(Snapshot, line["snapshot"])]
        if last[0].updated or last[0].troubles:
            read.set()

    id = secrets.token_hex(8)
    link.watch(id, request, hear)
    try:
        read.wait(FIRST_SECONDS)
    finally:
        link.unwatch(id)
    if last:
        print(text(last[0]))
    else:
        say(f"no word came from the sidecar within {FIRST_SECONDS:g} s; try again, or look at: cwnotify doctor")
