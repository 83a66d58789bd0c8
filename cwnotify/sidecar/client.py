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

from cwnotify.alerts.events.runs import Run, RunEnded, Wait
from cwnotify.alerts.serialization import to_record
from cwnotify.console import say_once
from cwnotify.settings import Secret
from cwnotify.settings.child_environment import for_delivery, for_panel, inherited
from cwnotify.sidecar import native_threads
from cwnotify.sidecar.protocol import PROTOCOL, Line, Lines, Pipe, encode
from cwnotify.sidecar.spawn import LONGEST_VARIABLE, ends_with, launch

if TYPE_CHECKING:
    from cwnotify.view.snapshot import Request

ROOM = 1 << 20
PAUSES = (0.0, 0.2, 1.0, 5.0, 15.0, 60.0)
STEADY = 60.0
# Deaths in a row after which the screen says why, and after which no further sidecar is started by itself.
DEATHS_TO_REPORT, MAX_DEATHS = 3, 10
# At exit, in seconds: until all is on disk, and until Slack has it where the sidecar ends with this process.
STORE_TIMEOUT, DELIVERY_TIMEOUT = 5.0, 10.0
# Between two attempts to write what the pipe had no room for, in seconds.
MIN_FLUSH_PAUSE, MAX_FLUSH_PAUSE = 0.005, 0.05
MAX_REASON, MAX_ERRORS = 300, 1 << 16


