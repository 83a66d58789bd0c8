"""Ten thousand alarms change within a minute: what Slack is told, when, and what is lost if it is down for an hour.

::

    python -m benchmarks.storm [--changes 10000]

Ours is real here: the handler, the digests, the retries, and the queue's settings as they are in the stack's template.
Simulated are the clock, SQS with Lambda's pollers (batches, partial failure, copies, the pause before another try,
the dead-letter queue) and a Slack that takes one message a second, judges each by its rules, and can be down.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.simulated import SimulatedClock
from cwnotify import lambda_function
from cwnotify.demo.slack_rules import respond_to_webhook
from cwnotify.deploy.template_resources import build_stack_resources
from cwnotify.lambda_function import handle_event
from cwnotify.slack.retry_policy import SlackReply
from cwnotify.slack.webhook_sender import NotDeliveredError, WebhookSender

STORM_SECONDS = 60.0
HOUR = 3600.0
# What AWS lets one call of a function carry.
MAX_BATCH_BYTES = 6_000_000
STORM_START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC).timestamp()
SLACK_LATENCY = 0.2
_ROOT = Path(__file__).parents[1]
_EVENT = _ROOT / "tests" / "data" / "envelopes" / "eventbridge_single_metric.json"
_NAME = re.compile(r"train-\d{5}-\w+")
_ADDRESS = re.compile(r'https://[^|">]+')


@dataclass(eq=False)
class SqsMessage:
    """A message in the queue."""

    id: str
    body: str
    visible_at: float = 0.0
    receive_count: int = 0


@dataclass
class SqsQueue:
    """SQS as far as it matters here, with the settings of the stack."""

    visibility_timeout: float
    max_receives: int
    records: deque[SqsMessage] = field(default_factory=deque)
    dead_letters: list[SqsMessage] = field(default_factory=list)

    def receive(self, now: float, most: int) -> list[SqsMessage]:
        """Up to `most` visible messages, hidden from others from now on."""
        taken: list[SqsMessage] = []
        size = 0
        for record in [one for one in self.records if one.visible_at <= now]:
            if record.receive_count >= self.max_receives:
                self.records.remove(record)
                self.dead_letters.append(record)
            elif len(taken) < most and (size := size + len(record.body)) <= MAX_BATCH_BYTES:
                record.visible_at, record.receive_count = now + self.visibility_timeout, record.receive_count + 1
                taken.append(record)
        return taken


class SimulatedSlack:
    """Takes one message a second, and nothing at all from `down` to `up`."""

    def __init__(self, clock: SimulatedClock, down: float, up: float) -> None:
        self._clock = clock
        self._down, self._up = down, up
        self._free = 0.0
        self.attempts = 0
        self.delivered: list[tuple[float, dict[str, Any]]] = []

    def post(self, _url: str, payload: dict[str, Any], seconds: float) -> SlackReply:
        """One attempt, as `post_with_deadline` makes it."""
        self.attempts += 1
        if self._down <= self._clock.now < self._up:
            return self._fail(seconds)
        self._clock.sleep(SLACK_LATENCY)
        if self._clock.now < self._free:
            return SlackReply(429, "rate_limited", "1")
        said = respond_to_webhook(json.dumps(payload).encode())
        assert said.body == "ok", said.reason
        self._free = self._clock.now + 1.0
        self.delivered.append((self._clock.now, payload))
        return SlackReply(200, "ok")

    def _fail(self, seconds: float) -> SlackReply:
        """By turns a fault of its own, and silence."""
        if self.attempts % 2:
            self._clock.sleep(SLACK_LATENCY)
            return SlackReply(503, "")
        self._clock.sleep(seconds)
        return SlackReply(error="no answer in time")


@dataclass(frozen=True)
class StormResult:
    """What came of one.

    Parameters
    ----------
    alarms, told
        Every alarm that changed; those that Slack was told of.
    messages
        How many Slack took.
    seconds
        From the first change (or from Slack's return) until all were told.
    left, dead
        What still lies in the queue, and in the dead-letter queue.
    """

    alarms: frozenset[str]
    reported: frozenset[str]
    message_count: int
    attempts: int
    seconds: float
    queued: int
    dead_lettered: int


def simulate_storm(changes: int, outage_seconds: float = 0.0, max_receives: int = 0) -> StormResult:
    """Let `changes` alarms change within a minute while Slack is down for the first `down` seconds.

    Parameters
    ----------
    most_receives
        How often the queue hands out a message before it is dead; as in the stack by default.
    """
    clock = SimulatedClock(STORM_START)
    slack = SimulatedSlack(clock, STORM_START, STORM_START + outage_seconds)
    resources = build_stack_resources(())
    queue, source = (resources[name]["Properties"] for name in ("Queue", "Source"))
    box = SqsQueue(queue["VisibilityTimeout"], max_receives or queue["RedrivePolicy"]["maxReceiveCount"])
    names = [f"train-{n:05}-{'off' if n % 3 else 'busy'}" for n in range(changes)]

    clock.start_actor(lambda: _change(clock, box, names))
    timeout = resources["Function"]["Properties"]["Timeout"]
    for _ in range(source["ScalingConfig"]["MaximumConcurrency"]):
        clock.start_actor(lambda: _poll(clock, box, slack, source, timeout))
    with contextlib.redirect_stdout(io.StringIO()):
        clock.run()

    # A name counts where a person reads it, not in a link's address.
    told = {name for _, payload in slack.delivered for name in _NAME.findall(_ADDRESS.sub("", json.dumps(payload)))}
    last = slack.delivered[-1][0] if slack.delivered else clock.now
    return StormResult(
        alarms=frozenset(names),
        reported=frozenset(told),
        message_count=len(slack.delivered),
        attempts=slack.attempts,
        seconds=last - STORM_START - outage_seconds,
        queued=len(box.records),
        dead_lettered=len(box.dead_letters),
    )


def _change(clock: SimulatedClock, queue: SqsQueue, names: list[str]) -> None:
    """EventBridge puts one change after the other into the queue; every hundredth comes twice."""
    for number, name in enumerate(names):
        event = _event(name, ("ALARM", "OK", "INSUFFICIENT_DATA")[number % 7 % 3], clock.now)
        for copy in range(1 + (number % 100 == 0)):
            queue.records.append(SqsMessage(f"{number}-{copy}", event))
        clock.sleep(STORM_SECONDS / len(names))


def _poll(
    clock: SimulatedClock, queue: SqsQueue, slack: SimulatedSlack, source: dict[str, Any], timeout: float
) -> None:
    """One of Lambda's pollers, and the function that it calls; leaves when the storm is over and nothing is left."""
    while clock.now < STORM_START + STORM_SECONDS or queue.records:
        batch = queue.receive(clock.now, source["BatchSize"])
        window = clock.now + source["MaximumBatchingWindowInSeconds"]
        while batch and len(batch) < source["BatchSize"] and clock.now < window:
            clock.sleep(0.5)
            batch += queue.receive(clock.now, source["BatchSize"] - len(batch))
        for record in _done(clock, batch, slack, timeout) if batch else ():
            queue.records.remove(record)
        if not batch:
            soonest = min((one.visible_at for one in queue.records), default=0.0)
            clock.sleep(max(soonest - clock.now, 1.0))


def _done(
    clock: SimulatedClock, batch: list[SqsMessage], slack: SimulatedSlack, timeout: float
) -> Iterator[SqsMessage]:
    """Call the real handler, and give the records that may leave the queue."""
    end = clock.now + timeout - lambda_function.EXIT_RESERVE_SECONDS
    records = [{"messageId": one.id, "eventSource": "aws:sqs", "body": one.body} for one in batch]

    sender = WebhookSender(lambda _: "", lambda: end - clock.now, clock.time, clock.sleep, slack.post)
    try:
        result: Any = handle_event({"Records": records}, {}, sender)
    except NotDeliveredError:
        return
    failed = {one["itemIdentifier"] for one in result["batchItemFailures"]}
    yield from (one for one in batch if one.id not in failed)


def _event(name: str, state: str, at: float) -> str:
    """What EventBridge says of one change, out of the corpus."""
    event = json.loads(_EVENT.read_bytes())
    moment = datetime.fromtimestamp(at, UTC)
    event["resources"] = [f"arn:aws:cloudwatch:{event['region']}:{event['account']}:alarm:{name}"]
    event["detail"] |= {"alarmName": name}
    event["detail"]["state"] |= {"value": state, "timestamp": f"{moment:%Y-%m-%dT%H:%M:%S}.{moment:%f}"[:-3] + "+0000"}
    return json.dumps(event)


def main() -> None:
    """Two storms, and how they ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=10_000)
    changes = parser.parse_args().changes
    for title, down in (("Slack is up", 0.0), ("Slack is down for an hour", HOUR)):
        came = simulate_storm(changes, down)
        since = "after its return" if down else "after the first change"
        print(f"{title}: {changes:,} changes of {len(came.alarms):,} alarms within {STORM_SECONDS:.0f} s")
        print(f"  told       {len(came.reported & came.alarms):,} alarms, the last {came.seconds:.0f} s {since}")
        fewer = changes / came.message_count
        print(f"  messages   {came.message_count} ({came.attempts} attempts), {fewer:.0f} times fewer than")
        print(f"             one for each change, which would take Slack {changes / 3600:.1f} h")
        lost = len(came.alarms - came.reported)
        print(f"  lost       {lost}; left in the queue {came.queued}, dead {came.dead_lettered}")


if __name__ == "__main__":
    main()
