"""Find out which EC2 instance this host is, and send its Spot notices. Runs in a thread, because EC2 may be slow."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from cwnotify.alerts.events.runs import Run
from cwnotify.alerts.messages.notice import instance_notice_message
from cwnotify.aws.models import InstanceIdentity
from cwnotify.host import instance_metadata
from cwnotify.store.alarm_states import MessageOptions
from cwnotify.store.outbox import Outbox

# Seconds. A Spot interruption comes two minutes after its notice, and AWS recommends to check every five seconds.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
NOTICE_POLL_INTERVAL = 5.0

log = logging.getLogger(__name__)


class InstanceMonitor(threading.Thread):
    """Query the instance metadata service once for the identity, and on a Spot instance repeatedly for notices.

    Parameters
    ----------
    connect
        Opens a connection to the current outbox, on disk or in memory.
    on_message
        Called after a message was added to the outbox.

    Attributes
    ----------
    store_error
        Why the last notice could not be stored; None if it was. The next poll tries again with a new connection.
    """

    def __init__(self, connect: Callable[[], Outbox], on_message: Callable[[], None]) -> None:
        super().__init__(name="cwnotify-machine", daemon=True)
        self._connect, self._on_message = connect, on_message
        self._identity = InstanceIdentity()
        self._is_resolved = threading.Event()
        self._recipient: tuple[str, MessageOptions] = "", MessageOptions()
        self.store_error: sqlite3.Error | None = None

    def wait_for_identity(self, timeout: float = 0.0) -> InstanceIdentity:
        """Return the identity. It is empty if this is no instance, or EC2 does not answer within `timeout` seconds."""
        self._is_resolved.wait(timeout)
        return self._identity

    @property
    def is_identity_resolved(self) -> bool:
        """Whether the query for the identity has ended, with or without an instance."""
        return self._is_resolved.is_set()

    def set_recipient(self, destination: str, options: MessageOptions) -> None:
        """Send later notices to `destination`, written with `options`."""
        self._recipient = destination, options

    def add_instance_to_run(self, run: Run) -> Run:
        """Return `run` with the instance that it runs on, if the identity is resolved."""
        identity = self._identity
        if not identity.instance_id or run.place.instance:
            return run
        place = replace(
            run.place,
            instance=identity.instance_id,
            instance_type=identity.instance_type,
            zone=identity.availability_zone,
        )
        return replace(run, place=place)

    def run(self) -> None:
        """Resolve the identity. On a Spot instance, poll for notices until the process exits."""
        try:
            self._identity = instance_metadata.fetch_instance_identity()
        finally:
            self._is_resolved.set()
        if not self._identity.is_spot:
            return
        while True:
            try:
                self._poll()
                self.store_error = None
            except Exception as error:
                self.store_error = error if isinstance(error, sqlite3.Error) else None
                log.exception("polling for Spot notices failed")
            time.sleep(NOTICE_POLL_INTERVAL)

    def _poll(self) -> None:
        destination, options = self._recipient
        for notice in instance_metadata.fetch_spot_notices(self._identity) if destination else ():
            id = hashlib.sha256(f"{destination}|{notice.id}".encode()).hexdigest()[:24]
            message = instance_notice_message(notice, options.lang, options.zone, options.channel, time.time())
            # A new connection, because the outbox may have moved between disk and memory since the last poll.
            with closing(self._connect()) as outbox:
                if outbox.enqueue(id, destination, message, time.time()):
                    self._on_message()
