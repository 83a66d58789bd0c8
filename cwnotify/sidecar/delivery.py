"""Outbox -> Slack. One thread, one message at a time: Slack takes about one a second.

The reply is judged by `cwnotify.slack.retry_policy`; this module only asks, sleeps and writes down.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable

from cwnotify import settings
from cwnotify.alerts.messages.block_kit import Payload, drop_blocks
from cwnotify.alerts.messages.late import add_delivery_delay_note, is_late
from cwnotify.errors import AwsError
from cwnotify.settings import Secret
from cwnotify.sidecar.pacing import DestinationCooldown
from cwnotify.slack import retry_policy
from cwnotify.slack.destination import WebhookLookup, WebhookResolver, look_up_webhook
from cwnotify.slack.http import post_to_slack
from cwnotify.store.outbox import Outbox
from cwnotify.store.schema import OutboxMessage

# How often to look for messages that another sidecar, now gone, had claimed.
IDLE_POLL_INTERVAL = 15.0

AttemptCallback = Callable[[OutboxMessage, str, str], None]


class DeliveryThread(threading.Thread):
    """Sends what the outbox holds for the webhooks that it was given, for as long as the process lives.

    Parameters
    ----------
    connect
        Opens a connection to the outbox, for this thread's own use.
    owner
        Names this process in leases.
    told
        Called after each attempt with the message, its new state and the reason.
    complain
        Called with a text for the screen when nothing can be sent.

    Attributes
    ----------
    attempting
        Held from a message's claim to its attempt's end; who holds it, holds up the delivery.
    failed
        Why the disk did not take what became of a message, until `move` says where to write instead.
    """

    def __init__(
        self,
        connect: Callable[[], Outbox],
        owner: str,
        told: AttemptCallback,
        complain: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(name="cwnotify-delivery", daemon=True)
        self._complain = complain
        self._is_unable = False
        self._connect = connect
        self._owner = owner
        self._told = told
        self._webhooks: dict[str, WebhookResolver] = {}
        self._rests: dict[str, DestinationCooldown] = {}
        self._changed = threading.Event()
        self._moved = threading.Event()
        self.attempt_lock = threading.Lock()
        self._owed: tuple[OutboxMessage, retry_policy.DeliveryDecision, bool] | None = None
        self.store_error: sqlite3.Error | None = None

    def add_webhook(self, webhook: Secret | None, destination: str, look_up: WebhookLookup = look_up_webhook) -> None:
        """Deliver to this webhook too. What is meant for an earlier one still goes there."""
        if webhook and destination not in self._webhooks:
            # New tables, for the thread may be going through the old ones; and this one first, for it belongs to both.
            self._rests = {**self._rests, destination: DestinationCooldown()}
            self._webhooks = {**self._webhooks, destination: WebhookResolver(webhook, self.wake, look_up)}
        self.wake()

    def list_destinations(self) -> list[str]:
        """The names of the webhooks that it delivers to."""
        return list(self._webhooks)

    def known_webhook_urls(self) -> list[str]:
        """Every webhook's URL that is known, for keeping it out of what runs say."""
        return [url.reveal() for webhook in self._webhooks.values() if (url := webhook.resolved_url)]

    def next_due_time(self, outbox: Outbox) -> float | None:
        """When a message for any of the webhooks can go or its lease ends; None if none is pending, or none can go."""
        return None if self._is_unable else self._due(outbox, self._webhooks)

    def _due(self, outbox: Outbox, destinations: Iterable[str]) -> float | None:
        times = (
            self._rests[destination].next_due_time(outbox, destination, time.time()) for destination in destinations
        )
        return min(filter(None, times), default=None)

    def wake(self) -> None:
        """There may be something due."""
        self._changed.set()

    def run(self) -> None:
        """Deliver for ever."""
        while self._is_unable or not self._has_transport():
            # It may be installed while we live; what is on disk meanwhile is sent then, or by a later sidecar.
            time.sleep(IDLE_POLL_INTERVAL)
            self._is_unable = not is_module_installed("requests")
        outbox: Outbox | None = None
        while True:
            try:
                if outbox is None or self._moved.is_set():
                    self._moved.clear()
                    if outbox:
                        outbox.close()
                    outbox = self._connect()
                self._changed.wait(self._round(outbox))
            except Exception as error:
                # A full or locked disk is no reason to stop: the messages are where they were, or in memory soon.
                logging.getLogger(__name__).exception("delivery stumbled")
                self.store_error = error if isinstance(error, sqlite3.Error) else None
                self._moved.set()
                time.sleep(1.0)
            self._changed.clear()

    def check_transport(self) -> None:
        """Complain if nothing can be sent, before anything is acknowledged."""
        for package in ("requests", "urllib3"):
            if not is_module_installed(package):
                self._cannot_send(f"the package {package} is missing")
                return

    def _has_transport(self) -> bool:
        # Imported here, while the cell still runs, so that the first alert does not wait for it.
        try:
            import requests  # noqa: F401
        except Exception as error:
            self._cannot_send(f"the package requests does not work ({type(error).__name__}: {error})")
        return not self._is_unable

    def _cannot_send(self, why: str) -> None:
        self._is_unable = True
        self._complain(
            f"alerts are stored but not sent, because {why}; install it: {sys.executable} -m pip install requests"
        )

    def reopen_outbox(self) -> None:
        """The outbox is elsewhere from now on."""
        self.store_error = None
        self._moved.set()
        self.wake()

    def _round(self, outbox: Outbox) -> float:
        """Send what is due; tells how many seconds there is nothing to do."""
        while True:
            with self.attempt_lock:
                if self._owed:
                    message, decision, is_text = self._owed
                    self._told(message, *record_attempt_result(outbox, message, decision, is_text, time.time()))
                    self._owed = None
                if (next_one := self._claim(outbox)) is None:
                    break
                # Kept until it is written down: a disk that is full just then must not make us send it again.
                there = next_one.destination
                self._owed = next_one, *_attempt(self._webhooks[there], next_one, self._rests[there])
        # A webhook that is being looked up wakes us when it is found.
        due = self._due(outbox, self._ready())
        return IDLE_POLL_INTERVAL if due is None else min(max(due - time.time(), 0.01), IDLE_POLL_INTERVAL)

    def _claim(self, outbox: Outbox) -> OutboxMessage | None:
        claims = (
            outbox.claim_next(one, self._owner, time.time(), self._rests[one].min_created_at()) for one in self._ready()
        )
        return next(filter(None, claims), None)

    def _ready(self) -> list[str]:
        return [destination for destination, webhook in self._webhooks.items() if webhook.try_resolve()]


