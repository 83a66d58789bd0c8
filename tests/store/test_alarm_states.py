"""Changes of alarms: each told once, however many watch; many of one alarm in one message."""

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
HERE, THERE = "webhook-1", "webhook-2"
ARN = "arn:aws:cloudwatch:ap-northeast-2:123456789012:alarm:train-busy"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite3"


@pytest.fixture
def box(path: Path) -> Iterator[Outbox]:
    with closing(Outbox(path, durable=False)) as outbox:
        yield outbox


@pytest.fixture
def book(box: Outbox) -> AlarmStateStore:
    return AlarmStateStore(box)


def change(n: int, at: float, name: str = "train-busy") -> AlarmStateChange:
    """The n-th change: to ALARM if odd, to OK if even."""
    before, after = ("OK", "ALARM") if n % 2 else ("ALARM", "OK")
    return AlarmStateChange(name, after, before, at, arn=ARN, region="ap-northeast-2")


def seen(*changes: AlarmStateChange, state: str = "OK", since: float = NOW) -> AlarmObservation:
    if changes:
        state, since = changes[-1].after, changes[-1].at or 0.0
    return AlarmObservation(ARN, state, since, changes)


def texts(box: Outbox, destination: str = HERE) -> list[str]:
    return [str(one.payload["text"]) for one in box.list_messages() if one.destination == destination]


def test_an_alarm_that_is_seen_for_the_first_time_is_no_news(book, box):
    assert book.note(HERE, [seen(change(1, NOW))], MessageOptions(), NOW) == 0

    assert texts(box) == []
    assert book.remembered(HERE)[ARN].state == "ALARM"


def test_a_change_is_told_once(book, box):
    book.note(HERE, [seen()], MessageOptions(), NOW)

    assert book.note(HERE, [seen(change(1, NOW + 5))], MessageOptions(), NOW + 6) == 1
    assert book.note(HERE, [seen(change(1, NOW + 5))], MessageOptions(), NOW + 7) == 0

    assert len(texts(box)) == 1
    assert "is in ALARM" in texts(box)[0]


def test_two_changes_within_a_second_are_two(book, box):
    book.note(HERE, [seen(state="ALARM")], MessageOptions(), NOW)

    assert book.note(HERE, [seen(change(2, NOW))], MessageOptions(), NOW + 1) == 1
    assert book.note(HERE, [seen(change(2, NOW))], MessageOptions(), NOW + 2) == 0

    assert len(texts(box)) == 1


def test_who_knows_less_than_was_noted_changes_nothing(book, box):
    book.note(HERE, [seen()], MessageOptions(), NOW)
    book.note(HERE, [seen(change(1, NOW + 5), change(2, NOW + 6))], MessageOptions(), NOW + 7)

    assert book.note(HERE, [seen(change(1, NOW + 5))], MessageOptions(), NOW + 8) == 0

    assert book.remembered(HERE)[ARN].state == "OK"
    assert len(texts(box)) == 2


def test_five_who_find_the_same_change_at_once_tell_it_once(book, box, path):
    book.note(HERE, [seen()], MessageOptions(), NOW)

    def watch(_: int) -> int:
        with closing(Outbox(path, durable=False)) as outbox:
            return AlarmStateStore(outbox).record_observations(
                HERE, [seen(change(1, NOW + 5))], MessageOptions(), NOW + 6
            )

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(watch, range(5))) == 1
    assert len(texts(box)) == 1


def test_readers_of_another_webhook_are_told_too(book, box):
    for destination in (HERE, THERE):
        book.note(destination, [seen()], MessageOptions(), NOW)
        book.note(destination, [seen(change(1, NOW + 5))], MessageOptions(), NOW + 6)

    assert len(texts(box, HERE)) == len(texts(box, THERE)) == 1


@pytest.mark.parametrize("why", ["silent", "muted", "no webhook"])
def test_what_is_not_to_be_told_is_noted_all_the_same(book, box, why):
    destination = "" if why == "no webhook" else HERE
    if why == "muted":
        book.mute(HERE, NOW + 3600)
    book.note(destination, [seen()], MessageOptions(), NOW)

    assert book.note(destination, [seen(change(1, NOW + 5))], MessageOptions(), NOW + 6, silent=why == "silent") == 1

    assert box.messages() == []
    assert book.note(destination, [seen(change(1, NOW + 5))], MessageOptions(), NOW + 4000) == 0
    assert box.messages() == []


def test_a_mute_ends(book, box):
    book.note(HERE, [seen()], MessageOptions(), NOW)
    book.mute(HERE, NOW + 3600)
    book.mute(HERE, NOW + 10)

    book.note(HERE, [seen(change(1, NOW + 11))], MessageOptions(), NOW + 11)

    assert len(texts(box)) == 1


def test_a_late_change_says_so(book, box):
    book.note(HERE, [seen()], MessageOptions("ko"), NOW)

    book.note(HERE, [seen(change(1, NOW + 60))], MessageOptions("ko"), NOW + 7200, unwatched=NOW)

    (message,) = box.messages()
    first, *rest = [str(block) for block in message.payload["blocks"]]
    assert "1시간 늦은 알림이에요. 발생 시각은 2026-11-22 12:01 KST예요" in first
    assert "2026-11-22 12:00:00 KST부터 14:00:00 KST까지는 경보를 감시하지 않았어요" in str(rest)


