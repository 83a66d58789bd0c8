"""A simulated day: sidecars crash, Slack fails, the clock is changed, and no alert is lost.

The outbox (in memory, for speed), the retry decisions and their records are real. Time, Slack's replies and the crashes
are simulated.

``python -m tests.e2e.faults.day [SEED...]`` prints a report of each day.
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
WEBHOOKS = ("current", "former")
OK_REPLY = SlackReply(200, "ok")
WEIGHTED_REPLIES: tuple[tuple[int, SlackReply, float], ...] = (
    # Weight, reply, and seconds until it arrives.
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
    """The events of a day.

    Attributes
    ----------
    accepted
        How often Slack accepted each alert, even if the reply was lost.
    crashes, lost_replies
        How often a sidecar died or a connection broke after Slack accepted a message, before that was stored.
    """

    stored_ids: list[str] = field(default_factory=list)
    accepted: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    lost_replies: int = 0
    attempts: int = 0
    messages: list[OutboxMessage] = field(default_factory=list)

    def violations(self) -> list[str]:
        """Return the broken guarantees."""
        problems = [
            f"{message.id} is {message.state}" for message in self.messages if message.state not in ("done", "dead")
        ]
        problems += [
            f"{message.id} is dead without a reason"
            for message in self.messages
            if message.state == "dead" and not message.reason
        ]
        problems += [
            f"{message.id} is done, but Slack never accepted it"
            for message in self.messages
            if message.state == "done" and not self.accepted[message.id]
        ]
        problems += [f"{id} was never stored" for id in self.accepted if id not in self.stored_ids]
        problems += [f"{id} is gone" for id in set(self.stored_ids) - {message.id for message in self.messages}]
        duplicates = sum(count - 1 for count in self.accepted.values() if count)
        if duplicates > self.crashes + self.lost_replies:
            problems.append(f"{duplicates} duplicates from {self.crashes} crashes and {self.lost_replies} lost replies")
        return problems


class _World:
    """The simulation of a day."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.outbox = Outbox(f"file:/day-{seed}?vfs=memdb")
        self.day = DayReport()
        self.now, self.set_by = 1_795_316_400.0, 0.0
        self.end = self.now + DAY
        self.reply, self.reply_delay = OK_REPLY, 0.2
        # The cooldown of each sidecar, and the wall-clock start of its attempt.
        self._cooldowns: defaultdict[str, DestinationCooldown] = defaultdict(
            lambda: DestinationCooldown(lambda: self.now)
        )
        self._began: dict[str, float] = {}
        self._order = 0
        self._schedule: list[tuple[float, int, str, str]] = []

    def run(self) -> DayReport:
        for number in range(SIDECAR_COUNT):
            self._later(number, "sidecar", f"sidecar {number}")
        for action in ("weather", "alert", "clock", "sweep"):
            self._later(self.random.random() * HOUR, action)
        while self._schedule:
            self.now, _, action, sidecar = heapq.heappop(self._schedule)
            getattr(self, f"_{action}")(sidecar)
        self.day.messages = self.outbox.list_messages()
        self.outbox.close()
        return self.day

    def _later(self, seconds: float, action: str, sidecar: str = "") -> None:
        self._order += 1
        heapq.heappush(self._schedule, (self.now + seconds, self._order, action, sidecar))

    @property
    def _wall(self) -> float:
        return self.now + self.set_by

    @property
    def _is_over(self) -> bool:
        return self.now > self.end

    def _weather(self, _: str) -> None:
        weights = [weight for weight, _, _ in WEIGHTED_REPLIES]
        weather = WEIGHTED_REPLIES[0] if self._is_over else self.random.choices(WEIGHTED_REPLIES, weights)[0]
        self.reply, self.reply_delay = weather[1:]
        if not self._is_over:
            self._later(self.random.expovariate(1 / HOUR), "weather")

    def _alert(self, _: str) -> None:
        if self._is_over:
            # The sidecars may have exited.
            return
        id = f"alert {len(self.day.stored_ids)}"
        self.day.stored_ids.append(id)
        self.outbox.enqueue(id, WEBHOOKS[self.random.random() < 0.02], {"text": id}, self._wall)
        # An alert that is stored twice is sent once.
        self.outbox.enqueue(id, WEBHOOKS[0], {"text": "again"}, self._wall)
        self._later(self.random.expovariate(1 / MEAN_ALERT_INTERVAL), "alert")

    def _clock(self, _: str) -> None:
        self.set_by = self.random.choice((0.0, 0.0, HOUR, -HOUR, DAY, -DAY))
        if not self._is_over:
            self._later(self.random.expovariate(1 / (8 * HOUR)), "clock")

    def _sweep(self, _: str) -> None:
        self.outbox.expire_messages(self._wall, retry_policy.MAX_DELIVERY_AGE, WEBHOOKS[:1])
        if not self._is_over or self.outbox.list_messages("pending"):
            self._later(HOUR, "sweep")

    def _sidecar(self, sidecar: str) -> None:
        """Run one turn of a sidecar. It ends with a claimed message that is being sent, or with a sleep."""
        cooldown = self._cooldowns[sidecar]
        if (message := self.outbox.claim_next(WEBHOOKS[0], sidecar, self._wall, cooldown.min_created_at())) is None:
            due = cooldown.next_due_time(self.outbox, WEBHOOKS[0], self._wall)
            if not self._is_over or due is not None:
                self._later(
                    IDLE_POLL_INTERVAL if due is None else min(max(due - self._wall, 0.01), IDLE_POLL_INTERVAL),
                    "sidecar",
                    sidecar,
                )
            return
        self.day.attempts += 1
        self._began[sidecar] = self._wall
        self._later(self.reply_delay, "answer", f"{sidecar}|{message.id}")

    def _answer(self, sidecar: str) -> None:
        """Process a reply, unless the sidecar has died or the reply is lost."""
        sidecar, _, id = sidecar.partition("|")
        (message,) = [entry for entry in self.outbox.list_messages("pending") if entry.id == id]
        reply, is_text, chance = self.reply, message.text_only, self.random.random()
        if reply.status == 400 and not is_text:
            # Slack accepts the plain text of a message whose blocks it rejects.
            reply, is_text = OK_REPLY, True
        is_accepted = reply == OK_REPLY
        self.day.accepted[id] += is_accepted
        if chance < CRASH_PROBABILITY:
            self.day.crashes += is_accepted
            self.outbox.release_leases(sidecar)
            self._later(self.random.random() * 60, "sidecar", f"{sidecar}'")
            return
        if is_accepted and chance < CRASH_PROBABILITY + LOST_REPLY_PROBABILITY:
            self.day.lost_replies += 1
            reply = SlackReply(error="the connection was reset")
        cooldown, jitter = self._cooldowns[sidecar], self.random.random()
        attempt = retry_policy.Attempt(
            message.attempts, message.created, self._wall, jitter, is_text, cooldown.consecutive_failures + 1
        )
        decision = retry_policy.decide_retry(reply, attempt)
        cooldown.record_attempt(decision, self._began[sidecar], self._wall)
        record_attempt_result(self.outbox, message, decision, is_text, self._wall)
        self._later(0.0, "sidecar", sidecar)


def simulate_day(seed: int) -> DayReport:
    """Simulate a day, and the time after it until no message is pending."""
    return _World(seed).run()


def main() -> None:
    """Simulate the days with the seeds in the arguments. The default is 0 to 9."""
    for seed in map(int, sys.argv[1:] or range(10)):
        day = simulate_day(seed)
        states = Counter(message.state for message in day.messages)
        duplicates = sum(count - 1 for count in day.accepted.values() if count)
        print(
            f"day {seed}: {len(day.stored_ids)} alerts, {states['done']} delivered, {states['dead']} dead, "
            f"{duplicates} duplicates from {day.crashes} crashes and {day.lost_replies} lost replies, "
            f"{day.attempts} attempts; broken guarantees: {day.violations() or 'none'}"
        )
        if day.violations():
            sys.exit(1)


if __name__ == "__main__":
    main()
