"""The callers' end of the pipe: start the sidecar, feed it, start it again when it is gone.

Lives in the process that trains, so: no call here waits for anybody, no line is lost, and nothing is imported that
a kernel has not got already. Standard library, `alerts`, `errors`, `native`, `screen`, `settings`, `sidecar.launch` and
`sidecar.protocol` only.
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
from cwnotify.sidecar.protocol import PROTOCOL_VERSION, Pipe, PipeMessage, PipeMessageReader, encode_pipe_message
from cwnotify.sidecar.spawn import MAX_VARIABLE_LENGTH, is_killed_with_process, launch_sidecar

if TYPE_CHECKING:
    from cwnotify.view.snapshot import PanelRequest

PIPE_CAPACITY = 1 << 20
RESTART_DELAYS = (0.0, 0.2, 1.0, 5.0, 15.0, 60.0)
MIN_STABLE_UPTIME = 60.0
# Deaths in a row after which the screen says why, and after which no further sidecar is started by itself.
EXITS_BEFORE_WARNING, MAX_CONSECUTIVE_EXITS = 3, 10
# At exit, in seconds: until all is on disk, and until Slack has it where the sidecar ends with this process.
EXIT_STORE_TIMEOUT, EXIT_DELIVERY_TIMEOUT = 5.0, 10.0
# Between two attempts to write what the pipe had no room for, in seconds.
MIN_FLUSH_INTERVAL, MAX_FLUSH_INTERVAL = 0.005, 0.05
MAX_EXIT_REASON_LENGTH, MAX_STDERR_BYTES = 300, 1 << 16


class SidecarClient:
    """This process's way to its sidecar, which starts with the first run.

    Parameters
    ----------
    use_pidfd
        Whether the sidecar watches this process through a pidfd; without one it polls.
    """

    def __init__(self, use_pidfd: bool = True) -> None:
        self.on_message: Callable[[PipeMessage], None] = lambda line: None
        self.sidecar_pid: int | None = None
        self.pending_warnings: list[str] = []
        # Why sidecars end as soon as they start; empty while one answers.
        self.failure_reason = ""
        self.show_warning: Callable[[str], None] = warn_once
        self.process_id = os.getpid()
        self._use_pidfd = use_pidfd and hasattr(os, "pidfd_open")
        self._webhook: Secret | None = None
        self._lock = self._changed = native_threads.Condition()
        self._lines: Pipe | None = None
        self._answers: Pipe | None = None
        self._errors: Pipe | None = None
        self._unacknowledged: dict[str, bytes] = {}
        self._open: set[str] = set()
        self._watched: dict[str, tuple[PanelRequest, Callable[[PipeMessage], None]]] = {}
        self._start_error = ""
        self._is_kept = False
        self._is_flushing = False
        self._drained = False
        self._closed = False
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self.close)

    def set_webhook(self, webhook: Secret | None) -> None:
        """Send alerts from now on to `webhook`."""
        if os.getpid() != self.process_id:
            return
        with self._lock:
            if webhook != self._webhook:
                self._webhook = webhook
                self._write(
                    encode_pipe_message(
                        "webhook", webhook=webhook.reveal() if webhook else None, environ=build_delivery_environment()
                    )
                )

    def report_run_started(self, run: Run) -> None:
        """Tell that a run began."""
        self._open.add(run.id)
        self._send(f"{run.id} started", "started", run=to_json_dict(run))

    def report_run_progress(self, so_far: RunResult) -> None:
        """Tell how far a run has come, as if it were lost now. Only the newest counts: none is kept or sent again."""
        if os.getpid() != self.process_id:
            return
        with self._lock:
            self._write(encode_pipe_message("noted", ended=to_json_dict(so_far)), at_most_once=True)

    def report_run_waiting(self, run: Run, wait: WaitReason, in_notebook: bool) -> None:
        """Report that a run waits for a person, in a notebook or at its terminal."""
        self._send(f"{run.id} waiting", "waiting", run=to_json_dict(run), wait=wait, notebook=in_notebook)

    def report_run_resumed(self, run: Run) -> None:
        """Report that a run waits no longer."""
        with self._lock:
            if os.getpid() == self.process_id:
                self._unacknowledged.pop(f"{run.id} waiting", None)
                self._write(encode_pipe_message("resumed", run=run.id))

    def report_cell_activity(self, is_busy: bool) -> None:
        """Report that a cell began, or ended, that may belong to the same Run All as a group of runs."""
        with self._lock:
            if os.getpid() == self.process_id:
                self._write(encode_pipe_message("busy", busy=is_busy))

    def report_run_ended(self, ended: RunResult, hold: bool = False) -> None:
        """Tell how a run ended.

        Parameters
        ----------
        hold
            Whether an interrupt may turn out to be a shutdown in a moment.
        """
        self._open.discard(ended.run.id)
        self._send(f"{ended.run.id} ended", "ended", ended=to_json_dict(ended), hold=hold)

    def wait_until_stored(self, seconds: float) -> bool:
        """Wait until all is acknowledged, or cannot be; return whether it is."""
        self._changed.wait_for(lambda: not self._unacknowledged or bool(self.failure_reason), seconds)
        return not self._unacknowledged

    def subscribe(self, panel_id: str, request: PanelRequest, heard: Callable[[PipeMessage], None]) -> None:
        """Let `heard` have the snapshots for `request`, in the keeper's thread; again, to ask for something else."""
        with self._lock:
            self._watched[panel_id] = request, heard
            # A sidecar that starts is told of every panel.
            if not self._begin():
                self._write(_watch_line(panel_id, request))

    def unsubscribe(self, panel_id: str) -> None:
        """No more snapshots for that panel."""
        with self._lock:
            self._watched.pop(panel_id, None)
            self._write(encode_pipe_message("unwatch", panel=panel_id))

    def send_command(self, kind: str, **values: object) -> None:
        """Ask the sidecar for something that is over once it is done: ``refresh``, ``greet`` or ``mute``."""
        with self._lock:
            self._begin()
            self._write(encode_pipe_message(kind, **values))

    def close(self) -> None:
        """Say goodbye, once all is on disk. What is not lies in the pipe, where the sidecar still reads it.

        Where the sidecar ends with this process, wait until Slack has everything.
        """
        if os.getpid() != self.process_id or self._closed:
            return
        if (
            self._is_kept
            and self.wait_until_stored(EXIT_STORE_TIMEOUT)
            and is_killed_with_process(self.process_id, os.environ)
        ):
            with self._lock:
                self._write(encode_pipe_message("drain"))
            self._changed.wait_for(lambda: self._drained or self._lines is None, EXIT_DELIVERY_TIMEOUT)
        while self.pending_warnings:
            self.show_warning(self.pending_warnings.pop(0))
        with self._lock:
            if self._lines is None and self._unacknowledged:
                self._start()
            self._closed = True
            self._write(encode_pipe_message("goodbye"))
        # What is still in this process ends with it.
        self._flush_for(EXIT_STORE_TIMEOUT)
        with self._lock:
            self._let_go()
        self._changed.notify_all()

    def _flush_later(self) -> None:
        """Write the rest, in a thread, when the pipe has room: it may be the end of the last line for a long time."""
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
        """Wait until the pipe has taken all lines."""
        deadline, pause = native_threads.monotonic() + seconds, MIN_FLUSH_INTERVAL
        while native_threads.monotonic() < deadline:
            with self._lock:
                try:
                    if self._lines is None or self._lines.flush():
                        return
                except OSError:
                    return
            self._changed.wait_for(lambda: self._lines is None, pause)
            pause = min(2 * pause, MAX_FLUSH_INTERVAL)

    def _send(self, id: str, kind: str, **values: object) -> None:
        """One write, microseconds; the line is kept until the sidecar has it on disk."""
        line = encode_pipe_message(kind, id=id, **values)
        # First of all: in a forked child the lock may belong to a thread that is not there.
        if os.getpid() != self.process_id:
            return
        with self._lock:
            if self._closed:
                return
            self._unacknowledged[id] = line
            if self._lines is not None:
                self._write(line)
            elif not self._is_kept:
                self._start()
                self._keep()

    def _begin(self) -> bool:
        """Start a sidecar, where there is none and none is on its way; tells whether it did."""
        if self._lines is not None or self._is_kept or self._closed or os.getpid() != self.process_id:
            return False
        self._start()
        self._keep()
        return True

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
            # The sidecar is gone. The keeper, which reads its answers, finds the end of them and starts another.
            self._let_go()

    def _start(self) -> None:
        """Start a sidecar and write all that is not acknowledged; called with the lock held."""
        ours: list[int] = []
        theirs: list[int] = []
        try:
            for read_is_ours in (False, True, True):
                ends = [_above_standard(end) for end in os.pipe()]
                theirs.append(ends.pop(read_is_ours))
                ours += ends
            os.set_blocking(theirs[2], False)
            theirs.append(_above_standard(os.pidfd_open(self.process_id)) if self._use_pidfd else -1)
            launch_sidecar(self.process_id, theirs[0], theirs[1], pidfd=theirs[3], errors=theirs[2])
        except BaseException as error:
            for end in ours:
                os.close(end)
            if not isinstance(error, Exception):
                raise
            self._start_error = getattr(error, "strerror", None) or type(error).__name__
            self.pending_warnings.append(
                f"the sidecar, which sends alerts, could not be started yet: {self._start_error}"
            )
            return
        finally:
            for end in theirs:
                if end >= 0:
                    os.close(end)
        lines, answers, errors = ours
        try:
            fcntl.fcntl(lines, fcntl.F_SETPIPE_SZ, PIPE_CAPACITY)
        except (OSError, AttributeError):
            # Not Linux, or the user's pipes have used up their share: 64 kB do as well, only fuller.
            pass
        self._lines, self._answers = Pipe(lines, is_writer=True), Pipe(answers, is_writer=False)
        # It is only looked at.
        os.set_blocking(errors, False)
        self._errors = Pipe(errors, is_writer=False)
        url = self._webhook.reveal() if self._webhook else None
        hello = encode_pipe_message(
            "hello", protocol=PROTOCOL_VERSION, webhook=url, environ=build_delivery_environment()
        )
        watching = [_watch_line(panel, request) for panel, (request, _) in self._watched.items()]
        self._write(hello + b"".join([*self._unacknowledged.values(), *watching]))

    def _let_go(self) -> None:
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    # The keeper's thread

    def _keep(self) -> None:
        # In a copy of the cell's context: ipykernel 7 looks the cell up in it when a thread prints.
        context = contextvars.copy_context()
        self._is_kept = True
        try:
            native_threads.start_thread(lambda: context.run(self._keep_up), ())
        except RuntimeError:
            # No thread to be had: the lines are written all the same, only answers are not heard.
            self._is_kept = False

    def _keep_up(self) -> None:
        """Listen to the sidecar; when it is gone and still needed, start another after ever longer pauses."""
        deaths = 0
        while True:
            since = native_threads.monotonic()
            heard, reason = self._listen()
            deaths = 1 if native_threads.monotonic() - since > MIN_STABLE_UPTIME else deaths + 1
            if deaths >= EXITS_BEFORE_WARNING:
                self._fail(reason)
            self._changed.wait_for(lambda: self._closed, RESTART_DELAYS[min(deaths, len(RESTART_DELAYS)) - 1])
            with self._lock:
                self._let_go()
                # One that answered and is gone may have left alerts that nobody else would send before the next run.
                is_needed = bool(heard or self._unacknowledged or self._open or self._watched)
                if is_needed and not self._closed and deaths < MAX_CONSECUTIVE_EXITS:
                    self._start()
                    continue
                self._is_kept = False
            if not is_needed:
                self._fail(reason)
            return

    def _fail(self, reason: str) -> None:
        """Report, once, that sidecars end as soon as they start."""
        with self._lock:
            if self._closed:
                return
            self.failure_reason = reason
        self.show_warning(
            f"alerts cannot be sent, because the sidecar process keeps ending: {reason}; run: cwnotify doctor"
        )
        self._changed.notify_all()

    def _listen(self) -> tuple[bool, str]:
        """Hear answers until there are no more; return whether there were any, and why they ended."""
        reader, heard, written = PipeMessageReader(), False, b""
        answers, self._answers = self._answers, None
        errors, self._errors = self._errors, None
        if answers is None:
            return False, self._start_error
        try:
            while data := answers.read():
                heard = True
                for line in reader.feed(data):
                    self._hear(line)
                written = (written + _available(errors))[-MAX_STDERR_BYTES:]
                with self._lock:
                    if self._lines is not None:
                        self._lines.flush()
        except OSError:
            pass
        reason = _reason(written + _available(errors))
        for pipe in (answers, errors):
            if pipe:
                pipe.close()
        return heard, reason

    def _hear(self, line: PipeMessage) -> None:
        match line["kind"]:
            case "ready":
                self.sidecar_pid = line.get("pid")
                self.failure_reason = ""
            case "ack":
                with self._changed:
                    self._unacknowledged.pop(line.get("id", ""), None)
                    self._changed.notify_all()
            case "drained":
                self._drained = True
                self._changed.notify_all()
            case "told" if line.get("state") == "dead":
                self.pending_warnings.append(f"Slack could not be told: {line.get('reason')}")
            case "trouble":
                self.pending_warnings.append(str(line.get("text")))
            case "snapshot":
                if watched := self._watched.get(line.get("panel", "")):
                    watched[1](line)
                return
        self.on_message(line)

    def _forget(self) -> None:
        """In a forked child: a copy of the pipe would keep it open, and the child must not speak for its parent.

        Takes no lock: the thread that held it may not exist here.
        """
        if os.getpid() == self.process_id or self._closed:
            return
        self._closed = True
        for pipe in (self._lines, self._answers, self._errors):
            if pipe:
                pipe.close()


