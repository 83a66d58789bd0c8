"""The kernel's end of the pipe: start the sidecar, send it events, start it again when it is gone.

This runs in the process that trains. No call blocks on the sidecar, no event is lost, and only modules that a kernel
has loaded already are imported: the standard library, `alerts`, `console`, `errors`, `settings`, and
`native_threads`, `protocol` and `spawn` of this package.
"""

from __future__ import annotations

import atexit
import contextvars
import fcntl
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from cwnotify.alerts.events.runs import Run, RunResult, WaitReason
from cwnotify.alerts.serialization import to_json_dict
from cwnotify.console import warn_once
from cwnotify.settings import Secret
from cwnotify.settings.child_environment import (
    build_child_environment,
    build_delivery_environment,
    build_panel_environment,
)
from cwnotify.sidecar import native_threads
from cwnotify.sidecar.protocol import Pipe, PipeMessage, PipeMessageReader, encode_pipe_message
from cwnotify.sidecar.spawn import MAX_VARIABLE_LENGTH, is_killed_with_process, launch_sidecar

if TYPE_CHECKING:
    from cwnotify.view.snapshot import PanelRequest

PIPE_CAPACITY = 1 << 20  # bytes
# In seconds, by the number of consecutive exits.
RESTART_DELAYS = (0.0, 0.2, 1.0, 5.0, 15.0, 60.0)
# A sidecar that ran for this long (in seconds) ends a series of exits.
MIN_STABLE_UPTIME = 60.0
# Consecutive exits after which the user is warned, and after which no further sidecar is started automatically.
EXITS_BEFORE_WARNING, MAX_CONSECUTIVE_EXITS = 3, 10
# At exit, in seconds: to get all events to disk, and to Slack if the sidecar is killed with this process.
EXIT_STORE_TIMEOUT, EXIT_DELIVERY_TIMEOUT = 5.0, 10.0
# In seconds, between two attempts to write what the full pipe did not take.
MIN_FLUSH_INTERVAL, MAX_FLUSH_INTERVAL = 0.005, 0.05
MAX_EXIT_REASON_LENGTH, MAX_STDERR_BYTES = 300, 1 << 16


