"""``%cwnotify`` and `cwnotify.panel`: open a live panel, or print one snapshot without a kernel."""

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

PRINT_SNAPSHOT_TIMEOUT = 20.0  # seconds


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
        EC2 instance IDs: a list, or text separated by commas. Default: the setting ``CWNOTIFY_INSTANCE``, then the
        instance that this code runs on, then only this host.
    tag
        ``KEY=VALUE``: all instances with this tag.
    metric
        ``cpu``; ``gpu``, ``mem`` or ``disk`` of the CloudWatch agent; or ``NAMESPACE/NAME``.
    alarms
        Alarm names, or prefixes that end in ``*``. Default: the setting ``CWNOTIFY_ALARMS``, then the alarms of the
        instances.
    alarm_slack
        ``always`` or ``never`` send alarm changes to Slack; ``auto`` sends them unless the deployed stack does.
    range
        Time range of the plot, from ``5m`` to ``15d``.
    link
        Source of snapshots. Default: the sidecar of this process.

    Returns
    -------
    Panel or None
        The open panel; its `close` method closes it. None in a terminal.

    Raises
    ------
    UsageError
        If an argument is invalid.
    """
    shell = _get_shell()
    magics = shell.magics_manager.registry.get("CWNotify") if shell else None
    user_settings, problems = settings.load_settings(overrides=magics.overrides() if magics else {})
    for problem in problems:
        warn_once(problem)
    request = resolve_panel_request(
        user_settings, instance=instance, tag=tag, metric=metric, alarms=alarms, alarm_slack=alarm_slack, range=range
    )
    source: SnapshotSource = link or get_sidecar_client()
    source.set_webhook(user_settings.webhook)
    if not hasattr(shell, "kernel"):
        _print_snapshot(replace(request, pictures=False), source)
        return None
    from cwnotify.notebook.kernel_info import run_at_kernel_exit
    from cwnotify.notebook.live_panel import Panel, close_all_panels

    # Closing a panel leaves its last picture below the cell.
    run_at_kernel_exit(close_all_panels)
    live_panel = Panel(request, source, shell)
    live_panel.open()
    return live_panel


def _get_shell() -> Any:
    from IPython.core.getipython import get_ipython

    return get_ipython()


def _print_snapshot(request: PanelRequest, source: SnapshotSource) -> None:
    """Print the first snapshot that holds data or a problem."""
    is_complete = threading.Event()
    latest: list[Snapshot] = []

    def receive(message: dict[str, Any]) -> None:
        snapshot = from_json_dict(Snapshot, message["snapshot"])
        latest[:] = [snapshot]
        if snapshot.updated or snapshot.problems:
            is_complete.set()

    panel_id = secrets.token_hex(8)
    source.subscribe(panel_id, request, receive)
    try:
        is_complete.wait(PRINT_SNAPSHOT_TIMEOUT)
    finally:
        source.unsubscribe(panel_id)
    if latest:
        print(render_text(latest[0]))
    else:
        warn(f"no word came from the sidecar within {PRINT_SNAPSHOT_TIMEOUT:g} s; try again, or run: cwnotify doctor")
