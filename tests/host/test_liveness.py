"""How long a run was silent, by a clock that is never set. No clock here begins at 0, as none does in life."""

from __future__ import annotations

import pytest

from cwnotify.host.liveness import MIN_OBSERVATION_SECONDS, HeartbeatMonitor

SEEN = 1_795_316_400.0
BOOTED = 5000.0


@pytest.fixture
def steady() -> list[float]:
    return [BOOTED]


@pytest.fixture
def silence(steady: list[float]) -> HeartbeatMonitor:
    return HeartbeatMonitor(lambda: steady[0])


def test_a_run_is_silent_only_after_we_have_listened_for_long(silence: HeartbeatMonitor, steady: list[float]):
    a_day_later = SEEN + 86_400.0
    for passed in (0.0, 0.0, 60.0, MIN_OBSERVATION_SECONDS):
        steady[0] = BOOTED + passed
        assert silence.seconds_since_heartbeat("r1", SEEN, a_day_later) == 0.0, passed

    steady[0] = BOOTED + MIN_OBSERVATION_SECONDS + 0.5
    assert silence.seconds_since_heartbeat("r1", SEEN, a_day_later) == 86_400.0


def test_each_word_of_a_run_begins_the_listening_anew(silence: HeartbeatMonitor, steady: list[float]):
    for minute in range(10):
        steady[0] = BOOTED + 60.0 * minute
        # A clock that is a day behind ours.
        assert silence.seconds_since_heartbeat("r1", SEEN + 60.0 * minute, SEEN + 86_400.0) == 0.0
        assert silence.seconds_since_heartbeat("r1", SEEN + 60.0 * minute, SEEN + 86_400.0) == 0.0
    steady[0] += MIN_OBSERVATION_SECONDS
    assert silence.seconds_since_heartbeat("r1", SEEN + 540.0, SEEN + 86_400.0) == 0.0
    steady[0] += 1.0
    assert silence.seconds_since_heartbeat("r1", SEEN + 540.0, SEEN + 86_400.0) == 86_400.0 - 540.0


def test_runs_are_listened_for_each_by_itself(silence: HeartbeatMonitor, steady: list[float]):
    silence.seconds_since_heartbeat("r1", SEEN, SEEN)
    steady[0] += MIN_OBSERVATION_SECONDS + 1.0

    assert silence.seconds_since_heartbeat("r2", SEEN, SEEN + 500.0) == 0.0
    assert silence.seconds_since_heartbeat("r1", SEEN, SEEN + 500.0) == 500.0


def test_two_missed_words_are_waited_for():
    """A watcher writes every 60 seconds."""
    assert 120.0 < MIN_OBSERVATION_SECONDS < 180.0
