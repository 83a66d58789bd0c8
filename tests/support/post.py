"""Delivery alone: a real thread over a real outbox, without a kernel."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType

from cwnotify.sidecar.delivery import Delivery
from cwnotify.store.outbox import Outbox
from cwnotify.store.schema import Message
from tests.support.waiting import until


class Post:
    """A real delivery over a real outbox; a context manager, after which nothing is looked up or sent any more."""

    def __init__(self, path: Path) -> None:
        self._path = path / "outbox.sqlite3"
        self.box = Outbox(self._path)
        self.delivery = Delivery(lambda: Outbox(self._path), "a test", lambda *_: None)
        self.delivery.start()

    def __enter__(self) -> Post:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The thread waits here for ever. Else it would go on to ask ports that other tests are given by then.
        self.delivery.attempting.acquire(timeout=10)
        self.delivery.wake()
        self.box.close()

    def put(self, id: str, destination: str) -> None:
        self.box.put(id, destination, {"text": id}, time.time())
        self.delivery.wake()

    def message(self, id: str) -> Message:
        return next(one for one in self.box.messages() if one.id == id)

    def becomes(self, id: str, state: str, seconds: float = 15.0) -> None:
        until(lambda: self.message(id).state == state, seconds, f"{id} {state}")
