"""Forward signals to a child in the same process group, but only those sent to this process alone.

A terminal, a shell's ``kill %1`` and a service manager signal the whole group, so the child must not get a second copy.
A signal does not show whether the group received it. So a *probe*, another process in the group, reports which signals
it received. Imports the standard library only.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path

# A service manager signals its processes one after the other, so the probe may get the signal later.
GROUP_DELAY = 0.02  # seconds
ANSWER_TIMEOUT = 1.0  # seconds
# How old a signal to the probe may be to count as the same signal.
MAX_SIGNAL_AGE = 1.0  # seconds
STOPPED_POLL_INTERVAL = 0.2  # seconds
_QUERY, _WATCH = b"?", b"w"


class GroupSignalProbe:
    """A process that receives the signals of the whole group.

    Fork it before this process has threads. If it cannot be forked, the signals of a terminal are recognized by
    their sender, the kernel.

    Parameters
    ----------
    numbers
        The signals to report; they are blocked.
    child
        The child's pid.
    """

    def __init__(self, numbers: Iterable[int], child: int) -> None:
        # Signals that the probe received: when each was reported, and its number.
        self._received: list[tuple[float, int]] = []
        queries, self._queries = os.pipe()
        self._answers, answers = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:
            self.pid = -1
        if self.pid == 0:
            try:
                _close_all_except(queries, answers)
                _run_probe(numbers, child, queries, answers)
            finally:
                os._exit(0)
        os.close(queries)
        os.close(answers)

    def has_received(self, info: signal.struct_siginfo) -> bool:
        """Return whether the probe received this signal as well."""
        if self.pid < 0:
            return info.si_code == _SI_KERNEL and info.si_signo in _TERMINAL_SIGNALS
        time.sleep(GROUP_DELAY)
        now = time.monotonic()
        self._received = [(at, number) for at, number in self._received if now - at < MAX_SIGNAL_AGE]
        if not any(number == info.si_signo for _, number in self._received):
            self._received += [(now, number) for number in self._query()]
        for entry in self._received:
            if entry[1] == info.si_signo:
                self._received.remove(entry)
                return True
        return False

    def _query(self) -> bytes:
        """Return the signals since the last query. The probe handles its pending signals before it answers."""
        answer = b""
        try:
            os.write(self._queries, _QUERY)
            while not answer.endswith(b"\0"):
                if not select.select([self._answers], [], [], ANSWER_TIMEOUT)[0]:
                    break
                if not (piece := os.read(self._answers, 1024)):
                    break
                answer += piece
        except OSError:
            # The probe was killed.
            pass
        return answer.rstrip(b"\0")

    def watch(self) -> None:
        """Let the probe continue this process, which is about to stop, as soon as the child runs again."""
        try:
            os.write(self._queries, _WATCH)
        except OSError:
            pass

    def stop(self) -> None:
        """End the probe, even if it is stopped."""
        if self.pid > 0:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
            self.pid = -1


_SI_KERNEL = 0x80
_TERMINAL_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH)


def _close_all_except(*descriptors: int) -> None:
    last = -1
    for number in sorted(descriptors):
        os.closerange(last + 1, number)
        last = number
    os.closerange(last + 1, os.sysconf("SC_OPEN_MAX"))


def _run_probe(numbers: Iterable[int], child: int, queries: int, answers: int) -> None:
    """Answer queries until the other end of the pipe is closed."""
    parent, received, is_watching = os.getppid(), bytearray(), False
    for number in numbers:
        signal.signal(number, lambda signal_number, frame: received.append(signal_number))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    poller = select.poll()
    poller.register(queries, select.POLLIN)
    while True:
        if poller.poll(STOPPED_POLL_INTERVAL * 1000 if is_watching else None):
            query = os.read(queries, 1)
            if not query:
                return
            is_watching = query == _WATCH
            if query == _QUERY:
                answer = bytes(received)
                del received[: len(answer)]
                os.write(answers, answer + b"\0")
        elif _read_state(child) not in "Tt":
            is_watching = False
            os.kill(parent, signal.SIGCONT)


def _read_state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def wait_and_forward_signals(child: int, numbers: Iterable[int], probe: GroupSignalProbe) -> int:
    """Wait until `child` ends, and forward signals meanwhile; return its wait status.

    When the child stops, this process stops too, so that a shell sees the job stopped.

    Parameters
    ----------
    numbers
        The signals to forward. They and SIGCHLD must be blocked in all threads.
    """
    signals = {*numbers, signal.SIGCHLD}
    while True:
        info = signal.sigwaitinfo(signals)
        if info.si_signo != signal.SIGCHLD:
            _forward(info, child, probe)
            continue
        if os.getpid() == 1:
            _reap_orphans(child)
        pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            _stop_self(os.WSTOPSIG(status), probe)
        elif pid:
            return status


def _forward(info: signal.struct_siginfo, child: int, probe: GroupSignalProbe) -> None:
    # Signals from the child, from this process (such as SIGPIPE) or from the probe are not meant for the child.
    if info.si_pid in (child, os.getpid(), probe.pid) or probe.has_received(info):
        return
    os.kill(child, info.si_signo)


def _stop_self(number: int, probe: GroupSignalProbe) -> None:
    probe.watch()
    os.kill(os.getpid(), number)
    if number != signal.SIGSTOP:
        # The signal is blocked, and stops this process only once it is unblocked.
        mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _reap_orphans(child: int) -> None:
    """Collect ended orphans, as the first process of a container must."""
    while (end := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and end.si_pid != child:
        try:
            os.waitpid(end.si_pid, os.WNOHANG)
        except ChildProcessError:
            continue
