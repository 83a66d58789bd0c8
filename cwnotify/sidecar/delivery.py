"""Outbox -> Slack. One thread, one message at a time: Slack takes about one a second.

The reply is judged by `cwnotify.alerts.retries`; this module only asks, sleeps and writes down. No exception's text
is ever kept, since those of requests and urllib3 hold the URL.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from cwnotify.alerts import retries
from cwnotify.alerts.blocks import Payload, text_only
from cwnotify.settings import Secret
from cwnotify.sidecar.outbox import Outbox
from cwnotify.sidecar.rows import Message

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 10.0
LONGEST_BODY = 512
# How often to look for messages that another sidecar, now gone, had claimed.
IDLE_PAUSE = 15.0

Told = Callable[[Message, str, str], None]


def post(webhook: Secret, payload: Payload) -> retries.Reply:
    """Make one attempt. Never raises, never follows a redirect, and tells nothing of the URL."""
    import requests

    try:
        with requests.post(
            webhook.reveal(),
            json=payload,
            timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
            allow_redirects=False,
            stream=True,
        ) as response:
            body = response.raw.read(LONGEST_BODY, decode_content=True)
            return retries.Reply(
                status=response.status_code,
                body=body.decode("utf-8", "replace"),
                retry_after=response.headers.get("Retry-After", ""),
            )
    except Exception as error:
        return retries.Reply(trouble=_trouble(error))


def _trouble(error: BaseException) -> str:
    """What kept the reply away, from the exceptions' types alone."""
    import requests
    import urllib3

    chain: list[BaseException] = []
    todo: list[object] = [error]
    while todo and len(chain) < 20:
        link = todo.pop()
        if isinstance(link, BaseException) and link not in chain:
            chain.append(link)
            todo += [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
    signs: list[tuple[type | tuple[type, ...], str]] = [
        ((requests.exceptions.ProxyError, urllib3.exceptions.ProxyError), "the proxy did not let it through"),
        (requests.exceptions.SSLError, "TLS failed; is the certificate one that this machine trusts?"),
        (urllib3.exceptions.NameResolutionError, "its name could not be resolved"),
        (ConnectionRefusedError, "the connection was refused"),
        (requests.exceptions.ConnectTimeout, f"no connection within {CONNECT_TIMEOUT:.0f} s"),
        ((TimeoutError, requests.exceptions.Timeout, urllib3.exceptions.TimeoutError), "no answer in time"),
        ((ConnectionResetError, BrokenPipeError), "the connection was reset"),
        (requests.exceptions.ConnectionError, "the connection broke"),
        ((requests.exceptions.InvalidURL, UnicodeError), "the webhook is no valid URL"),
    ]
    for kind, words in signs:
        if any(isinstance(link, kind) for link in chain):
            return words
    return type(error).__name__


class Delivery(threading.Thread):
    """Sends what the outbox holds for the webhooks that it was given, for as long as the process lives.

    Parameters
    ----------
    connect
        Opens a connection to the outbox, for this thread's own use.
    owner
        Names this process in leases.
    told
        Called after each attempt with the message, its new state and the reason.
    """

    def __init__(self, connect: Callable[[], Outbox], owner: str, told: Told) -> None:
        super().__init__(name="cwnotify-delivery", daemon=True)
        self._connect = connect
        self._owner = owner
        self._told = told
        self._webhooks: dict[str, Secret] = {}
        self._changed = threading.Event()

    def aim(self, webhook: Secret | None, destination: str) -> None:
        """Deliver to this webhook too. What is meant for an earlier one still goes there."""
        if webhook:
            # A new table, for the thread may be going through the old one.
            self._webhooks = {**self._webhooks, destination: webhook}
        self.wake()

    def next_due(self, outbox: Outbox) -> float | None:
        """When a message for any of the webhooks is due or its lease ends; None if none is pending."""
        return min(filter(None, map(outbox.next_due, self._webhooks)), default=None)

    def wake(self) -> None:
        """There may be something due."""
        self._changed.set()

    def run(self) -> None:
        """Deliver for ever."""
        # Imported here, while the cell still runs, so that the first alert does not wait for it.
        import requests  # noqa: F401

        outbox = self._connect()
        while True:
            try:
                self._changed.wait(self._round(outbox))
            except Exception:
                # A full or locked disk is no reason to stop: the messages are where they were.
                logging.getLogger(__name__).exception("delivery stumbled")
                time.sleep(1.0)
            self._changed.clear()

    def _round(self, outbox: Outbox) -> float:
        """Send what is due; tells how many seconds there is nothing to do."""
        while message := self._claim(outbox):
            self._told(message, *deliver(outbox, self._webhooks[message.destination], message))
        due = self.next_due(outbox)
        return IDLE_PAUSE if due is None else min(max(due - time.time(), 0.01), IDLE_PAUSE)

    def _claim(self, outbox: Outbox) -> Message | None:
        claims = (outbox.claim(destination, self._owner, time.time()) for destination in self._webhooks)
        return next(filter(None, claims), None)


def deliver(outbox: Outbox, webhook: Secret, message: Message) -> tuple[str, str]:
    """Make one attempt at a claimed message and write down what came of it.

    Returns
    -------
    tuple of str
        The message's state from now on, and the reason if it is not ``done``.
    """
    is_text = message.text_only
    while True:
        reply = post(webhook, text_only(message.payload) if is_text else message.payload)
        now = time.time()
        decision = retries.decide(reply, message.attempts, message.created, now, random.random(), is_text)
        match decision:
            case retries.Delivered():
                outbox.done(message.id, now)
                return "done", ""
            case retries.SendText():
                is_text = True
            case retries.RetryAt(at, reason):
                outbox.retry(message.id, at, reason, is_text)
                return "pending", reason
            case retries.Dead(reason):
                outbox.dead(message.id, reason, now)
                return "dead", reason
