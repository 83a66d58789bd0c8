"""The sidecar process: start, serve, hand over or report lost runs, drain, exit.

It starts with the first recorded run, in a session of its own and not as the kernel's child, so signals meant for the
kernel do not reach it and ``os.wait`` in a cell does not return it. It handles the kernel's messages until the kernel
exits, which a pidfd reports within milliseconds. Then it reports lost runs, drains the outbox, and exits. If it is
killed, nothing that it acknowledged is lost: the next sidecar adopts the runs and messages in the same outbox.
"""

from __future__ import annotations

import logging
import math
import os
import sched
import select
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from cwnotify import settings
from cwnotify.alerts import locale
from cwnotify.alerts.events.runs import LoadSample, Outcome, Run, RunResult, WaitReason
from cwnotify.alerts.redaction.run_events import redact_run, redact_run_result
from cwnotify.alerts.serialization import from_json_dict
from cwnotify.host.exit_cause import create_oom_kill_counter, infer_loss, read_wait_status
from cwnotify.host.processes import identify_process, read_start_time
from cwnotify.host.run_sampler import LoadSampler
from cwnotify.settings import Secret
from cwnotify.settings.child_environment import apply_environment, is_delivery_variable
from cwnotify.sidecar.alert_writer import INSTANCE_LOOKUP_TIMEOUT, AlertWriter
from cwnotify.sidecar.delivery import DeliveryThread
from cwnotify.sidecar.panels import PanelManager
from cwnotify.sidecar.protocol import Pipe, PipeMessage, PipeMessageReader, encode_pipe_message
from cwnotify.sidecar.spawn import find_other_sidecars, has_other_sidecar
from cwnotify.slack import destination
from cwnotify.slack.retry_policy import MAX_DELIVERY_AGE
from cwnotify.store.alarm_states import AlarmStateStore, MessageOptions
from cwnotify.store.failover import FailoverOutbox
from cwnotify.store.outbox import IN_FLIGHT_PERIOD
from cwnotify.store.schema import OutboxMessage
from cwnotify.view.snapshot import PanelRequest
from cwnotify.watch.ec2_notices import InstanceMonitor

# All in seconds.
SHUTDOWN_GRACE_PERIOD = 1.5  # Jupyter interrupts a kernel before it shuts it down; wait to see which it is
GROUP_QUIET_PERIOD = 2.0
HANDOVER_TIMEOUT = 5.0  # how long a successor has to persist events this sidecar never received
HEARTBEAT_INTERVAL = 60.0
PROCESS_POLL_INTERVAL = 0.25
EXIT_TIMEOUT = 10.0  # after SIGTERM or SIGHUP; a stopping service signals the kernel at the same time
DRAIN_POLL_INTERVAL = 0.05
DISK_CHECK_INTERVAL = 5.0
INSTANCE_CHECK_INTERVAL = 0.05  # until the instance is known, which takes at most a second

log = logging.getLogger(__name__)


