"""``cwnotify doctor``: check everything that cwnotify needs, and report what to do about each problem.

Functions named ``diagnose_…`` query the machine, Slack or AWS; functions named ``evaluate_…`` are pure. Nothing is
changed, and nothing is sent to Slack unless the user requests it.
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
    """Yield each finding as soon as it is known. A part that cannot be checked is a finding too.

    Parameters
    ----------
    send
        Whether to send a greeting to Slack.
    """
    yield from diagnose_part("Python", local.diagnose_python)
    yield from diagnose_part("Front end", lambda: [local.diagnose_front_end()])
    yield from diagnose_part("Sidecar", lambda: [local.diagnose_sidecar()])
    yield from diagnose_part("State", lambda: local.diagnose_state_directory(settings.load_settings()[0].webhook))
    if local.find_missing_packages():
        # The other checks need these packages, and a finding names them already.
        return
    yield from diagnose_part("Slack", lambda: _diagnose_slack(send))
    yield from diagnose_part("AWS", _diagnose_aws)


def diagnose_part(part: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield the findings of `check`, or a finding with the reason why it failed."""
    try:
        yield from check()
    except CwnotifyError as error:
        yield report_error(part, error)
    except Exception as error:
        yield report_problem(
            part, f"cannot be checked: {_describe_error(error)}", "if the reason is not clear, please report it"
        )


def _describe_error(error: Exception) -> str:
    """Return the error's type and origin, and its text if errors of that type contain no secrets."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    origin = f"{Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno}" if trace else ""
    text = f": {error}" if isinstance(error, ImportError | OSError) else ""
    return f"{type(error).__name__}{text} ({origin})"


def _diagnose_slack(send: bool) -> Iterator[Finding]:
    from cwnotify.doctor import slack

    resolved, problems = settings.resolve_settings()
    yield from slack.diagnose_settings(problems)
    yield from slack.diagnose_webhook(resolved, send, socket.gethostname())


def _diagnose_aws() -> Iterator[Finding]:
    from cwnotify.aws.session import AwsSession
    from cwnotify.doctor.aws import diagnose_aws
    from cwnotify.host import instance_metadata

    loaded, _ = settings.load_settings()
    aws = AwsSession.with_short_timeouts()
    yield from diagnose_aws(aws, loaded, instance_metadata.fetch_instance_identity())
    if aws.call_counts:
        yield from _diagnose_cost(loaded.round_seconds)


def _diagnose_cost(round_seconds: float) -> Iterator[Finding]:
    """Yield the cost of the calls that the outbox records, if there is an outbox."""
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
        with closing(Outbox(path)) as outbox:
            calls = load_daily_calls(outbox, time.time())
    except (sqlite3.Error, CwnotifyError):
        # The finding about the state directory reports this.
        return
    metrics = calls.pop(METRIC_SERIES_KEY, 0)
    yield cost.evaluate_cost(calls, metrics, round_seconds, METRIC_INTERVAL_POLLS * round_seconds)
