"""Lookups that fail, hang and come late: no poll waits for them longer than it may."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from cwnotify.errors import AwsError, AwsErrorKind
from cwnotify.watch.background_calls import BackgroundCalls
from tests.support.waiting import until

POLL = 0.2  # seconds


@pytest.fixture
def asked() -> BackgroundCalls:
    return BackgroundCalls(lambda: POLL)


def failing(message: str = "no", kind: str = "offline") -> Callable[[], str]:
    def call() -> str:
        raise AwsError(message, kind=kind)

    return call


def test_an_answer_in_time_is_returned(asked: BackgroundCalls) -> None:
    assert asked.fetch("history", "a", lambda: "answer") == "answer"
    assert asked.fetch("history", "b", lambda: "other") == "other"


def test_a_failure_is_raised_and_the_next_call_is_some_polls_later(asked: BackgroundCalls) -> None:
    calls: list[float] = []

    def call() -> str:
        calls.append(time.monotonic())
        raise AwsError("no", kind=AwsErrorKind.DENIED)

    def poll() -> bool:
        asked.start_poll()
        with pytest.raises(AwsError):
            asked.fetch("history", "a", call)
        return len(calls) == 4

    until(poll, 10, "four calls")
    first, second, third, fourth = calls
    assert 0.4 * POLL < second - first < third - second < fourth - third


def test_one_kinds_failure_does_not_hold_up_another(asked: BackgroundCalls) -> None:
    with pytest.raises(AwsError, match="no"):
        asked.fetch("history", "a", failing())
    assert asked.fetch("topics", "a", lambda: "answer") == "answer"


def test_without_backing_off_each_poll_asks(asked: BackgroundCalls) -> None:
    for _ in range(3):
        with pytest.raises(AwsError, match="no"):
            asked.fetch("ec2", "a", failing(), use_backoff=False)


def test_a_fault_of_ours_is_an_error_too(asked: BackgroundCalls) -> None:
    with pytest.raises(AwsError, match="ZeroDivisionError"):
        asked.fetch("history", "a", lambda: 1 / 0)


def test_what_hangs_holds_one_poll_up_for_a_moment_and_the_next_not_at_all() -> None:
    asked = BackgroundCalls(lambda: POLL, max_wait=0.3)
    answered = threading.Event()

    def hang() -> str:
        answered.wait(30)
        return "late"

    began = time.monotonic()
    for _ in range(20):
        asked.start_poll()
        with pytest.raises(AwsError) as raised:
            asked.fetch("history", "a", hang)
        assert raised.value.kind is AwsErrorKind.PENDING
    assert time.monotonic() - began < 0.3 + 1

    answered.set()
    until(lambda: "cwnotify-history" not in [one.name for one in threading.enumerate()], 5, "the late answer")
    asked.start_poll()
    assert asked.fetch("history", "a", failing()) == "late"


def test_a_late_answer_to_something_else_is_not_taken() -> None:
    asked = BackgroundCalls(lambda: POLL, max_wait=0.05)
    with pytest.raises(AwsError):
        asked.fetch("elsewhere", "a", lambda: time.sleep(0.2))
    until(lambda: "cwnotify-elsewhere" not in [thread.name for thread in threading.enumerate()], 5, "the late answer")
    asked.start_poll()
    assert asked.fetch("elsewhere", "b", lambda: "fresh") == "fresh"
