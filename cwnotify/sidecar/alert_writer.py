"""What the sidecar writes down: events in, messages out, each in one transaction.

An alert's id is its run's id, so what comes second (a resent line, another sidecar) changes nothing. Only ranks of
one launch share an alert, see `registry.alert_of`.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, replace
from functools import wraps
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TypeVar

from cwnotify.alerts.events.runs import LoadSample, LossCause, Outcome, Run, RunLoss, RunResult, WaitReason
from cwnotify.alerts.messages.run import combined_runs_message, run_message, run_waiting_message, webhook_test_message
from cwnotify.alerts.serialization import from_json_dict
from cwnotify.errors import StateError
from cwnotify.host.liveness import HeartbeatMonitor
from cwnotify.host.processes import ProcessIdentity, ProcessState, get_process_state, identify_process, is_process_gone
from cwnotify.settings import Secret
from cwnotify.store import state_dir
from cwnotify.store.outbox import IN_MEMORY_PATH, Outbox
from cwnotify.store.recovery import copy_to_memory, describe_quarantined, move_to_disk, open_outbox
from cwnotify.store.run_history import find_alert_id, record_ended_run
from cwnotify.store.schema import OpenRun

# How long an alert waits on disk for the name of its instance, in seconds; the metadata service has as long to answer.
INSTANCE_LOOKUP_TIMEOUT = 1.0

log = logging.getLogger(__name__)
Method = TypeVar("Method", bound=Callable[..., Any])


def _kept(method: Method) -> Method:
    """Do it on disk or, where that fails, all of it in memory."""

    @wraps(method)
    def kept(self: AlertWriter, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except sqlite3.Error as error:
            self.fall_back_to_memory(error)
            return method(self, *args, **kwargs)

    return kept  # type: ignore[return-value]


class AlertWriter:
    """The outbox, and the rules by which events become messages in it.

    Parameters
    ----------
    directory
        The state directory; where it cannot be used, alerts are kept in memory only, and `trouble` says why.
    """

    def __init__(self, directory: Path) -> None:
        self.store_problem = ""
        self.latest_load: LoadSample | None = None
        # How far each open run has come by its own word; it is what a lost one leaves.
        self.progress_by_run: dict[str, RunResult] = {}
        # When each run began by a clock that nobody sets (`time.monotonic`).
        self._began: dict[str, float] = {}
        # Says at the screen what is wrong with the disk.
        self.report_problem: Callable[[str], None] = lambda text: None
        # Says that the outbox is on disk or in memory now.
        self.on_storage_changed: Callable[[], None] = lambda: None
        self._directory: Path | None = None
        # Completes a run with where it ran, once that is known.
        self.add_instance_to_run: Callable[[Run], Run] = lambda run: run
        # Whether that is known by now, or known to be nowhere.
        self.is_instance_known: Callable[[], bool] = lambda: True
        # Alerts that wait for it, with the time at which they are due otherwise.
        self._unplaced: dict[str, tuple[RunResult | list[RunResult], float | None]] = {}
        self.owner = make_owner_id()
        self.heartbeat_monitor = HeartbeatMonitor()
        self._left_home = False
        try:
            begun = time.time()
            self._directory = state_dir.prepare_state_dir(directory)
            self.outbox = self.connect()
            self.store_problem = describe_quarantined(self._directory, begun)
        except (StateError, sqlite3.Error, OSError) as error:
            self.store_problem = f"{error}; alerts are kept in memory until then"
            self._directory = None
            self.outbox = self.connect()

    def close(self) -> None:
        """Close this object's own connection; those of `connect` are the caller's."""
        self.outbox.close()

    def enable_file_logging(self) -> None:
        """Write what goes wrong in here into the state directory; a webhook never comes near a log."""
        if self._directory:
            file = RotatingFileHandler(
                self._directory / state_dir.LOG_FILENAME, maxBytes=256 << 10, backupCount=1, delay=True
            )
            file.setFormatter(logging.Formatter("%(asctime)s %(process)d %(name)s %(message)s"))
            logging.getLogger("cwnotify").addHandler(file)

    def connect(self) -> Outbox:
        """A further connection, for a thread of its own."""
        return open_outbox(self._directory) if self._directory and not self._left_home else Outbox(IN_MEMORY_PATH)

    def destination_for(self, webhook: Secret | None) -> str:
        """The name under which messages for `webhook` lie in the outbox."""
        try:
            return state_dir.fingerprint_webhook(webhook, self._directory)
        except OSError:
            # Without room for a key, or with one that is not ours or cannot be read, the name holds for this process.
            return state_dir.fingerprint_webhook(webhook, None)

    def fall_back_to_memory(self, error: sqlite3.Error) -> None:
        """The disk takes no more: go on in memory, with all that is ours, until it does.

        Raises
        ------
        sqlite3.Error
            `error`, where memory is what failed.
        """
        if self._directory is None or self._left_home:
            raise error
        log.warning("the disk fails: %s", error)
        self._left_home = True
        disk, self.outbox = self.outbox, self.connect()
        copy_to_memory(self.outbox, self._directory / state_dir.OUTBOX_FILENAME, self.owner)
        disk.close()
        self.on_storage_changed()
        self.report_problem(f"alerts are kept in memory only, for {self._directory} cannot be written: {error}")

    @property
    def is_on_primary_storage(self) -> bool:
        """Whether nothing that began on disk goes on in memory."""
        return not self._left_home

    def return_to_disk(self) -> None:
        """Move back to the disk, if it takes what memory holds."""
        if self._directory is None or self.is_on_primary_storage:
            return
        disk: Outbox | None = None
        try:
            disk = open_outbox(self._directory)
            is_home = move_to_disk(self.outbox, self._directory / state_dir.OUTBOX_FILENAME, self.owner)
        except (StateError, sqlite3.Error, OSError):
            is_home = False
        if disk is None or not is_home:
            if disk:
                disk.close()
            return
        memory, self.outbox, self._left_home = self.outbox, disk, False
        memory.close()
        self.on_storage_changed()

    @_kept
    def record_run_end(self, ended: RunResult, destination: str, due: float | None = None) -> None:
        """A run ended: close it and put its alert, if it is wanted."""
        with self.outbox.transaction():
            self._tell(ended, destination, due)
        self._began.pop(ended.run.id, None)

    def _tell(self, ended: RunResult, destination: str, due: float | None = None) -> None:
        now = time.time()
        self.outbox.remove_open_run(ended.run.id)
        self.outbox.withdraw_late(_waiting(ended.run.id), now)
        alert = find_alert_id(self.outbox, ended) if ended.is_alert_wanted else ended.run.id
        record_ended_run(self.outbox, self._placed(ended), alert, now)
        if ended.is_alert_wanted and alert == ended.run.id:
            self._put(alert, destination, ended, now, due)
        # A run that another alert reports is settled under its own id too: a line that is sent again finds it there.
        self.outbox.mark_skipped(ended.run.id, now)

    def _put(
        self, id: str, destination: str, ended: RunResult | list[RunResult], now: float, due: float | None = None
    ) -> None:
        due = self._due(id, ended, now, due)
        self.outbox.enqueue(id, destination, self._message(ended), now, due)

    def _due(self, id: str, ended: RunResult | list[RunResult], now: float, due: float | None) -> float | None:
        """When an alert can go: at `due`, but a short while later if its instance may still become known."""
        if self.is_instance_known() or (isinstance(ended, RunResult) and _is_of_old(ended)):
            self._unplaced.pop(id, None)
            return due
        self._unplaced[id] = ended, due
        return max(now if due is None else due, now + INSTANCE_LOOKUP_TIMEOUT)

    def _message(self, ended: RunResult | list[RunResult]) -> dict[str, Any]:
        """The alert about a run, or about a group of them, with the instance if that is known by now."""
        if isinstance(ended, RunResult):
            return run_message(self._placed(ended))
        return combined_runs_message([self._placed(one) for one in ended])

    def _placed(self, ended: RunResult) -> RunResult:
        """With the instance that it ran on, which is this one unless it was found later."""
        return ended if _is_of_old(ended) else replace(ended, run=self.add_instance_to_run(ended.run))

    @property
    def has_alerts_awaiting_instance(self) -> bool:
        """Whether alerts wait for the name of their instance."""
        return bool(self._unplaced)

    @_kept
    def apply_instance(self) -> None:
        """The instance is known now, or will not be: release the alerts that waited, and note it for open runs.

        What becomes of an open run may be found by a sidecar on another instance, with the same disk.
        """
        now = time.time()
        with self.outbox.transaction():
            for one in self.outbox.list_open_runs():
                if one.owner == self.owner and (run := self.add_instance_to_run(one.run)) != one.run:
                    self.outbox.update_open_run(run)
            for id, (ended, due) in self._unplaced.items():
                self.outbox.replace_unsent(id, self._message(ended), now, due)
        self._unplaced.clear()

    @_kept
    def enqueue_waiting_alert(self, run: Run, wait: WaitReason, in_notebook: bool, destination: str) -> None:
        """Put the one alert that a run waits for a person; it is due when the run is as long as its alerts ask for."""
        now = time.time()
        due = max(now, run.started + run.options.min_seconds)
        message = run_waiting_message(self.add_instance_to_run(run), wait, in_notebook, now)
        self.outbox.enqueue(_waiting(run.id), destination, message, now, due)

    @_kept
    def withdraw_waiting_alert(self, id: str) -> None:
        """A run waits no longer: drop its alert if it was not sent."""
        self.outbox.withdraw_late(_waiting(id), time.time())

    @_kept
    def enqueue_test_message(self, destination: str, lang: str, channel: str) -> None:
        """Put a test message."""
        message = webhook_test_message(os.uname().nodename, lang, channel)
        self.outbox.enqueue(secrets.token_hex(12), destination, message, time.time())

    @_kept
    def revise_unsent_alert(self, ended: RunResult) -> None:
        """Say something truer of a run whose alert has not been sent yet."""
        now = time.time()
        record_ended_run(self.outbox, self._placed(ended), ended.run.id, now)
        if ended.run.options.wants_alert(False, ended.seconds):
            due = self._due(ended.run.id, ended, now, None)
            self.outbox.replace_unsent(ended.run.id, self._message(ended), now, due)

    @_kept
    def hold_for_group(self, ended: RunResult, kernel: ProcessIdentity, destination: str) -> None:
        """Keep an ended run until its group is told."""
        self.outbox.withdraw_late(_waiting(ended.run.id), time.time())
        if ended.is_alert_wanted:
            self.outbox.hold_ended_run(self._placed(ended), kernel, destination, time.time(), self.owner)
        else:
            self.record_run_end(ended, destination)

    @_kept
    def record_run_start(self, run: Run, kernel: ProcessIdentity, destination: str) -> None:
        """A run began."""
        self._began.setdefault(run.id, time.monotonic())
        self.outbox.add_open_run(self.add_instance_to_run(run), kernel, destination, time.time(), self.owner)

    @_kept
    def adopt_runs(self, kernel: ProcessIdentity) -> list[str]:
        """Watch over what an earlier sidecar of `kernel` left; gives the ids of the runs that are still running."""
        left = self._of(kernel, self.outbox.list_open_runs())
        for one in left:
            self.outbox.set_run_owner(one.run.id, self.owner)
        return [one.run.id for one in left if one.ended is None]

    def has_pending_work(self) -> bool:
        """Whether a run or an attempt is still ours, or memory holds what belongs on the disk."""
        if not self.is_on_primary_storage or self.owner in self.outbox.list_lease_owners(time.time()):
            return True
        return any(one.owner == self.owner for one in self.outbox.list_open_runs())

    def describe_problems(self) -> str:
        """What a person should know of earlier alerts; empty if there is nothing."""
        dead = self.outbox.list_messages("dead")
        if not dead:
            return self.store_problem
        told = f"{len(dead)} earlier alerts" if len(dead) > 1 else "an earlier alert"
        return " ".join(filter(None, (self.store_problem, f"{told} could not be delivered; see: cwnotify outbox list")))

    def is_group_running(self, kernel: ProcessIdentity) -> bool:
        """Whether a run that is to be told with others is still open."""
        return any(
            one.run.options.together and one.ended is None for one in self._of(kernel, self.outbox.list_open_runs())
        )

    @_kept
    def enqueue_group_alert(self, kernel: ProcessIdentity) -> None:
        """Tell all that is held for `kernel` in one alert."""
        with self.outbox.transaction():
            self._put_together([one for one in self._of(kernel, self.outbox.list_open_runs()) if one.ended])

    def _put_together(self, held: list[OpenRun], found_later: bool = False) -> None:
        told = [one.ended for one in held if one.ended]
        if not told:
            return
        now = time.time()
        for ended in told:
            self.outbox.remove_open_run(ended.run.id)
            record_ended_run(self.outbox, ended if found_later else self._placed(ended), ended.run.id, now)
            self.outbox.mark_skipped(ended.run.id, now)
        # Each run is settled under its own id; the group's alert has one more, made of the last one's.
        id, destination = f"{told[-1].run.id}+", held[-1].destination
        if found_later:
            self.outbox.enqueue(id, destination, combined_runs_message(told), now)
        else:
            self._put(id, destination, told, now)

    @_kept
    def report_lost_runs(
        self, kernel: ProcessIdentity, loss: RunLoss, ended: float, cpu: Mapping[str, tuple[float, ...]]
    ) -> None:
        """The watched process is gone: each of its open runs was lost, at `ended` (Unix seconds)."""
        with self.outbox.transaction():
            held = []
            for one in self._of(kernel, self.outbox.list_open_runs()):
                if one.ended:
                    held.append(one)
                    continue
                so_far = self.progress_by_run.get(one.run.id)
                lost = RunResult(
                    run=so_far.run if so_far else one.run,
                    shown=so_far.shown if so_far else (),
                    values_left_out=so_far.values_left_out if so_far else 0,
                    outcome=Outcome.LOST,
                    seconds=self._lasted(one.run, ended),
                    ended=ended,
                    loss=loss,
                    cpu=cpu.get(one.run.id, ()),
                    vitals=one.vitals if loss.found_later else self.latest_load,
                )
                if one.run.options.together and one.run.options.wants_alert(False, lost.seconds):
                    held.append(replace(one, ended=lost))
                    self.outbox.withdraw_late(_waiting(one.run.id), time.time())
                else:
                    self._tell(lost, one.destination)
            self._put_together(held, loss.found_later)

    def _lasted(self, run: Run, ended: float) -> float:
        """Seconds until now where its beginning was seen here; else by the wall's clock, which may have been set."""
        began = self._began.get(run.id)
        return max(ended - run.started, 0.0) if began is None else time.monotonic() - began

    @_kept
    def record_heartbeats(self, running: Iterable[str]) -> None:
        """Note that these runs are alive."""
        with self.outbox.transaction():
            for id in running:
                self.outbox.record_run_heartbeat(id, time.time(), self.latest_load)

    @_kept
    def recover_orphaned_runs(self) -> None:
        """Tell of runs whose process went away unwatched, and free what dead sidecars had claimed."""
        now = time.time()
        for one in self.outbox.list_open_runs():
            silent = self.heartbeat_monitor.seconds_since_heartbeat(one.run.id, one.seen, now)
            if is_process_gone(_owner(one.owner), silent) and is_process_gone(one.watched, silent):
                rebooted = get_process_state(one.watched, silent) is ProcessState.REBOOTED
                cause = LossCause.REBOOT if rebooted else LossCause.UNKNOWN
                self.report_lost_runs(one.watched, RunLoss(cause, found_later=True), one.seen, {})
        for owner in self.outbox.list_lease_owners(now):
            if is_process_gone(_owner(owner), 0.0):
                self.outbox.release_leases(owner)

    @_kept
    def expire_messages(self, ours: Collection[str]) -> None:
        """Clear up what is long over; messages to `ours` are still being sent, however old they are."""
        self.outbox.expire_messages(time.time(), ours)

    @staticmethod
    def _of(kernel: ProcessIdentity, runs: Iterable[OpenRun]) -> list[OpenRun]:
        return [one for one in runs if one.watched == kernel]


def _waiting(id: str) -> str:
    """Return the id of the alert that the run `id` waits for a person."""
    return f"{id} waits"


def make_owner_id() -> str:
    """This process, as leases and runs name their owner."""
    return json.dumps(asdict(identify_process(os.getpid())))


def _is_of_old(ended: RunResult) -> bool:
    """Whether a run was lost before this sidecar looked: perhaps on another instance, with the same disk."""
    return bool(ended.loss and ended.loss.found_later)


def _owner(signature: str) -> ProcessIdentity:
    """Who signed; one that cannot be read, as an older version left it, is nobody that lives."""
    try:
        return from_json_dict(ProcessIdentity, json.loads(signature))
    except ValueError:
        return replace(identify_process(os.getpid()), start="")
