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
from cwnotify.doctor.findings import Finding, report_error, report_problem
from cwnotify.errors import CwnotifyError


def run_diagnostics(send: bool = False) -> Iterator[Finding]:
    """Look at everything; gives each finding as soon as it is there.

    What cannot be examined, because a module is missing or does not work, is a finding too.

    Parameters
    ----------
    send
        Whether to post a greeting.
    """
    yield from diagnose_part("Python", local.diagnose_python)
    yield from diagnose_part("Front end", lambda: [local.diagnose_front_end()])
    yield from diagnose_part("Sidecar", lambda: [local.diagnose_sidecar()])
    yield from diagnose_part("State", lambda: local.diagnose_state_directory(settings.load_settings()[0].webhook))
    if local.find_missing_packages():
        # The rest cannot be asked without them, and that they are missing is said.
        return
    yield from diagnose_part("Slack", lambda: _look_at_slack(send))
    yield from diagnose_part("AWS", _look_at_aws)


def diagnose_part(part: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What `look` finds, or why it fails."""
    try:
        yield from look()
    except CwnotifyError as error:
        yield report_error(part, error)
    except Exception as error:
        yield report_problem(
            part, f"cannot be examined: {_described(error)}", "if it is not clear why, please report this"
        )


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

    found, troubles = settings.resolve_settings()
    yield from slack.diagnose_settings(troubles)
    yield from slack.diagnose_webhook(found, send, socket.gethostname())


def _look_at_aws() -> Iterator[Finding]:
    from cwnotify.aws.session import AwsSession
    from cwnotify.doctor.aws import diagnose_aws
    from cwnotify.host import instance_metadata

    chosen, _ = settings.load_settings()
    aws = AwsSession.with_short_timeouts()
    yield from diagnose_aws(aws, chosen, instance_metadata.fetch_instance_identity())
    if aws.call_counts:
        yield from _look_at_cost(chosen.round_seconds)


def _look_at_cost(round_seconds: float) -> Iterator[Finding]:
    """Where there is an outbox, the calls are noted in it."""
    import sqlite3

    from cwnotify.doctor import cost
    from cwnotify.store.api_usage import METRIC_SERIES_KEY, load_daily_calls
    from cwnotify.store.outbox import Outbox
    from cwnotify.store.state_dir import OUTBOX_FILENAME, prepare_state_dir
    from cwnotify.watch.datapoint_cache import METRIC_INTERVAL_POLLS

    path = settings.get_state_dir() / OUTBOX_FILENAME
    if not path.exists():
        return
    try:
        prepare_state_dir(path.parent)
        with closing(Outbox(path)) as box:
            calls = load_daily_calls(box, time.time())
    except (sqlite3.Error, CwnotifyError):
        # What is wrong with it was told already.
        return
    metrics = calls.pop(METRIC_SERIES_KEY, 0)
    yield cost.evaluate_cost(calls, metrics, round_seconds, METRIC_INTERVAL_POLLS * round_seconds)
