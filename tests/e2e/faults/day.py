"""A day of life by a clock that is not real: sidecars crash, Slack comes and goes, the clock is set, nothing is lost.

What is real is the outbox (in memory, for speed), the judgement of replies, and what is written down of each. Simulated
are time, Slack's replies, and the moments at which a sidecar dies.

``python -m tests.e2e.faults.day [SEED...]`` tells how it was.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from cwnotify.sidecar.delivery import IDLE_POLL_INTERVAL, record_attempt_result
from cwnotify.sidecar.pacing import DestinationCooldown
from cwnotify.slack import retry_policy
from cwnotify.slack.retry_policy import SlackReply
from cwnotify.store.outbox import Outbox
from cwnotify.store.schema import OutboxMessage

HOUR = 3600.0
DAY = 24 * HOUR
SIDECAR_COUNT = 2
MEAN_ALERT_INTERVAL = 600.0
WEBHOOKS = ("ours", "nobody's")
OK_REPLY = SlackReply(200, "ok")
WEIGHTED_REPLIES: tuple[tuple[int, SlackReply, float], ...] = (
    # How likely, what comes back, and after how many seconds.
    (12, OK_REPLY, 0.2),
    (2, SlackReply(error="the connection was refused"), 0.0),
    (2, SlackReply(error="no answer in time"), 10.0),
    (2, SlackReply(503, ""), 0.2),
    (2, SlackReply(429, "rate_limited", "30"), 0.1),
    (1, SlackReply(200, "<html>Sign in</html>"), 0.3),
    (1, SlackReply(400, "invalid_blocks"), 0.1),
    (1, SlackReply(404, "no_service"), 0.1),
)
CRASH_PROBABILITY, LOST_REPLY_PROBABILITY = 0.02, 0.01


@dataclass
class DayReport:
    """What happened.

    Attributes
    ----------
    taken
        How often Slack took each alert, whatever we heard of it.
    crashes, lost_replies
        How often a sidecar died, or a connection broke, after Slack had taken a message and before that was noted.
    """

    stored_ids: list[str] = field(default_factory=list)
    accepted: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    lost_replies: int = 0
    attempts: int = 0
    messages: list[OutboxMessage] = field(default_factory=list)

    def violations(self) -> list[str]:
        """Which promises were not kept; empty if all were."""
        found = [f"{one.id} is {one.state}" for one in self.messages if one.state not in ("done", "dead")]
        found += [f"{one.id} is dead for no reason" for one in self.messages if one.state == "dead" and not one.reason]
        found += [
            f"{one.id} is done, but Slack has not got it"
            for one in self.messages
            if one.state == "done" and not self.accepted[one.id]
        ]
        found += [f"{id} was never put" for id in self.accepted if id not in self.stored_ids]
        found += [f"{id} is gone" for id in set(self.stored_ids) - {one.id for one in self.messages}]
        doubled = sum(count - 1 for count in self.accepted.values() if count)
        if doubled > self.crashes + self.lost_replies:
            found.append(f"{doubled} doubled by {self.crashes} crashes and {self.lost_replies} lost replies")
        return found


class _World:
    """The day as it goes by."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.outbox = Outbox(f"file:/day-{seed}?vfs=memdb")
        self.day = DayReport()
        self.now, self.set_by = 1_795_316_400.0, 0.0
        self.end = self.now + DAY
        self.reply, self.seconds = OK_REPLY, 0.2
        # Each sidecar's, and when by the wall's clock its attempt began.
        self._rests: defaultdict[str, DestinationCooldown] = defaultdict(lambda: DestinationCooldown(lambda: self.now))
        self._began: dict[str, float] = {}
        self._order = 0
        self._todo: list[tuple[float, int, str, str]] = []

    def live(self) -> DayReport:
        for number in range(SIDECAR_COUNT):
            self._later(number, "sidecar", f"sidecar {number}")
        for what in ("weather", "alert", "clock", "sweep"):
            self._later(self.dice.random() * HOUR, what)
        while self._todo:
            self.now, _, what, who = heapq.heappop(self._todo)
            getattr(self, f"_{what}")(who)
        self.day.messages = self.outbox.list_messages()
        self.outbox.close()
        return self.day

    def _later(self, seconds: float, what: str, who: str = "") -> None:
        self._order += 1
        heapq.heappush(self._todo, (self.now + seconds, self._order, what, who))

    @property
    def _wall(self) -> float:
        return self.now + self.set_by

    @property
    def _is_over(self) -> bool:
        return self.now > self.end

    def _weather(self, _: str) -> None:
        likely = [share for share, _, _ in WEIGHTED_REPLIES]
        _, self.reply, self.seconds = (
            WEIGHTED_REPLIES[0] if self._is_over else self.dice.choices(WEIGHTED_REPLIES, likely)[0]
        )
        if not self._is_over:
            self._later(self.dice.expovariate(1 / HOUR), "weather")

    def _alert(self, _: str) -> None:
        if self._is_over:
            # The sidecars may have left.
            return
        id = f"alert {len(self.day.stored_ids)}"
        self.day.stored_ids.append(id)
        self.outbox.enqueue(id, WEBHOOKS[self.dice.random() < 0.02], {"text": id}, self._wall)
        # An alert that is put twice is told once.
        self.outbox.enqueue(id, WEBHOOKS[0], {"text": "again"}, self._wall)
        self._later(self.dice.expovariate(1 / MEAN_ALERT_INTERVAL), "alert")

    def _clock(self, _: str) -> None:
        self.set_by = self.dice.choice((0.0, 0.0, HOUR, -HOUR, DAY, -DAY))
        if not self._is_over:
            self._later(self.dice.expovariate(1 / (8 * HOUR)), "clock")

    def _sweep(self, _: str) -> None:
        self.outbox.expire_messages(self._wall, retry_policy.MAX_DELIVERY_AGE, WEBHOOKS[:1])
        if not self._is_over or self.outbox.list_messages("pending"):
            self._later(HOUR, "sweep")

    def _sidecar(self, who: str) -> None:
        """One turn of a sidecar, at the end of which it has claimed a message and begun to send it, or sleeps."""
        rest = self._rests[who]
        if (message := self.outbox.claim_next(WEBHOOKS[0], who, self._wall, rest.min_created_at())) is None:
            due = rest.next_due_time(self.outbox, WEBHOOKS[0], self._wall)
            if not self._is_over or due is not None:
                self._later(
                    IDLE_POLL_INTERVAL if due is None else min(max(due - self._wall, 0.01), IDLE_POLL_INTERVAL),
                    "sidecar",
                    who,
                )
            return
        self.day.attempts += 1
        self._began[who] = self._wall
        self._later(self.seconds, "answer", f"{who}|{message.id}")

    def _answer(self, who: str) -> None:
        """What came back, if the sidecar lives to read it."""
        who, _, id = who.partition("|")
        (message,) = (one for one in self.outbox.list_messages("pending") if one.id == id)
        reply, is_text, luck = self.reply, message.text_only, self.dice.random()
        if reply.status == 400 and not is_text:
            # What Slack cannot read it takes as text.
            reply, is_text = OK_REPLY, True
        took = reply == OK_REPLY
        self.day.accepted[id] += took
        if luck < CRASH_PROBABILITY:
            self.day.crashes += took
            self.outbox.release_leases(who)
            self._later(self.dice.random() * 60, "sidecar", f"{who}'")
            return
        if took and luck < CRASH_PROBABILITY + LOST_REPLY_PROBABILITY:
            self.day.lost_replies += 1
            reply = SlackReply(error="the connection was reset")
        rest, tried, since, chance = self._rests[who], message.attempts, message.created, self.dice.random()
        attempt = retry_policy.Attempt(tried, since, self._wall, chance, is_text, rest.consecutive_failures + 1)
        decision = retry_policy.decide_retry(reply, attempt)
        rest.record_attempt(decision, self._began[who], self._wall)
        record_attempt_result(self.outbox, message, decision, is_text, self._wall)
        self._later(0.0, "sidecar", who)


def simulate_day(seed: int) -> DayReport:
    """One day, and as long after it as anything waits."""
    return _World(seed).live()


def main() -> None:
    """Live the days that were asked for, ten by default."""
    for seed in map(int, sys.argv[1:] or range(10)):
        day = simulate_day(seed)
        states = Counter(message.state for message in day.messages)
        doubled = sum(count - 1 for count in day.accepted.values() if count)
        print(
            f"day {seed}: {len(day.stored_ids)} alerts, {states['done']} delivered, {states['dead']} dead with a reason, "
            f"{doubled} doubled by {day.crashes} crashes and {day.lost_replies} lost replies, "
            f"{day.attempts} attempts; broken: {day.violations() or 'nothing'}"
        )
        if day.violations():
            sys.exit(1)


if __name__ == "__main__":
    main()
