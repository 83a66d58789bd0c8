"""A storm of alarms through the fleet's path, on a simulated clock: nothing lost, every alarm named, and soon told."""

from __future__ import annotations

import pytest

from benchmarks.storm import HOUR, SqsMessage, SqsQueue, simulate_storm


def test_ten_thousand_changes_in_a_minute_are_told_within_three_minutes() -> None:
    came = simulate_storm(10_000)
    assert came.reported == came.alarms
    assert len(came.alarms) == 10_000
    assert (came.queued, came.dead_lettered) == (0, 0)
    assert came.seconds < 180
    # At one message a second; one for each change would take almost three hours.
    assert came.message_count < 100


@pytest.mark.parametrize("changes", [1, 400])
def test_nothing_is_lost_when_slack_is_down_for_an_hour(changes: int) -> None:
    came = simulate_storm(changes, HOUR)
    assert came.reported == came.alarms
    assert (came.queued, came.dead_lettered) == (0, 0)
    # A message that could not be told stays hidden for six minutes.
    assert 0 < came.seconds < 360 + 180


def test_the_simulated_queue_gives_up_when_the_real_one_would() -> None:
    queue = SqsQueue(visibility_timeout=360, max_receives=2)
    queue.records.append(SqsMessage("1", "x"))
    assert [len(queue.receive(at, 10)) for at in (0.0, 100.0, 360.0, 719.0, 720.0)] == [1, 0, 1, 0, 0]
    assert (len(queue.records), len(queue.dead_letters)) == (0, 1)


def test_the_simulation_sees_what_a_queue_of_little_patience_would_lose() -> None:
    came = simulate_storm(20, HOUR, max_receives=3)
    assert came.reported == frozenset()
    assert came.dead_lettered == 21, "each change, and the copy of one"
