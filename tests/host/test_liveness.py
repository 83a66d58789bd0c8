"""The age of a run's last heartbeat, while the system clock may jump. No clock here starts at 0, as in reality."""

from __future__ import annotations

import pytest

from cwnotify.host.liveness import MIN_OBSERVATION_SECONDS, HeartbeatMonitor

SEEN = 1_795_316_400.0
BOOTED = 5000.0


@pytest.fixture
def steady() -> list[float]:
    return [BOOTED]


@pytest.fixture
def monitor(steady: list[float]) -> HeartbeatMonitor:
    return HeartbeatMonitor(lambda: steady[0])


def test_heartbeat_age_is_zero_until_observed_long_enough(monitor: HeartbeatMonitor, steady: list[float]) -> None:
    next_day = SEEN + 86_400.0
    for seconds in (0.0, 0.0, 60.0, MIN_OBSERVATION_SECONDS):
        steady[0] = BOOTED + seconds
        assert monitor.seconds_since_heartbeat("r1", SEEN, next_day) == 0.0, seconds

    steady[0] = BOOTED + MIN_OBSERVATION_SECONDS + 0.5
    assert monitor.seconds_since_heartbeat("r1", SEEN, next_day) == 86_400.0


def test_new_heartbeat_restarts_the_observation(monitor: HeartbeatMonitor, steady: list[float]) -> None:
    for minute in range(10):
        steady[0] = BOOTED + 60.0 * minute
        # The clock of the other machine is up to a day behind.
        assert monitor.seconds_since_heartbeat("r1", SEEN + 60.0 * minute, SEEN + 86_400.0) == 0.0
        assert monitor.seconds_since_heartbeat("r1", SEEN + 60.0 * minute, SEEN + 86_400.0) == 0.0
    steady[0] += MIN_OBSERVATION_SECONDS
    assert monitor.seconds_since_heartbeat("r1", SEEN + 540.0, SEEN + 86_400.0) == 0.0
    steady[0] += 1.0
    assert monitor.seconds_since_heartbeat("r1", SEEN + 540.0, SEEN + 86_400.0) == 86_400.0 - 540.0


def test_runs_are_observed_separately(monitor: HeartbeatMonitor, steady: list[float]) -> None:
    monitor.seconds_since_heartbeat("r1", SEEN, SEEN)
    steady[0] += MIN_OBSERVATION_SECONDS + 1.0

    assert monitor.seconds_since_heartbeat("r2", SEEN, SEEN + 500.0) == 0.0
    assert monitor.seconds_since_heartbeat("r1", SEEN, SEEN + 500.0) == 500.0


def test_observation_covers_two_heartbeats() -> None:
    """A sidecar records a heartbeat every 60 s."""
    assert 120.0 < MIN_OBSERVATION_SECONDS < 180.0
