"""Delivery without a kernel: the real thread and a real outbox."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType

from cwnotify.sidecar.delivery import DeliveryThread
from cwnotify.store.outbox import Outbox
from cwnotify.store.schema import OutboxMessage
from tests.support.waiting import until


class DeliveryHarness:
    """A delivery thread with its outbox. A context manager: after its exit the thread sends nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path / "outbox.sqlite3"
        self.outbox = Outbox(self._path)
        self.delivery = DeliveryThread(lambda: Outbox(self._path), "a test", lambda *_: None)
        self.delivery.start()

    def __enter__(self) -> DeliveryHarness:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The thread then waits on this lock forever. Otherwise it would send to ports that later tests use.
        self.delivery.attempt_lock.acquire(timeout=10)
        self.delivery.wake()
        self.outbox.close()

    def put(self, id: str, destination: str) -> None:
        self.outbox.enqueue(id, destination, {"text": id}, time.time())
        self.delivery.wake()

    def find_message(self, id: str) -> OutboxMessage:
        return next(message for message in self.outbox.list_messages() if message.id == id)

    def wait_for_state(self, id: str, state: str, seconds: float = 15.0) -> None:
        until(lambda: self.find_message(id).state == state, seconds, f"{id} {state}")
