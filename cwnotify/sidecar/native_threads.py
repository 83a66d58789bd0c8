"""The operating system's threads, locks and reads, even if gevent or eventlet has replaced Python's.

A patched thread is a coroutine, and a blocking read in it stops the whole program. The patches are attributes of the
modules `_thread` and `time`, so a second copy of these modules has the originals. `posix`, which `os` is built on, is
never patched. Standard library only.
"""

from __future__ import annotations

import _thread
import posix
import sys
import time
from collections.abc import Callable
from types import BuiltinFunctionType, ModuleType, TracebackType
from typing import Any


def _load_unpatched(module: ModuleType, function: str) -> Any:
    """Return `module`, or a new copy of it if its `function` was replaced."""
    if isinstance(getattr(module, function, None), BuiltinFunctionType):
        return module
    importlib: Any = sys.modules["_frozen_importlib"]
    copy = importlib.module_from_spec(importlib.BuiltinImporter.find_spec(module.__name__))
    importlib.BuiltinImporter.exec_module(copy)
    return copy


_threads = _load_unpatched(_thread, "start_new_thread")
start_thread: Callable[[Callable[[], object], tuple[()]], int] = _threads.start_new_thread
get_thread_id: Callable[[], int] = _threads.get_ident
new_lock: Callable[[], _thread.LockType] = _threads.allocate_lock
new_rlock: Callable[[], _thread.RLock] = _threads.RLock
monotonic: Callable[[], float] = _load_unpatched(time, "monotonic").monotonic
read = posix.read
write = posix.write


class Condition:
    """A reentrant lock, and a way to wait for what other threads change under it."""

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
        """Wake all waiting threads, which then check their condition again."""
        with self:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.release()

    def wait_for(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until `holds` is true, for up to `seconds`, and return whether it is. Do not hold the lock."""
        deadline = monotonic() + seconds
        while True:
            with self:
                remaining = deadline - monotonic()
                if holds() or remaining <= 0:
                    return holds()
                waiter = new_lock()
                waiter.acquire()
                self._waiters.append(waiter)
            waiter.acquire(timeout=remaining)