def test_many_late_changes_are_one_message(book, box):
    book.note(HERE, [seen()], MessageOptions(), NOW)
    changes = [change(n, NOW + 60 * n) for n in range(1, 10)]

    assert book.note(HERE, [seen(*changes)], MessageOptions(), NOW + 7200, unwatched=NOW) == 9

    (text,) = texts(box)
    assert "9 times" in text
    assert "now in ALARM" in text
    assert "1 hour late: this happened at 2026-11-22 03:09 UTC" in text


def test_flapping_becomes_one_message_when_it_is_over_or_goes_on_for_long(book, box):
    book.note(HERE, [seen()], MessageOptions(), NOW)
    for n in range(1, 11):
        book.note(HERE, [seen(change(n, NOW + n))], MessageOptions(), NOW + n)
    assert len(texts(box)) == MAX_CHANGES_PER_WINDOW
    assert book.tell_flapping(NOW + 20) == 0

    # A new change within the ten minutes belongs to the same flapping.
    book.note(HERE, [seen(change(11, NOW + 300))], MessageOptions(), NOW + 300)
    assert len(texts(box)) == MAX_CHANGES_PER_WINDOW

    assert book.tell_flapping(NOW + 10 + FLAPPING_WINDOW) == 1
    assert len(texts(box)) == MAX_CHANGES_PER_WINDOW + 1
    assert "5 times" in texts(box)[-1]
    assert book.tell_flapping(NOW + 10 + FLAPPING_WINDOW) == 0


def test_before_everybody_leaves_flapping_is_told_at_once(book, box):
    book.note(HERE, [seen()], MessageOptions(), NOW)
    for n in range(1, MAX_CHANGES_PER_WINDOW + 2):
        book.note(HERE, [seen(change(n, NOW + n))], MessageOptions(), NOW + n)

    assert book.tell_flapping(NOW + 10, at_once=True) == 1

    # One change that was held back alone is told as any other.
    assert "is in ALARM" in texts(box)[-1]


def test_changes_far_apart_are_no_flapping(book, box):
    book.note(HERE, [seen()], MessageOptions(), NOW)
    for n in range(1, 11):
        at = NOW + n * FLAPPING_WINDOW / 5
        book.note(HERE, [seen(change(n, at))], MessageOptions(), at)

    assert len(texts(box)) == 10


# Gaps: changes that were sent without the history


def gap_seen(n: int, at: float, since: float) -> AlarmObservation:
    """The n-th change, with whatever came between it and `since` unknown."""
    one = change(n, at)
    before = "OK" if n % 2 else "ALARM"
    return AlarmObservation(ARN, one.after, at, (one,), HistoryGap(before, since, one.after, at))


def test_what_was_missed_is_sent_once_and_says_the_state_now(book, box):
    book.note(HERE, [seen()], MessageOptions(), NOW)
    book.note(HERE, [gap_seen(1, NOW + 30, NOW)], MessageOptions(), NOW + 30)
    ((gap,),) = book.gaps(HERE).values()
    missed = {gap: [change(1, NOW + 10), change(2, NOW + 20)]}

    assert book.fill(HERE, ARN, missed, "ALARM", MessageOptions(), NOW + 60)
    assert not book.fill(HERE, ARN, missed, "ALARM", MessageOptions(), NOW + 61)

    assert book.gaps(HERE) == {}
    first, second = texts(box)
    assert "is in ALARM" in first
    assert "is in ALARM now" in second
    assert "only now (2)" in second


def test_of_two_who_fill_a_gap_one_does(path):
    with closing(Outbox(path, durable=False)) as one, closing(Outbox(path, durable=False)) as two:
        books = AlarmStateStore(one), AlarmStateStore(two)
        books[0].record_observations(HERE, [seen()], MessageOptions(), NOW)
        books[0].record_observations(HERE, [gap_seen(1, NOW + 30, NOW)], MessageOptions(), NOW + 30)
        books[1].record_observations(HERE, [gap_seen(1, NOW + 30, NOW)], MessageOptions(), NOW + 31)
        found = [book.load_gaps(HERE)[ARN] for book in books]
        told = [
            book.fill_gaps(HERE, ARN, {gaps[0]: [change(1, NOW + 10)]}, "ALARM", MessageOptions(), NOW + 60)
            for book, gaps in zip(books, found, strict=True)
        ]
        assert told == [True, False]
        assert len(texts(one)) == 2


def test_a_gap_in_which_nothing_was_missed_is_closed_without_a_word(book, box):
    book.note(HERE, [seen()], MessageOptions(), NOW)
    book.note(HERE, [gap_seen(1, NOW + 30, NOW)], MessageOptions(), NOW + 30)

    assert not book.fill(HERE, ARN, {book.gaps(HERE)[ARN][0]: []}, "ALARM", MessageOptions(), NOW + 60)

    assert (book.gaps(HERE), len(texts(box))) == ({}, 1)


def test_no_gap_is_kept_for_what_is_not_sent_nor_for_ever(book, box):
    book.note(HERE, [seen()], MessageOptions(), NOW)
    book.note(HERE, [gap_seen(1, NOW + 30, NOW)], MessageOptions(), NOW + 30, silent=True)
    assert book.gaps(HERE) == {}

    book.note(HERE, [gap_seen(2, NOW + 60, NOW + 30)], MessageOptions(), NOW + 60)
    book.tell_flapping(NOW + 3600)
    assert len(book.gaps(HERE)[ARN]) == 1
    book.tell_flapping(NOW + 2 * 86400)
    assert book.gaps(HERE) == {}
