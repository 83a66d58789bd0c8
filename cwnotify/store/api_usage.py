"""Calls to AWS, counted per day. ``cwnotify doctor`` computes from them what watching costs."""

from __future__ import annotations

import time
from collections import Counter

from cwnotify.aws.session import AwsSession
from cwnotify.store.outbox import Outbox

API_CALL_RETENTION_DAYS = 30
# AWS bills a call of GetMetricData by the series that it requests.
METRIC_SERIES_KEY = "series"


class ApiCallCounter:
    """The table of calls, through one connection to the outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._session: AwsSession | None = None
        self._counts: Counter[str] = Counter()

    def record_calls(self, aws: AwsSession, now: float) -> None:
        """Store the calls that `aws` made since the last time."""
        counts = Counter(aws.call_counts) + Counter({METRIC_SERIES_KEY: aws.requested_series_count})
        previous = self._counts if self._session is aws else Counter()
        self._session, self._counts = aws, counts
        new = counts - previous
        if not new:
            return
        with self._outbox.transaction():
            for call, count in new.items():
                self._outbox.connection.execute(
                    "INSERT INTO calls VALUES (?, ?, ?) ON CONFLICT (day, call) DO UPDATE SET count = count + ?",
                    (_utc_day(now), call, count, count),
                )
            self._outbox.connection.execute(
                "DELETE FROM calls WHERE day < ?", (_utc_day(now - API_CALL_RETENTION_DAYS * 86400),)
            )


def load_daily_calls(outbox: Outbox, now: float) -> dict[str, int]:
    """Return the number of calls in the UTC day of `now`, by operation."""
    rows = outbox.connection.execute("SELECT call, count FROM calls WHERE day = ?", (_utc_day(now),))
    return {row["call"]: row["count"] for row in rows}


def _utc_day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
