"""The operating system's own threads, locks and reads, also where gevent or eventlet has replaced Python's.

A patched thread is a coroutine, and a blocking read in it stops the whole program. The patches are attributes of the
modules `_thread` and `time`, so a second copy of these modules has the originals. Nobody patches `posix`, on which
`os` is built. Standard library only.
"""

from __future__ import annotations

import _thread
import posix
import sys
import time
from collections.abc import Callable
from types import BuiltinFunctionType, ModuleType, TracebackType
from typing import Any


def _original(module: ModuleType, sign: str) -> Any:
    """`module`, or a copy of it where its function `sign` has been replaced."""
    if isinstance(getattr(module, sign, None), BuiltinFunctionType):
        return module
    importlib: Any = sys.modules["_frozen_importlib"]
    copy = importlib.module_from_spec(importlib.BuiltinImporter.find_spec(module.__name__))
    importlib.BuiltinImporter.exec_module(copy)
    return copy


_threads = _original(_thread, "start_new_thread")
start_thread: Callable[[Callable[[], object], tuple[()]], int] = _threads.start_new_thread
get_thread_id: Callable[[], int] = _threads.get_ident
new_lock: Callable[[], _thread.LockType] = _threads.allocate_lock
new_rlock: Callable[[], _thread.RLock] = _threads.RLock
monotonic: Callable[[], float] = _original(time, "monotonic").monotonic
read = posix.read
write = posix.write


class Condition:
    """A reentrant lock, and waiting for what others change under it."""

    def __init__(self) -> None:
        self._lock = new_rlock()
        self._waiters: list[_thread.LockType] = []

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def notify_all(self) -> None:
        """Let all waiters look again."""
        with self:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.release()

    def wait_for(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until `holds`, for up to `seconds`; return whether it does. The caller does not hold the lock."""
        deadline = monotonic() + seconds
        while True:
            with self:
                left = deadline - monotonic()
                if holds() or left <= 0:
                    return holds()
                waiter = new_lock()
                waiter.acquire()
                self._waiters.append(waiter)
            waiter.acquire(timeout=left)
