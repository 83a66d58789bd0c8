"""What is done later, by a clock that does not begin at 0."""

from __future__ import annotations

import logging

import pytest

from cwnotify.sidecar.timers import Timers

BOOTED = 5000.0


@pytest.fixture
def now() -> list[float]:
    return [BOOTED]


@pytest.fixture
def timers(now: list[float]) -> Timers:
    return Timers(lambda: now[0])


def test_each_action_is_done_once_when_it_is_due_and_in_the_order_of_the_times(timers: Timers, now: list[float]):
    done: list[str] = []
    for seconds, name in ((3.0, "third"), (1.0, "first"), (1.0, "second"), (60.0, "last")):
        timers.after(seconds, lambda name=name: done.append(name))
    for passed, so_far in ((0.0, 0), (0.9, 0), (1.0, 2), (2.9, 2), (3.1, 3), (3.1, 3)):
        now[0] = BOOTED + passed
        timers.run()
        assert done == ["first", "second", "third"][:so_far], passed


def test_the_wait_is_for_the_next_action_but_never_longer_than_asked_for(timers: Timers, now: list[float]):
    assert timers.wait(7.0) == 7.0
    timers.after(3.0, lambda: None)
    assert (timers.wait(7.0), timers.wait(2.0)) == (3.0, 2.0)
    now[0] += 2.5
    assert timers.wait(7.0) == 0.5
    now[0] += 10.0
    assert timers.wait(7.0) == 0.0


def test_an_action_that_fails_keeps_none_of_the_others(timers: Timers, caplog: pytest.LogCaptureFixture):
    done: list[int] = []
    timers.after(0.0, lambda: 1 // 0)
    timers.after(0.0, lambda: done.append(1))
    with caplog.at_level(logging.ERROR):
        timers.run()

    assert done == [1]
    assert "ZeroDivisionError" in caplog.text


def test_an_action_may_put_itself_off_again(timers: Timers, now: list[float]):
    done: list[float] = []

    def again() -> None:
        done.append(now[0] - BOOTED)
        timers.after(5.0, again)

    timers.after(5.0, again)
    for _ in range(20):
        now[0] += 1.0
        timers.run()
    assert done == [5.0, 10.0, 15.0, 20.0]