class SidecarClient:
    """This process's connection to its sidecar, which starts with the first run or panel.

    Parameters
    ----------
    use_pidfd
        Whether the sidecar watches this process through a pidfd. Without one it polls.

    Attributes
    ----------
    on_message
        Called with each answer except snapshots, in the reader thread.
    pending_warnings
        Texts to show to the user.
    failure_reason
        Why sidecars exit as soon as they start. Empty while one answers.
    show_warning
        Shows a text to the user at once.
    process_id
        The process that created this object. In a forked child nothing is sent.
    """

    def __init__(self, use_pidfd: bool = True) -> None:
        self.on_message: Callable[[PipeMessage], None] = lambda message: None
        self.pending_warnings: list[str] = []
        self.failure_reason = ""
        self.show_warning: Callable[[str], None] = warn_once
        self.process_id = os.getpid()
        self._use_pidfd = use_pidfd and hasattr(os, "pidfd_open")
        self._webhook: Secret | None = None
        self._condition = native_threads.Condition()
        self._lines: Pipe | None = None
        self._answers: Pipe | None = None
        self._errors: Pipe | None = None
        self._unacknowledged: dict[str, bytes] = {}
        self._open_runs: set[str] = set()
        self._panels: dict[str, tuple[PanelRequest, Callable[[PipeMessage], None]]] = {}
        self._start_error = ""
        # Whether a reader thread runs. It starts another sidecar if necessary.
        self._has_reader = False
        self._is_flushing = False
        self._is_drained = False
        self._is_closed = False
        os.register_at_fork(after_in_child=self._abandon_in_child)
        atexit.register(self.close)

    def set_webhook(self, webhook: Secret | None) -> None:
        """Send alerts to `webhook` from now on."""
        if os.getpid() != self.process_id:
            return
        with self._condition:
            if webhook != self._webhook:
                self._webhook = webhook
                url = webhook.reveal() if webhook else None
                self._write(encode_pipe_message("webhook", webhook=url, environ=build_delivery_environment()))

    def report_run_started(self, run: Run) -> None:
        """Report that a run began."""
        self._open_runs.add(run.id)
        self._send(f"{run.id} started", "started", run=to_json_dict(run))

    def report_run_progress(self, so_far: RunResult) -> None:
        """Report how far a run has come, as if it were lost now. Only the newest counts, so none is sent again."""
        if os.getpid() != self.process_id:
            return
        with self._condition:
            self._write(encode_pipe_message("noted", ended=to_json_dict(so_far)), at_most_once=True)

    def report_run_waiting(self, run: Run, wait: WaitReason, in_notebook: bool) -> None:
        """Report that a run waits for the user, in a notebook or at its terminal."""
        self._send(f"{run.id} waiting", "waiting", run=to_json_dict(run), wait=wait, notebook=in_notebook)

    def report_run_resumed(self, run: Run) -> None:
        """Report that a run waits no longer."""
        with self._condition:
            if os.getpid() == self.process_id:
                self._unacknowledged.pop(f"{run.id} waiting", None)
                self._write(encode_pipe_message("resumed", run=run.id))

    def report_cell_activity(self, is_busy: bool) -> None:
        """Report that a cell began, or ended, that may belong to the same Run All as a group of runs."""
        with self._condition:
            if os.getpid() == self.process_id:
                self._write(encode_pipe_message("busy", busy=is_busy))

    def report_run_ended(self, ended: RunResult, hold: bool = False) -> None:
        """Report how a run ended.

        Parameters
        ----------
        hold
            Whether an interrupt may be the beginning of a shutdown.
        """
        self._open_runs.discard(ended.run.id)
        self._send(f"{ended.run.id} ended", "ended", ended=to_json_dict(ended), hold=hold)

    def wait_until_stored(self, seconds: float) -> bool:
        """Wait until all events are acknowledged, or cannot be. Return whether they are."""
        self._condition.wait_for(lambda: not self._unacknowledged or bool(self.failure_reason), seconds)
        return not self._unacknowledged

    def subscribe(self, panel_id: str, request: PanelRequest, on_snapshot: Callable[[PipeMessage], None]) -> None:
        """Call `on_snapshot` with snapshots for `request`, in the reader thread. Call again to change the request."""
        with self._condition:
            self._panels[panel_id] = request, on_snapshot
            # A new sidecar receives all panels.
            if not self._start_if_needed():
                self._write(_encode_watch(panel_id, request))

    def unsubscribe(self, panel_id: str) -> None:
        """Stop the snapshots for a panel."""
        with self._condition:
            self._panels.pop(panel_id, None)
            self._write(encode_pipe_message("unwatch", panel=panel_id))

    def send_command(self, kind: str, **values: object) -> None:
        """Send ``refresh``, ``greet`` or ``mute``, which are not sent again to the next sidecar."""
        with self._condition:
            self._start_if_needed()
            self._write(encode_pipe_message(kind, **values))

    def close(self) -> None:
        """Say goodbye once all events are on disk. The sidecar still reads what is in the pipe.

        If the sidecar is killed with this process, wait until Slack has everything.
        """
        if os.getpid() != self.process_id or self._is_closed:
            return
        if (
            self._has_reader
            and self.wait_until_stored(EXIT_STORE_TIMEOUT)
            and is_killed_with_process(self.process_id, os.environ)
        ):
            with self._condition:
                self._write(encode_pipe_message("drain"))
            self._condition.wait_for(lambda: self._is_drained or self._lines is None, EXIT_DELIVERY_TIMEOUT)
        while self.pending_warnings:
            self.show_warning(self.pending_warnings.pop(0))
        with self._condition:
            if self._lines is None and self._unacknowledged:
                self._start()
            self._is_closed = True
            self._write(encode_pipe_message("goodbye"))
        # What is not in the pipe yet is lost with this process.
        self._flush_for(EXIT_STORE_TIMEOUT)
        with self._condition:
            self._close_lines()
        self._condition.notify_all()

    # Writing. These are called with the lock held, except where they take it.

    def _send(self, id: str, kind: str, **values: object) -> None:
        """Write an event, which takes microseconds, and remember it until the sidecar has it on disk."""
        line = encode_pipe_message(kind, id=id, **values)
        # Before the lock: in a forked child, a thread that does not exist there may hold it.
        if os.getpid() != self.process_id:
            return
        with self._condition:
            if self._is_closed:
                return
            self._unacknowledged[id] = line
            if self._lines is not None:
                self._write(line)
            elif not self._has_reader:
                self._start()
                self._start_reader()

    def _write(self, line: bytes, at_most_once: bool = False) -> None:
        if self._lines is None:
            return
        try:
            if at_most_once:
                self._lines.try_send(line)
            else:
                self._lines.send(line)
            if not self._lines.flush():
                self._flush_later()
        except OSError:
            # The sidecar is gone. The reader thread sees EOF and starts another.
            self._close_lines()

    def _flush_later(self) -> None:
        """Write the rest in a thread when the pipe has room. It may be part of the last line for a long time."""
        if self._is_flushing:
            return
        self._is_flushing = True
        try:
            native_threads.start_thread(self._flush_in_thread, ())
        except RuntimeError:
            self._is_flushing = False

    def _flush_in_thread(self) -> None:
        self._flush_for(math.inf)
        self._is_flushing = False

    def _flush_for(self, seconds: float) -> None:
        """Wait until the pipe has taken all lines. Takes the lock."""
        deadline, pause = native_threads.monotonic() + seconds, MIN_FLUSH_INTERVAL
        while native_threads.monotonic() < deadline:
            with self._condition:
                try:
                    if self._lines is None or self._lines.flush():
                        return
                except OSError:
                    return
            self._condition.wait_for(lambda: self._lines is None, pause)
            pause = min(2 * pause, MAX_FLUSH_INTERVAL)

    def _close_lines(self) -> None:
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    # Starting

    def _start_if_needed(self) -> bool:
        """Start a sidecar if there is none and none will be started. Return whether one was started."""
        if self._lines is not None or self._has_reader or self._is_closed or os.getpid() != self.process_id:
            return False
        self._start()
        self._start_reader()
        return True

    def _start(self) -> None:
        """Start a sidecar, and write everything that is not acknowledged."""
        ours: list[int] = []
        theirs: list[int] = []
        try:
            for read_end_is_ours in (False, True, True):
                ends = [_move_above_standard(end) for end in os.pipe()]
                theirs.append(ends.pop(read_end_is_ours))
                ours += ends
            os.set_blocking(theirs[2], False)
            theirs.append(_move_above_standard(os.pidfd_open(self.process_id)) if self._use_pidfd else -1)
            launch_sidecar(self.process_id, theirs[0], theirs[1], pidfd=theirs[3], errors=theirs[2])
        except BaseException as error:
            for end in ours:
                os.close(end)
            if not isinstance(error, Exception):
                raise
            self._start_error = getattr(error, "strerror", None) or type(error).__name__
            self.pending_warnings.append(
                f"the sidecar process, which sends alerts, could not be started yet: {self._start_error}"
            )
            return
        finally:
            for end in theirs:
                if end >= 0:
                    os.close(end)
        self._open_pipes(*ours)
        url = self._webhook.reveal() if self._webhook else None
        hello = encode_pipe_message("hello", webhook=url, environ=build_delivery_environment())
        panels = [_encode_watch(panel_id, request) for panel_id, (request, _) in self._panels.items()]
        self._write(hello + b"".join([*self._unacknowledged.values(), *panels]))

    def _open_pipes(self, lines: int, answers: int, errors: int) -> None:
        try:
            fcntl.fcntl(lines, fcntl.F_SETPIPE_SZ, PIPE_CAPACITY)
        except (OSError, AttributeError):
            # Not Linux, or the user's pipes have used up their quota. The default of 64 kB works too.
            pass
        self._lines, self._answers = Pipe(lines, is_writer=True), Pipe(answers, is_writer=False)
        # Standard error is polled only.
        os.set_blocking(errors, False)
        self._errors = Pipe(errors, is_writer=False)

    # The reader thread

    def _start_reader(self) -> None:
        # In a copy of the cell's context: ipykernel 7 looks the cell up in it when a thread prints.
        context = contextvars.copy_context()
        self._has_reader = True
        try:
            native_threads.start_thread(lambda: context.run(self._read_and_restart), ())
        except RuntimeError:
            # Without a thread the events are written all the same; only the answers are not read.
            self._has_reader = False

    def _read_and_restart(self) -> None:
        """Read the sidecar's answers. When it is gone and still needed, start another after increasing delays."""
        exits = 0
        while True:
            started_at = native_threads.monotonic()
            has_answered, reason = self._read_answers()
            exits = 1 if native_threads.monotonic() - started_at > MIN_STABLE_UPTIME else exits + 1
            if exits >= EXITS_BEFORE_WARNING:
                self._report_failure(reason)
            delay = RESTART_DELAYS[min(exits, len(RESTART_DELAYS)) - 1]
            self._condition.wait_for(lambda: self._is_closed, delay)
            with self._condition:
                self._close_lines()
                # A sidecar that answered and is gone may have left alerts that no process sends before the next run.
                is_needed = bool(has_answered or self._unacknowledged or self._open_runs or self._panels)
                if is_needed and not self._is_closed and exits < MAX_CONSECUTIVE_EXITS:
                    self._start()
                    continue
                self._has_reader = False
            if not is_needed:
                self._report_failure(reason)
            return

    def _report_failure(self, reason: str) -> None:
        """Warn, once, that sidecars exit as soon as they start."""
        with self._condition:
            if self._is_closed:
                return
            self.failure_reason = reason
        self.show_warning(
            f"alerts cannot be sent, because the sidecar process keeps ending: {reason}; run: cwnotify doctor"
        )
        self._condition.notify_all()

    def _read_answers(self) -> tuple[bool, str]:
        """Handle answers until EOF. Return whether there were any, and why the sidecar exited."""
        reader, has_answered, stderr = PipeMessageReader(), False, b""
        answers, self._answers = self._answers, None
        errors, self._errors = self._errors, None
        if answers is None:
            return False, self._start_error
        try:
            while data := answers.read():
                has_answered = True
                for message in reader.feed(data):
                    self._handle_answer(message)
                stderr = (stderr + _read_available(errors))[-MAX_STDERR_BYTES:]
                with self._condition:
                    if self._lines is not None:
                        self._lines.flush()
        except OSError:
            pass
        reason = _explain_exit(stderr + _read_available(errors))
        for pipe in (answers, errors):
            if pipe:
                pipe.close()
        return has_answered, reason

    def _handle_answer(self, message: PipeMessage) -> None:
        match message["kind"]:
            case "ready":
                self.failure_reason = ""
            case "ack":
                with self._condition:
                    self._unacknowledged.pop(message.get("id", ""), None)
                    self._condition.notify_all()
            case "drained":
                self._is_drained = True
                self._condition.notify_all()
            case "delivery" if message.get("state") == "dead":
                self.pending_warnings.append(f"an alert could not be delivered: {message.get('reason')}")
            case "trouble":
                self.pending_warnings.append(str(message.get("text")))
            case "snapshot":
                if panel := self._panels.get(message.get("panel", "")):
                    panel[1](message)
                return
        self.on_message(message)

    def _abandon_in_child(self) -> None:
        """Close everything in a forked child, whose copy would keep the pipe open.

        Takes no lock, because the thread that held it may not exist here.
        """
        if os.getpid() == self.process_id or self._is_closed:
            return
        self._is_closed = True
        for pipe in (self._lines, self._answers, self._errors):
            if pipe:
                pipe.close()


