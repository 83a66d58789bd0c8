"""Background calls that fail, hang or return late delay no poll for longer than its limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from cwnotify.errors import AwsError, AwsErrorKind
from cwnotify.watch.background_calls import BackgroundCalls
from tests.support.waiting import until

POLL_INTERVAL = 0.2  # seconds


@pytest.fixture
def calls() -> BackgroundCalls:
    return BackgroundCalls(lambda: POLL_INTERVAL)


def failing_call(message: str = "no") -> Callable[[], str]:
    def call() -> str:
        raise AwsError(message, kind=AwsErrorKind.OFFLINE)

    return call


def is_running(name: str) -> bool:
    return name in [thread.name for thread in threading.enumerate()]


def test_result_in_time_is_returned(calls: BackgroundCalls) -> None:
    assert calls.fetch("history", "a", lambda: "result") == "result"
    assert calls.fetch("history", "b", lambda: "other") == "other"


def test_failure_is_raised_and_delays_next_call(calls: BackgroundCalls) -> None:
    times: list[float] = []

    def call() -> str:
        times.append(time.monotonic())
        raise AwsError("no", kind=AwsErrorKind.DENIED)

    def poll() -> bool:
        calls.start_poll()
        with pytest.raises(AwsError):
            calls.fetch("history", "a", call)
        return len(times) == 4

    until(poll, 10, "four calls")
    first, second, third, fourth = times
    assert 0.4 * POLL_INTERVAL < second - first < third - second < fourth - third


def test_failure_does_not_delay_other_kind(calls: BackgroundCalls) -> None:
    with pytest.raises(AwsError, match="no"):
        calls.fetch("history", "a", failing_call())
    assert calls.fetch("topics", "a", lambda: "result") == "result"


def test_without_backoff_each_poll_calls(calls: BackgroundCalls) -> None:
    for _ in range(3):
        with pytest.raises(AwsError, match="no"):
            calls.fetch("ec2", "a", failing_call(), use_backoff=False)


def test_unexpected_exception_becomes_aws_error(calls: BackgroundCalls) -> None:
    with pytest.raises(AwsError, match="ZeroDivisionError"):
        calls.fetch("history", "a", lambda: 1 / 0)


def test_hanging_call_delays_one_poll_only() -> None:
    calls = BackgroundCalls(lambda: POLL_INTERVAL, max_wait=0.3)
    may_return = threading.Event()

    def hang() -> str:
        may_return.wait(30)
        return "late"

    began = time.monotonic()
    for _ in range(20):
        calls.start_poll()
        with pytest.raises(AwsError) as raised:
            calls.fetch("history", "a", hang)
        assert raised.value.kind is AwsErrorKind.PENDING
    assert time.monotonic() - began < 0.3 + 1

    may_return.set()
    until(lambda: not is_running("cwnotify-history"), 5, "the late result")
    calls.start_poll()
    assert calls.fetch("history", "a", failing_call()) == "late"


def test_late_result_is_not_used_for_other_key() -> None:
    calls = BackgroundCalls(lambda: POLL_INTERVAL, max_wait=0.05)
    with pytest.raises(AwsError):
        calls.fetch("elsewhere", "a", lambda: time.sleep(0.2))
    until(lambda: not is_running("cwnotify-elsewhere"), 5, "the late result")
    calls.start_poll()
    assert calls.fetch("elsewhere", "b", lambda: "new") == "new"
