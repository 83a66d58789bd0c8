"""Many alerts wait while Slack is away or asks to slow down: one tries for all, and none is forgotten."""

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

DOWN = Answer(500, "rollup_error")
MANY = [f"alert {number:02}" for number in range(12)]


@pytest.fixture
def slack() -> Iterator[Slack]:
    with Slack() as running:
        yield running


@pytest.fixture
def post(tmp_path: Path, slack: Slack) -> Iterator[DeliveryHarness]:
    """Alerts that wait for Slack; nothing is sent yet."""
    with DeliveryHarness(tmp_path) as post:
        for id in MANY:
            post.put(id, "slack")
        yield post


def test_an_alert_that_came_up_during_an_attempt_need_not_wait_for_the_next() -> None:
    rest = DestinationCooldown()
    rest.record_attempt(
        decide_retry(SlackReply(error="no answer in time"), Attempt(9, 100.0, 110.0, 1.0, consecutive_failures=9)),
        100.0,
        110.0,
    )

    assert rest.remaining_seconds() > 50
    assert rest.min_created_at() == 100.0


@pytest.mark.parametrize("header", ["30", ""])
def test_who_gives_an_old_alert_up_rests_too(header: str) -> None:
    rest = DestinationCooldown()
    given_up = decide_retry(SlackReply(429, "rate_limited", header), Attempt(10, 0.0, 2 * MAX_DELIVERY_AGE, 1.0))
    rest.record_attempt(given_up, 0.0, 2 * MAX_DELIVERY_AGE)

    assert isinstance(given_up, GiveUp)
    assert rest.consecutive_failures == 1
    assert rest.remaining_seconds() > 0


def test_many_failures_with_others_age_no_alert() -> None:
    """Else one failure after a long sleep of the machine would give up all that waits."""
    assert isinstance(
        decide_retry(SlackReply(503), Attempt(1, 0.0, 2 * MAX_DELIVERY_AGE, 1.0, consecutive_failures=30)), RetryAt
    )


@pytest.mark.parametrize("verdict", [SlackReply(200, "ok"), SlackReply(404, "no_service")], ids=str)
def test_a_verdict_of_slack_ends_the_rest(verdict: SlackReply) -> None:
    rest = DestinationCooldown()
    for reply in (SlackReply(503), SlackReply(503), verdict):
        rest.record_attempt(
            decide_retry(reply, Attempt(1, 0.0, 1.0, 1.0, consecutive_failures=rest.consecutive_failures + 1)), 0.0, 1.0
        )

    assert (rest.consecutive_failures, rest.remaining_seconds(), rest.min_created_at()) == (0, 0.0, 0.0)


# By the steady clock and by the wall's, neither of which begins at 0 in life.
BOOTED, WALL = 5000.0, 1_795_316_400.0


@pytest.fixture
def steady() -> list[float]:
    return [BOOTED]


@pytest.fixture
def rest(steady: list[float]) -> DestinationCooldown:
    return DestinationCooldown(lambda: steady[0])


def rate_limited(seconds: int) -> RetryAt:
    decision = decide_retry(SlackReply(429, "rate_limited", str(seconds)), Attempt(1, WALL, WALL, 0.0))
    assert isinstance(decision, RetryAt)
    return decision


def test_the_pace_is_kept_for_a_minute_after_slack_asked_for_it(rest: DestinationCooldown, steady: list[float]) -> None:
    assert (rest.remaining_seconds(), rest.min_created_at(), rest.consecutive_failures) == (0.0, 0.0, 0)
    rest.record_attempt(rate_limited(5), WALL, WALL)
    assert (rest.remaining_seconds(), rest.min_created_at(), rest.consecutive_failures) == (5.0, math.inf, 1)
    for passed, pause in ((6.0, 1.0), (60.0, 1.0), (64.9, 1.0), (65.0, 0.0), (66.0, 0.0)):
        steady[0] = BOOTED + passed
        rest.record_attempt(Delivered(), WALL + passed, WALL + passed)
        assert (rest.remaining_seconds(), rest.consecutive_failures) == (pause, 0), passed
        assert rest.min_created_at() == (math.inf if pause else 0.0), passed


def test_a_rest_is_over_when_its_time_has_passed_by_a_clock_that_is_never_set(
    rest: DestinationCooldown, steady: list[float]
) -> None:
    rest.record_attempt(rate_limited(30), WALL, WALL)
    for passed, left in ((10.0, 20.0), (29.5, 0.5), (30.0, 0.0), (31.0, 0.0)):
        steady[0] = BOOTED + passed
        assert rest.remaining_seconds() == left
        assert rest.min_created_at() == (math.inf if left else 0.0)