def _move_above_standard(descriptor: int) -> int:
    """Move `descriptor` above 2, because a program may start with closed standard streams."""
    if descriptor > 2:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)


def _read_available(errors: Pipe | None) -> bytes:
    """Return what the sidecar has written to its standard error since the last call."""
    try:
        return errors.read() if errors else b""
    except OSError:
        return b""


def _explain_exit(stderr: bytes) -> str:
    """Return why a sidecar exited: the last line of its standard error, or Python's fatal error."""
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip() and line[0] != " "]
    if not lines:
        return "it left no message; perhaps it was killed"
    fatal = [line for line in lines if line.startswith("Fatal Python error")]
    reason = [*lines, *fatal][-1].strip()[:MAX_EXIT_REASON_LENGTH]
    if fatal and (home := build_child_environment().get("PYTHONHOME")):
        return f"{reason} (PYTHONHOME is {home})"
    return reason


def _encode_watch(panel_id: str, request: PanelRequest) -> bytes:
    # A cell may have set a profile or a region since the sidecar started.
    environ = {name: value for name, value in build_panel_environment().items() if len(value) < MAX_VARIABLE_LENGTH}
    return encode_pipe_message("watch", panel=panel_id, request=to_json_dict(request), environ=environ)


_client: SidecarClient | None = None


def get_sidecar_client() -> SidecarClient:
    """Return this process's client. A forked child gets a new one."""
    global _client
    if _client is None or _client.process_id != os.getpid():
        _client = SidecarClient()
    return _client
