"""Signals for a child that shares our process group: pass on what was sent to us alone. Standard library only.

A terminal, a shell's ``kill %1`` and a service manager reach the child by themselves; a second copy from us would be
one too many. A signal does not show whether others got it. So a *witness*, a process in the same group, reports which
signals it got.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path

# A service manager signals its processes one after the other: wait this long for the witness's turn, in seconds.
GROUP_DELAY = 0.02
ANSWER_TIMEOUT = 1.0
# How old a signal that the witness got may be to count as the one at hand, in seconds.
MAX_SIGNAL_AGE = 1.0
STOPPED_POLL_INTERVAL = 0.2
_QUERY, _WATCH = b"?", b"w"


class GroupSignalProbe:
    """A process that gets what the whole group gets. Where none can be started, terminals are known by their sender.

    Fork it before this process has threads.

    Parameters
    ----------
    numbers
        The signals to report; they are blocked.
    child
        The child's pid.
    """

    def __init__(self, numbers: Iterable[int], child: int) -> None:
        self._seen: list[tuple[float, int]] = []
        queries, self._queries = os.pipe()
        self._answers, answers = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:
            self.pid = -1
        if self.pid == 0:
            try:
                _keep_only(queries, answers)
                _testify(numbers, child, queries, answers)
            finally:
                os._exit(0)
        os.close(queries)
        os.close(answers)

    def has_received(self, info: signal.struct_siginfo) -> bool:
        """Return whether the witness got this signal as well."""
        if self.pid < 0:
            return info.si_code == _SI_KERNEL and info.si_signo in _FROM_TERMINALS
        time.sleep(GROUP_DELAY)
        now = time.monotonic()
        self._seen = [(at, number) for at, number in self._seen if now - at < MAX_SIGNAL_AGE]
        if not any(number == info.si_signo for _, number in self._seen):
            self._seen += [(now, number) for number in self._ask()]
        for one in self._seen:
            if one[1] == info.si_signo:
                self._seen.remove(one)
                return True
        return False

    def _ask(self) -> bytes:
        """What it got since the last time. It answers after its pending signals, so none is overlooked."""
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
            # It was killed.
            pass
        return answer.rstrip(b"\0")

    def watch(self) -> None:
        """We are about to stop: continue us when the child runs again, also if only the child is continued."""
        try:
            os.write(self._queries, _WATCH)
        except OSError:
            pass

    def stop(self) -> None:
        """End it, also if it is stopped."""
        if self.pid > 0:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
            self.pid = -1


_SI_KERNEL = 0x80
_FROM_TERMINALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH)


def _keep_only(*ours: int) -> None:
    last = -1
    for number in sorted(ours):
        os.closerange(last + 1, number)
        last = number
    os.closerange(last + 1, os.sysconf("SC_OPEN_MAX"))


def _testify(numbers: Iterable[int], child: int, queries: int, answers: int) -> None:
    """The witness's life, until nobody can query it any more."""
    parent, seen, is_watching = os.getppid(), bytearray(), False
    for number in numbers:
        signal.signal(number, lambda got, frame: seen.append(got))
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
                got = bytes(seen)
                del seen[: len(got)]
                os.write(answers, got + b"\0")
        elif _state(child) not in "Tt":
            is_watching = False
            os.kill(parent, signal.SIGCONT)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def wait_and_forward_signals(child: int, numbers: Iterable[int], witness: GroupSignalProbe) -> int:
    """Wait until `child` ends, and pass on signals meanwhile; return its wait status.

    A child that stops, stops us: a shell then sees the job stopped, as without us.

    Parameters
    ----------
    numbers
        What to pass on; these and SIGCHLD are blocked in all threads.
    """
    awaited = {*numbers, signal.SIGCHLD}
    while True:
        info = signal.sigwaitinfo(awaited)
        if info.si_signo != signal.SIGCHLD:
            _pass_on(info, child, witness)
            continue
        if os.getpid() == 1:
            _reap_strangers(child)
        pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            _stop_as(os.WSTOPSIG(status), witness)
        elif pid:
            return status


def _pass_on(info: signal.struct_siginfo, child: int, witness: GroupSignalProbe) -> None:
    # The child's own signals to its parent were not meant for it, nor are those of our writes, or the witness's.
    if info.si_pid in (child, os.getpid(), witness.pid) or witness.has_received(info):
        return
    os.kill(child, info.si_signo)


def _stop_as(number: int, witness: GroupSignalProbe) -> None:
    witness.watch()
    os.kill(os.getpid(), number)
    if number != signal.SIGSTOP:
        # It was blocked until here.
        before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _reap_strangers(child: int) -> None:
    """As a container's first process, fetch orphans."""
    while (end := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and end.si_pid != child:
        try:
            os.waitpid(end.si_pid, os.WNOHANG)
        except ChildProcessError:
            continue