class Sidecar:
    """One kernel's sidecar.

    Parameters
    ----------
    lines, answers
        The pipe from the kernel and the pipe to it.
    pid, pidfd
        The kernel. The pidfd is -1 if the system has none.
    state_directory
        Where the outbox is.
    """

    def __init__(self, lines: Pipe, answers: Pipe, pid: int, pidfd: int, state_directory: Path) -> None:
        self._lines = lines
        self._answers = answers
        self._pidfd = pidfd
        self._kernel = identify_process(pid)
        self._count_oom_kills = create_oom_kill_counter(pid)
        self._oom_kills_at_start = self._count_oom_kills()
        self._attempt_ended = threading.Event()
        self._store = store = FailoverOutbox(state_directory, self._report_problem, self._on_outbox_moved)
        self._delivery = DeliveryThread(store.connect, store.owner, self._on_attempt_ended, self._report_problem)
        self._instance = InstanceMonitor(store.connect, self._delivery.wake)
        self._writer = AlertWriter(
            store, self._instance.add_instance_to_run, lambda: self._instance.is_identity_resolved
        )
        self._scheduler = sched.scheduler(time.monotonic)
        self._sampler = LoadSampler(self._schedule, lambda: self._panels.has_open_panels, self._on_load_sample)
        self._panels = PanelManager(
            store.connect, answers, self._instance, self._delivery.wake, self._sampler.cpu_by_run
        )
        self._destination = ""
        self._message_options = MessageOptions()
        self._has_kernel_said_goodbye = False
        # By `time.monotonic`.
        self._exit_deadline = math.inf
        # `request_exit` writes to it, because a signal handler does not end a poll.
        self._wake_reader, self._wake_writer = os.pipe()
        self._is_handed_over = False
        self._kernel_status: int | None = None
        # Interrupted runs whose kernel may be shutting down.
        self._interrupted: dict[str, RunResult] = {}
        self._group_changed_at = 0.0
        self._is_kernel_busy = False
        self._waiting_runs: set[str] = set()

    def run(self) -> None:
        """Run until the process may exit."""
        self._start()
        self._serve()
        if not self._is_handed_over and not self._is_overdue:
            self._report_lost_runs()
            self._drain()

    def request_exit(self) -> None:
        """Exit within `EXIT_TIMEOUT`, or once the kernel is gone and everything is sent. For signal handlers."""
        if self._exit_deadline == math.inf:
            self._exit_deadline = time.monotonic() + EXIT_TIMEOUT
            os.write(self._wake_writer, b"!")

    def close(self) -> None:
        """Close the outbox."""
        self._store.close()

    @property
    def _is_overdue(self) -> bool:
        return time.monotonic() >= self._exit_deadline

    # Start

    def _start(self) -> None:
        self._store.enable_file_logging()
        locale.override_translations(settings.load_settings()[0].words)
        self._delivery.check_transport()
        self._delivery.start()
        self._instance.start()
        self._answer(encode_pipe_message("ready"))
        self._adopt_runs()
        # Scheduled, so that messages in the pipe come first. If the kernel is gone, they report how its runs ended.
        self._schedule(0.0, lambda: self._sweep(is_first=True))
        self._apply_instance()
        self._record_heartbeats()
        self._check_disk_repeatedly()

    def _adopt_runs(self) -> None:
        """Take over the runs that an earlier sidecar of this kernel left open."""
        for id in self._writer.adopt_runs(self._kernel):
            self._sampler.start_run(id)
        if problems := self._writer.describe_problems():
            self._report_problem(problems)
        self._schedule(GROUP_QUIET_PERIOD, self._report_group)

    # Serve

    def _serve(self) -> None:
        """Handle messages until the kernel is gone or a successor has taken over.

        Messages that the kernel wrote before it exited are handled too.
        """
        reader = PipeMessageReader()
        poller = select.poll()
        poller.register(self._lines.fileno(), select.POLLIN)
        if self._pidfd >= 0:
            poller.register(self._pidfd, select.POLLIN)
        poller.register(self._wake_reader, select.POLLIN)
        is_pipe_open = True
        max_pause = HEARTBEAT_INTERVAL if self._pidfd >= 0 else PROCESS_POLL_INTERVAL
        next_action = 0.0
        while not self._is_handed_over and not self._is_overdue:
            pause = max(min(next_action, max_pause, self._exit_deadline - time.monotonic()), 0.0)
            ready = dict(poller.poll(pause * 1000))
            if self._wake_reader in ready:
                os.read(self._wake_reader, 1)
            is_kernel_gone = self._pidfd in ready if self._pidfd >= 0 else self._is_kernel_gone()
            if is_kernel_gone:
                self._kernel_status = read_wait_status(self._kernel.pid)
            if is_pipe_open and (is_kernel_gone or self._lines.fileno() in ready):
                is_pipe_open = self._read_messages(reader, until_end=is_kernel_gone)
                if not is_pipe_open:
                    poller.unregister(self._lines.fileno())
                    self._detach_from_kernel()
            if is_kernel_gone:
                return
            due_in = self._scheduler.run(blocking=False)
            next_action = max_pause if due_in is None else due_in

    def _schedule(self, seconds: float, action: Callable[[], object]) -> None:
        """Call `action` once, `seconds` from now, in the thread of `_serve`."""
        self._scheduler.enter(seconds, 0, _run_logged, (action,))

    def _is_kernel_gone(self) -> bool:
        # If the kernel died before it was identified, its start time is unknown.
        return not self._kernel.start or read_start_time(self._kernel.pid) != self._kernel.start

    def _read_messages(self, reader: PipeMessageReader, until_end: bool) -> bool:
        """Handle the messages in the pipe. Return False at the end of the pipe."""
        os.set_blocking(self._lines.fileno(), False)
        while True:
            try:
                data = self._lines.read()
            except BlockingIOError:
                return True
            if not data:
                return False
            for message in reader.feed(data):
                try:
                    self._handle(message)
                except Exception:
                    # It is damaged or from another version. Continue with the other messages.
                    log.exception("cannot handle a message of kind %s", message["kind"])
            if not until_end:
                return True

    def _handle(self, message: PipeMessage) -> None:
        match message["kind"]:
            case "hello" | "webhook":
                self._set_webhook(message["webhook"], message.get("environ"))
            case "started" | "noted" | "waiting" | "resumed" | "ended" | "too long":
                self._handle_run_message(message)
            case "busy":
                self._set_kernel_busy(message["busy"])
            case "drain":
                # The sidecar will be killed with the kernel, so no further cell can join the group.
                self._writer.enqueue_group_alert(self._kernel)
                self._delivery.wake()
                self._answer_when_drained()
            case "goodbye":
                self._has_kernel_said_goodbye = True
            case "watch":
                request = from_json_dict(PanelRequest, message["request"])
                self._open_panel(message["panel"], request, message.get("environ", {}))
            case "unwatch":
                self._panels.close_panel(message["panel"])
            case "refresh":
                self._panels.refresh()
            case "greet":
                options = self._message_options
                self._writer.enqueue_test_message(self._destination, options.lang, options.channel)
                self._delivery.wake()
            case "mute":
                AlarmStateStore(self._store.current).mute(self._destination, time.time() + message["seconds"])
                self._panels.request_update()
        if message.get("id"):
            self._answer(encode_pipe_message("ack", id=message["id"]))

    def _set_webhook(self, url: str | None, environ: dict[str, str] | None = None) -> None:
        webhook = Secret(url) if url else None
        self._destination = self._store.destination_for(webhook)
        look_up = destination.look_up_webhook
        if environ is not None:
            # An open panel has its own AWS settings.
            apply_environment(
                environ,
                lambda name: (
                    is_delivery_variable(name) and not (self._panels.has_open_panels and name.startswith("AWS_"))
                ),
            )
            inherited = {name: value for name, value in os.environ.items() if not is_delivery_variable(name)}
            look_up = partial(destination.look_up_webhook_in_subprocess, {**inherited, **environ})
        self._delivery.add_webhook(webhook, self._destination, look_up)
        self._instance.set_recipient(self._destination, self._message_options)
        self._panels.set_destination(self._destination)

    def _set_message_options(self, options: MessageOptions) -> None:
        """Use `options` for messages that belong to no run, and reload the user's custom texts."""
        locale.override_translations(settings.load_settings()[0].words)
        self._message_options = options
        self._instance.set_recipient(self._destination, options)

    def _open_panel(self, panel: str, request: PanelRequest, environ: dict[str, str]) -> None:
        self._set_message_options(MessageOptions(request.lang, request.zone, request.channel))
        self._panels.open_panel(panel, request, self._destination, environ)
        self._sampler.ensure_sampling()

    def _answer(self, line: bytes) -> None:
        try:
            self._answers.send(line)
        except OSError:
            # The kernel no longer reads. Alerts are in the outbox.
            pass

    def _answer_when_drained(self) -> None:
        if self._delivery.next_due_time(self._store.current) is None:
            self._answer(encode_pipe_message("drained"))
        else:
            self._schedule(DRAIN_POLL_INTERVAL, self._answer_when_drained)

    def _report_problem(self, text: str) -> None:
        self._answer(encode_pipe_message("trouble", text=text))

    # Runs

    def _handle_run_message(self, message: PipeMessage) -> None:
        urls = self._delivery.known_webhook_urls()
        match message["kind"]:
            case "started":
                self._on_run_started(redact_run(from_json_dict(Run, message["run"]), urls))
            case "noted":
                self._writer.record_progress(redact_run_result(from_json_dict(RunResult, message["ended"]), urls))
            case "waiting":
                run = redact_run(from_json_dict(Run, message["run"]), urls)
                wait, in_notebook = WaitReason(message["wait"]), bool(message["notebook"])
                self._waiting_runs.add(run.id)
                self._writer.enqueue_waiting_alert(run, wait, in_notebook, self._destination)
                self._delivery.wake()
            case "resumed":
                self._writer.withdraw_waiting_alert(message["run"])
            case "ended":
                ended = redact_run_result(from_json_dict(RunResult, message["ended"]), urls)
                self._on_run_ended(ended, may_be_shutdown=bool(message.get("hold")))
                self._delivery.wake()
            case "too long":
                self._handle_oversized(message)

    def _on_run_started(self, run: Run) -> None:
        # The kernel is still running, so earlier interrupts were not a shutdown. Send their alerts now.
        for ended in self._interrupted.values():
            self._writer.revise_unsent_alert(ended)
            self._delivery.wake()
        self._interrupted.clear()
        self._writer.record_run_start(run, self._kernel, self._destination)
        self._set_message_options(MessageOptions(run.options.lang, run.options.zone, run.options.channel))
        self._sampler.start_run(run.id)
        self._panels.request_update()

    def _on_run_ended(self, ended: RunResult, may_be_shutdown: bool) -> None:
        id = ended.run.id
        if id in self._waiting_runs:
            # Its waiting alert may be in delivery. Withdraw it later, so that it does not arrive long after the end.
            self._waiting_runs.discard(id)
            self._schedule(IN_FLIGHT_PERIOD + 1.0, lambda: self._writer.withdraw_waiting_alert(id))
        ended = replace(ended, cpu=self._sampler.finish_run(id))
        self._panels.request_update()
        if ended.run.options.together:
            self._writer.hold_for_group(ended, self._kernel, self._destination)
            if ended.outcome is Outcome.FINISHED:
                self._report_group_when_quiet()
            else:
                self._writer.enqueue_group_alert(self._kernel)
            return
        due = None
        if may_be_shutdown and ended.outcome is Outcome.INTERRUPTED:
            self._interrupted[id] = ended
            due = time.time() + SHUTDOWN_GRACE_PERIOD
            self._schedule(SHUTDOWN_GRACE_PERIOD, lambda: self._interrupted.pop(id, None))
        self._writer.record_run_end(ended, self._destination, due)

    def _handle_oversized(self, message: PipeMessage) -> None:
        """Report how a run ended, without details, from another version's message that is too long to read."""
        runs = {open_run.run.id: open_run.run for open_run in self._store.current.list_open_runs()}
        run = runs.get(message["id"].removesuffix(" ended"))
        if message["was"] == "ended" and run and message["outcome"] in set(Outcome):
            now = time.time()
            ended = RunResult(run, Outcome(message["outcome"]), max(now - run.started, 0.0), now)
            self._on_run_ended(ended, may_be_shutdown=False)
            self._delivery.wake()
            self._report_problem(
                f"the alert about {run.name or 'a cell'} has no details, because they are too long to send"
            )
        else:
            self._report_problem(f"a message to the sidecar ({message['was']}) is too long; an alert may be missing")

    def _set_kernel_busy(self, is_busy: bool) -> None:
        """Record that a cell after a grouped run began or ended. The group's alert waits for such cells."""
        self._is_kernel_busy = is_busy
        if not is_busy:
            self._report_group_when_quiet()

    def _report_group_when_quiet(self) -> None:
        self._group_changed_at = time.monotonic()
        self._schedule(GROUP_QUIET_PERIOD, self._report_group)

    def _report_group(self) -> None:
        """Report the held runs, unless a cell of the group or of its Run All is running or ended recently."""
        is_quiet = time.monotonic() - self._group_changed_at >= GROUP_QUIET_PERIOD - 0.01
        if is_quiet and not self._is_kernel_busy and not self._writer.is_group_running(self._kernel):
            self._writer.enqueue_group_alert(self._kernel)
            self._delivery.wake()

    # Repeated work, and calls from other threads

    def _on_attempt_ended(self, message: OutboxMessage, state: str, reason: str) -> None:
        self._attempt_ended.set()
        self._answer(encode_pipe_message("told", run=message.id, state=state, reason=reason))
        self._panels.request_update()

    def _on_outbox_moved(self) -> None:
        self._delivery.reopen_outbox()

    def _on_load_sample(self, sample: LoadSample, covers_interval: bool) -> None:
        self._writer.latest_load = sample
        if covers_interval:
            self._panels.add_load_sample(sample)

    def _record_heartbeats(self) -> None:
        self._writer.record_heartbeats(self._sampler.open_run_ids())
        self._schedule(HEARTBEAT_INTERVAL, self._record_heartbeats)

    def _apply_instance(self) -> None:
        """Send the alerts that wait for their instance, as soon as it is known."""
        if not self._instance.is_identity_resolved:
            self._schedule(INSTANCE_CHECK_INTERVAL, self._apply_instance)
        else:
            self._writer.apply_instance()
            self._delivery.wake()

    def _sweep(self, is_first: bool = False) -> None:
        """Report runs whose kernel and sidecar are gone, release their leases, and expire old messages."""
        self._writer.recover_orphaned_runs()
        if not is_first:
            # Not at the first sweep: until the webhook is known, messages that can still be sent would expire.
            self._writer.expire_messages(self._delivery.list_destinations())
        AlarmStateStore(self._store.current).enqueue_held_changes(time.time())
        self._delivery.wake()
        self._schedule(HEARTBEAT_INTERVAL, self._sweep)

    def _check_disk(self) -> None:
        """Move the outbox to memory if the disk fails, and back when it works."""
        try:
            error = self._delivery.store_error or self._instance.store_error
            if error and self._store.is_home:
                self._store.fall_back_to_memory(error)
            self._store.return_to_disk()
        except sqlite3.Error:
            log.exception("the outbox in memory failed too")

    def _check_disk_repeatedly(self) -> None:
        self._check_disk()
        self._schedule(DISK_CHECK_INTERVAL, self._check_disk_repeatedly)

    # Hand over

    def _detach_from_kernel(self) -> None:
        """Close our end when the kernel can send nothing more. The kernel sees EOF and starts a new sidecar.

        Keep the descriptor number in use, so that a thread that is answering cannot write to another file.
        """
        self._panels.close_all()
        if (answers := self._answers.fileno()) >= 0:
            os.dup2(0, answers)
        self._schedule(HANDOVER_TIMEOUT, self._try_hand_over)

    def _try_hand_over(self) -> None:
        """Exit if a successor of the same kernel has adopted everything that was ours."""
        self._schedule(HANDOVER_TIMEOUT, self._try_hand_over)
        start_time = float(read_start_time(os.getpid()))
        has_successor = any(
            float(read_start_time(pid) or 0) > start_time for pid in find_other_sidecars(self._kernel.pid)
        )
        # Hold delivery during the handover: an attempt cut off by our exit could be repeated by the successor.
        if not has_successor or self._interrupted or not self._delivery.attempt_lock.acquire(blocking=False):
            return
        try:
            self._is_handed_over = not self._writer.has_pending_work()
        finally:
            if not self._is_handed_over:
                self._delivery.attempt_lock.release()

    # Report lost runs, drain, exit

    def _report_lost_runs(self) -> None:
        """Report every open run of the kernel as lost. After a shutdown, report interrupted runs as lost too."""
        if not self._has_kernel_said_goodbye and has_other_sidecar(self._kernel.pid, self._kernel_status):
            time.sleep(min(HANDOVER_TIMEOUT, max(self._exit_deadline - time.monotonic(), 0.0)))
        oom_kills = self._count_oom_kills() - self._oom_kills_at_start
        loss = infer_loss(self._kernel_status, oom_kills, self._has_kernel_said_goodbye)
        if self._has_kernel_said_goodbye:
            shutdown = infer_loss(None, 0, True)
            for ended in self._interrupted.values():
                self._writer.revise_unsent_alert(replace(ended, outcome=Outcome.LOST, loss=shutdown))
        self._writer.report_lost_runs(self._kernel, loss, time.time(), self._sampler.cpu_by_run())
        # If the kernel died before it was identified, its runs are stored under another identity.
        self._writer.recover_orphaned_runs()
        self._delivery.wake()
        self._panels.close_all()
        if self._writer.has_alerts_awaiting_instance:
            self._instance.wait_for_identity(INSTANCE_LOOKUP_TIMEOUT)
            self._writer.apply_instance()
            self._delivery.wake()
        if AlarmStateStore(self._store.current).enqueue_held_changes(time.time(), flush_all=True):
            self._delivery.wake()

    def _drain(self) -> None:
        """Wait until every message for our webhooks is delivered, or given up after the delivery timeout."""
        deadline = time.monotonic() + MAX_DELIVERY_AGE
        while not self._is_overdue:
            self._check_disk()
            due = self._delivery.next_due_time(self._store.current)
            # Until the outbox in memory is moved back to disk, the state of our runs on disk is outdated.
            if due is None and (self._store.is_home or time.monotonic() > deadline):
                return
            # A message being sent counts as due when its lease ends. The attempt ends earlier and sets the event.
            pause = DISK_CHECK_INTERVAL if due is None else min(max(due - time.time(), 0.05), DISK_CHECK_INTERVAL)
            self._attempt_ended.wait(min(pause, max(self._exit_deadline - time.monotonic(), 0.0)))
            self._attempt_ended.clear()


def _run_logged(action: Callable[[], object]) -> None:
    """Run a scheduled action. An error must not cancel the others."""
    try:
        action()
    except Exception:
        log.exception("a scheduled action failed")
