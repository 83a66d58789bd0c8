"""Turn events into messages in the outbox, each in one transaction.

An alert's id is its run's id, so a line that is sent again, or another sidecar, changes nothing. Only ranks of one
launch share an alert; see `cwnotify.store.run_history.find_alert_id`.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar

from cwnotify.alerts.events.runs import LoadSample, LossCause, Outcome, Run, RunLoss, RunResult, WaitReason
from cwnotify.alerts.messages.run import combined_runs_message, run_message, run_waiting_message, webhook_test_message
from cwnotify.alerts.serialization import from_json_dict
from cwnotify.host.liveness import HeartbeatMonitor
from cwnotify.host.processes import ProcessIdentity, ProcessState, get_process_state, identify_process, is_process_gone
from cwnotify.slack.retry_policy import MAX_DELIVERY_AGE
from cwnotify.store.failover import FailoverOutbox
from cwnotify.store.outbox import Outbox
from cwnotify.store.run_history import find_alert_id, record_ended_run
from cwnotify.store.schema import OpenRun

# How long an alert waits on disk for its instance, in seconds. The metadata service is queried for as long.
INSTANCE_LOOKUP_TIMEOUT = 1.0

Method = TypeVar("Method", bound=Callable[..., Any])


def _with_failover(method: Method) -> Method:
    """Run a method again, on the outbox in memory, if the disk fails."""

    @wraps(method)
    def run(self: AlertWriter, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except sqlite3.Error as error:
            self.store.fall_back_to_memory(error)
            return method(self, *args, **kwargs)

    return run  # type: ignore[return-value]


class AlertWriter:
    """Writes what happened to runs, and the alerts about it, to the outbox.

    Parameters
    ----------
    store
        The outbox. Its owner id names this sidecar.
    add_instance
        Returns a run with the instance that it runs on, if that is known.
    is_instance_known
        Returns whether the instance is known, or known not to exist.
    heartbeat_monitor
        Measures how long another container's runs had no heartbeat.

    Attributes
    ----------
    latest_load
        The last load sample; a lost run's alert shows it.
    """

    def __init__(
        self,
        store: FailoverOutbox,
        add_instance: Callable[[Run], Run] = lambda run: run,
        is_instance_known: Callable[[], bool] = lambda: True,
        heartbeat_monitor: HeartbeatMonitor | None = None,
    ) -> None:
        self.store = store
        self.latest_load: LoadSample | None = None
        self._add_instance_to_run = add_instance
        self._is_instance_known = is_instance_known
        self._heartbeat_monitor = heartbeat_monitor or HeartbeatMonitor()
        # How far each open run has come; a lost run's alert shows it.
        self._progress: dict[str, RunResult] = {}
        # When each run began, by `time.monotonic`.
        self._started: dict[str, float] = {}
        # Alerts that wait for their instance, with the time at which they are due otherwise.
        self._awaiting_instance: dict[str, tuple[RunResult | list[RunResult], float | None]] = {}

    @property
    def outbox(self) -> Outbox:
        """The outbox, on disk or in memory."""
        return self.store.current

    # Runs that go on

    @_with_failover
    def record_run_start(self, run: Run, kernel: ProcessIdentity, destination: str) -> None:
        """Store that a run began."""
        self._started.setdefault(run.id, time.monotonic())
        self.outbox.add_open_run(self._add_instance_to_run(run), kernel, destination, time.time(), self.store.owner)

    def record_progress(self, so_far: RunResult) -> None:
        """Remember how far an open run has come."""
        self._progress[so_far.run.id] = so_far

    @_with_failover
    def enqueue_waiting_alert(self, run: Run, wait: WaitReason, in_notebook: bool, destination: str) -> None:
        """Enqueue the one alert that a run waits for the user. It is due when the run reaches its minimum duration."""
        now = time.time()
        due = max(now, run.started + run.options.min_seconds)
        message = run_waiting_message(self._add_instance_to_run(run), wait, in_notebook, now)
        self.outbox.enqueue(_waiting_alert_id(run.id), destination, message, now, due)

    @_with_failover
    def withdraw_waiting_alert(self, id: str) -> None:
        """Delete a run's waiting alert, unless it was sent."""
        self.outbox.withdraw_late(_waiting_alert_id(id), time.time())

    @_with_failover
    def record_heartbeats(self, ids: Iterable[str]) -> None:
        """Store that these runs are alive."""
        with self.outbox.transaction():
            for id in ids:
                self.outbox.record_run_heartbeat(id, time.time(), self.latest_load)

    @_with_failover
    def apply_instance(self) -> None:
        """Add the instance to waiting alerts, which are then due, and to open runs.

        A sidecar on another instance with the same disk may report how an open run ended.
        """
        now = time.time()
        with self.outbox.transaction():
            for open_run in self.outbox.list_open_runs():
                run = self._add_instance_to_run(open_run.run)
                if open_run.owner == self.store.owner and run != open_run.run:
                    self.outbox.update_open_run(run)
            for id, (ended, due) in self._awaiting_instance.items():
                self.outbox.replace_unsent(id, self._compose_alert(ended), now, due)
        self._awaiting_instance.clear()

    @property
    def has_alerts_awaiting_instance(self) -> bool:
        """Whether alerts wait for their instance."""
        return bool(self._awaiting_instance)

    # Runs that ended

    @_with_failover
    def record_run_end(self, ended: RunResult, destination: str, due: float | None = None) -> None:
        """Close a run, and enqueue its alert if the user wants one."""
        with self.outbox.transaction():
            self._close_run(ended, destination, due)
        self._forget_run(ended.run.id)

    def _forget_run(self, id: str) -> None:
        self._progress.pop(id, None)
        self._started.pop(id, None)

    def _close_run(self, ended: RunResult, destination: str, due: float | None = None) -> None:
        """Close a run within the caller's transaction."""
        now, run = time.time(), ended.run
        self.outbox.remove_open_run(run.id)
        self.outbox.withdraw_late(_waiting_alert_id(run.id), now)
        alert_id = find_alert_id(self.outbox, ended) if ended.is_alert_wanted else run.id
        record_ended_run(self.outbox, self._add_instance(ended), alert_id, now)
        if ended.is_alert_wanted and alert_id == run.id:
            self._enqueue_alert(run.id, destination, ended, due)
        # If another alert reports the run, its own id is settled too: a line that is sent again finds it.
        self.outbox.mark_skipped(run.id, now)

    def _enqueue_alert(
        self, id: str, destination: str, ended: RunResult | list[RunResult], due: float | None = None
    ) -> None:
        # First the due time: if the instance becomes known in between, the alert is replaced.
        due = self._due(id, ended, due)
        self.outbox.enqueue(id, destination, self._compose_alert(ended), time.time(), due)

    def _due(self, id: str, ended: RunResult | list[RunResult], due: float | None) -> float | None:
        """Return when an alert is due: at `due`, or a little later if its instance may still become known."""
        if self._is_instance_known() or (isinstance(ended, RunResult) and _is_found_later(ended)):
            self._awaiting_instance.pop(id, None)
            return due
        self._awaiting_instance[id] = ended, due
        now = time.time()
        return max(now if due is None else due, now + INSTANCE_LOOKUP_TIMEOUT)

    def _compose_alert(self, ended: RunResult | list[RunResult]) -> dict[str, Any]:
        """Return the alert about a run or a group, with the instance if it is known."""
        if isinstance(ended, RunResult):
            return run_message(self._add_instance(ended))
        return combined_runs_message([self._add_instance(result) for result in ended])

    def _add_instance(self, ended: RunResult) -> RunResult:
        """Add this instance, unless the run may have run on another one."""
        return ended if _is_found_later(ended) else replace(ended, run=self._add_instance_to_run(ended.run))

    @_with_failover
    def revise_unsent_alert(self, ended: RunResult) -> None:
        """Replace what is stored about an ended run, and its alert unless that was sent."""
        now = time.time()
        record_ended_run(self.outbox, self._add_instance(ended), ended.run.id, now)
        if ended.run.options.wants_alert(False, ended.seconds):
            due = self._due(ended.run.id, ended, None)
            self.outbox.replace_unsent(ended.run.id, self._compose_alert(ended), now, due)

    # Groups: runs that are reported in one alert

    @_with_failover
    def hold_for_group(self, ended: RunResult, kernel: ProcessIdentity, destination: str) -> None:
        """Hold an ended run until its group is reported."""
        self.outbox.withdraw_late(_waiting_alert_id(ended.run.id), time.time())
        if ended.is_alert_wanted:
            self.outbox.hold_ended_run(self._add_instance(ended), kernel, destination, time.time(), self.store.owner)
        else:
            self.record_run_end(ended, destination)
        self._forget_run(ended.run.id)

    def is_group_running(self, kernel: ProcessIdentity) -> bool:
        """Return whether a run of the group is still open."""
        return any(run.run.options.together and run.ended is None for run in self._runs_of(kernel))

    @_with_failover
    def enqueue_group_alert(self, kernel: ProcessIdentity) -> None:
        """Report all held runs of `kernel` in one alert."""
        with self.outbox.transaction():
            self._close_group([run for run in self._runs_of(kernel) if run.ended])

    def _close_group(self, held: list[OpenRun], found_later: bool = False) -> None:
        """Close held runs and enqueue their alert, within the caller's transaction."""
        results = [run.ended for run in held if run.ended]
        if not results:
            return
        now = time.time()
        for ended in results:
            self.outbox.remove_open_run(ended.run.id)
            record_ended_run(self.outbox, ended if found_later else self._add_instance(ended), ended.run.id, now)
            self.outbox.mark_skipped(ended.run.id, now)
        # Each run is settled under its own id. The group's alert has one more, made of the last run's.
        id, destination = f"{results[-1].run.id}+", held[-1].destination
        if found_later:
            self.outbox.enqueue(id, destination, combined_runs_message(results), now)
        else:
            self._enqueue_alert(id, destination, results)

    # Lost runs, and what earlier sidecars left

    @_with_failover
    def adopt_runs(self, kernel: ProcessIdentity) -> list[str]:
        """Take over the runs of an earlier sidecar of `kernel`. Return the ids of those that still run."""
        runs = self._runs_of(kernel)
        for run in runs:
            self.outbox.set_run_owner(run.run.id, self.store.owner)
        return [run.run.id for run in runs if run.ended is None]

    @_with_failover
    def report_lost_runs(
        self, kernel: ProcessIdentity, loss: RunLoss, ended: float, cpu: Mapping[str, tuple[float, ...]]
    ) -> None:
        """Report each open run of a process that is gone as lost.

        Parameters
        ----------
        ended
            When the process ended, or was last alive (Unix seconds).
        cpu
            CPU samples of each run, by its id.
        """
        with self.outbox.transaction():
            held = []
            for run in self._runs_of(kernel):
                if run.ended:
                    held.append(run)
                    continue
                lost = self._lost_result(run, loss, ended, cpu.get(run.run.id, ()))
                if run.run.options.together and run.run.options.wants_alert(False, lost.seconds):
                    held.append(replace(run, ended=lost))
                    self.outbox.withdraw_late(_waiting_alert_id(run.run.id), time.time())
                else:
                    self._close_run(lost, run.destination)
            self._close_group(held, loss.found_later)

    def _lost_result(self, open_run: OpenRun, loss: RunLoss, ended: float, cpu: tuple[float, ...]) -> RunResult:
        so_far = self._progress.get(open_run.run.id)
        return RunResult(
            run=so_far.run if so_far else open_run.run,
            shown=so_far.shown if so_far else (),
            values_left_out=so_far.values_left_out if so_far else 0,
            outcome=Outcome.LOST,
            seconds=self._duration(open_run.run, ended),
            ended=ended,
            loss=loss,
            cpu=cpu,
            vitals=open_run.vitals if loss.found_later else self.latest_load,
        )

    def _duration(self, run: Run, ended: float) -> float:
        """Return a run's duration in seconds. Its start by the wall clock counts only if this sidecar missed it."""
        started = self._started.get(run.id)
        return max(ended - run.started, 0.0) if started is None else time.monotonic() - started

    @_with_failover
    def recover_orphaned_runs(self) -> None:
        """Report runs whose process and sidecar are gone, and release the leases of dead sidecars."""
        now = time.time()
        for run in self.outbox.list_open_runs():
            quiet = self._heartbeat_monitor.seconds_since_heartbeat(run.run.id, run.seen, now)
            if is_process_gone(_parse_owner(run.owner), quiet) and is_process_gone(run.watched, quiet):
                is_rebooted = get_process_state(run.watched, quiet) is ProcessState.REBOOTED
                cause = LossCause.REBOOT if is_rebooted else LossCause.UNKNOWN
                self.report_lost_runs(run.watched, RunLoss(cause, found_later=True), run.seen, {})
        for owner in self.outbox.list_lease_owners(now):
            if is_process_gone(_parse_owner(owner), 0.0):
                self.outbox.release_leases(owner)

    # Messages

    @_with_failover
    def enqueue_test_message(self, destination: str, lang: str, channel: str) -> None:
        """Enqueue a test message."""
        message = webhook_test_message(os.uname().nodename, lang, channel)
        self.outbox.enqueue(secrets.token_hex(12), destination, message, time.time())

    @_with_failover
    def expire_messages(self, active: Collection[str]) -> None:
        """Delete old messages, and mark abandoned ones as dead. Those to `active` destinations are not abandoned."""
        self.outbox.expire_messages(time.time(), MAX_DELIVERY_AGE, active)

    def has_pending_work(self) -> bool:
        """Return whether this sidecar has an open run or an attempt, or rows in memory that belong on the disk."""
        owner = self.store.owner
        if not self.store.is_home or owner in self.outbox.list_lease_owners(time.time()):
            return True
        return any(run.owner == owner for run in self.outbox.list_open_runs())

    def describe_problems(self) -> str:
        """Return what the user should know about the state directory and earlier alerts, or an empty text."""
        count = len(self.outbox.list_messages("dead"))
        if not count:
            return self.store.problem
        subject = f"{count} earlier alerts" if count > 1 else "an earlier alert"
        text = f"{subject} could not be delivered; see: cwnotify outbox list"
        return " ".join(filter(None, (self.store.problem, text)))

    def _runs_of(self, kernel: ProcessIdentity) -> list[OpenRun]:
        return [run for run in self.outbox.list_open_runs() if run.watched == kernel]


def _waiting_alert_id(id: str) -> str:
    """Return the id of the alert that the run `id` waits for the user."""
    return f"{id} waits"


def _is_found_later(ended: RunResult) -> bool:
    """Return whether a run was lost before this sidecar started, perhaps on another instance with the same disk."""
    return bool(ended.loss and ended.loss.found_later)


def _parse_owner(owner: str) -> ProcessIdentity:
    """Return the process that `owner` names. One that cannot be parsed counts as a process that is gone."""
    try:
        return from_json_dict(ProcessIdentity, json.loads(owner))
    except ValueError:
        return replace(identify_process(os.getpid()), start="")
