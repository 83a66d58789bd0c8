"""``cwnotify watch`` as a real process, and what it saw."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable
from types import TracebackType

from cwnotify.alerts.serialization import from_json_dict
from cwnotify.view.snapshot import Snapshot
from tests.support.kernel import World
from tests.support.waiting import until


class WatchProcess:
    """A watch from its start to its end; a context manager.

    Parameters
    ----------
    options
        Of ``cwnotify watch``.
    environ
        What it finds in its environment beside the world's.
    """

    def __init__(self, world: World, *options: str, environ: dict[str, str]) -> None:
        self.snapshots: list[Snapshot] = []
        self._world, self._options, self._environ = world, options, environ

    def __enter__(self) -> WatchProcess:
        self._process = self._world.launch("cwnotify", "watch", "--json", *self._options, env=self._environ)
        threading.Thread(target=self._read, name="watching", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def wait_for_snapshot(self, condition: Callable[[Snapshot], object], what: str, seconds: float = 20.0) -> Snapshot:
        """Wait for a snapshot of which `condition` holds."""
        seen = len(self.snapshots)

        def found() -> Snapshot | None:
            return next((one for one in self.snapshots[max(seen - 1, 0) :] if condition(one)), None)

        try:
            snapshot = until(found, seconds, what)
        except AssertionError:
            raise AssertionError(f"{what} did not come about; last: {self.snapshots[-1:]}") from None
        assert snapshot
        return snapshot

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.snapshots.append(from_json_dict(Snapshot, json.loads(line)))
