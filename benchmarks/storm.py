"""Ten thousand alarm changes within a minute: what reaches Slack, when, and what is lost if Slack is down for an hour.

::

    python -m benchmarks.storm [--changes 10000]

The handler, the digests, the retries and the queue settings of the stack are real. Simulated are the clock, SQS with
Lambda's pollers (batches, partial failures, duplicates, the visibility timeout, the dead-letter queue) and a Slack that
accepts one message per second, checks each against its rules, and can be down.
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
# The limit of AWS for the event of one call.
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
    """The parts of SQS that matter here, with the settings of the stack."""

    visibility_timeout: float
    max_receives: int
    records: deque[SqsMessage] = field(default_factory=deque)
    dead_letters: list[SqsMessage] = field(default_factory=list)

    def receive(self, now: float, limit: int) -> list[SqsMessage]:
        """Return up to `limit` visible messages and hide them from other receivers."""
        batch: list[SqsMessage] = []
        size = 0
        for record in [record for record in self.records if record.visible_at <= now]:
            if record.receive_count >= self.max_receives:
                self.records.remove(record)
                self.dead_letters.append(record)
            elif len(batch) < limit and (size := size + len(record.body)) <= MAX_BATCH_BYTES:
                record.visible_at, record.receive_count = now + self.visibility_timeout, record.receive_count + 1
                batch.append(record)
        return batch


class SimulatedSlack:
    """A Slack that accepts one message per second, and none from `down` to `up` (Unix seconds)."""

    def __init__(self, clock: SimulatedClock, down: float, up: float) -> None:
        self._clock = clock
        self._down, self._up = down, up
        self._accepts_at = 0.0
        self.attempts = 0
        self.delivered: list[tuple[float, dict[str, Any]]] = []

    def post(self, _url: str, payload: dict[str, Any], seconds: float) -> SlackReply:
        """One attempt, as `post_with_deadline` makes it."""
        self.attempts += 1
        if self._down <= self._clock.now < self._up:
            return self._fail(seconds)
        self._clock.sleep(SLACK_LATENCY)
        if self._clock.now < self._accepts_at:
            return SlackReply(429, "rate_limited", "1")
        response = respond_to_webhook(json.dumps(payload).encode())
        assert response.body == "ok", response.reason
        self._accepts_at = self._clock.now + 1.0
        self.delivered.append((self._clock.now, payload))
        return SlackReply(200, "ok")

    def _fail(self, seconds: float) -> SlackReply:
        """Return a server error or no response, in turn."""
        if self.attempts % 2:
            self._clock.sleep(SLACK_LATENCY)
            return SlackReply(503, "")
        self._clock.sleep(seconds)
        return SlackReply(error="no response in time")


@dataclass(frozen=True)
class StormResult:
    """The outcome of a storm.

    Parameters
    ----------
    alarms, reported
        The alarms that changed, and the alarms in Slack's messages.
    message_count, attempts
        The messages that Slack accepted, and the requests that it got.
    seconds
        From the first change, or from Slack's return, to the last message.
    queued, dead_lettered
        The records that remain in the queue and in the dead-letter queue.
    """

    alarms: frozenset[str]
    reported: frozenset[str]
    message_count: int
    attempts: int
    seconds: float
    queued: int
    dead_lettered: int


def simulate_storm(changes: int, outage_seconds: float = 0.0, max_receives: int = 0) -> StormResult:
    """Let `changes` alarms change within a minute while Slack is down for the first `outage_seconds`.

    Parameters
    ----------
    max_receives
        How often the queue delivers a message before it moves to the dead-letter queue. The default is the stack's.
    """
    clock = SimulatedClock(STORM_START)
    slack = SimulatedSlack(clock, STORM_START, STORM_START + outage_seconds)
    resources = build_stack_resources(())
    queue, source = (resources[name]["Properties"] for name in ("Queue", "Source"))
    sqs = SqsQueue(queue["VisibilityTimeout"], max_receives or queue["RedrivePolicy"]["maxReceiveCount"])
    names = [f"train-{n:05}-{'off' if n % 3 else 'busy'}" for n in range(changes)]

    clock.start_actor(lambda: _send_changes(clock, sqs, names))
    timeout = resources["Function"]["Properties"]["Timeout"]
    for _ in range(source["ScalingConfig"]["MaximumConcurrency"]):
        clock.start_actor(lambda: _poll(clock, sqs, slack, source, timeout))
    with contextlib.redirect_stdout(io.StringIO()):
        clock.run()

    # A name counts in visible text, not in the URL of a link.
    reported = {name for _, payload in slack.delivered for name in _NAME.findall(_ADDRESS.sub("", json.dumps(payload)))}
    last = slack.delivered[-1][0] if slack.delivered else clock.now
    return StormResult(
        alarms=frozenset(names),
        reported=frozenset(reported),
        message_count=len(slack.delivered),
        attempts=slack.attempts,
        seconds=last - STORM_START - outage_seconds,
        queued=len(sqs.records),
        dead_lettered=len(sqs.dead_letters),
    )


def _send_changes(clock: SimulatedClock, queue: SqsQueue, names: list[str]) -> None:
    """Act as EventBridge: put the changes into the queue, and every hundredth of them twice."""
    for number, name in enumerate(names):
        event = _alarm_event(name, ("ALARM", "OK", "INSUFFICIENT_DATA")[number % 7 % 3], clock.now)
        for copy in range(1 + (number % 100 == 0)):
            queue.records.append(SqsMessage(f"{number}-{copy}", event))
        clock.sleep(STORM_SECONDS / len(names))


def _poll(
    clock: SimulatedClock, queue: SqsQueue, slack: SimulatedSlack, source: dict[str, Any], timeout: float
) -> None:
    """Act as one of Lambda's pollers, with its function. End when the storm is over and the queue is empty."""
    while clock.now < STORM_START + STORM_SECONDS or queue.records:
        batch = queue.receive(clock.now, source["BatchSize"])
        window = clock.now + source["MaximumBatchingWindowInSeconds"]
        while batch and len(batch) < source["BatchSize"] and clock.now < window:
            clock.sleep(0.5)
            batch += queue.receive(clock.now, source["BatchSize"] - len(batch))
        for record in _process_batch(clock, batch, slack, timeout) if batch else ():
            queue.records.remove(record)
        if not batch:
            next_visible_at = min((record.visible_at for record in queue.records), default=0.0)
            clock.sleep(max(next_visible_at - clock.now, 1.0))


