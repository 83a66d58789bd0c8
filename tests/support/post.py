"""Delivery alone: a real thread over a real outbox, without a kernel."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType

from cwnotify.sidecar.delivery import DeliveryThread
from cwnotify.store.outbox import Outbox
from cwnotify.store.schema import OutboxMessage
from tests.support.waiting import until


class DeliveryHarness:
    """A real delivery over a real outbox; a context manager, after which nothing is looked up or sent any more."""

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
        # The thread waits here for ever. Else it would go on to ask ports that other tests are given by then.
        self.delivery.attempt_lock.acquire(timeout=10)
        self.delivery.wake()
        self.outbox.close()

    def put(self, id: str, destination: str) -> None:
        self.outbox.enqueue(id, destination, {"text": id}, time.time())
        self.delivery.wake()

    def find_message(self, id: str) -> OutboxMessage:
        return next(one for one in self.outbox.list_messages() if one.id == id)

    def wait_for_state(self, id: str, state: str, seconds: float = 15.0) -> None:
        until(lambda: self.find_message(id).state == state, seconds, f"{id} {state}")
