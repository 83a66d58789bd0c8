"""Hundreds of short-lived kernels: real IPython shells, forked from one process that has done the imports.

A shell runs registered cells like ipykernel, but without the sockets of ipykernel, which take a second to open. It
writes each step to a pipe at once, so that a test knows what happened before a kill:

``a`` before the cell, ``b`` in the cell's first line, ``e`` in its last line, ``x`` after it, ``z`` before the exit.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from types import TracebackType

from tests.support.kernel import ROOT, World

CELL_TEMPLATE = "%%notify_on_finish {name}\nstep('b')\nimport time; time.sleep({seconds})\nstep('e')"


class ShellForker:
    """The process that forks the shells, in `world`; a context manager."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._lock = threading.Lock()

    def __enter__(self) -> ShellForker:
        self._process = self.world.launch(
            "python", "-m", "tests.e2e.faults.shells", env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)

    def start(self, name: str, seconds: float, cells: int = 1, linger: float = 0.0) -> Shell:
        """Start a shell that runs `cells` registered cells of `seconds` each, and exits `linger` seconds later."""
        path = self.world.home / f"steps-{name}"
        os.mkfifo(path)
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        options = {"steps": str(path), "name": name, "seconds": seconds, "cells": cells, "linger": linger}
        with self._lock:
            assert self._process.stdin
            self._process.stdin.write(json.dumps(options) + "\n")
            self._process.stdin.flush()
        shell = Shell(name, reading)
        shell.wait_for("\n", 60)
        return shell


@dataclass
class Shell:
    """A forked shell."""

    name: str
    steps_fd: int
    output: str = ""

    @property
    def pid(self) -> int:
        """The shell's process."""
        return int(self.output.partition("\n")[0])

    @property
    def steps(self) -> str:
        """The steps so far."""
        self._take(0)
        return self.output.partition("\n")[2]

    def wait_for(self, step: str, seconds: float = 30.0) -> None:
        """Wait until the shell has taken `step`. An assertion fails if it ends first or takes too long."""
        while step not in self.output:
            assert self._take(seconds), f"{self.name} wrote {self.output!r} but not {step!r}"

    def wait_for_end(self, seconds: float = 30.0) -> None:
        """Wait until the shell has ended, and read its last steps."""
        while self._take(seconds):
            pass

    def _take(self, seconds: float) -> bool:
        if self.steps_fd < 0 or not select.select([self.steps_fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.steps_fd, 4096)
        except BlockingIOError:
            return False
        if not data:
            if not self.output:
                # The shell has not opened the pipe yet.
                time.sleep(0.005)
                return True
            os.close(self.steps_fd)
            self.steps_fd = -1
        self.output += data.decode()
        return bool(data)


def _run_shell(options: dict[str, object]) -> None:
    """Run a shell in the forked process."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    steps = os.open(str(options["steps"]), os.O_WRONLY)
    os.write(steps, f"{os.getpid()}\n".encode())
    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    shell.user_ns["step"] = lambda text: os.write(steps, text.encode())
    shell.run_line_magic("load_ext", "cwnotify")
    for number in range(int(str(options["cells"]))):
        name = f"{options['name']}.{number}" if number else options["name"]
        os.write(steps, b"a")
        shell.run_cell(CELL_TEMPLATE.format(name=name, seconds=options["seconds"]), store_history=False)
        os.write(steps, b"x")
    shell.run_cell(f"import time; time.sleep({options['linger']})")
    os.write(steps, b"z")


def main() -> None:
    """Fork a shell for each line, and reap those that have ended."""
    import IPython.core.interactiveshell  # noqa: F401

    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    while (line := _next_line()) is not None:
        if line and os.fork() == 0:
            try:
                _run_shell(json.loads(line))
            finally:
                # End like a program: wait for threads and run the atexit hooks.
                sys.exit()
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


_unread = b""


def _next_line() -> str | None:
    """Return the next line. It is empty if there is none yet, and None at the end."""
    global _unread
    while b"\n" not in _unread:
        if not select.select([0], [], [], 0.05)[0]:
            return ""
        data = os.read(0, 65536)
        if not data:
            return None
        _unread += data
    line, _, _unread = _unread.partition(b"\n")
    return line.decode()


if __name__ == "__main__":
    main()
