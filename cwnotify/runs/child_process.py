"""A command as a child that begins as it would have begun in our place. Standard library only.

It gets the signals, the descriptors, the environment and the search of execvp(3) that this process was started with,
without what Python changes in all of these.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

_SEARCHED = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT)
# What Python ignores in every process; whether it was ignored before can only be guessed from the parent.
_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)
# Programs that start others with the signals that they ignore themselves.
_PASS_ON_IGNORED = ("sh", "bash", "dash", "zsh", "ksh", "ksh93", "mksh", "ash", "busybox", "systemd", "timeout", "make")


class InheritedSignals:
    """The signals as this process found them; from then on all that can be passed on are blocked.

    Attributes
    ----------
    passed
        What is passed on: neither what was ignored, nor what stops a background process at its terminal, because the
        terminal sends it to the whole group.
    """

    def __init__(self) -> None:
        self.ignored = {number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN}
        self.ignored -= {number for number in _PYTHON_IGNORES if not _parent_ignores(number)}
        kept = {signal.SIGKILL, signal.SIGSTOP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGXFSZ}
        self.forwarded = {number for number in signal.valid_signals() if number not in self.ignored | kept}
        self.original_mask = signal.pthread_sigmask(signal.SIG_BLOCK, self.forwarded | {signal.SIGCHLD})
        self._ignores_children = signal.SIGCHLD in self.ignored
        if self._ignores_children:
            # Otherwise the system would forget how the child ended.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def restore(self) -> None:
        """Put everything back, in the child. What came meanwhile arrives now."""
        for number in (signal.SIGINT, *_PYTHON_IGNORES):
            if number not in self.ignored:
                signal.signal(number, signal.SIG_DFL)
        if self._ignores_children:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.original_mask)


def _parent_ignores(number: int) -> bool:
    """Return whether the parent ignores a signal, and lets its children inherit that."""
    folder = Path(f"/proc/{os.getppid()}")
    try:
        if (folder / "comm").read_text().strip() not in _PASS_ON_IGNORED:
            return False
        status = (folder / "status").read_text(errors="replace")
        ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:"))
        return bool(int(ignored, 16) >> (number - 1) & 1)
    except (OSError, ValueError, IndexError, StopIteration):
        return False


def reserve_standard_streams() -> set[int]:
    """Keep the numbers 0 to 2 from files of ours; return those that were closed, as they are for the child."""
    closed = set()
    for number in range(3):
        try:
            if fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                # A file of ours has taken it already.
                closed.add(number)
        except OSError:
            # The lowest free number. It closes itself when the child begins.
            os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            closed.add(number)
    return closed


class DeferredChild:
    """A child that waits for `begin`.

    It is forked before this process has threads. What a terminal sends to both of us meanwhile waits in it.

    Parameters
    ----------
    command
        The program and its arguments.
    streams
        Ends of pipes that are its standard streams, by their number.

    Raises
    ------
    OSError
        If no process can be had.
    """

    def __init__(self, command: Sequence[str], signals: InheritedSignals, streams: Mapping[int, int]) -> None:
        go, self._go = os.pipe()
        self._trouble, trouble = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._go)
                # At the end of file our parent is gone.
                if os.read(go, 1):
                    _become(command, signals, streams, trouble)
            finally:
                os._exit(127)
        os.close(go)
        os.close(trouble)

    def start_command(self) -> None:
        """Let it become the command."""
        try:
            os.write(self._go, b"!")
        except BrokenPipeError:
            # A signal has ended it.
            pass
        os.close(self._go)

    def read_exec_error(self) -> OSError | None:
        """Why it could not become the command, once it has ended."""
        text = os.read(self._trouble, 64)
        os.close(self._trouble)
        return OSError(int(text), os.strerror(int(text))) if text else None


def _become(command: Sequence[str], signals: InheritedSignals, streams: Mapping[int, int], trouble: int) -> None:
    for number, end in streams.items():
        os.dup2(end, number)
    # Python sets it where the locale is C.
    if not _was_set("LC_CTYPE"):
        os.environ.pop("LC_CTYPE", None)
    signals.restore()
    try:
        exec_command(command)
    except (OSError, ValueError) as error:
        os.write(trouble, str(getattr(error, "errno", None) or errno.EINVAL).encode())


def _was_set(name: str) -> bool:
    """Return whether a variable was in the environment that this process was started with."""
    try:
        return any(one.startswith(f"{name}=".encode()) for one in Path("/proc/self/environ").read_bytes().split(b"\0"))
    except OSError:
        return name in os.environ


def exec_command(command: Sequence[str]) -> None:
    """Become `command` as execvp(3) does, which also runs scripts without an interpreter's line.

    Raises
    ------
    OSError
        Why that is not possible.
    """
    program = command[0]
    if not program:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if "/" in program:
        _execute_file(program, command)
    last: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for folder in os.environ.get("PATH", "/bin:/usr/bin").split(":"):
        try:
            _execute_file(f"{folder}/{program}" if folder else program, command)
        except OSError as error:
            if error.errno == errno.EACCES:
                last = error
            elif error.errno not in _SEARCHED:
                raise
    raise last


def _execute_file(path: str, command: Sequence[str]) -> None:
    try:
        os.execv(path, list(command))
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        os.execv("/bin/sh", ["/bin/sh", path, *command[1:]])
