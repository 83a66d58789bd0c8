"""A storm of alarms through the fleet's path, on a simulated clock: nothing is lost, every alarm is named in time."""

from __future__ import annotations

import pytest

from benchmarks.storm import HOUR, SqsMessage, SqsQueue, simulate_storm


def test_ten_thousand_changes_are_sent_within_three_minutes() -> None:
    report = simulate_storm(10_000)
    assert report.reported == report.alarms
    assert len(report.alarms) == 10_000
    assert (report.queued, report.dead_lettered) == (0, 0)
    assert report.seconds < 180
    # Slack accepts a message a second. One message for each change would take almost three hours.
    assert report.message_count < 100


@pytest.mark.parametrize("changes", [1, 400])
def test_hour_long_outage_loses_nothing(changes: int) -> None:
    report = simulate_storm(changes, HOUR)
    assert report.reported == report.alarms
    assert (report.queued, report.dead_lettered) == (0, 0)
    # SQS hides a failed message for six minutes.
    assert 0 < report.seconds < 360 + 180


def test_simulated_queue_has_the_limits_of_sqs() -> None:
    queue = SqsQueue(visibility_timeout=360, max_receives=2)
    queue.records.append(SqsMessage("1", "x"))
    assert [len(queue.receive(at, 10)) for at in (0.0, 100.0, 360.0, 719.0, 720.0)] == [1, 0, 1, 0, 0]
    assert (len(queue.records), len(queue.dead_letters)) == (0, 1)


def test_simulated_queue_with_few_receives_loses_messages() -> None:
    report = simulate_storm(20, HOUR, max_receives=3)
    assert report.reported == frozenset()
    assert report.dead_lettered == 21, "each change, and a copy of one"
