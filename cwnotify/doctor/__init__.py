"""``cwnotify doctor``: everything looked at, from the outside in, and for what is wrong the one thing to do.

The judges (``judge_…``) are pure; beside each stands who looks (``look_at_…``). Nothing is changed, and nothing is
posted unless that is asked for.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from cwnotify import settings
from cwnotify.doctor import local
from cwnotify.doctor.findings import Finding, fault, wrong
from cwnotify.errors import CwnotifyError


def examine(send: bool = False) -> Iterator[Finding]:
    """Look at everything; gives each finding as soon as it is there.

    What cannot be examined, because a module is missing or does not work, is a finding too.

    Parameters
    ----------
    send
        Whether to post a greeting.
    """
    yield from examined("Python", local.look_at_python)
    yield from examined("Front end", lambda: [local.look_at_jupyter()])
    yield from examined("Sidecar", lambda: [local.look_at_sidecar()])
    yield from examined("State", lambda: local.look_at_state(settings.gather()[0].webhook))
    if local.missing_packages():
        # The rest cannot be asked without them, and that they are missing is said.
        return
    yield from examined("Slack", lambda: _look_at_slack(send))
    yield from examined("AWS", _look_at_aws)


def examined(part: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What `look` finds, or why it fails."""
    try:
        yield from look()
    except CwnotifyError as error:
        yield fault(part, error)
    except Exception as error:
        yield wrong(part, f"cannot be examined: {_described(error)}", "if it is not clear why, please report this")


def _described(error: Exception) -> str:
    """An error and where it comes from; only texts of kinds that hold no secrets are repeated."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f"{Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno}" if trace else ""
    text = f": {error}" if isinstance(error, ImportError | OSError) else ""
    return f"{type(error).__name__}{text} ({where})"


def _look_at_slack(send: bool) -> Iterator[Finding]:
    from cwnotify.doctor import slack

    found, troubles = settings.look()
    yield from slack.look_at_settings(troubles)
    yield from slack.look_at_webhook(found, send, socket.gethostname())


def _look_at_aws() -> Iterator[Finding]:
    from cwnotify.aws.session import Aws
    from cwnotify.doctor.aws import look_at_aws
    from cwnotify.host import instance_metadata

    chosen, _ = settings.gather()
    aws = Aws.for_watching()
    yield from look_at_aws(aws, chosen, instance_metadata.identity())
    if aws.calls:
        yield from _look_at_cost(chosen.round_seconds)


def _look_at_cost(round_seconds: float) -> Iterator[Finding]:
    """Where there is an outbox, the calls are noted in it."""
    import sqlite3

    from cwnotify.doctor import cost
    from cwnotify.store.api_usage import SERIES, calls_on
    from cwnotify.store.outbox import Outbox
    from cwnotify.store.state_dir import OUTBOX, prepare
    from cwnotify.watch.datapoint_cache import METRIC_ROUNDS

    path = settings.state_dir() / OUTBOX
    if not path.exists():
        return
    try:
        prepare(path.parent)
        with closing(Outbox(path)) as box:
            calls = calls_on(box, time.time())
    except (sqlite3.Error, CwnotifyError):
        # What is wrong with it was told already.
        return
    metrics = calls.pop(SERIES, 0)
    yield cost.judge(calls, metrics, round_seconds, METRIC_ROUNDS * round_seconds)
