"""``cwnotify doctor``: everything looked at, from the outside in, and for what is wrong the one thing to do.

The judges (``judge_…``) are pure; beside each stands who looks (``look_at_…``). Nothing is changed, and nothing is
posted unless that is asked for.
"""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

from cwnotify import settings
from cwnotify.doctor import here
from cwnotify.doctor.findings import Finding
from cwnotify.errors import CwnotifyError


def examine(send: bool = False) -> Iterator[Finding]:
    """Look at everything; gives each finding as soon as it is there.

    Parameters
    ----------
    send
        Whether to post a greeting.
    """
    found, troubles = settings.look()
    chosen, _ = settings.gather()
    yield from here.look_at_python()
    yield here.look_at_jupyter()
    yield here.look_at_sidecar()
    yield from here.look_at_state(chosen.webhook)
    if here.missing_packages():
        # The rest cannot be asked without them, and that they are missing is said.
        return
    from cwnotify.aws import instance
    from cwnotify.aws.client import Aws
    from cwnotify.doctor import cloud, slack

    yield from slack.look_at_settings(troubles)
    yield from slack.look_at_webhook(found, send, socket.gethostname())
    aws = Aws.for_watching()
    yield from cloud.look_at_aws(aws, chosen, instance.identity())
    if aws.calls:
        yield from _look_at_cost(chosen.round_seconds)


def _look_at_cost(round_seconds: float) -> Iterator[Finding]:
    """Where there is an outbox, the calls are noted in it."""
    from cwnotify.doctor import cost
    from cwnotify.sidecar.outbox import Outbox
    from cwnotify.sidecar.state import OUTBOX
    from cwnotify.sidecar.watch.calls import SERIES, calls_on
    from cwnotify.sidecar.watch.datapoints import METRIC_ROUNDS

    path = settings.state_dir() / OUTBOX
    if not path.exists():
        return
    try:
        with closing(Outbox(path)) as box:
            calls = calls_on(box, time.time())
    except (sqlite3.Error, CwnotifyError):
        # What is wrong with it was told already.
        return
    metrics = calls.pop(SERIES, 0)
    yield cost.judge(calls, metrics, round_seconds, METRIC_ROUNDS * round_seconds)
