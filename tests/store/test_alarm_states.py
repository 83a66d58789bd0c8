"""Alarm changes: each is sent once, however many processes watch; many of one alarm become one message."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from cwnotify.alerts.events.alarms import AlarmStateChange
from cwnotify.store.alarm_states import (
    FLAPPING_WINDOW,
    MAX_CHANGES_PER_WINDOW,
    AlarmObservation,
    AlarmStateStore,
    HistoryGap,
    MessageOptions,
)
from cwnotify.store.outbox import Outbox

NOW = 1_795_316_400.0
DESTINATION, OTHER_DESTINATION = "webhook-1", "webhook-2"
ARN = "arn:aws:cloudwatch:ap-northeast-2:123456789012:alarm:train-busy"
OPTIONS = MessageOptions()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite3"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    with closing(Outbox(path, durable=False)) as outbox:
        yield outbox


@pytest.fixture
def store(outbox: Outbox) -> AlarmStateStore:
    return AlarmStateStore(outbox)


def change(n: int, at: float) -> AlarmStateChange:
    """Return the n-th change: to ALARM if n is odd, to OK if it is even."""
    before, after = ("OK", "ALARM") if n % 2 else ("ALARM", "OK")
    return AlarmStateChange("train-busy", after, before, at, arn=ARN, region="ap-northeast-2")


def observe(*changes: AlarmStateChange, state: str = "OK", since: float = NOW) -> AlarmObservation:
    if changes:
        state, since = changes[-1].after, changes[-1].at or 0.0
    return AlarmObservation(ARN, state, since, changes)


def observe_after_gap(n: int, at: float, since: float) -> AlarmObservation:
    """Return an observation of the n-th change, whose history since `since` could not be read."""
    last = change(n, at)
    before = "OK" if n % 2 else "ALARM"
    return AlarmObservation(ARN, last.after, at, (last,), HistoryGap(before, since, last.after, at))


def texts(outbox: Outbox, destination: str = DESTINATION) -> list[str]:
    messages = outbox.list_messages()
    return [str(message.payload["text"]) for message in messages if message.destination == destination]


# Changes


def test_first_observation_of_an_alarm_sends_nothing(store: AlarmStateStore, outbox: Outbox) -> None:
    assert store.record_observations(DESTINATION, [observe(change(1, NOW))], OPTIONS, NOW) == 0

    assert texts(outbox) == []
    assert store.load_states(DESTINATION)[ARN].state == "ALARM"


def test_change_is_sent_once(store: AlarmStateStore, outbox: Outbox) -> None:
    store.record_observations(DESTINATION, [observe()], OPTIONS, NOW)

    observations = [observe(change(1, NOW + 5))]
    assert store.record_observations(DESTINATION, observations, OPTIONS, NOW + 6) == 1
    assert store.record_observations(DESTINATION, observations, OPTIONS, NOW + 7) == 0

    assert len(texts(outbox)) == 1
    assert "is in ALARM" in texts(outbox)[0]


def test_second_change_within_one_second_is_sent(store: AlarmStateStore, outbox: Outbox) -> None:
    store.record_observations(DESTINATION, [observe(state="ALARM")], OPTIONS, NOW)

    assert store.record_observations(DESTINATION, [observe(change(2, NOW))], OPTIONS, NOW + 1) == 1
    assert store.record_observations(DESTINATION, [observe(change(2, NOW))], OPTIONS, NOW + 2) == 0

    assert len(texts(outbox)) == 1


def test_older_observation_does_not_replace_a_newer_one(store: AlarmStateStore, outbox: Outbox) -> None:
    store.record_observations(DESTINATION, [observe()], OPTIONS, NOW)
    store.record_observations(DESTINATION, [observe(change(1, NOW + 5), change(2, NOW + 6))], OPTIONS, NOW + 7)

    assert store.record_observations(DESTINATION, [observe(change(1, NOW + 5))], OPTIONS, NOW + 8) == 0

    assert store.load_states(DESTINATION)[ARN].state == "OK"
    assert len(texts(outbox)) == 2


def test_concurrent_processes_send_a_change_once(store: AlarmStateStore, outbox: Outbox, path: Path) -> None:
    store.record_observations(DESTINATION, [observe()], OPTIONS, NOW)

    def record(_: int) -> int:
        with closing(Outbox(path, durable=False)) as own:
            return AlarmStateStore(own).record_observations(
                DESTINATION, [observe(change(1, NOW + 5))], OPTIONS, NOW + 6
            )

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(record, range(5))) == 1
    assert len(texts(outbox)) == 1


def test_change_is_sent_to_each_destination(store: AlarmStateStore, outbox: Outbox) -> None:
    for destination in (DESTINATION, OTHER_DESTINATION):
        store.record_observations(destination, [observe()], OPTIONS, NOW)
        store.record_observations(destination, [observe(change(1, NOW + 5))], OPTIONS, NOW + 6)

    assert len(texts(outbox, DESTINATION)) == len(texts(outbox, OTHER_DESTINATION)) == 1


@pytest.mark.parametrize("reason", ["suppressed", "muted", "no webhook"])
def test_change_that_is_not_sent_is_stored(store: AlarmStateStore, outbox: Outbox, reason: str) -> None:
    destination = "" if reason == "no webhook" else DESTINATION
    if reason == "muted":
        store.mute(DESTINATION, NOW + 3600)
    store.record_observations(destination, [observe()], OPTIONS, NOW)

    observations = [observe(change(1, NOW + 5))]
    is_suppressed = reason == "suppressed"
    assert store.record_observations(destination, observations, OPTIONS, NOW + 6, is_suppressed) == 1

    assert outbox.list_messages() == []
    assert store.record_observations(destination, observations, OPTIONS, NOW + 4000) == 0
    assert outbox.list_messages() == []


def test_mute_ends(store: AlarmStateStore, outbox: Outbox) -> None:
    store.record_observations(DESTINATION, [observe()], OPTIONS, NOW)
    store.mute(DESTINATION, NOW + 3600)
    store.mute(DESTINATION, NOW + 10)

    store.record_observations(DESTINATION, [observe(change(1, NOW + 11))], OPTIONS, NOW + 11)

    assert len(texts(outbox)) == 1


# Changes that no process watched


def test_late_change_says_that_it_is_late(store: AlarmStateStore, outbox: Outbox) -> None:
    options = MessageOptions("ko")
    store.record_observations(DESTINATION, [observe()], options, NOW)

    observations = [observe(change(1, NOW + 60))]
    store.record_observations(DESTINATION, observations, options, NOW + 7200, unwatched_since=NOW)

    (message,) = outbox.list_messages()
    first, *rest = [str(block) for block in message.payload["blocks"]]
    assert "1시간 늦은 알림이에요. 발생 시각은 2026-11-22 12:01 KST예요" in first
    assert "2026-11-22 12:00:00 KST부터 14:00:00 KST까지는 경보를 감시하지 않았어요" in str(rest)


def test_many_late_changes_become_one_message(store: AlarmStateStore, outbox: Outbox) -> None:
    store.record_observations(DESTINATION, [observe()], OPTIONS, NOW)
    observations = [observe(*(change(n, NOW + 60 * n) for n in range(1, 10)))]

    assert store.record_observations(DESTINATION, observations, OPTIONS, NOW + 7200, unwatched_since=NOW) == 9

    (text,) = texts(outbox)
    assert "9 times" in text
    assert "now in ALARM" in text
    assert "1 hour late: this happened at 2026-11-22 03:09 UTC" in text


# Flapping


def test_flapping_becomes_one_message_after_the_window(store: AlarmStateStore, outbox: Outbox) -> None:
    store.record_observations(DESTINATION, [observe()], OPTIONS, NOW)
    for n in range(1, 11):
        store.record_observations(DESTINATION, [observe(change(n, NOW + n))], OPTIONS, NOW + n)
    assert len(texts(outbox)) == MAX_CHANGES_PER_WINDOW
    assert store.enqueue_held_changes(NOW + 20) == 0

    # Another change within the window belongs to the same flapping.
    store.record_observations(DESTINATION, [observe(change(11, NOW + 300))], OPTIONS, NOW + 300)
    assert len(texts(outbox)) == MAX_CHANGES_PER_WINDOW

    assert store.enqueue_held_changes(NOW + 10 + FLAPPING_WINDOW) == 1
    assert len(texts(outbox)) == MAX_CHANGES_PER_WINDOW + 1
    assert "5 times" in texts(outbox)[-1]
    assert store.enqueue_held_changes(NOW + 10 + FLAPPING_WINDOW) == 0


def test_held_change_is_sent_at_once_on_flush(store: AlarmStateStore, outbox: Outbox) -> None:
    store.record_observations(DESTINATION, [observe()], OPTIONS, NOW)
    for n in range(1, MAX_CHANGES_PER_WINDOW + 2):
        store.record_observations(DESTINATION, [observe(change(n, NOW + n))], OPTIONS, NOW + n)

    assert store.enqueue_held_changes(NOW + 10, flush_all=True) == 1

    # A single held change has the usual message.
    assert "is in ALARM" in texts(outbox)[-1]


def test_changes_far_apart_are_not_held(store: AlarmStateStore, outbox: Outbox) -> None:
    store.record_observations(DESTINATION, [observe()], OPTIONS, NOW)
    for n in range(1, 11):
        at = NOW + n * FLAPPING_WINDOW / 5
        store.record_observations(DESTINATION, [observe(change(n, at))], OPTIONS, at)

    assert len(texts(outbox)) == 10


# Gaps: changes that were sent without the alarm's history


def test_missed_changes_are_sent_once_with_the_current_state(store: AlarmStateStore, outbox: Outbox) -> None:
    store.record_observations(DESTINATION, [observe()], OPTIONS, NOW)
    store.record_observations(DESTINATION, [observe_after_gap(1, NOW + 30, NOW)], OPTIONS, NOW + 30)
    ((gap,),) = store.load_gaps(DESTINATION).values()
    missed = {gap: [change(1, NOW + 10), change(2, NOW + 20)]}

    assert store.fill_gaps(DESTINATION, ARN, missed, "ALARM", OPTIONS, NOW + 60)
    assert not store.fill_gaps(DESTINATION, ARN, missed, "ALARM", OPTIONS, NOW + 61)

    assert store.load_gaps(DESTINATION) == {}
    first, second = texts(outbox)
    assert "is in ALARM" in first
    assert "is now in ALARM" in second
    assert "Earlier changes found later in its history (2)" in second


def test_only_one_of_two_processes_fills_a_gap(path: Path) -> None:
    with closing(Outbox(path, durable=False)) as one, closing(Outbox(path, durable=False)) as two:
        stores = AlarmStateStore(one), AlarmStateStore(two)
        observation = observe_after_gap(1, NOW + 30, NOW)
        stores[0].record_observations(DESTINATION, [observe()], OPTIONS, NOW)
        stores[0].record_observations(DESTINATION, [observation], OPTIONS, NOW + 30)
        stores[1].record_observations(DESTINATION, [observation], OPTIONS, NOW + 31)
        gap_lists = [store.load_gaps(DESTINATION)[ARN] for store in stores]
        are_sent = [
            store.fill_gaps(DESTINATION, ARN, {gaps[0]: [change(1, NOW + 10)]}, "ALARM", OPTIONS, NOW + 60)
            for store, gaps in zip(stores, gap_lists, strict=True)
        ]
        assert are_sent == [True, False]
        assert len(texts(one)) == 2


def test_gap_without_missed_changes_is_closed_without_message(store: AlarmStateStore, outbox: Outbox) -> None:
    store.record_observations(DESTINATION, [observe()], OPTIONS, NOW)
    store.record_observations(DESTINATION, [observe_after_gap(1, NOW + 30, NOW)], OPTIONS, NOW + 30)

    gap = store.load_gaps(DESTINATION)[ARN][0]
    assert not store.fill_gaps(DESTINATION, ARN, {gap: []}, "ALARM", OPTIONS, NOW + 60)

    assert store.load_gaps(DESTINATION) == {}
    assert len(texts(outbox)) == 1


def test_gap_is_stored_only_for_sent_changes_and_for_a_limited_time(store: AlarmStateStore) -> None:
    store.record_observations(DESTINATION, [observe()], OPTIONS, NOW)
    suppressed = [observe_after_gap(1, NOW + 30, NOW)]
    store.record_observations(DESTINATION, suppressed, OPTIONS, NOW + 30, suppress_messages=True)
    assert store.load_gaps(DESTINATION) == {}

    store.record_observations(DESTINATION, [observe_after_gap(2, NOW + 60, NOW + 30)], OPTIONS, NOW + 60)
    store.enqueue_held_changes(NOW + 3600)
    assert len(store.load_gaps(DESTINATION)[ARN]) == 1
    store.enqueue_held_changes(NOW + 2 * 86400)
    assert store.load_gaps(DESTINATION) == {}
