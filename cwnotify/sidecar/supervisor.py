"""The sidecar's life: start, serve, drain, leave.

It starts with the first armed run, in a session of its own and as nobody's child, so that no signal meant for the
kernel reaches it and no ``os.wait`` in a cell finds it. It serves the kernel's lines until the kernel is gone,
which a pidfd tells within milliseconds. Then it tells what was lost, drains the outbox, and leaves. Killed at any
moment it loses nothing that it acknowledged: the next sidecar to start takes over from the same outbox.
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
from cwnotify.store.outbox import IN_FLIGHT_PERIOD
from cwnotify.store.schema import OutboxMessage
from cwnotify.view.snapshot import PanelRequest
from cwnotify.watch.ec2_notices import InstanceMonitor

# A kernel that is shut down in mid-cell is interrupted first: wait so long to see whether it leaves.
SHUTDOWN_GRACE_PERIOD = 1.5
GROUP_QUIET_PERIOD = 2.0
# So long another sidecar of the same process has to take down what this one was not told.
HANDOVER_TIMEOUT = 5.0
HEARTBEAT_INTERVAL = 60.0
PROCESS_POLL_INTERVAL = 0.25
# How long it goes on after SIGTERM or SIGHUP, in seconds: a service that stops signals the kernel at the same time.
EXIT_TIMEOUT = 10.0
DRAIN_POLL_INTERVAL = 0.05
DISK_CHECK_INTERVAL = 5.0
# Until this instance is known, at most a second after the start.
INSTANCE_CHECK_INTERVAL = 0.05

log = logging.getLogger(__name__)


class Sidecar:
    """One kernel's sidecar.

    Parameters
    ----------
    lines, answers
        The pipe from the kernel and the one to it.
    pid, pidfd
        The kernel; the pidfd is -1 where the system has none.
    """

    def __init__(self, lines: Pipe, answers: Pipe, pid: int, pidfd: int, books: AlertWriter) -> None:
        self._lines = lines
        self._answers = answers
        self._pidfd = pidfd
        self._books = books
        self._kernel = identify_process(pid)
        self._oom_count = create_oom_kill_counter(pid)
        self._oom_before = self._oom_count()
        self._attempted = threading.Event()
        self._delivery = DeliveryThread(books.connect, books.owner, self._told, self._complain)
        self._machine = InstanceMonitor(books.connect, self._delivery.wake)
        self._scheduler = sched.scheduler(time.monotonic)
        self._courses = LoadSampler(self._later, lambda: self._panels.has_open_panels, self._sampled)
        self._panels = PanelManager(
            books.connect, answers, self._machine, self._delivery.wake, self._courses.cpu_by_run
        )
        books.add_instance_to_run = self._machine.add_instance_to_run
        books.is_instance_known = lambda: self._machine.is_identity_resolved
        books.report_problem = self._complain
        books.on_storage_changed = self._delivery.reopen_outbox
        self._destination = ""
        self._voice = MessageOptions()
        self._goodbye = False
        # When it has to end, by `time.monotonic`.
        self._leave_at = math.inf
        # Written to by `leave_soon`, for a signal does not end a poll.
        self._wakes, self._wake = os.pipe()
        self._is_relieved = False
        self._status: int | None = None
        self._interrupted: dict[str, RunResult] = {}
        self._together_last = 0.0
        self._is_busy = False
        self._waiting: set[str] = set()

    def run(self) -> None:
        """All of it."""
        locale.override_translations(settings.load_settings()[0].words)
        self._delivery.check_transport()
        self._delivery.start()
        self._machine.start()
        self._answer(encode_pipe_message("ready", pid=os.getpid()))
        self._take_up()
        # After the lines that wait already: the kernel may be gone, and they say how its runs ended.
        self._later(0.0, lambda: self._look_around(at_start=True))
        self._name_instance()
        self._heartbeat()
        self._keep_looking_at_disk()
        self._serve()
        if not self._is_relieved and not self._is_late:
            self._mourn()
            self._drain()

    def request_exit(self) -> None:
        """End within `EXIT_TIMEOUT`, or once the kernel is gone and everything is sent. For signal handlers."""
        if self._leave_at == math.inf:
            self._leave_at = time.monotonic() + EXIT_TIMEOUT
            os.write(self._wake, b"!")

    @property
    def _is_late(self) -> bool:
        return time.monotonic() >= self._leave_at

    # Serving

    def _serve(self) -> None:
        """Read lines until the kernel is gone or we are relieved; what it wrote before it went is read too."""
        reader = PipeMessageReader()
        poller = select.poll()
        poller.register(self._lines.fileno(), select.POLLIN)
        if self._pidfd >= 0:
            poller.register(self._pidfd, select.POLLIN)
        poller.register(self._wakes, select.POLLIN)
        piped = True
        next_action = 0.0
        longest = HEARTBEAT_INTERVAL if self._pidfd >= 0 else PROCESS_POLL_INTERVAL
        while not self._is_relieved and not self._is_late:
            pause = max(min(next_action, longest, self._leave_at - time.monotonic()), 0.0)
            ready = dict(poller.poll(pause * 1000))
            if self._wakes in ready:
                os.read(self._wakes, 1)
            dead = self._pidfd in ready if self._pidfd >= 0 else self._is_gone()
            if dead:
                self._status = read_wait_status(self._kernel.pid)
            if piped and (dead or self._lines.fileno() in ready):
                piped = self._take_lines(reader, to_the_end=dead)
                if not piped:
                    poller.unregister(self._lines.fileno())
                    self._hang_up()
            if dead:
                return
            due_in = self._scheduler.run(blocking=False)
            next_action = longest if due_in is None else due_in

    def _later(self, seconds: float, action: Callable[[], object]) -> None:
        """Call `action` once, `seconds` from now, in the thread of `_serve`."""
        self._scheduler.enter(seconds, 0, _run_logged, (action,))

    def _hang_up(self) -> None:
        """The kernel can tell us nothing more: who waits for our answers finds their end, and starts another sidecar.

        Their number is not free for a file of ours: a thread that answers at this moment must not write into it.
        """
        self._panels.close_all()
        if (answers := self._answers.fileno()) >= 0:
            os.dup2(0, answers)
        self._later(HANDOVER_TIMEOUT, self._look_for_relief)

    def _look_for_relief(self) -> None:
        """Leave when a later sidecar of the kernel has taken over all that was ours."""
        self._later(HANDOVER_TIMEOUT, self._look_for_relief)
        ours = float(read_start_time(os.getpid()))
        later = any(float(read_start_time(one) or 0) > ours for one in find_other_sidecars(self._kernel.pid))
        # Held while we look, and for good when we leave: an attempt that our end cut off might be made twice.
        if not later or self._interrupted or not self._delivery.attempt_lock.acquire(blocking=False):
            return
        try:
            self._is_relieved = not self._books.has_pending_work()
        finally:
            if not self._is_relieved:
                self._delivery.attempt_lock.release()

    def _take_lines(self, reader: PipeMessageReader, to_the_end: bool) -> bool:
        """Read and obey; tells whether there may be more."""
        os.set_blocking(self._lines.fileno(), False)
        while True:
            try:
                data = self._lines.read()
            except BlockingIOError:
                return True
            if not data:
                return False
            for line in reader.feed(data):
                try:
                    self._obey(line)
                except Exception:
                    # Another version's, or damaged: it must not end the watch over all the others.
                    log.exception("a line of kind %s cannot be used", line["kind"])
            if not to_the_end:
                return True

    def _obey(self, line: PipeMessage) -> None:
        match line["kind"]:
            case "hello" | "webhook":
                self._aim(line["webhook"], line.get("environ"))
            case "started":
                self._started(redact_run(from_json_dict(Run, line["run"]), self._delivery.known_webhook_urls()))
            case "noted":
                so_far = redact_run_result(
                    from_json_dict(RunResult, line["ended"]), self._delivery.known_webhook_urls()
                )
                self._books.progress_by_run[so_far.run.id] = so_far
            case "waiting":
                run = redact_run(from_json_dict(Run, line["run"]), self._delivery.known_webhook_urls())
                self._waiting.add(run.id)
                self._books.enqueue_waiting_alert(
                    run, WaitReason(line["wait"]), bool(line["notebook"]), self._destination
                )
                self._delivery.wake()
            case "resumed":
                self._books.withdraw_waiting_alert(line["run"])
            case "busy":
                self._busy(line["busy"])
            case "ended":
                ended = redact_run_result(from_json_dict(RunResult, line["ended"]), self._delivery.known_webhook_urls())
                self._ended(ended, bool(line.get("hold")))
                self._delivery.wake()
            case "drain":
                # It ends with the kernel, and no further cell joins those that are told together.
                self._books.enqueue_group_alert(self._kernel)
                self._delivery.wake()
                self._answer_when_drained()
            case "goodbye":
                self._goodbye = True
            case "watch":
                self._open_panel(line["panel"], from_json_dict(PanelRequest, line["request"]), line.get("environ", {}))
            case "unwatch":
                self._panels.close_panel(line["panel"])
            case "refresh":
                self._panels.refresh()
            case "greet":
                self._books.enqueue_test_message(self._destination, self._voice.lang, self._voice.channel)
                self._delivery.wake()
            case "mute":
                AlarmStateStore(self._books.outbox).mute(self._destination, time.time() + line["seconds"])
                self._panels.request_update()
            case "too long":
                self._too_long(line)
        if line.get("id"):
            self._answer(encode_pipe_message("ack", id=line["id"]))

    def _aim(self, url: str | None, environ: dict[str, str] | None = None) -> None:
        webhook = Secret(url) if url else None
        self._destination = self._books.destination_for(webhook)
        look_up = destination.look_up_webhook
        if environ is not None:
            # An open panel has its own view of AWS.
            apply_environment(
                environ,
                lambda name: (
                    is_delivery_variable(name) and not (self._panels.has_open_panels and name.startswith("AWS_"))
                ),
            )
            kept = {name: value for name, value in os.environ.items() if not is_delivery_variable(name)}
            look_up = partial(destination.look_up_webhook_in_subprocess, {**kept, **environ})
        self._delivery.add_webhook(webhook, self._destination, look_up)
        self._machine.set_recipient(self._destination, self._voice)
        self._panels.set_destination(self._destination)

    def _started(self, run: Run) -> None:
        # The kernel went on: what was interrupted before was just that, and need not wait any longer.
        for ended in self._interrupted.values():
            self._books.revise_unsent_alert(ended)
            self._delivery.wake()
        self._interrupted.clear()
        self._books.record_run_start(run, self._kernel, self._destination)
        options = run.options
        self._speak(MessageOptions(options.lang, options.zone, options.channel))
        self._courses.start_run(run.id)
        self._panels.request_update()

    def _too_long(self, line: PipeMessage) -> None:
        """Report how a run ended, without details, from a line of another version's that is too long to be read."""
        runs = {one.run.id: one.run for one in self._books.outbox.list_open_runs()}
        run = runs.get(line["id"].removesuffix(" ended"))
        if line["was"] == "ended" and run and line["outcome"] in set(Outcome):
            now = time.time()
            self._ended(RunResult(run, Outcome(line["outcome"]), max(now - run.started, 0.0), now), hold=False)
            self._delivery.wake()
            self._complain(f"the alert about {run.name or 'a cell'} has no details; they are too long to be sent")
        else:
            self._complain(f"a message to the sidecar ({line['was']}) is too long; an alert may be missing")

    def _open_panel(self, panel: str, request: PanelRequest, environ: dict[str, str]) -> None:
        self._speak(MessageOptions(request.lang, request.zone, request.channel))
        self._panels.open_panel(panel, request, self._destination, environ)
        self._courses.ensure_sampling()

    def _speak(self, voice: MessageOptions) -> None:
        """Speak so of what belongs to no run, and of everything in the user's own words, as they are now."""
        locale.override_translations(settings.load_settings()[0].words)
        self._voice = voice
        self._machine.set_recipient(self._destination, voice)

    def _ended(self, ended: RunResult, hold: bool) -> None:
        self._books.progress_by_run.pop(ended.run.id, None)
        if ended.run.id in self._waiting:
            # Its alert may be on its way. If Slack cannot be reached, it must not come long after the end.
            self._waiting.discard(ended.run.id)
            self._later(IN_FLIGHT_PERIOD + 1.0, lambda: self._books.withdraw_waiting_alert(ended.run.id))
        ended = replace(ended, cpu=self._courses.finish_run(ended.run.id))
        self._panels.request_update()
        if ended.run.options.together:
            self._books.hold_for_group(ended, self._kernel, self._destination)
            if ended.outcome is Outcome.FINISHED:
                self._together_last = time.monotonic()
                self._later(GROUP_QUIET_PERIOD, self._tell_together)
            else:
                self._books.enqueue_group_alert(self._kernel)
            return
        due = None
        if hold and ended.outcome is Outcome.INTERRUPTED:
            self._interrupted[ended.run.id] = ended
            due = time.time() + SHUTDOWN_GRACE_PERIOD
            self._later(SHUTDOWN_GRACE_PERIOD, lambda: self._interrupted.pop(ended.run.id, None))
        self._books.record_run_end(ended, self._destination, due)

    def _busy(self, is_busy: bool) -> None:
        """A cell began right after one of a group, or ended: what is held waits for the cells that follow it."""
        self._is_busy = is_busy
        if not is_busy:
            self._together_last = time.monotonic()
            self._later(GROUP_QUIET_PERIOD, self._tell_together)

    def _tell_together(self) -> None:
        """Tell what was held, unless a further cell of the group, or of its Run All, began or ended since."""
        quiet = time.monotonic() - self._together_last >= GROUP_QUIET_PERIOD - 0.01
        if quiet and not self._is_busy and not self._books.is_group_running(self._kernel):
            self._books.enqueue_group_alert(self._kernel)
            self._delivery.wake()

    def _answer_when_drained(self) -> None:
        if self._delivery.next_due_time(self._books.outbox) is None:
            self._answer(encode_pipe_message("drained"))
        else:
            self._later(DRAIN_POLL_INTERVAL, self._answer_when_drained)

    def _answer(self, line: bytes) -> None:
        try:
            self._answers.send(line)
        except OSError:
            # The kernel no longer listens; what it was to hear is in the outbox.
            pass

    def _complain(self, text: str) -> None:
        self._answer(encode_pipe_message("trouble", text=text))

    def _take_up(self) -> None:
        """Watch the runs that an earlier sidecar of this kernel left open."""
        for id in self._books.adopt_runs(self._kernel):
            self._courses.start_run(id)
        if complaint := self._books.describe_problems():
            self._complain(complaint)
        self._later(GROUP_QUIET_PERIOD, self._tell_together)

    def _told(self, message: OutboxMessage, state: str, reason: str) -> None:
        self._attempted.set()
        self._answer(encode_pipe_message("told", run=message.id, state=state, reason=reason))
        self._panels.request_update()

    # Watching the host

    def _sampled(self, vitals: LoadSample, covers: bool) -> None:
        self._books.latest_load = vitals
        if covers:
            self._panels.add_load_sample(vitals)

    def _heartbeat(self) -> None:
        self._books.record_heartbeats(self._courses.open_run_ids())
        self._later(HEARTBEAT_INTERVAL, self._heartbeat)

    def _name_instance(self) -> None:
        """Send the alerts that waited for the name of their instance, as soon as it is known."""
        if not self._machine.is_identity_resolved:
            self._later(INSTANCE_CHECK_INTERVAL, self._name_instance)
        else:
            self._books.apply_instance()
            self._delivery.wake()

    def _look_around(self, at_start: bool = False) -> None:
        """Tell of runs whose watchers are gone too, and take what they had claimed."""
        self._books.recover_orphaned_runs()
        if not at_start:
            # By now it is known which webhook is ours: what waited while the machine was off is to be sent yet.
            self._books.expire_messages(self._delivery.list_destinations())
        AlarmStateStore(self._books.outbox).enqueue_held_changes(time.time())
        self._delivery.wake()
        self._later(HEARTBEAT_INTERVAL, self._look_around)

    # The end

    def _is_gone(self) -> bool:
        # One that was dead before it could be named has no start.
        return not self._kernel.start or read_start_time(self._kernel.pid) != self._kernel.start

    def _mourn(self) -> None:
        """The kernel is gone: every run of its that is open was lost, and an interrupt may have been a shutdown."""
        if not self._goodbye and has_other_sidecar(self._kernel.pid, self._status):
            time.sleep(min(HANDOVER_TIMEOUT, max(self._leave_at - time.monotonic(), 0.0)))
        loss = infer_loss(self._status, self._oom_count() - self._oom_before, self._goodbye)
        for ended in self._interrupted.values() if self._goodbye else ():
            self._books.revise_unsent_alert(
                replace(ended, outcome=Outcome.LOST, loss=infer_loss(None, 0, announced_exit=True))
            )
        self._books.report_lost_runs(self._kernel, loss, time.time(), self._courses.cpu_by_run())
        # One that was gone before it could be named left its runs under its true name.
        self._books.recover_orphaned_runs()
        self._delivery.wake()
        self._panels.close_all()
        if self._books.has_alerts_awaiting_instance:
            self._machine.wait_for_identity(INSTANCE_LOOKUP_TIMEOUT)
            self._books.apply_instance()
            self._delivery.wake()
        if AlarmStateStore(self._books.outbox).enqueue_held_changes(time.time(), flush_all=True):
            self._delivery.wake()

    def _drain(self) -> None:
        """Stay until nothing waits for our webhooks; a longer outage is over when Slack is back or patience ends."""
        patience = time.monotonic() + MAX_DELIVERY_AGE
        while not self._is_late:
            self._look_at_disk()
            due = self._delivery.next_due_time(self._books.outbox)
            # What the disk holds of our runs is wrong until it takes what memory knows.
            if due is None and (self._books.is_on_primary_storage or time.monotonic() > patience):
                return
            # A message on its way counts as due at the end of its lease: the attempt's end comes first.
            pause = DISK_CHECK_INTERVAL if due is None else min(max(due - time.time(), 0.05), DISK_CHECK_INTERVAL)
            self._attempted.wait(min(pause, max(self._leave_at - time.monotonic(), 0.0)))
            self._attempted.clear()

    def _look_at_disk(self) -> None:
        """Leave a disk that takes no more; go back to it when it does."""
        try:
            failed = self._delivery.store_error or self._machine.store_error
            if failed and self._books.is_on_primary_storage:
                self._books.fall_back_to_memory(failed)
            self._books.return_to_disk()
        except sqlite3.Error:
            log.exception("the outbox fails in memory too")

    def _keep_looking_at_disk(self) -> None:
        self._look_at_disk()
        self._later(DISK_CHECK_INTERVAL, self._keep_looking_at_disk)


def _run_logged(action: Callable[[], object]) -> None:
    """Run a scheduled action; its failure must not cancel the others."""
    try:
        action()
    except Exception:
        log.exception("a scheduled action failed")
