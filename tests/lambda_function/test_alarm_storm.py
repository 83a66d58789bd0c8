"""A storm of alarms through the fleet's path, on a simulated clock: nothing lost, every alarm named, and soon told."""

from __future__ import annotations

import pytest

from benchmarks.storm import HOUR, Queue, Record, storm


def test_ten_thousand_changes_in_a_minute_are_told_within_three_minutes() -> None:
    came = storm(10_000)
    assert came.told == came.alarms
    assert len(came.alarms) == 10_000
    assert (came.left, came.dead) == (0, 0)
    assert came.seconds < 180
    # At one message a second; one for each change would take almost three hours.
    assert came.messages < 100


@pytest.mark.parametrize("changes", [1, 400])
def test_nothing_is_lost_when_slack_is_down_for_an_hour(changes: int) -> None:
    came = storm(changes, HOUR)
    assert came.told == came.alarms
    assert (came.left, came.dead) == (0, 0)
    # A message that could not be told stays hidden for six minutes.
    assert 0 < came.seconds < 360 + 180


def test_the_simulated_queue_gives_up_when_the_real_one_would() -> None:
    queue = Queue(visibility=360, most_receives=2)
    queue.records.append(Record("1", "x"))
    assert [len(queue.take(at, 10)) for at in (0.0, 100.0, 360.0, 719.0, 720.0)] == [1, 0, 1, 0, 0]
    assert (len(queue.records), len(queue.dead)) == (0, 1)


def test_the_simulation_sees_what_a_queue_of_little_patience_would_lose() -> None:
    came = storm(20, HOUR, most_receives=3)
    assert came.told == frozenset()
    assert came.dead == 21, "each change, and the copy of one"
