"""Start a command as a child in the same state as if the shell had started it directly.

The child gets the signals, descriptors and environment that this process started with, and execvp(3)'s search,
without Python's own changes to them. Imports the standard library only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

# Errors after which execvp(3) tries the next folder of PATH.
_SEARCH_ERRORS = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT)
# Signals that Python always ignores. Whether they were ignored before is inferred from the parent.
_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)
# Programs whose children inherit the signals that they ignore.
_PASS_ON_IGNORED = ("sh", "bash", "dash", "zsh", "ksh", "ksh93", "mksh", "ash", "busybox", "systemd", "timeout", "make")


class InheritedSignals:
    """The signal state that this process inherited. From here on all signals that can be forwarded are blocked.

    Attributes
    ----------
    ignored
        Signals that were ignored at the start.
    forwarded
        Signals to forward to the child. Not the ignored ones, and not those with which a terminal stops background
        processes, because it sends them to the whole group.
    original_mask
        The signals that were blocked at the start.
    """

    def __init__(self) -> None:
        self.ignored = {number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN}
        self.ignored -= {number for number in _PYTHON_IGNORES if not _parent_ignores(number)}
        unforwardable = {signal.SIGKILL, signal.SIGSTOP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGXFSZ}
        self.forwarded = {number for number in signal.valid_signals() if number not in self.ignored | unforwardable}
        self.original_mask = signal.pthread_sigmask(signal.SIG_BLOCK, self.forwarded | {signal.SIGCHLD})
        self._ignores_children = signal.SIGCHLD in self.ignored
        if self._ignores_children:
            # Otherwise the kernel would discard the child's wait status.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def restore(self) -> None:
        """Restore the inherited state, in the child. Blocked signals arrive now."""
        for number in (signal.SIGINT, *_PYTHON_IGNORES):
            if number not in self.ignored:
                signal.signal(number, signal.SIG_DFL)
        if self._ignores_children:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.original_mask)


def _parent_ignores(number: int) -> bool:
    """Return whether the parent ignores a signal and passes that on to its children."""
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
    """Occupy the descriptors 0 to 2 so that no other file gets them; return those that were closed."""
    closed = set()
    for number in range(3):
        try:
            if fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                # A file of this process has taken the number already.
                closed.add(number)
        except OSError:
            # This takes the lowest free number, and closes when the child executes the command.
            os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            closed.add(number)
    return closed


class DeferredChild:
    """A child that executes the command only after `start_command`.

    Fork it before this process has threads. Signals that a terminal sends to both processes stay pending in the child.

    Parameters
    ----------
    command
        The program and its arguments.
    streams
        Pipe ends for the child's standard streams, by descriptor number.

    Raises
    ------
    OSError
        If the process cannot be created.
    """

    def __init__(self, command: Sequence[str], signals: InheritedSignals, streams: Mapping[int, int]) -> None:
        start_reader, self._start_writer = os.pipe()
        self._error_reader, error_writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._start_writer)
                # EOF means that the parent is gone.
                if os.read(start_reader, 1):
                    _exec_in_child(command, signals, streams, error_writer)
            finally:
                os._exit(127)
        os.close(start_reader)
        os.close(error_writer)

    def start_command(self) -> None:
        """Let the child execute the command."""
        try:
            os.write(self._start_writer, b"!")
        except BrokenPipeError:
            # A signal has ended the child.
            pass
        os.close(self._start_writer)

    def read_exec_error(self) -> OSError | None:
        """Return why the command could not be executed, or None. Call it after the child has ended."""
        text = os.read(self._error_reader, 64)
        os.close(self._error_reader)
        return OSError(int(text), os.strerror(int(text))) if text else None


def _exec_in_child(
    command: Sequence[str], signals: InheritedSignals, streams: Mapping[int, int], error_writer: int
) -> None:
    for number, end in streams.items():
        os.dup2(end, number)
    # Python sets LC_CTYPE if the locale is C: https://peps.python.org/pep-0538/
    if not _was_set_at_start("LC_CTYPE"):
        os.environ.pop("LC_CTYPE", None)
    signals.restore()
    try:
        exec_command(command)
    except (OSError, ValueError) as error:
        os.write(error_writer, str(getattr(error, "errno", None) or errno.EINVAL).encode())


def _was_set_at_start(name: str) -> bool:
    """Return whether a variable was in the environment when this process started."""
    try:
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
        return any(entry.startswith(f"{name}=".encode()) for entry in entries)
    except OSError:
        return name in os.environ


def exec_command(command: Sequence[str]) -> None:
    """Replace this process by `command`, as execvp(3) does: it also runs scripts without a ``#!`` line.

    Raises
    ------
    OSError
        If the command cannot be executed.
    """
    program = command[0]
    if not program:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if "/" in program:
        _execute_file(program, command)
    last_error: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for folder in os.environ.get("PATH", "/bin:/usr/bin").split(":"):
        try:
            _execute_file(f"{folder}/{program}" if folder else program, command)
        except OSError as error:
            if error.errno == errno.EACCES:
                last_error = error
            elif error.errno not in _SEARCH_ERRORS:
                raise
    raise last_error


def _execute_file(path: str, command: Sequence[str]) -> None:
    try:
        os.execv(path, list(command))
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        os.execv("/bin/sh", ["/bin/sh", path, *command[1:]])
