"""The history of this machine's load: fine for the last 15 minutes, coarse before that."""

from __future__ import annotations

from itertools import pairwise

from cwnotify.alerts.events.runs import LoadSample
from cwnotify.host.load_history import COARSE_INTERVAL, RECENT_RETENTION, LoadHistory

NOW = 1_795_316_400.0


def test_load_history_is_coarser_the_older_it_is_and_has_no_gap() -> None:
    history = LoadHistory()
    for second in range(5000):
        history.add(LoadSample(NOW - 5000 + second, 50.0, 0, 1))

    times = [at for at, _ in history.get_points("cpu", NOW - 5000)]

    assert times == sorted(set(times))
    assert max(b - a for a, b in pairwise(times)) <= 2 * COARSE_INTERVAL
    assert sum(at >= NOW - RECENT_RETENTION for at in times) >= RECENT_RETENTION - 1
    assert len(times) < 1300


def test_load_history_returns_percent_of_each_host_metric_since_a_time() -> None:
    history = LoadHistory()
    for second, cpu in enumerate((10.0, 20.0, 30.0)):
        history.add(LoadSample(NOW + second, cpu, 1 << 30, 4 << 30))

    assert history.get_points("cpu", NOW + 1) == ((NOW + 1, 20.0), (NOW + 2, 30.0))
    assert history.get_points("mem", NOW + 2) == ((NOW + 2, 25.0),)
    assert history.get_points("disk", NOW) == ()
    assert LoadHistory().get_points("cpu", NOW) == ()
