"""``%cwnotify`` and `cwnotify.panel`: open a panel, or print what it would show where there is none."""

from __future__ import annotations

import secrets
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cwnotify import settings
from cwnotify.alerts.serialization import from_json_dict
from cwnotify.console import warn, warn_once
from cwnotify.sidecar.client import get_sidecar_client
from cwnotify.view.options import NameList, resolve_panel_request
from cwnotify.view.snapshot import PanelRequest, Snapshot
from cwnotify.view.text import render_text

if TYPE_CHECKING:
    from cwnotify.notebook.live_panel import Panel, SnapshotSource

PRINT_SNAPSHOT_TIMEOUT = 20.0


def panel(
    instance: NameList = (),
    *,
    tag: str = "",
    metric: str = "cpu",
    alarms: NameList = (),
    alarm_slack: str = "auto",
    range: str = "3h",
    link: SnapshotSource | None = None,
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
    found, troubles = settings.load_settings(overrides=magics.overrides() if magics else {})
    for trouble in troubles:
        warn_once(trouble)
    request = resolve_panel_request(
        found, instance=instance, tag=tag, metric=metric, alarms=alarms, alarm_slack=alarm_slack, range=range
    )
    source: SnapshotSource = link or get_sidecar_client()
    source.set_webhook(found.webhook)
    if not hasattr(shell, "kernel"):
        _print(replace(request, pictures=False), source)
        return None
    from cwnotify.notebook.kernel_info import run_at_kernel_exit
    from cwnotify.notebook.live_panel import Panel, close_all_panels

    # A kernel that is shut down in good order leaves the last picture below the cell.
    run_at_kernel_exit(close_all_panels)
    opened = Panel(request, source, shell)
    opened.open()
    return opened


def _shell() -> Any:
    from IPython.core.getipython import get_ipython

    return get_ipython()


def _print(request: PanelRequest, link: SnapshotSource) -> None:
    """Wait until something was read, or could not be, and print it."""
    read = threading.Event()
    last: list[Snapshot] = []

    def hear(line: dict[str, Any]) -> None:
        last[:] = [from_json_dict(Snapshot, line["snapshot"])]
        if last[0].updated or last[0].troubles:
            read.set()

    id = secrets.token_hex(8)
    link.subscribe(id, request, hear)
    try:
        read.wait(PRINT_SNAPSHOT_TIMEOUT)
    finally:
        link.unsubscribe(id)
    if last:
        print(render_text(last[0]))
    else:
        warn(
            f"no word came from the sidecar within {PRINT_SNAPSHOT_TIMEOUT:g} s; try again, or look at: cwnotify doctor"
        )
