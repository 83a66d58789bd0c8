"""Alerts about lost runs after the clock was set or in another container, and alerts that wait for their instance."""

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
from cwnotify.host.processes import LOCAL_HEARTBEAT_TIMEOUT, ProcessIdentity, identify_process
from cwnotify.sidecar.alert_writer import INSTANCE_LOOKUP_TIMEOUT, AlertWriter
from cwnotify.store.failover import FailoverOutbox

DESTINATION = "webhook-1"
KILLED = RunLoss(LossCause.SIGNAL, "SIGKILL")


class Instance:
    """The instance that a sidecar runs on. It may become known later."""

    def __init__(self, id: str = "", is_known: bool = True) -> None:
        self.id = id
        self.is_known = is_known

    def add_to_run(self, run: Run) -> Run:
        return replace(run, place=replace(run.place, instance=self.id)) if self.id else run


class WriterFactory:
    """Opens alert writers over one state directory, as each sidecar does."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack

    def __call__(
        self,
        owner: ProcessIdentity | None = None,
        instance: Instance | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> AlertWriter:
        instance = instance or Instance()
        store = FailoverOutbox(self._directory, owner=json.dumps(asdict(owner)) if owner else "")
        self._stack.enter_context(closing(store))
        return AlertWriter(store, instance.add_to_run, lambda: instance.is_known, HeartbeatMonitor(clock))


@pytest.fixture
def open_writer(tmp_path: Path) -> Iterator[WriterFactory]:
    with ExitStack() as stack:
        yield WriterFactory(tmp_path, stack)


@pytest.fixture
def kernel() -> ProcessIdentity:
    return identify_process(os.getpid())


# Durations


@pytest.mark.parametrize("clock_change", [-86400.0, 86400.0])
def test_duration_of_lost_run_ignores_clock_changes(
    clock_change: float, open_writer: WriterFactory, kernel: ProcessIdentity
) -> None:
    writer = open_writer()
    writer.record_run_start(Run("r1", "train", time.time()), kernel, DESTINATION)
    writer.report_lost_runs(kernel, KILLED, time.time() + clock_change, {})

    (message,) = writer.outbox.list_messages("pending")
    assert re.search(r"\*train\* was lost after \*0(\.\d+)? s\*", message.payload["text"])


def test_duration_of_adopted_lost_run_is_by_the_wall_clock(open_writer: WriterFactory, kernel: ProcessIdentity) -> None:
    started = time.time() - 7200
    open_writer().record_run_start(Run("r1", "train", started), kernel, DESTINATION)
    successor = open_writer()
    successor.report_lost_runs(kernel, KILLED, started + 7200, {})

    (message,) = successor.outbox.list_messages("pending")
    assert "was lost after *2 h" in message.payload["text"]


# Runs in another container


@pytest.fixture
def neighbour(open_writer: WriterFactory, kernel: ProcessIdentity) -> tuple[AlertWriter, list[float]]:
    """The writer of a container beside that of run r1, whose sidecar last wrote a day ago, and its monotonic clock."""
    process = replace(kernel, namespace="pid:[1]")
    other = open_writer(owner=process)
    other.record_run_start(Run("r1", "train", time.time() - 90_000), process, DESTINATION)
    other.outbox.record_run_heartbeat("r1", time.time() - 86_400, None)
    clock = [5000.0]
    return open_writer(clock=lambda: clock[0]), clock


def test_run_in_another_container_without_heartbeat_is_lost(neighbour: tuple[AlertWriter, list[float]]) -> None:
    writer, clock = neighbour
    writer.recover_orphaned_runs()
    assert not writer.outbox.list_messages("pending")

    clock[0] += MIN_OBSERVATION_SECONDS + 1
    writer.recover_orphaned_runs()
    writer.recover_orphaned_runs()

    (message,) = writer.outbox.list_messages("pending")
    assert "was lost" in message.payload["text"]


def test_run_in_another_container_with_heartbeats_is_not_lost_after_clock_change(
    neighbour: tuple[AlertWriter, list[float]],
) -> None:
    writer, clock = neighbour
    for minute in range(10):
        writer.recover_orphaned_runs()
        clock[0] += 60.0
        # The sidecar writes each minute, with a clock that is far behind ours.
        writer.outbox.record_run_heartbeat("r1", time.time() - 86_400 + 60 * minute, None)

    assert MIN_OBSERVATION_SECONDS < 10 * 60.0 > LOCAL_HEARTBEAT_TIMEOUT
    assert not writer.outbox.list_messages("pending")


# The instance


@pytest.mark.parametrize("together", [False, True])
def test_run_lost_with_its_instance_names_that_instance(
    together: bool, open_writer: WriterFactory, kernel: ProcessIdentity
) -> None:
    """A Spot instance was reclaimed, and another instance has its disk."""
    process = replace(kernel, boot="an earlier one")
    first = open_writer(owner=process, instance=Instance("i-0gone"))
    run = Run("r1", "train", time.time() - 60, options=RunOptions(together=together))
    if together:
        ended = RunResult(replace(run, id="r2", name="held"), Outcome.FINISHED, 1.0, time.time())
        first.hold_for_group(ended, process, DESTINATION)
    first.record_run_start(run, process, DESTINATION)
    writer = open_writer(instance=Instance("i-0here", is_known=False))
    writer.recover_orphaned_runs()

    (message,) = writer.outbox.list_messages("pending")
    assert message.due <= time.time(), "there is nothing to wait for"
    assert "i-0here" not in str(message.payload)
    assert "i-0gone" in str(message.payload)


def test_alert_waits_on_disk_for_its_instance(open_writer: WriterFactory, kernel: ProcessIdentity) -> None:
    instance = Instance(is_known=False)
    writer = open_writer(instance=instance)
    run = Run("r1", "train", time.time() - 60)
    writer.record_run_start(run, kernel, DESTINATION)
    writer.record_run_end(RunResult(run, Outcome.FINISHED, 60.0, time.time()), DESTINATION)

    (message,) = writer.outbox.list_messages("pending")
    assert 0.5 < message.due - time.time() <= INSTANCE_LOOKUP_TIMEOUT
    assert writer.has_alerts_awaiting_instance
    instance.id, instance.is_known = "i-0here", True
    writer.apply_instance()
    (message,) = writer.outbox.list_messages("pending")
    assert message.due <= time.time()
    assert "i-0here" in str(message.payload)
    assert not writer.has_alerts_awaiting_instance


def test_open_run_gets_its_instance_when_known(open_writer: WriterFactory, kernel: ProcessIdentity) -> None:
    instance = Instance(is_known=False)
    writer = open_writer(instance=instance)
    writer.record_run_start(Run("r1", "train", time.time()), kernel, DESTINATION)
    assert writer.outbox.list_open_runs()[0].run.place.instance == ""

    instance.id, instance.is_known = "i-0here", True
    writer.apply_instance()

    assert writer.outbox.list_open_runs()[0].run.place.instance == "i-0here"


def test_alert_of_interrupted_run_keeps_its_due_time(open_writer: WriterFactory, kernel: ProcessIdentity) -> None:
    """A kernel that shuts down interrupts first, so the alert's first text may be wrong."""
    writer, due = open_writer(instance=Instance(is_known=False)), time.time() + 30
    run = Run("r1", "train", time.time() - 60)
    writer.record_run_start(run, kernel, DESTINATION)
    writer.record_run_end(RunResult(run, Outcome.INTERRUPTED, 60.0, time.time()), DESTINATION, due)
    writer.apply_instance()

    (message,) = writer.outbox.list_messages("pending")
    assert message.due == due
