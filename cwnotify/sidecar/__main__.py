"""Start the sidecar process, which outlives the kernel.

`cwnotify.sidecar.spawn` runs ``python -P .../sidecar/__main__.py PID LINES ANSWERS PIDFD``, with the numbers of
inherited descriptors.
"""

from __future__ import annotations

import os
import sys

if not __package__:
    # A project in PYTHONPATH may have its own requests.py, so installed packages go first.
    _pythonpath = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path.sort(key=_pythonpath.__contains__)
    # The kernel may import cwnotify from where this Python would not look. Last, so that it shadows nothing.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120 (before any import)


def main(arguments: list[str]) -> None:
    """Run one sidecar until it exits."""
    import signal
    from contextlib import closing

    from cwnotify.settings import get_state_dir
    from cwnotify.sidecar.protocol import Pipe
    from cwnotify.sidecar.supervisor import Sidecar

    pid, lines, answers, pidfd = map(int, arguments)
    _close_inherited_descriptors(lines, answers, pidfd)
    # An interrupt from a terminal is meant for the kernel.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o077)
    _disable_core_dumps()
    pipes = Pipe(lines, is_writer=False), Pipe(answers, is_writer=True)
    with closing(Sidecar(*pipes, pid, pidfd, get_state_dir())) as sidecar:
        # A service that stops, or a batch job, signals all its processes. How the kernel ended must still be reported.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sidecar.request_exit())
        sidecar.run()


def _close_inherited_descriptors(*ours: int) -> None:
    """Close what any child of the kernel inherits. A reader of such a pipe would wait for this process to exit."""
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 (names, not paths)
    except OSError:
        numbers = list(range(256))
    for number in numbers:
        if number > 2 and number not in ours:
            try:
                os.close(number)
            except OSError:
                # The descriptor of the listing itself.
                continue


def _disable_core_dumps() -> None:
    """Prevent a crash from dumping the memory of this process, which holds the webhook.

    With a limit of one byte Linux writes no dump and pipes none to a collector. A limit of zero does not stop the pipe.
    https://github.com/torvalds/linux/blob/master/fs/coredump.c
    """
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (min(hard, 1) if hard >= 0 else 1, hard))


if __name__ == "__main__":
    main(sys.argv[1:])