class Link:
    """This process's way to its sidecar, which starts with the first run.

    Parameters
    ----------
    use_pidfd
        Whether the sidecar watches this process through a pidfd; without one it polls.
    """

    def __init__(self, use_pidfd: bool = True) -> None:
        self.heard: Callable[[Line], None] = lambda line: None
        self.sidecar_pid: int | None = None
        self.troubles: list[str] = []
        # Why sidecars end as soon as they start; empty while one answers.
        self.failure = ""
        self.report: Callable[[str], None] = say_once
        self.process = os.getpid()
        self._use_pidfd = use_pidfd and hasattr(os, "pidfd_open")
        self._webhook: Secret | None = None
        self._lock = self._changed = native_threads.Condition()
        self._lines: Pipe | None = None
        self._answers: Pipe | None = None
        self._errors: Pipe | None = None
        self._unacknowledged: dict[str, bytes] = {}
        self._open: set[str] = set()
        self._watched: dict[str, tuple[Request, Callable[[Line], None]]] = {}
        self._start_error = ""
        self._is_kept = False
        self._is_flushing = False
        self._drained = False
        self._closed = False
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self.close)

    def aim(self, webhook: Secret | None) -> None:
        """Send alerts from now on to `webhook`."""
        if os.getpid() != self.process:
            return
        with self._lock:
            if webhook != self._webhook:
                self._webhook = webhook
                self._write(encode("webhook", webhook=webhook.reveal() if webhook else None, environ=for_delivery()))

    def started(self, run: Run) -> None:
        """Tell that a run began."""
        self._open.add(run.id)
        self._send(f"{run.id} started", "started", run=to_record(run))

    def noted(self, so_far: RunEnded) -> None:
        """Tell how far a run has come, as if it were lost now. Only the newest counts: none is kept or sent again."""
        if os.getpid() != self.process:
            return
        with self._lock:
            self._write(encode("noted", ended=to_record(so_far)), at_most_once=True)

    def waiting(self, run: Run, wait: Wait, in_notebook: bool) -> None:
        """Report that a run waits for a person, in a notebook or at its terminal."""
        self._send(f"{run.id} waiting", "waiting", run=to_record(run), wait=wait, notebook=in_notebook)

    def resumed(self, run: Run) -> None:
        """Report that a run waits no longer."""
        with self._lock:
            if os.getpid() == self.process:
                self._unacknowledged.pop(f"{run.id} waiting", None)
                self._write(encode("resumed", run=run.id))

    def busy(self, is_busy: bool) -> None:
        """Report that a cell began, or ended, that may belong to the same Run All as a group of runs."""
        with self._lock:
            if os.getpid() == self.process:
                self._write(encode("busy", busy=is_busy))

    def ended(self, ended: RunEnded, hold: bool = False) -> None:
        """Tell how a run ended.

        Parameters
        ----------
        hold
            Whether an interrupt may turn out to be a shutdown in a moment.
        """
        self._open.discard(ended.run.id)
        self._send(f"{ended.run.id} ended", "ended", ended=to_record(ended), hold=hold)

    def wait(self, seconds: float) -> bool:
        """Wait until all is acknowledged, or cannot be; return whether it is."""
        self._changed.wait_for(lambda: not self._unacknowledged or bool(self.failure), seconds)
        return not self._unacknowledged

    def watch(self, panel_id: str, request: Request, heard: Callable[[Line], None]) -> None:
        """Let `heard` have the snapshots for `request`, in the keeper's thread; again, to ask for something else."""
        with self._lock:
            self._watched[panel_id] = request, heard
            # A sidecar that starts is told of every panel.
            if not self._begin():
                self._write(_watch_line(panel_id, request))

    def unwatch(self, panel_id: str) -> None:
        """No more snapshots for that panel."""
        with self._lock:
            self._watched.pop(panel_id, None)
            self._write(encode("unwatch", panel=panel_id))

    def command(self, kind: str, **values: object) -> None:
        """Ask the sidecar for something that is over once it is done: ``refresh``, ``greet`` or ``mute``."""
        with self._lock:
            self._begin()
            self._write(encode(kind, **values))

    def close(self) -> None:
        """Say goodbye, once all is on disk. What is not lies in the pipe, where the sidecar still reads it.

        Where the sidecar ends with this process, wait until Slack has everything.
        """
        if os.getpid() != self.process or self._closed:
            return
        if self._is_kept and self.wait(STORE_TIMEOUT) and ends_with(self.process, os.environ):
            with self._lock:
                self._write(encode("drain"))
            self._changed.wait_for(lambda: self._drained or self._lines is None, DELIVERY_TIMEOUT)
        while self.troubles:
            self.report(self.troubles.pop(0))
        with self._lock:
            if self._lines is None and self._unacknowledged:
                self._start()
            self._closed = True
            self._write(encode("goodbye"))
        # What is still in this process ends with it.
        self._flush_for(STORE_TIMEOUT)
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
        deadline, pause = native_threads.monotonic() + seconds, MIN_FLUSH_PAUSE
        while native_threads.monotonic() < deadline:
            with self._lock:
                try:
                    if self._lines is None or self._lines.flush():
                        return
                except OSError:
                    return
            self._changed.wait_for(lambda: self._lines is None, pause)
            pause = min(2 * pause, MAX_FLUSH_PAUSE)

    def _send(self, id: str, kind: str, **values: object) -> None:
        """One write, microseconds; the line is kept until the sidecar has it on disk."""
        line = encode(kind, id=id, **values)
        # First of all: in a forked child the lock may belong to a thread that is not there.
        if os.getpid() != self.process:
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
        if self._lines is not None or self._is_kept or self._closed or os.getpid() != self.process:
            return False
        self._start()
        self._keep()
        return True

    def _write(self, line: bytes, at_most_once: bool = False) -> None:
        if self._lines is None:
            return
        try:
            if at_most_once:
                self._lines.offer(line)
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
            theirs.append(_above_standard(os.pidfd_open(self.process)) if self._use_pidfd else -1)
            launch(self.process, theirs[0], theirs[1], pidfd=theirs[3], errors=theirs[2])
        except BaseException as error:
            for end in ours:
                os.close(end)
            if not isinstance(error, Exception):
                raise
            self._start_error = getattr(error, "strerror", None) or type(error).__name__
            self.troubles.append(f"the sidecar, which sends alerts, could not be started yet: {self._start_error}")
            return
        finally:
            for end in theirs:
                if end >= 0:
                    os.close(end)
        lines, answers, errors = ours
        try:
            fcntl.fcntl(lines, fcntl.F_SETPIPE_SZ, ROOM)
        except (OSError, AttributeError):
            # Not Linux, or the user's pipes have used up their share: 64 kB do as well, only fuller.
            pass
        self._lines, self._answers = Pipe(lines, writes=True), Pipe(answers, writes=False)
        # It is only looked at.
        os.set_blocking(errors, False)
        self._errors = Pipe(errors, writes=False)
        url = self._webhook.reveal() if self._webhook else None
        hello = encode("hello", protocol=PROTOCOL, webhook=url, environ=for_delivery())
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
            deaths = 1 if native_threads.monotonic() - since > STEADY else deaths + 1
            if deaths >= DEATHS_TO_REPORT:
                self._fail(reason)
            self._changed.wait_for(lambda: self._closed, PAUSES[min(deaths, len(PAUSES)) - 1])
            with self._lock:
                self._let_go()
                # One that answered and is gone may have left alerts that nobody else would send before the next run.
                is_needed = bool(heard or self._unacknowledged or self._open or self._watched)
                if is_needed and not self._closed and deaths < MAX_DEATHS:
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
            self.failure = reason
        self.report(f"alerts cannot be sent, because the sidecar process keeps ending: {reason}; run: cwnotify doctor")
        self._changed.notify_all()

    def _listen(self) -> tuple[bool, str]:
        """Hear answers until there are no more; return whether there were any, and why they ended."""
        reader, heard, written = Lines(), False, b""
        answers, self._answers = self._answers, None
        errors, self._errors = self._errors, None
        if answers is None:
            return False, self._start_error
        try:
            while data := answers.read():
                heard = True
                for line in reader.feed(data):
                    self._hear(line)
                written = (written + _available(errors))[-MAX_ERRORS:]
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

    def _hear(self, line: Line) -> None:
        match line["kind"]:
            case "ready":
                self.sidecar_pid = line.get("pid")
                self.failure = ""
            case "ack":
                with self._changed:
                    self._unacknowledged.pop(line.get("id", ""), None)
                    self._changed.notify_all()
            case "drained":
                self._drained = True
                self._changed.notify_all()
            case "told" if line.get("state") == "dead":
                self.troubles.append(f"Slack could not be told: {line.get('reason')}")
            case "trouble":
                self.troubles.append(str(line.get("text")))
            case "snapshot":
                if watched := self._watched.get(line.get("panel", "")):
                    watched[1](line)
                return
        self.heard(line)

    def _forget(self) -> None:
        """In a forked child: a copy of the pipe would keep it open, and the child must not speak for its parent.

        Takes no lock: the thread that held it may not exist here.
        """
        if os.getpid() == self.process or self._closed:
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
    reason = [*lines, *fatal][-1].strip()[:MAX_REASON] if lines else "it left no message; perhaps it was killed"
    if fatal and (home := inherited().get("PYTHONHOME")):
        return f"{reason} (PYTHONHOME is {home})"
    return reason


def _watch_line(panel: str, request: Request) -> bytes:
    # A cell may have set a profile or a region since the sidecar started.
    environ = {name: value for name, value in for_panel().items() if len(value) < LONGEST_VARIABLE}
    return encode("watch", panel=panel, request=to_record(request), environ=environ)


_shared: Link | None = None


def shared() -> Link:
    """The link of this process; a forked child gets one of its own."""
    global _shared
    if _shared is None or _shared.process != os.getpid():
        _shared = Link()
    return _shared
