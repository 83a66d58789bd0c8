"""Outbox -> Slack: one thread, one message at a time, because Slack accepts about one a second.

`cwnotify.slack.retry_policy` decides what to do after each reply. This module posts, waits and stores the result.
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

# In seconds: how often to look for messages that another sidecar, now gone, had claimed.
IDLE_POLL_INTERVAL = 15.0
MIN_POLL_INTERVAL = 0.01
ERROR_PAUSE = 1.0

AttemptCallback = Callable[[OutboxMessage, str, str], None]

log = logging.getLogger(__name__)


class DeliveryThread(threading.Thread):
    """Sends the outbox's messages to the webhooks it was given, until the process exits.

    Parameters
    ----------
    connect
        Opens a connection to the outbox, for this thread's own use.
    owner
        Identifies this process in leases.
    on_attempt
        Called after each attempt with the message, its new state and the reason.
    report_problem
        Called with a text for the user when nothing can be sent.

    Attributes
    ----------
    attempt_lock
        Held from a message's claim to the end of its attempt. Acquire it to hold delivery.
    store_error
        Why the result of an attempt could not be stored, until `reopen_outbox` is called.
    """

    def __init__(
        self,
        connect: Callable[[], Outbox],
        owner: str,
        on_attempt: AttemptCallback,
        report_problem: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(name="cwnotify-delivery", daemon=True)
        self.attempt_lock = threading.Lock()
        self.store_error: sqlite3.Error | None = None
        self._connect = connect
        self._owner = owner
        self._on_attempt = on_attempt
        self._report_problem = report_problem
        self._is_unable_to_send = False
        self._webhooks: dict[str, WebhookResolver] = {}
        self._cooldowns: dict[str, DestinationCooldown] = {}
        self._wake_event = threading.Event()
        self._must_reopen = threading.Event()
        # The result of an attempt that is not stored yet.
        self._unstored: tuple[OutboxMessage, retry_policy.DeliveryDecision, bool] | None = None

    def add_webhook(self, webhook: Secret | None, destination: str, look_up: WebhookLookup = look_up_webhook) -> None:
        """Deliver to this webhook too. Messages for an earlier webhook are still sent to that one."""
        if webhook and destination not in self._webhooks:
            # New dicts, because the thread may be iterating. The cooldown first: each webhook must have one.
            self._cooldowns = {**self._cooldowns, destination: DestinationCooldown()}
            self._webhooks = {**self._webhooks, destination: WebhookResolver(webhook, self.wake, look_up)}
        self.wake()

    def list_destinations(self) -> list[str]:
        """Return the destinations that this thread delivers to."""
        return list(self._webhooks)

    def known_webhook_urls(self) -> list[str]:
        """Return the resolved URLs, which must not appear in alerts."""
        return [url.reveal() for webhook in self._webhooks.values() if (url := webhook.resolved_url)]

    def next_due_time(self, outbox: Outbox) -> float | None:
        """Return when the next message can be sent or its lease ends. None if none is pending or can be sent."""
        return None if self._is_unable_to_send else self._next_due_time(outbox, self._webhooks)

    def _next_due_time(self, outbox: Outbox, destinations: Iterable[str]) -> float | None:
        now = time.time()
        times = (self._cooldowns[destination].next_due_time(outbox, destination, now) for destination in destinations)
        return min(filter(None, times), default=None)

    def wake(self) -> None:
        """Check now whether a message is due."""
        self._wake_event.set()

    def reopen_outbox(self) -> None:
        """Use a new connection, because the outbox moved."""
        self.store_error = None
        self._must_reopen.set()
        self.wake()

    def run(self) -> None:
        """Deliver until the process exits."""
        while self._is_unable_to_send or not self._import_transport():
            # The package may be installed meanwhile. What is on disk is sent then, or by a later sidecar.
            time.sleep(IDLE_POLL_INTERVAL)
            self._is_unable_to_send = not is_module_installed("requests")
        outbox: Outbox | None = None
        while True:
            try:
                if outbox is None or self._must_reopen.is_set():
                    self._must_reopen.clear()
                    if outbox:
                        outbox.close()
                    outbox = self._connect()
                self._wake_event.wait(self._deliver_due(outbox))
            except Exception as error:
                # After a full or locked disk the messages are where they were, or in memory soon.
                log.exception("delivery failed")
                self.store_error = error if isinstance(error, sqlite3.Error) else None
                self._must_reopen.set()
                time.sleep(ERROR_PAUSE)
            self._wake_event.clear()

    def check_transport(self) -> None:
        """Report if nothing can be sent, before any event is acknowledged."""
        for package in ("requests", "urllib3"):
            if not is_module_installed(package):
                self._disable_sending(f"the package {package} is missing")
                return

    def _import_transport(self) -> bool:
        # Here, while the cell still runs, so that the first alert does not wait for the import.
        try:
            import requests  # noqa: F401
        except Exception as error:
            self._disable_sending(f"the package requests does not work ({type(error).__name__}: {error})")
        return not self._is_unable_to_send

    def _disable_sending(self, reason: str) -> None:
        self._is_unable_to_send = True
        self._report_problem(
            f"alerts are stored but not sent, because {reason}; install it: {sys.executable} -m pip install requests"
        )

    def _deliver_due(self, outbox: Outbox) -> float:
        """Send the messages that are due. Return the seconds until the next check."""
        while True:
            with self.attempt_lock:
                if self._unstored:
                    message, decision, is_text = self._unstored
                    self._on_attempt(message, *record_attempt_result(outbox, message, decision, is_text, time.time()))
                    self._unstored = None
                if (claimed := self._claim_next(outbox)) is None:
                    break
                # Remembered until it is stored: a disk that is full now must not make us send the message again.
                webhook, cooldown = self._webhooks[claimed.destination], self._cooldowns[claimed.destination]
                self._unstored = claimed, *_attempt(webhook, claimed, cooldown)
        # The end of a webhook's lookup wakes this thread.
        due = self._next_due_time(outbox, self._resolved_destinations())
        return IDLE_POLL_INTERVAL if due is None else min(max(due - time.time(), MIN_POLL_INTERVAL), IDLE_POLL_INTERVAL)

    def _claim_next(self, outbox: Outbox) -> OutboxMessage | None:
        for destination in self._resolved_destinations():
            min_created_at = self._cooldowns[destination].min_created_at()
            if message := outbox.claim_next(destination, self._owner, time.time(), min_created_at):
                return message
        return None

    def _resolved_destinations(self) -> list[str]:
        return [destination for destination, webhook in self._webhooks.items() if webhook.try_resolve()]


def is_module_installed(module: str) -> bool:
    """Return whether `module` can be found, without importing it."""
    importlib.invalidate_caches()
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def attempt_delivery(
    outbox: Outbox, webhook: WebhookResolver, message: OutboxMessage, cooldown: DestinationCooldown
) -> tuple[str, str]:
    """Make one attempt at a claimed message, and store its result.

    Parameters
    ----------
    cooldown
        The cooldown of the message's destination.

    Returns
    -------
    tuple of str
        The message's new state, and the reason unless it is ``done``.
    """
    return record_attempt_result(outbox, message, *_attempt(webhook, message, cooldown), time.time())


def record_attempt_result(
    outbox: Outbox, message: OutboxMessage, decision: retry_policy.DeliveryDecision, is_text: bool, now: float
) -> tuple[str, str]:
    """Store the result of an attempt. Return the same as `attempt_delivery`."""
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
    webhook: WebhookResolver, message: OutboxMessage, cooldown: DestinationCooldown
) -> tuple[retry_policy.DeliveryDecision, bool]:
    """Return the result of an attempt, and whether only the text was sent."""
    started, is_text = time.time(), message.text_only
    decision = _post(webhook, message, is_text, cooldown.consecutive_failures + 1)
    if isinstance(decision, retry_policy.RetryAsText):
        is_text = True
        decision = _post(webhook, message, is_text, cooldown.consecutive_failures + 1)
    cooldown.record_attempt(decision, started, time.time())
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
    payload = _add_delay_note(message, time.time())
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


def _add_delay_note(message: OutboxMessage, now: float) -> Payload:
    """Return the message's payload, with a note in the user's language if it is late."""
    if not is_late(message.created, now):
        return message.payload
    user_settings, _ = settings.load_settings()
    return add_delivery_delay_note(message.payload, message.created, now, user_settings.lang, user_settings.zone)
