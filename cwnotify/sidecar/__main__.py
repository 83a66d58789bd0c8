"""The process that outlives the kernel. Started by `cwnotify.sidecar.client`, as

``python -P .../sidecar/__main__.py PID LINES ANSWERS PIDFD`` with the numbers of inherited descriptors.
"""

from __future__ import annotations

import os
import sys

if not __package__:
    # A project that stands in PYTHONPATH may have a requests.py of its own.
    _own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path.sort(key=_own.__contains__)
    # Started by path: the kernel may have found cwnotify where this Python would not look. Last, to shadow nothing.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120 (before any import)


def main(arguments: list[str]) -> None:
    """Live one sidecar's life."""
    import signal
    from contextlib import closing

    from cwnotify.settings import get_state_dir
    from cwnotify.sidecar.alert_writer import AlertWriter
    from cwnotify.sidecar.protocol import Pipe
    from cwnotify.sidecar.supervisor import Sidecar

    pid, lines, answers, pidfd = map(int, arguments)
    _close_others(lines, answers, pidfd)
    # An interrupt from a terminal is meant for the kernel.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o077)
    _leave_no_core()
    with closing(AlertWriter(get_state_dir())) as books:
        books.enable_file_logging()
        sidecar = Sidecar(Pipe(lines, is_writer=False), Pipe(answers, is_writer=True), pid, pidfd, books)
        # A service that stops, or a batch job, signals all its processes: how the kernel ended is still to be reported.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sidecar.request_exit())
        sidecar.run()


def _close_others(*ours: int) -> None:
    """Close what the kernel lets any program inherit: a reader of it would wait for our end, too."""
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 (names, not paths)
    except OSError:
        numbers = list(range(256))
    for number in numbers:
        if number > 2 and number not in ours:
            try:
                os.close(number)
            except OSError:
                # It was that of the list.
                continue


def _leave_no_core() -> None:
    """Should this crash, no dump of its memory, which holds the webhook, is left.

    With a limit of one byte Linux writes none and pipes none to a collector; one of zero is no limit for a pipe.
    https://github.com/torvalds/linux/blob/master/fs/coredump.c
    """
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (min(hard, 1) if hard >= 0 else 1, hard))


if __name__ == "__main__":
    main(sys.argv[1:])
