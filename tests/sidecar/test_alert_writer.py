"""What the books say of a lost run when the machine's clock was set meanwhile, and of one in another container."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cwnotify.alerts.events.run_options import RunOptions
from cwnotify.alerts.events.runs import LossCause, Outcome, Run, RunLoss, RunResult
from cwnotify.host.liveness import MIN_OBSERVATION_SECONDS, HeartbeatMonitor
from cwnotify.host.processes import LOCAL_HEARTBEAT_TIMEOUT, identify_process
from cwnotify.sidecar.alert_writer import INSTANCE_LOOKUP_TIMEOUT, AlertWriter

HERE = "webhook-1"
Begin = Callable[[], AlertWriter]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Opens books over one state directory, as each sidecar does; all are closed in the end."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(AlertWriter(tmp_path)))


@pytest.mark.parametrize("set_by", [-86400.0, 86400.0])
def test_how_long_a_lost_run_took_does_not_depend_on_a_clock_that_was_set(set_by: float, begin: Begin):
    books, kernel = begin(), identify_process(os.getpid())
    books.record_run_start(Run("r1", "train", time.time()), kernel, HERE)
    books.report_lost_runs(kernel, RunLoss(LossCause.SIGNAL, "SIGKILL"), time.time() + set_by, {})

    (message,) = books.outbox.list_messages("pending")
    assert re.search(r"\*train\* was lost after \*0(\.\d+)? s\*", message.payload["text"])


def test_a_run_whose_beginning_an_earlier_sidecar_saw_took_what_the_clock_says(begin: Begin):
    kernel, began = identify_process(os.getpid()), time.time() - 7200
    begin().record_run_start(Run("r1", "train", began), kernel, HERE)
    later = begin()
    later.report_lost_runs(kernel, RunLoss(LossCause.SIGNAL, "SIGKILL"), began + 7200, {})

    (message,) = later.outbox.list_messages("pending")
    assert "was lost after *2 h" in message.payload["text"]


@pytest.fixture
def neighbours(begin: Begin) -> tuple[AlertWriter, list[float]]:
    """The books of a container beside that of run r1, whose watcher last wrote a day ago; and our steady clock."""
    kernel = replace(identify_process(os.getpid()), namespace="pid:[1]")
    theirs = begin()
    theirs.owner = json.dumps(asdict(kernel))
    theirs.record_run_start(Run("r1", "train", time.time() - 90_000), kernel, HERE)
    theirs.outbox.record_run_heartbeat("r1", time.time() - 86_400, None)
    books, clock = begin(), [5000.0]
    books.heartbeat_monitor = HeartbeatMonitor(lambda: clock[0])
    return books, clock


def test_a_run_in_another_container_that_stays_silent_is_lost(neighbours):
    books, clock = neighbours
    books.take_over()
    assert not books.outbox.messages("pending")

    clock[0] += MIN_OBSERVATION_SECONDS + 1
    books.take_over()
    books.take_over()

    (message,) = books.outbox.messages("pending")
    assert "was lost" in message.payload["text"]


def test_a_run_in_another_container_lives_though_the_clock_was_set_ahead(neighbours):
    books, clock = neighbours
    for minute in range(10):
        books.take_over()
        clock[0] += 60.0
        # Its watcher writes each minute, with a clock that is far behind ours.
        books.outbox.see_run("r1", time.time() - 86_400 + 60 * minute, None)

    assert MIN_OBSERVATION_SECONDS < 10 * 60.0 > LOCAL_HEARTBEAT_TIMEOUT
    assert not books.outbox.messages("pending")


def placed(books: AlertWriter, instance: str) -> AlertWriter:
    """`books` of a sidecar that runs on `instance`."""
    books.add_instance_to_run = lambda run: replace(run, place=replace(run.place, instance=instance))
    return books


@pytest.mark.parametrize("together", [False, True])
def test_a_run_that_was_lost_with_its_instance_is_not_said_to_be_of_this_one(together: bool, begin: Begin):
    """As when a Spot instance was taken back and another one has its disk."""
    gone = replace(identify_process(os.getpid()), boot="an earlier one")
    theirs = begin()
    theirs.owner = json.dumps(asdict(gone))
    run = Run("r1", "train", time.time() - 60, options=RunOptions(together=together))
    if together:
        ended = RunResult(replace(run, id="r2", name="held"), Outcome.FINISHED, 1.0, time.time())
        theirs.hold_for_group(ended, gone, HERE)
    theirs.record_run_start(run, gone, HERE)
    placed(theirs, "i-0gone").apply_instance()
    books = placed(begin(), "i-0here")
    books.is_instance_known = lambda: False
    books.recover_orphaned_runs()

    (message,) = books.outbox.list_messages("pending")
    assert message.due <= time.time(), "there is nothing to wait for"
    assert "i-0here" not in str(message.payload)
    assert "i-0gone" in str(message.payload)


def test_an_alert_is_on_disk_while_it_waits_for_its_instances_name(begin: Begin):
    books, kernel = begin(), identify_process(os.getpid())
    books.is_instance_known = lambda: False
    run = Run("r1", "train", time.time() - 60)
    books.record_run_start(run, kernel, HERE)
    books.record_run_end(RunResult(run, Outcome.FINISHED, 60.0, time.time()), HERE)

    (message,) = books.outbox.list_messages("pending")
    assert 0.5 < message.due - time.time() <= INSTANCE_LOOKUP_TIMEOUT
    placed(books, "i-0here").apply_instance()
    (message,) = books.outbox.list_messages("pending")
    assert message.due <= time.time()
    assert "i-0here" in str(message.payload)


def test_an_interrupted_runs_alert_waits_as_long_as_it_would_without_a_name(begin: Begin):
    """A kernel that shuts down interrupts first: the alert's first text may be wrong."""
    books, kernel, later = begin(), identify_process(os.getpid()), time.time() + 30
    books.is_instance_known = lambda: False
    run = Run("r1", "train", time.time() - 60)
    books.record_run_start(run, kernel, HERE)
    books.record_run_end(RunResult(run, Outcome.INTERRUPTED, 60.0, time.time()), HERE, later)
    books.apply_instance()

    (message,) = books.outbox.list_messages("pending")
    assert message.due == later
