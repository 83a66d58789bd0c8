"""How often AWS was asked, day by day: what watching costs can be looked up (``cwnotify doctor``)."""

from __future__ import annotations

import time
from collections import Counter

from cwnotify.aws.session import AwsSession
from cwnotify.store.outbox import Outbox

API_CALL_RETENTION_DAYS = 30
# A call of GetMetricData is billed by the series that it asks for.
METRIC_SERIES_KEY = "series"


class ApiCallCounter:
    """The table of calls, in the outbox's file."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._noted: tuple[AwsSession | None, Counter[str]] = None, Counter()

    def record_calls(self, aws: AwsSession, now: float) -> None:
        """Note what `aws` was asked since the last time."""
        asked = Counter(aws.call_counts) + Counter({METRIC_SERIES_KEY: aws.requested_series_count})
        before = self._noted[1] if self._noted[0] is aws else Counter()
        self._noted = aws, asked
        new = asked - before
        if not new:
            return
        with self._outbox.transaction():
            for call, count in new.items():
                self._outbox.execute(
                    "INSERT INTO calls VALUES (?, ?, ?) ON CONFLICT (day, call) DO UPDATE SET count = count + ?",
                    *(_day(now), call, count, count),
                )
            self._outbox.execute("DELETE FROM calls WHERE day < ?", _day(now - API_CALL_RETENTION_DAYS * 86400))


def load_daily_calls(outbox: Outbox, now: float) -> dict[str, int]:
    """The calls of the UTC day of `now`, by name."""
    rows = outbox.execute("SELECT call, count FROM calls WHERE day = ?", _day(now))
    return {row["call"]: row["count"] for row in rows}


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