def test_a_rest_counts_from_the_end_of_the_attempt(rest: DestinationCooldown) -> None:
    """A decision names the wall's time; the attempt took ten seconds."""
    decision = decide_retry(SlackReply(503), Attempt(1, WALL - 10.0, WALL, 1.0, consecutive_failures=3))
    assert isinstance(decision, RetryAt)
    rest.record_attempt(decision, WALL - 10.0, WALL)

    assert rest.remaining_seconds() == decision.backoff_until - WALL > 0
    assert rest.min_created_at() == WALL - 10.0


def test_what_slack_did_not_ask_for_slows_no_later_message_down(rest: DestinationCooldown) -> None:
    rest.record_attempt(decide_retry(SlackReply(503), Attempt(1, WALL, WALL, 1.0, consecutive_failures=1)), WALL, WALL)
    rest.record_attempt(Delivered(), WALL, WALL)

    assert (rest.consecutive_failures, rest.remaining_seconds(), rest.min_created_at()) == (0, 0.0, 0.0)


def test_the_next_message_is_due_when_the_rest_is_over_or_when_a_newer_one_may_try(
    rest: DestinationCooldown, steady: list[float], tmp_path: Path
) -> None:
    with closing(Outbox(tmp_path / "outbox.sqlite3", durable=False)) as box:
        assert rest.next_due_time(box, "slack", WALL) is None
        box.enqueue("old", "slack", {"text": "old"}, WALL - 20.0)
        assert rest.next_due_time(box, "slack", WALL) == WALL - 20.0, "nothing rests"

        rest.record_attempt(rate_limited(30), WALL - 1.0, WALL)
        assert rest.next_due_time(box, "slack", WALL) == WALL + 30.0
        box.enqueue("late", "slack", {"text": "late"}, WALL - 30.0, WALL + 100.0)
        assert rest.next_due_time(box, "slack", WALL) == WALL + 30.0

        steady[0] += 200.0
        rest.record_attempt(
            decide_retry(SlackReply(503), Attempt(1, WALL, WALL, 1.0, consecutive_failures=9)), WALL - 1.0, WALL
        )
        assert rest.next_due_time(box, "slack", WALL) == WALL + rest.remaining_seconds() > WALL
        box.enqueue("new", "slack", {"text": "new"}, WALL - 0.5)
        assert rest.next_due_time(box, "slack", WALL) == WALL - 0.5, "Slack may be back"


def test_a_message_is_due_no_sooner_than_it_says_and_no_later_than_the_rest(
    rest: DestinationCooldown, tmp_path: Path
) -> None:
    with closing(Outbox(tmp_path / "outbox.sqlite3", durable=False)) as box:
        rest.record_attempt(
            decide_retry(SlackReply(503), Attempt(1, WALL, WALL, 1.0, consecutive_failures=9)), WALL - 1.0, WALL
        )
        over = WALL + rest.remaining_seconds()
        box.enqueue("old", "slack", {"text": "old"}, WALL - 20.0, over + 100.0)
        assert rest.next_due_time(box, "slack", WALL) == over + 100.0

        box.enqueue("older", "slack", {"text": "older"}, WALL - 30.0)
        box.enqueue("new", "slack", {"text": "new"}, WALL - 0.5, over + 50.0)
        assert rest.next_due_time(box, "slack", WALL) == over


def texts(slack: Slack) -> list[str]:
    return [one["text"] for one in slack.payloads]


def tried(slack: Slack, times: int) -> None:
    until(lambda: len(slack.received) >= times, 15, f"{times} attempts")


def test_one_alert_tries_for_all_and_all_are_told_once_slack_is_back(post: DeliveryHarness, slack: Slack) -> None:
    slack.answer = DOWN
    post.delivery.add_webhook(Secret(slack.url), "slack")
    tried(slack, 4)

    # Half a second, one, two: no alert gets round that.
    pauses = [later.at - sooner.at for sooner, later in pairwise(slack.received)]
    assert len(slack.received) == 4
    assert all(pause >= least for pause, least in zip(pauses, (0.25, 0.5, 1.0), strict=True))
    assert len({one.payload["text"] for one in slack.received}) == 4, "one that Slack cannot stand would stop them all"
    slack.answer = OK
    slack.wait_for(len(MANY), 20)
    assert sorted(texts(slack)) == sorted(MANY)


