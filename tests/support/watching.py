"""``cwnotify watch`` as a real process, with the snapshots that it prints."""

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
    """The process; a context manager.

    Parameters
    ----------
    options
        Options of ``cwnotify watch``.
    environ
        Environment variables in addition to the world's.
    """

    def __init__(self, world: World, *options: str, environ: dict[str, str]) -> None:
        self.snapshots: list[Snapshot] = []
        self._world, self._options, self._environ = world, options, environ

    def __enter__(self) -> WatchProcess:
        self._process = self._world.launch("cwnotify", "watch", "--json", *self._options, env=self._environ)
        threading.Thread(target=self._read_snapshots, name="watching", daemon=True).start()
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
        """Wait until the latest snapshot, or a later one, meets `condition`. Return that snapshot."""
        first = max(len(self.snapshots) - 1, 0)

        def find_match() -> Snapshot | None:
            return next((snapshot for snapshot in self.snapshots[first:] if condition(snapshot)), None)

        try:
            snapshot = until(find_match, seconds, what)
        except AssertionError:
            raise AssertionError(f"{what} did not happen within {seconds:g} s; last: {self.snapshots[-1:]}") from None
        assert snapshot
        return snapshot

    def kill(self) -> None:
        """Kill the process without warning."""
        self._process.kill()
        self._process.wait()

    def _read_snapshots(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            try:
                record = json.loads(line)
            except ValueError:
                # A watch that is killed may leave half a line.
                return
            record["problems"] = record.pop("troubles")
            for run in record["runs"]:
                run["notified"] = run.pop("told")
            self.snapshots.append(from_json_dict(Snapshot, record))
