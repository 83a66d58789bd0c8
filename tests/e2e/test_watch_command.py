"""``cwnotify watch`` on a terminal, in a pipe and as JSON, against a strict AWS stand-in that can fail."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from cwnotify.store.alarm_states import MAX_CHANGES_PER_WINDOW
from cwnotify.view.snapshot import Snapshot
from tests.support.aws_wire import Fault, Hang
from tests.support.cloudwatch import CloudWatch
from tests.support.datapoints import cpu_metric, wave_datapoints
from tests.support.kernel import ROOT, World
from tests.support.slack import Slack
from tests.support.waiting import until
from tests.support.watching import WatchProcess

INSTANCE = "i-0abc12f9d8e7a6b54"
QUICK = {"CWNOTIFY_ROUND": "0.5"}


@pytest.fixture
def aws() -> Iterator[CloudWatch]:
    with CloudWatch() as aws:
        aws.put_training_instance(INSTANCE, period=60, hours=1)
        yield aws


@pytest.fixture
def world(tmp_path: Path, slack: Slack, aws: CloudWatch) -> Iterator[World]:
    with World(tmp_path, slack.url, **aws.environ(), **QUICK, CWNOTIFY_INSTANCE=INSTANCE) as world:
        yield world


def test_once_prints_state_and_exits(world: World) -> None:
    result = world.execute("cwnotify", "watch", "--once")

    assert result.returncode == 0, result.stderr
    head, *rest = result.stdout.splitlines()
    assert head.startswith(f"cwnotify · {INSTANCE}")
    assert re.search(r"CPU [▁▂▃▄▅▆]+ \d+ %  CloudWatch, 1 min", result.stdout)
    assert any(line.startswith(("● train-busy · ", "○ train-busy · ")) for line in rest)


def test_pipe_gets_line_for_each_news(world: World, aws: CloudWatch, slack: Slack) -> None:
    process = world.launch("cwnotify", "watch")
    try:
        assert process.stdout
        lines = iter(process.stdout.readline, "")
        first = [next(line for line in lines if text in line) for text in ("CPU", "train-busy")]
        assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in first)
        aws.set_state("train-busy", "ALARM")
        assert "train-busy · ALARM since" in next(line for line in lines if "ALARM" in line)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
    slack.wait_for(1)
    assert process.returncode == 0
    assert process.stderr
    assert "Traceback" not in process.stderr.read()


def test_terminal_shows_live_picture(world: World) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "cwnotify" / "__main__.py"), "watch"],
        env=world.environ | {"TERM": "xterm"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    screen = b""
    try:
        deadline = time.monotonic() + 20
        while screen.count(b"\x1b[H") < 2 or b"train-busy" not in screen:
            assert time.monotonic() < deadline, screen
            if select.select([leader], [], [], 0.1)[0]:
                screen += os.read(leader, 65536)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        os.close(leader)
        os.close(follower)
    assert process.returncode == 0


def test_invalid_argument_is_explained(world: World) -> None:
    result = world.execute("cwnotify", "watch", "--instance", "web-1")

    assert result.returncode == 1
    assert "'web-1' is not an instance ID" in result.stderr


def test_thousand_instances_take_two_calls(world: World, aws: CloudWatch) -> None:
    now = time.time()
    for n in range(1000):
        aws.put_instance(f"i-{n:017x}", team="ml")
        aws.add_datapoints(cpu_metric(f"i-{n:017x}"), wave_datapoints(now - 900, now, 300))

    with WatchProcess(world, "--tag", "team=ml", "--range", "1h", environ={}) as watch:
        snapshot = watch.wait_for_snapshot(lambda snapshot: snapshot.lines, "the fleet", 40)
        assert [line.label for line in snapshot.lines] == ["highest of 1000", "median of 1000", "lowest of 1000"]
        assert len(snapshot.subjects) == 1000
        assert aws.calls["cloudwatch:GetMetricData"] == 2


AWS_FAULTS: dict[str, tuple[Fault | Hang, str]] = {
    "throttled": (Fault("Throttling", status=400), "throttl"),
    "expired": (Fault("ExpiredToken", status=403), "expired"),
    "denied": (Fault("AccessDenied", status=403), "denies cloudwatch:"),
    "hanging": (Hang(), "does not answer"),
}


def watch_through_fault(folder: Path, fault: Fault | Hang) -> tuple[Snapshot, Snapshot]:
    """Change an alarm while AWS fails. Return a snapshot during the failure and one after it."""
    with Slack() as slack, CloudWatch() as aws:
        aws.put_training_instance(INSTANCE, period=60, hours=1)
        world = World(folder, slack.url, **aws.environ(), **QUICK, CWNOTIFY_INSTANCE=INSTANCE)
        with world, WatchProcess(world, environ={}) as watch:
            watch.wait_for_snapshot(lambda snapshot: snapshot.lines and snapshot.alarms, "datapoints and alarm", 40)
            aws.fault = fault
            during = watch.wait_for_snapshot(lambda snapshot: snapshot.problems, "the problem", 60)
            aws.set_state("train-busy", "ALARM")
            aws.fault = None
            after = watch.wait_for_snapshot(
                lambda snapshot: not snapshot.problems and not snapshot.stale, "the recovery", 60
            )
            # The change during the failure is reported.
            slack.wait_for(1)
            return during, after


def test_problem_is_named_and_recovers(tmp_path: Path) -> None:
    # The watches wait for AWS most of the time, so they run in parallel.
    with ThreadPoolExecutor() as pool:
        futures = {
            name: pool.submit(watch_through_fault, tmp_path / name, fault) for name, (fault, _) in AWS_FAULTS.items()
        }
    for name, (_, expected_text) in AWS_FAULTS.items():
        during, after = futures[name].result()
        assert expected_text in " ".join(problem.text for problem in during.problems).lower(), name
        assert during.lines, f"{name}: the datapoints read earlier must stay"
        assert after.alarms[0].state == "ALARM", name


def test_flapping_alarm_sends_few_messages_and_loses_none(world: World, aws: CloudWatch, slack: Slack) -> None:
    states = [*["ALARM", "OK"] * MAX_CHANGES_PER_WINDOW, "ALARM"]
    with WatchProcess(world, environ={}) as watch:
        watch.wait_for_snapshot(lambda snapshot: snapshot.alarms, "the alarm", 40)
        for state in states:
            aws.set_state("train-busy", state)
        last = aws.alarms["train-busy"]["StateTransitionedTimestamp"]
        watch.wait_for_snapshot(
            lambda snapshot: snapshot.alarms[0].since == pytest.approx(last, abs=0.001), "the last change"
        )
    world.wait_for_sidecars_to_exit()

    texts = [str(payload["text"]) for payload in slack.payloads]
    assert len(texts) == MAX_CHANGES_PER_WINDOW + 1
    assert f"{len(states) - MAX_CHANGES_PER_WINDOW} times" in texts[-1]


def test_cost_of_watching_is_counted(world: World, aws: CloudWatch) -> None:
    with WatchProcess(world, environ={}) as watch:
        watch.wait_for_snapshot(lambda snapshot: snapshot.lines, "the datapoints", 40)

        def call_counts() -> dict[str, int]:
            with closing(sqlite3.connect(world.state_dir / "outbox.sqlite3")) as db:
                return dict(db.execute("SELECT call, count FROM calls"))

        calls = until(call_counts, 10, "the count")
    assert calls["cloudwatch:GetMetricData"] >= 1
    assert calls["series"] == calls["cloudwatch:GetMetricData"]
