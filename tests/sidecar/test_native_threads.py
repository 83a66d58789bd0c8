"""The operating system's threads and locks, and waiting with them."""

from __future__ import annotations

import time

from cwnotify.sidecar import native_threads


def test_condition_wakes_its_waiter_when_it_holds() -> None:
    condition = native_threads.Condition()
    thread_ids: list[int] = []

    def change() -> None:
        with condition:
            thread_ids.append(native_threads.get_thread_id())
        condition.notify_all()

    native_threads.start_thread(change, ())

    assert condition.wait_for(lambda: bool(thread_ids), 10)
    assert thread_ids != [native_threads.get_thread_id()]


def test_condition_times_out() -> None:
    started = time.monotonic()

    assert not native_threads.Condition().wait_for(lambda: False, 0.1)
    assert 0.1 <= time.monotonic() - started < 5


def test_lock_can_be_acquired_twice_by_one_thread() -> None:
    condition = native_threads.Condition()
    with condition, condition:
        condition.notify_all()
