"""Many alerts wait while Slack is down or rate-limits: one tries for all, and none is lost."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from cwnotify.settings import Secret
from cwnotify.sidecar.pacing import DestinationCooldown
from cwnotify.slack.retry_policy import MAX_DELIVERY_AGE, Attempt, Delivered, GiveUp, RetryAt, SlackReply, decide_retry
from cwnotify.store.outbox import Outbox
from cwnotify.store.recovery import open_outbox
from cwnotify.store.state_dir import fingerprint_webhook, prepare_state_dir
from tests.support.kernel import World
from tests.support.post import DeliveryHarness
from tests.support.slack import OK, Answer, Slack
from tests.support.waiting import until

SERVER_ERROR = Answer(500, "rollup_error")
ALERTS = [f"alert {number:02}" for number in range(12)]
# The monotonic and the wall clock. Neither begins at 0 on a real machine.
MONOTONIC, WALL = 5000.0, 1_795_316_400.0


@pytest.fixture
def clock() -> list[float]:
    """The monotonic clock of `cooldown`."""
    return [MONOTONIC]


@pytest.fixture
def cooldown(clock: list[float]) -> DestinationCooldown:
    return DestinationCooldown(lambda: clock[0])


def server_error(failures: int = 1, started: float = WALL) -> RetryAt:
    decision = decide_retry(SlackReply(503), Attempt(1, started, WALL, 1.0, consecutive_failures=failures))
    assert isinstance(decision, RetryAt)
    return decision


def rate_limited(seconds: int) -> RetryAt:
    decision = decide_retry(SlackReply(429, "rate_limited", str(seconds)), Attempt(1, WALL, WALL, 0.0))
    assert isinstance(decision, RetryAt)
    return decision


# The cooldown


def test_alert_created_during_an_attempt_need_not_wait() -> None:
    cooldown = DestinationCooldown()
    timeout = decide_retry(SlackReply(error="no answer in time"), Attempt(9, 100.0, 110.0, 1.0, consecutive_failures=9))
    cooldown.record_attempt(timeout, 100.0, 110.0)

    assert cooldown.remaining_seconds() > 50
    assert cooldown.min_created_at() == 100.0


@pytest.mark.parametrize("header", ["30", ""])
def test_giving_up_an_old_alert_starts_a_cooldown(header: str) -> None:
    cooldown = DestinationCooldown()
    given_up = decide_retry(SlackReply(429, "rate_limited", header), Attempt(10, 0.0, 2 * MAX_DELIVERY_AGE, 1.0))
    cooldown.record_attempt(given_up, 0.0, 2 * MAX_DELIVERY_AGE)

    assert isinstance(given_up, GiveUp)
    assert cooldown.consecutive_failures == 1
    assert cooldown.remaining_seconds() > 0


def test_failures_of_other_alerts_do_not_make_an_alert_give_up() -> None:
    """Otherwise one failure after the machine was suspended would give up all waiting alerts."""
    decision = decide_retry(SlackReply(503), Attempt(1, 0.0, 2 * MAX_DELIVERY_AGE, 1.0, consecutive_failures=30))

    assert isinstance(decision, RetryAt)


@pytest.mark.parametrize("verdict", [SlackReply(200, "ok"), SlackReply(404, "no_service")], ids=str)
def test_verdict_of_slack_ends_the_cooldown(verdict: SlackReply) -> None:
    cooldown = DestinationCooldown()
    for reply in (SlackReply(503), SlackReply(503), verdict):
        decision = decide_retry(
            reply, Attempt(1, 0.0, 1.0, 1.0, consecutive_failures=cooldown.consecutive_failures + 1)
        )
        cooldown.record_attempt(decision, 0.0, 1.0)

    assert (cooldown.consecutive_failures, cooldown.remaining_seconds(), cooldown.min_created_at()) == (0, 0.0, 0.0)


def test_messages_are_paced_for_a_minute_after_a_rate_limit(cooldown: DestinationCooldown, clock: list[float]) -> None:
    assert (cooldown.remaining_seconds(), cooldown.min_created_at(), cooldown.consecutive_failures) == (0.0, 0.0, 0)
    cooldown.record_attempt(rate_limited(5), WALL, WALL)
    remaining, min_created_at = cooldown.remaining_seconds(), cooldown.min_created_at()
    assert (remaining, min_created_at, cooldown.consecutive_failures) == (5.0, math.inf, 1)
    for passed, pause in ((6.0, 1.0), (60.0, 1.0), (64.9, 1.0), (65.0, 0.0), (66.0, 0.0)):
        clock[0] = MONOTONIC + passed
        cooldown.record_attempt(Delivered(), WALL + passed, WALL + passed)
        assert (cooldown.remaining_seconds(), cooldown.consecutive_failures) == (pause, 0), passed
        assert cooldown.min_created_at() == (math.inf if pause else 0.0), passed


def test_cooldown_ends_by_the_monotonic_clock(cooldown: DestinationCooldown, clock: list[float]) -> None:
    cooldown.record_attempt(rate_limited(30), WALL, WALL)
    for passed, remaining in ((10.0, 20.0), (29.5, 0.5), (30.0, 0.0), (31.0, 0.0)):
        clock[0] = MONOTONIC + passed
        assert cooldown.remaining_seconds() == remaining
        assert cooldown.min_created_at() == (math.inf if remaining else 0.0)


def test_cooldown_counts_from_the_end_of_the_attempt(cooldown: DestinationCooldown) -> None:
    """The decision has a wall clock time, and the attempt took ten seconds."""
    decision = server_error(failures=3, started=WALL - 10.0)
    cooldown.record_attempt(decision, WALL - 10.0, WALL)

    assert cooldown.remaining_seconds() == decision.backoff_until - WALL > 0
    assert cooldown.min_created_at() == WALL - 10.0


def test_messages_are_not_paced_after_a_server_error(cooldown: DestinationCooldown) -> None:
    cooldown.record_attempt(server_error(), WALL, WALL)
    cooldown.record_attempt(Delivered(), WALL, WALL)

    assert (cooldown.consecutive_failures, cooldown.remaining_seconds(), cooldown.min_created_at()) == (0, 0.0, 0.0)


def test_next_message_is_due_after_the_cooldown_or_when_newer(
    cooldown: DestinationCooldown, clock: list[float], tmp_path: Path
) -> None:
    with closing(Outbox(tmp_path / "outbox.sqlite3", durable=False)) as outbox:
        assert cooldown.next_due_time(outbox, "slack", WALL) is None
        outbox.enqueue("old", "slack", {"text": "old"}, WALL - 20.0)
        assert cooldown.next_due_time(outbox, "slack", WALL) == WALL - 20.0, "there is no cooldown"

        cooldown.record_attempt(rate_limited(30), WALL - 1.0, WALL)
        assert cooldown.next_due_time(outbox, "slack", WALL) == WALL + 30.0
        outbox.enqueue("late", "slack", {"text": "late"}, WALL - 30.0, WALL + 100.0)
        assert cooldown.next_due_time(outbox, "slack", WALL) == WALL + 30.0

        clock[0] += 200.0
        cooldown.record_attempt(server_error(failures=9), WALL - 1.0, WALL)
        assert cooldown.next_due_time(outbox, "slack", WALL) == WALL + cooldown.remaining_seconds() > WALL
        outbox.enqueue("new", "slack", {"text": "new"}, WALL - 0.5)
        assert cooldown.next_due_time(outbox, "slack", WALL) == WALL - 0.5, "Slack may be back"


def test_message_is_due_at_its_own_time_but_not_after_the_cooldown(
    cooldown: DestinationCooldown, tmp_path: Path
) -> None:
    with closing(Outbox(tmp_path / "outbox.sqlite3", durable=False)) as outbox:
        cooldown.record_attempt(server_error(failures=9), WALL - 1.0, WALL)
        end = WALL + cooldown.remaining_seconds()
        outbox.enqueue("old", "slack", {"text": "old"}, WALL - 20.0, end + 100.0)
        assert cooldown.next_due_time(outbox, "slack", WALL) == end + 100.0

        outbox.enqueue("older", "slack", {"text": "older"}, WALL - 30.0)
        outbox.enqueue("new", "slack", {"text": "new"}, WALL - 0.5, end + 50.0)
        assert cooldown.next_due_time(outbox, "slack", WALL) == end


# Delivery to a Slack on a real socket


@pytest.fixture
def slack() -> Iterator[Slack]:
    with Slack() as slack:
        yield slack


@pytest.fixture
def harness(tmp_path: Path, slack: Slack) -> Iterator[DeliveryHarness]:
    """Alerts that wait for Slack. Nothing is sent yet."""
    with DeliveryHarness(tmp_path) as harness:
        for id in ALERTS:
            harness.put(id, "slack")
        yield harness


def texts(slack: Slack) -> list[str]:
    return [payload["text"] for payload in slack.payloads]


def wait_for_attempts(slack: Slack, count: int) -> None:
    until(lambda: len(slack.received) >= count, 15, f"{count} attempts")


def test_one_alert_tries_for_all_until_slack_is_back(harness: DeliveryHarness, slack: Slack) -> None:
    slack.answer = SERVER_ERROR
    harness.delivery.add_webhook(Secret(slack.url), "slack")
    wait_for_attempts(slack, 4)

    # The backoff is half a second, one, two, for all alerts together.
    pauses = [later.at - sooner.at for sooner, later in pairwise(slack.received)]
    assert len(slack.received) == 4
    assert all(pause >= minimum for pause, minimum in zip(pauses, (0.25, 0.5, 1.0), strict=True))
    attempted = {request.payload["text"] for request in slack.received}
    assert len(attempted) == 4, "an alert that Slack rejects with an error must not stop all others"
    slack.answer = OK
    slack.wait_for(len(ALERTS), 20)
    assert sorted(texts(slack)) == sorted(ALERTS)


def test_new_alert_tries_at_once_during_a_backoff(harness: DeliveryHarness, slack: Slack) -> None:
    slack.answer = SERVER_ERROR
    harness.delivery.add_webhook(Secret(slack.url), "slack")
    wait_for_attempts(slack, 3)
    slack.answer = OK
    started = time.monotonic()
    harness.put("new", "slack")
    slack.wait_for(lambda payloads: any(payload["text"] == "new" for payload in payloads), 20)

    assert time.monotonic() - started < 2.0
    assert texts(slack)[0] == "new"
    slack.wait_for(len(ALERTS) + 1, 20)


def test_nothing_is_sent_during_a_rate_limit(harness: DeliveryHarness, slack: Slack) -> None:
    slack.next_answers.append(Answer(429, "rate_limited", {"Retry-After": "2"}))
    harness.delivery.add_webhook(Secret(slack.url), "slack")
    wait_for_attempts(slack, 1)
    harness.put("new", "slack")
    slack.wait_for(len(ALERTS) + 1, 40)

    times = [request.at for request in slack.received]
    assert len(times) == len(ALERTS) + 2
    assert times[1] - times[0] >= 2.0
    # Afterwards one message a second, in order except for the one that was rejected.
    assert all(later - sooner >= 0.95 for sooner, later in pairwise(times[1:]))
    in_order = [id for id in texts(slack) if id != ALERTS[0]]
    assert in_order == [*ALERTS[1:], "new"]


def test_failing_alert_does_not_block_others(harness: DeliveryHarness, slack: Slack) -> None:
    slack.next_answers.append(SERVER_ERROR)
    harness.delivery.add_webhook(Secret(slack.url), "slack")
    slack.wait_for(len(ALERTS), 20)

    # The first alert is due again half a second later.
    assert [request.payload["text"] for request in slack.received[:3]] == ALERTS[:3]
    assert sorted(texts(slack)) == sorted(ALERTS)


def test_other_webhook_is_served_during_a_backoff(harness: DeliveryHarness, slack: Slack) -> None:
    slack.answer = SERVER_ERROR
    harness.delivery.add_webhook(Secret(slack.url), "slack")
    wait_for_attempts(slack, 3)
    with Slack() as other:
        harness.delivery.add_webhook(Secret(other.url), "other")
        harness.put("for the other", "other")
        other.wait_for(1, 2.0)


# cwnotify outbox retry


@pytest.fixture
def world(tmp_path: Path, slack: Slack) -> Iterator[World]:
    """Alerts that are dead. No sidecar runs."""
    with World(tmp_path, slack.url) as world:
        with closing(open_outbox(prepare_state_dir(world.state_dir))) as outbox:
            for id in ALERTS:
                outbox.enqueue(id, "", {"text": id}, time.time())
                outbox.mark_dead(id, "for the test", time.time())
        yield world


def test_retry_command_respects_the_rate_limit(world: World, slack: Slack) -> None:
    slack.next_answers += [OK] * 5 + [Answer(429, "rate_limited", {"Retry-After": "1"})]
    process = world.execute("cwnotify", "outbox", "retry", "--all")

    assert (process.returncode, process.stdout.splitlines()[-1]) == (0, f"{len(ALERTS)} sent again.")
    assert sorted(texts(slack)) == sorted(ALERTS)
    rejected, retried = slack.received[5:7]
    assert retried.at - rejected.at >= 1.0


def test_retry_command_gives_up_soon_if_slack_is_down_and_loses_nothing(world: World, slack: Slack) -> None:
    slack.answer = SERVER_ERROR
    process = world.execute("cwnotify", "outbox", "retry", "--all")

    assert process.returncode == 1
    assert len(slack.received) == 3
    assert process.stdout.splitlines()[-2:] == [
        "Slack accepts no messages now. 12 pending; the next run or this command sends them.",
        "12 of 12 still not delivered.",
    ]
    slack.answer = OK
    process = world.execute("cwnotify", "outbox", "retry", "--all")
    assert (process.returncode, process.stdout.splitlines()[-1]) == (0, f"{len(ALERTS)} sent again.")
    assert sorted(texts(slack)) == sorted(ALERTS)


def test_retry_command_waits_for_a_message_that_a_sidecar_sends(world: World, slack: Slack) -> None:
    with closing(open_outbox(world.state_dir)) as outbox:
        destination = fingerprint_webhook(Secret(slack.url), world.state_dir)
        outbox.requeue_dead(ALERTS, destination, time.time())
        claimed = outbox.claim_next(destination, "a sidecar", time.time())
        assert claimed
        process = world.launch("cwnotify", "outbox", "retry", "--all")
        slack.wait_for(len(ALERTS) - 1, 20)
        assert process.poll() is None
        outbox.mark_delivered(claimed.id, time.time())

        assert process.communicate(timeout=20)[0].splitlines()[-1] == f"{len(ALERTS)} sent again."
        assert process.returncode == 0
