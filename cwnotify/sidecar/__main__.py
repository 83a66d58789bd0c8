"""The process that outlives the kernel. Started by `cwnotify.sidecar.link`, as

``python -P .../sidecar/__main__.py PID LINES ANSWERS PIDFD`` with the numbers of inherited descriptors.
"""

from __future__ import annotations

import os
import signal
import sys

if not __package__:
    # Started by path: the kernel may have found cwnotify where this Python would not look. Last, to shadow nothing.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120 (before any import)


def main(arguments: list[str]) -> None:
    """Live one sidecar's life."""
    from cwnotify.settings import state_dir
    from cwnotify.sidecar.books import Books
    from cwnotify.sidecar.life import Sidecar
    from cwnotify.sidecar.protocol import Pipe

    pid, lines, answers, pidfd = map(int, arguments)
    # An interrupt from a terminal is meant for the kernel.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o077)
    books = Books(state_dir())
    books.keep_log()
    Sidecar(Pipe(lines, writes=False), Pipe(answers, writes=True), pid, pidfd, books).live()


if __name__ == "__main__":
    main(sys.argv[1:])
