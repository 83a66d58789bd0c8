"""Which EC2 instance this host is, and whether EC2 is about to take it back. A thread, for the answer may take long."""

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

# Two minutes is all the warning there is; AWS recommends to look every five seconds.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
NOTICE_POLL_INTERVAL = 5.0

log = logging.getLogger(__name__)


class InstanceMonitor(threading.Thread):
    """Asks the instance's metadata service, once who this is, and on a Spot instance again and again for notices.

    Parameters
    ----------
    connect
        Opens a connection to the outbox as it is now, on disk or in memory.
    told
        Called when a message was put into the outbox.

    Attributes
    ----------
    failed
        Why the disk did not take a notice; the next look tries again, wherever the outbox is by then.
    """

    def __init__(self, connect: Callable[[], Outbox], told: Callable[[], None]) -> None:
        super().__init__(name="cwnotify-machine", daemon=True)
        self._connect, self._told = connect, told
        self._identity = InstanceIdentity()
        self._known = threading.Event()
        self._listener: tuple[str, MessageOptions] = "", MessageOptions()
        self.store_error: sqlite3.Error | None = None

    def wait_for_identity(self, patience: float = 0.0) -> InstanceIdentity:
        """Which instance this is; empty where it is none, or is not known within `patience` seconds."""
        self._known.wait(patience)
        return self._identity

    @property
    def is_identity_resolved(self) -> bool:
        """Whether it is settled by now which instance this is, if any."""
        return self._known.is_set()

    def set_recipient(self, destination: str, voice: MessageOptions) -> None:
        """Tell notices to this webhook, in this voice, from now on."""
        self._listener = destination, voice

    def add_instance_to_run(self, run: Run) -> Run:
        """`run` with the instance that it runs on, if that is known by now."""
        known = self._identity
        if not known.instance_id or run.place.instance:
            return run
        place = replace(
            run.place, instance=known.instance_id, instance_type=known.instance_type, zone=known.availability_zone
        )
        return replace(run, place=place)

    def run(self) -> None:
        """Ask who this is; then look for notices for ever, where there can be any."""
        try:
            self._identity = instance_metadata.fetch_instance_identity()
        finally:
            self._known.set()
        if not self._identity.is_spot:
            return
        while True:
            try:
                self._look()
                self.store_error = None
            except Exception as error:
                self.store_error = error if isinstance(error, sqlite3.Error) else None
                log.exception("a look for notices stumbled")
            time.sleep(NOTICE_POLL_INTERVAL)

    def _look(self) -> None:
        destination, voice = self._listener
        for notice in instance_metadata.fetch_spot_notices(self._identity) if destination else ():
            id = hashlib.sha256(f"{destination}|{notice.id}".encode()).hexdigest()[:24]
            message = instance_notice_message(notice, voice.lang, voice.zone, voice.channel, time.time())
            # A connection for this alone: the outbox may be in memory since the last look, or on disk again.
            with closing(self._connect()) as outbox:
                if outbox.enqueue(id, destination, message, time.time()):
                    self._told()