def is_module_installed(module: str) -> bool:
    """Return whether `module` can be found, without importing it."""
    importlib.invalidate_caches()
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def attempt_delivery(
    outbox: Outbox, webhook: WebhookResolver, message: OutboxMessage, rest: DestinationCooldown
) -> tuple[str, str]:
    """Make one attempt at a claimed message, and write down what came of it; `rest` is that of its destination.

    Returns
    -------
    tuple of str
        The message's state from now on, and the reason if it is not ``done``.
    """
    return record_attempt_result(outbox, message, *_attempt(webhook, message, rest), time.time())


def record_attempt_result(
    outbox: Outbox, message: OutboxMessage, decision: retry_policy.DeliveryDecision, is_text: bool, now: float
) -> tuple[str, str]:
    """Write down at `now` what came of an attempt; gives what `attempt_delivery` does."""
    match decision:
        case retry_policy.Delivered():
            outbox.mark_delivered(message.id, now)
            return "done", ""
        case retry_policy.RetryAt(at, reason):
            outbox.schedule_retry(message.id, at, reason, is_text)
            return "pending", reason
        case retry_policy.GiveUp(reason):
            outbox.mark_dead(message.id, reason, now)
            return "dead", reason
    raise AssertionError(decision)


def _attempt(
    webhook: WebhookResolver, message: OutboxMessage, rest: DestinationCooldown
) -> tuple[retry_policy.DeliveryDecision, bool]:
    """What came of an attempt, and whether it was with the text alone."""
    began, is_text = time.time(), message.text_only
    decision = _post(webhook, message, is_text, rest.consecutive_failures + 1)
    if isinstance(decision, retry_policy.RetryAsText):
        is_text = True
        decision = _post(webhook, message, is_text, rest.consecutive_failures + 1)
    rest.record_attempt(decision, began, time.time())
    return decision, is_text


def _post(
    webhook: WebhookResolver, message: OutboxMessage, is_text: bool, failures: int
) -> retry_policy.DeliveryDecision:
    def describe_attempt() -> retry_policy.Attempt:
        return retry_policy.Attempt(
            message.attempts, message.created, time.time(), random.random(), is_text, consecutive_failures=failures
        )

    try:
        url = webhook.get_url()
    except AwsError as error:
        return retry_policy.decide_retry_unsent(str(error), describe_attempt())
    payload = _worded_for(time.time(), message)
    reply = post_to_slack(url, drop_blocks(payload) if is_text else payload)
    attempt = describe_attempt()
    decision = retry_policy.decide_retry(reply, attempt)
    if (
        isinstance(decision, retry_policy.GiveUp)
        and reply.status in retry_policy.WEBHOOK_GONE_STATUSES
        and webhook.reference
    ):
        if webhook.report_rejected(url):
            return retry_policy.RetryAt(
                attempt.now, f"{decision.reason}; looking for a newer one in {webhook.reference}"
            )
        return retry_policy.GiveUp(f"{decision.reason}; {webhook.reference} still holds this one")
    return decision


def _worded_for(now: float, message: OutboxMessage) -> Payload:
    """The message as it reads at `now`, in the language of the settings where it has to say that it is late."""
    if not is_late(message.created, now):
        return message.payload
    chosen, _ = settings.load_settings()
    return add_delivery_delay_note(message.payload, message.created, now, chosen.lang, chosen.zone)