def _above_standard(descriptor: int) -> int:
    """Move `descriptor` above 2. A program may begin with closed standard streams, and their numbers are not ours."""
    if descriptor > 2:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)


def _available(errors: Pipe | None) -> bytes:
    """What the sidecar has written to its standard error since the last call."""
    try:
        return errors.read() if errors else b""
    except OSError:
        return b""


def _reason(errors: bytes) -> str:
    """Why a sidecar ended, from what it wrote: Python's last line, or the one that says what was fatal."""
    lines = [line for line in errors.decode("utf-8", "replace").splitlines() if line.strip() and line[0] != " "]
    fatal = [line for line in lines if line.startswith("Fatal Python error")]
    reason = (
        [*lines, *fatal][-1].strip()[:MAX_EXIT_REASON_LENGTH] if lines else "it left no message; perhaps it was killed"
    )
    if fatal and (home := build_child_environment().get("PYTHONHOME")):
        return f"{reason} (PYTHONHOME is {home})"
    return reason


def _watch_line(panel: str, request: PanelRequest) -> bytes:
    # A cell may have set a profile or a region since the sidecar started.
    environ = {name: value for name, value in build_panel_environment().items() if len(value) < MAX_VARIABLE_LENGTH}
    return encode_pipe_message("watch", panel=panel, request=to_json_dict(request), environ=environ)


_shared: SidecarClient | None = None


def get_sidecar_client() -> SidecarClient:
    """The link of this process; a forked child gets one of its own."""
    global _shared
    if _shared is None or _shared.process_id != os.getpid():
        _shared = SidecarClient()
    return _shared