def test_what_comes_up_meanwhile_tries_at_once(post: DeliveryHarness, slack: Slack) -> None:
    slack.answer = DOWN
    post.delivery.add_webhook(Secret(slack.url), "slack")
    tried(slack, 3)
    slack.answer = OK
    began = time.monotonic()
    post.put("new", "slack")
    slack.wait_for(lambda payloads: any(one["text"] == "new" for one in payloads), 20)

    assert time.monotonic() - began < 2.0
    assert texts(slack)[0] == "new"
    slack.wait_for(len(MANY) + 1, 20)


def test_nothing_is_sent_while_slack_asks_for_a_rest(post: DeliveryHarness, slack: Slack) -> None:
    slack.next_answers.append(Answer(429, "rate_limited", {"Retry-After": "2"}))
    post.delivery.add_webhook(Secret(slack.url), "slack")
    tried(slack, 1)
    post.put("new", "slack")
    slack.wait_for(len(MANY) + 1, 40)

    times = [one.at for one in slack.received]
    assert len(times) == len(MANY) + 2
    assert times[1] - times[0] >= 2.0
    # From then on at the pace that Slack takes, and but for the one that was refused in their order.
    assert all(later - sooner >= 0.95 for sooner, later in pairwise(times[1:]))
    told = [id for id in texts(slack) if id != MANY[0]]
    assert told == [*MANY[1:], "new"]


def test_an_alert_that_slack_cannot_stand_holds_up_no_other(post: DeliveryHarness, slack: Slack) -> None:
    slack.next_answers.append(DOWN)
    post.delivery.add_webhook(Secret(slack.url), "slack")
    slack.wait_for(len(MANY), 20)

    # The first one's own turn comes again half a second later.
    assert [one.payload["text"] for one in slack.received[:3]] == MANY[:3]
    assert sorted(texts(slack)) == sorted(MANY)


def test_another_webhook_is_served_meanwhile(post: DeliveryHarness, slack: Slack) -> None:
    slack.answer = DOWN
    post.delivery.add_webhook(Secret(slack.url), "slack")
    tried(slack, 3)
    with Slack() as other:
        post.delivery.add_webhook(Secret(other.url), "other")
        post.put("for the other", "other")
        other.wait_for(1, 2.0)


@pytest.fixture
def world(tmp_path: Path, slack: Slack) -> Iterator[World]:
    """Alerts that are dead; no sidecar runs."""
    with World(tmp_path, slack.url) as one:
        box = open_outbox(prepare_state_dir(one.state_dir))
        for id in MANY:
            box.enqueue(id, "", {"text": id}, time.time())
            box.mark_dead(id, "for the test", time.time())
        box.close()
        yield one


def test_sending_again_keeps_to_the_pace_that_slack_asks_for(world: World, slack: Slack) -> None:
    slack.next_answers += [OK] * 5 + [Answer(429, "rate_limited", {"Retry-After": "1"})]
    done = world.execute("cwnotify", "outbox", "retry", "--all")

    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"{len(MANY)} sent again.")
    assert sorted(texts(slack)) == sorted(MANY)
    refused, later = slack.received[5:7]
    assert later.at - refused.at >= 1.0


def test_sending_again_gives_up_soon_where_slack_is_away_and_loses_nothing(world: World, slack: Slack) -> None:
    slack.answer = DOWN
    done = world.execute("cwnotify", "outbox", "retry", "--all")

    assert done.returncode == 1
    assert len(slack.received) == 3
    assert done.stdout.splitlines()[-2:] == [
        "Slack takes nothing at present: 12 wait, for the next run or for this command again.",
        "12 of 12 still not delivered.",
    ]
    slack.answer = OK
    done = world.execute("cwnotify", "outbox", "retry", "--all")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"{len(MANY)} sent again.")
    assert sorted(texts(slack)) == sorted(MANY)


def test_sending_again_waits_for_a_sidecar_that_was_faster(world: World, slack: Slack) -> None:
    box = open_outbox(world.state_dir)
    mine = fingerprint_webhook(Secret(slack.url), world.state_dir)
    box.requeue_dead(MANY, mine, time.time())
    first = box.claim_next(mine, "a sidecar", time.time())
    assert first
    process = world.launch("cwnotify", "outbox", "retry", "--all")
    slack.wait_for(len(MANY) - 1, 20)
    assert process.poll() is None
    box.mark_delivered(first.id, time.time())

    assert process.communicate(timeout=20)[0].splitlines()[-1] == f"{len(MANY)} sent again."
    assert process.returncode == 0
    box.close()
