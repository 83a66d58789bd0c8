"""The callers' end of the pipe: start the sidecar, feed it, start it again when it is gone.

Lives in the process that trains, so: no call here waits for anybody, no line is lost, and nothing is imported that
a kernel has not got already. Standard library, `alerts`, `errors`, `settings`, `sidecar.launch` and `sidecar.protocol`
only.
"""

from __future__ import annotations

import atexit
import contextvars
import fcntl
import os
import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import TYPE_CHECKING

from cwnotify.alerts.events import Run, RunEnded, Wait
from cwnotify.alerts.records import to_record
from cwnotify.settings import Secret
from cwnotify.sidecar.launch import launch
from cwnotify.sidecar.protocol import PROTOCOL, Line, Lines, Pipe, encode

if TYPE_CHECKING:
    from cwnotify.sidecar.snapshot import Request

ROOM = 1 << 20
PAUSES = (0.0, 0.2, 1.0, 5.0, 15.0, 60.0)
STEADY = 60.0


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
        self.process = os.getpid()
        self._use_pidfd = use_pidfd and hasattr(os, "pidfd_open")
        self._webhook: Secret | None = None
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._lines: Pipe | None = None
        self._answers: Pipe | None = None
        self._unacknowledged: dict[str, bytes] = {}
        self._open: set[str] = set()
        self._settled: set[str] = set()
        self._watched: dict[str, tuple[Request, Callable[[Line], None]]] = {}
        self._keeper: threading.Thread | None = None
        self._closed = False
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self.close)

    def aim(self, webhook: Secret | None) -> None:
        """Send alerts from now on to `webhook`."""
        with self._lock:
            if webhook != self._webhook:
                self._webhook = webhook
                self._write(encode("webhook", webhook=webhook.reveal() if webhook else None))

    def started(self, run: Run) -> None:
        """Tell that a run began."""
        self._open.add(run.id)
        self._send(f"{run.id} started", "started", run=to_record(run))

    def noted(self, so_far: RunEnded) -> None:
        """Tell how far a run has come, as if it were lost now. Only the newest counts: none is kept or sent again."""
        with self._lock:
            if os.getpid() == self.process:
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
        """Wait until all is acknowledged, for callers that have time; tells whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._unacknowledged, seconds)

    def wait_told(self, run: str, seconds: float) -> bool:
        """Wait until a run's alert is delivered or dead; tells whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: run in self._settled, seconds)

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
        """Say goodbye. What is not acknowledged yet lies in the pipe, where the sidecar still reads it."""
        if os.getpid() != self.process:
            return
        with self._lock:
            if self._lines is None and self._unacknowledged and not self._closed:
                self._start()
            self._closed = True
            self._write(encode("goodbye"))
            self._let_go()

    def _send(self, id: str, kind: str, **values: object) -> None:
        """One write, microseconds; the line is kept until the sidecar has it on disk."""
        line = encode(kind, id=id, **values)
        with self._lock:
            if os.getpid() != self.process or self._closed:
                return
            self._unacknowledged[id] = line
            if self._lines is not None:
                self._write(line)
            elif self._keeper is None:
                self._start()
                self._keep()

    def _begin(self) -> bool:
        """Start a sidecar, where there is none and none is on its way; tells whether it did."""
        if self._lines is not None or self._keeper is not None or self._closed or os.getpid() != self.process:
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
        except OSError:
            # The sidecar is gone. The keeper, which reads its answers, finds the end of them and starts another.
            self._let_go()

    def _start(self) -> None:
        """Start a sidecar and write all that is not acknowledged; called with the lock held."""
        lines_theirs, lines = os.pipe()
        answers, answers_theirs = os.pipe()
        theirs = [lines_theirs, answers_theirs]
        try:
            if self._use_pidfd:
                theirs.append(os.pidfd_open(self.process))
            launch(self.process, theirs)
        except BaseException as error:
            os.close(lines)
            os.close(answers)
            if isinstance(error, OSError):
                why = error.strerror or type(error).__name__
                self.troubles.append(f"the sidecar, which tells Slack, could not be started yet: {why}")
                return
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        try:
            fcntl.fcntl(lines, fcntl.F_SETPIPE_SZ, ROOM)
        except (OSError, AttributeError):
            # Not Linux, or the user's pipes have used up their share: 64 kB do as well, only fuller.
            pass
        self._lines, self._answers = Pipe(lines, writes=True), Pipe(answers, writes=False)
        url = self._webhook.reveal() if self._webhook else None
        hello = encode("hello", protocol=PROTOCOL, webhook=url)
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
        keeper = threading.Thread(target=context.run, args=(self._keep_up,), name="cwnotify-link", daemon=True)
        try:
            keeper.start()
        except RuntimeError:
            # No thread to be had: the lines are written all the same, only answers are not heard.
            return
        self._keeper = keeper

    def _keep_up(self) -> None:
        """Listen to the sidecar; when it is gone and still needed, start another, ever more patiently."""
        tries = 0
        while True:
            since = monotonic()
            heard = self._listen()
            tries = 0 if monotonic() - since > STEADY else tries + 1
            sleep(PAUSES[min(tries, len(PAUSES)) - 1] if tries else 0.0)
            with self._lock:
                self._let_go()
                # One that answered and is gone may have left alerts that nobody else would send before the next run.
                if self._closed or not (heard or self._unacknowledged or self._open or self._watched):
                    self._keeper = None
                    return
                self._start()

    def _listen(self) -> bool:
        """Hear answers until there are no more; tells whether there were any."""
        reader, heard = Lines(), False
        answers, self._answers = self._answers, None
        try:
            while answers and (data := answers.read()):
                heard = True
                for line in reader.feed(data):
                    self._hear(line)
                with self._lock:
                    if self._lines is not None:
                        self._lines.flush()
        except OSError:
            pass
        finally:
            if answers:
                answers.close()
        return heard

    def _hear(self, line: Line) -> None:
        match line["kind"]:
            case "ready":
                self.sidecar_pid = line.get("pid")
            case "ack":
                with self._changed:
                    self._unacknowledged.pop(line.get("id", ""), None)
                    self._changed.notify_all()
            case "told" if line.get("state") in ("done", "dead"):
                with self._changed:
                    self._settled.add(line.get("run", ""))
                    self._changed.notify_all()
                if line["state"] == "dead":
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
        for pipe in (self._lines, self._answers):
            if pipe:
                pipe.close()


def _watch_line(panel: str, request: Request) -> bytes:
    # A cell may have set a profile or a region since the sidecar started.
    environ = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return encode("watch", panel=panel, request=to_record(request), environ=environ)


_shared: Link | None = None


def shared() -> Link:
    """The link of this process; a forked child gets one of its own."""
    global _shared
    if _shared is None or _shared.process != os.getpid():
        _shared = Link()
    return _shared
