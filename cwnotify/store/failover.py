"""The outbox on disk or, while the disk fails, in memory.

Imports the standard library, `errors`, `settings`, `host.processes` and `store` only.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import asdict
from logging.handlers import RotatingFileHandler
from pathlib import Path

from cwnotify.errors import StateError
from cwnotify.host.processes import identify_process
from cwnotify.settings import Secret
from cwnotify.store import state_dir
from cwnotify.store.outbox import IN_MEMORY_PATH, Outbox
from cwnotify.store.recovery import copy_to_memory, describe_quarantined, move_to_disk, open_outbox

MAX_LOG_BYTES = 256 << 10

log = logging.getLogger(__name__)


class FailoverOutbox:
    """The outbox of one sidecar, and where it is at the moment.

    Parameters
    ----------
    directory
        The state directory. If it cannot be used, the outbox is in memory and `problem` says why.
    report_problem
        Called with a text for the user when the disk fails.
    on_moved
        Called when the outbox moved to memory or back. Other threads then need new connections.
    owner
        Identifies this process in leases and runs.

    Attributes
    ----------
    current
        The connection of the thread that created this object. It is another one after a move.
    problem
        What the user should know about the state directory, or an empty text.
    """

    def __init__(
        self,
        directory: Path,
        report_problem: Callable[[str], None] = lambda text: None,
        on_moved: Callable[[], None] = lambda: None,
        owner: str = "",
    ) -> None:
        self.owner = owner or make_owner_id()
        self.problem = ""
        self._report_problem = report_problem
        self._on_moved = on_moved
        self._directory: Path | None = None
        self._has_disk_failed = False
        started = time.time()
        try:
            self._directory = state_dir.prepare_state_dir(directory)
            self.current = self.connect()
            self.problem = describe_quarantined(self._directory, started)
        except (StateError, sqlite3.Error, OSError) as error:
            self.problem = f"{error}; alerts are kept in memory until then"
            self._directory = None
            self.current = self.connect()

    def close(self) -> None:
        """Close the current connection. The callers of `connect` close theirs."""
        self.current.close()

    def connect(self) -> Outbox:
        """Open another connection, for a thread of its own."""
        return open_outbox(self._directory) if self._directory and self.is_home else Outbox(IN_MEMORY_PATH)

    def enable_file_logging(self) -> None:
        """Write the log into the state directory. A webhook is never logged."""
        if self._directory:
            path = self._directory / state_dir.LOG_FILENAME
            handler = RotatingFileHandler(path, maxBytes=MAX_LOG_BYTES, backupCount=1, delay=True)
            handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(name)s %(message)s"))
            logging.getLogger("cwnotify").addHandler(handler)

    def destination_for(self, webhook: Secret | None) -> str:
        """Return the destination of messages for `webhook`, or an empty text for no webhook."""
        try:
            return state_dir.fingerprint_webhook(webhook, self._directory)
        except OSError:
            # The key cannot be read or written, or is not ours. The name then holds for this process only.
            return state_dir.fingerprint_webhook(webhook, None)

    @property
    def is_home(self) -> bool:
        """Whether the outbox is where it was at the start: False while it is in memory because the disk failed."""
        return not self._has_disk_failed

    def fall_back_to_memory(self, error: sqlite3.Error) -> None:
        """Continue in memory with this process's rows until the disk can be written again.

        Raises
        ------
        sqlite3.Error
            `error`, if the outbox is in memory already.
        """
        if self._directory is None or self._has_disk_failed:
            raise error
        log.warning("the disk fails: %s", error)
        self._has_disk_failed = True
        disk, self.current = self.current, self.connect()
        copy_to_memory(self.current, self._directory / state_dir.OUTBOX_FILENAME, self.owner)
        disk.close()
        self._on_moved()
        self._report_problem(f"alerts are kept in memory only, because {self._directory} cannot be written: {error}")

    def return_to_disk(self) -> None:
        """Move back to the disk if it can be written again."""
        if self._directory is None or self.is_home:
            return
        disk: Outbox | None = None
        try:
            disk = open_outbox(self._directory)
            is_moved = move_to_disk(self.current, self._directory / state_dir.OUTBOX_FILENAME, self.owner)
        except (StateError, sqlite3.Error, OSError):
            is_moved = False
        if disk is None or not is_moved:
            if disk:
                disk.close()
            return
        memory, self.current, self._has_disk_failed = self.current, disk, False
        memory.close()
        self._on_moved()


def make_owner_id() -> str:
    """Return how this process is named as the owner of leases and runs."""
    return json.dumps(asdict(identify_process(os.getpid())))
