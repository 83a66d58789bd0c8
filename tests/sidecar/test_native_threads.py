"""Threads and locks of the operating system's own, and waiting with them."""

from __future__ import annotations

import time

from cwnotify.sidecar import native_threads


def test_a_condition_wakes_its_waiters_as_soon_as_it_holds():
    changed, values = native_threads.Condition(), []

    def change() -> None:
        with changed:
            values.append(native_threads.get_thread_id())
        changed.notify_all()

    native_threads.start_thread(change, ())

    assert changed.wait_for(lambda: bool(values), 10)
    assert values != [native_threads.get_thread_id()]


def test_a_condition_gives_up_in_time():
    began = time.monotonic()

    assert not native_threads.Condition().wait_for(lambda: False, 0.1)
    assert 0.1 <= time.monotonic() - began < 5


def test_its_lock_can_be_taken_twice_by_one_thread():
    changed = native_threads.Condition()
    with changed, changed:
        changed.notify_all()