def _process_batch(
    clock: SimulatedClock, batch: list[SqsMessage], slack: SimulatedSlack, timeout: float
) -> Iterator[SqsMessage]:
    """Call the real handler, and yield the records that it has finished."""
    end = clock.now + timeout - lambda_function.EXIT_RESERVE_SECONDS
    records = [{"messageId": message.id, "eventSource": "aws:sqs", "body": message.body} for message in batch]

    sender = WebhookSender(lambda _: "", lambda: end - clock.now, clock.time, clock.sleep, slack.post)
    try:
        result: Any = handle_event({"Records": records}, {}, sender)
    except NotDeliveredError:
        return
    failed = {failure["itemIdentifier"] for failure in result["batchItemFailures"]}
    yield from (message for message in batch if message.id not in failed)


def _alarm_event(name: str, state: str, at: float) -> str:
    """Return EventBridge's event for one change, based on the test data."""
    event = json.loads(_EVENT.read_bytes())
    moment = datetime.fromtimestamp(at, UTC)
    event["resources"] = [f"arn:aws:cloudwatch:{event['region']}:{event['account']}:alarm:{name}"]
    event["detail"] |= {"alarmName": name}
    event["detail"]["state"] |= {"value": state, "timestamp": f"{moment:%Y-%m-%dT%H:%M:%S}.{moment:%f}"[:-3] + "+0000"}
    return json.dumps(event)


def main() -> None:
    """Simulate a storm with Slack up and one with Slack down, and print the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=10_000)
    changes = parser.parse_args().changes
    for title, down in (("Slack is up", 0.0), ("Slack is down for an hour", HOUR)):
        storm = simulate_storm(changes, down)
        since = "after its return" if down else "after the first change"
        print(f"{title}: {changes:,} changes of {len(storm.alarms):,} alarms within {STORM_SECONDS:.0f} s")
        print(f"  reported   {len(storm.reported & storm.alarms):,} alarms, the last {storm.seconds:.0f} s {since}")
        ratio = changes / storm.message_count
        print(f"  messages   {storm.message_count} ({storm.attempts} attempts), {ratio:.0f} times fewer than")
        print(f"             one for each change, which would take {changes / 3600:.1f} h")
        lost = len(storm.alarms - storm.reported)
        print(f"  lost       {lost}; still in the queue {storm.queued}, dead letters {storm.dead_lettered}")


if __name__ == "__main__":
    main()
