"""How often AWS was asked, day by day: what watching costs can be looked up (``cwnotify doctor``)."""

from __future__ import annotations

import time
from collections import Counter

from cwnotify.aws.session import Aws
from cwnotify.store.outbox import Outbox

KEPT_DAYS = 30
# A call of GetMetricData is billed by the series that it asks for.
SERIES = "series"


class Calls:
    """The table of calls, in the outbox's file."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._noted: tuple[Aws | None, Counter[str]] = None, Counter()

    def note(self, aws: Aws, now: float) -> None:
        """Note what `aws` was asked since the last time."""
        asked = Counter(aws.calls) + Counter({SERIES: aws.metrics_asked})
        before = self._noted[1] if self._noted[0] is aws else Counter()
        self._noted = aws, asked
        new = asked - before
        if not new:
            return
        with self._outbox.transaction():
            for call, count in new.items():
                self._outbox.ask(
                    "INSERT INTO calls VALUES (?, ?, ?) ON CONFLICT (day, call) DO UPDATE SET count = count + ?",
                    *(_day(now), call, count, count),
                )
            self._outbox.ask("DELETE FROM calls WHERE day < ?", _day(now - KEPT_DAYS * 86400))


def calls_on(outbox: Outbox, now: float) -> dict[str, int]:
    """The calls of the UTC day of `now`, by name."""
    rows = outbox.ask("SELECT call, count FROM calls WHERE day = ?", _day(now))
    return {row["call"]: row["count"] for row in rows}


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
