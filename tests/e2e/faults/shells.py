"""Hundreds of short-lived kernels: real IPython shells, forked from one process that has imported what they need.

A shell runs registered cells as ipykernel would let it, but without ipykernel's sockets, which take a second to set
up. It tells each step that it has taken through a pipe, at once, so whoever kills it knows what had happened by then:

``a`` before the cell, ``b`` in the cell's first line, ``e`` in its last one, ``x`` after it, ``z`` before it leaves.
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
    """The process that the shells are forked from; a context manager. It lives in `world`, and they do."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._lock = threading.Lock()

    def __enter__(self) -> ShellForker:
        self._nursery = self.world.launch(
            "python", "-m", "tests.e2e.faults.shells", env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._nursery.stdin
        self._nursery.stdin.close()
        self._nursery.wait(30)

    def start(self, name: str, seconds: float, cells: int = 1, linger: float = 0.0) -> Shell:
        """Start a shell that runs `cells` registered cells of so many seconds, and stays so long after them."""
        path = self.world.home / f"steps-{name}"
        os.mkfifo(path)
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        order = {"steps": str(path), "name": name, "seconds": seconds, "cells": cells, "linger": linger}
        with self._lock:
            assert self._nursery.stdin
            self._nursery.stdin.write(json.dumps(order) + "\n")
            self._nursery.stdin.flush()
        shell = Shell(name, reading)
        shell.wait_for("\n", 60)
        return shell


@dataclass
class Shell:
    """One of them."""

    name: str
    steps_fd: int
    output: str = ""

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self.output.partition("\n")[0])

    @property
    def steps(self) -> str:
        """The steps that it has taken."""
        self._take(0)
        return self.output.partition("\n")[2]

    def wait_for(self, step: str, seconds: float = 30.0) -> None:
        """Wait until it has taken this step; an assertion fails if it ends before, or does not come so far."""
        while step not in self.output:
            assert self._take(seconds), f"{self.name} said {self.output!r} and no {step!r}"

    def wait_for_end(self, seconds: float = 30.0) -> None:
        """Wait until it is gone, and hear all that it said."""
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
                # Nobody has opened the other end yet.
                time.sleep(0.005)
                return True
            os.close(self.steps_fd)
            self.steps_fd = -1
        self.output += data.decode()
        return bool(data)


def _live(order: dict[str, object]) -> None:
    """In the forked process: be a shell."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    steps = os.open(str(order["steps"]), os.O_WRONLY)
    os.write(steps, f"{os.getpid()}\n".encode())
    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    shell.user_ns["step"] = lambda text: os.write(steps, text.encode())
    shell.run_line_magic("load_ext", "cwnotify")
    for number in range(int(str(order["cells"]))):
        name = f"{order['name']}.{number}" if number else order["name"]
        os.write(steps, b"a")
        shell.run_cell(CELL_TEMPLATE.format(name=name, seconds=order["seconds"]), store_history=False)
        os.write(steps, b"x")
    shell.run_cell(f"import time; time.sleep({order['linger']})")
    os.write(steps, b"z")


def main() -> None:
    """Fork a shell for each line, and fetch those that have ended."""
    import IPython.core.interactiveshell  # noqa: F401

    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    while (line := _line()) is not None:
        if line and os.fork() == 0:
            try:
                _live(json.loads(line))
            finally:
                # As a program that ends: threads are waited for, and what stands in atexit is done.
                sys.exit()
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


_rest = b""


def _line() -> str | None:
    """The next order; empty if there is none yet, None at the end."""
    global _rest
    while b"\n" not in _rest:
        if not select.select([0], [], [], 0.05)[0]:
            return ""
        data = os.read(0, 65536)
        if not data:
            return None
        _rest += data
    line, _, _rest = _rest.partition(b"\n")
    return line.decode()


if __name__ == "__main__":
    main()
