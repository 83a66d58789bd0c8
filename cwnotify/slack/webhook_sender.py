"""Send messages to one webhook until Slack accepts or rejects each of them, or time is up.

The Lambda function sends through this module. Imports the standard library, `alerts` and the modules of `slack` that
the function ships.
"""

from __future__ import annotations

import random
import time

from cwnotify.alerts.locale import to_plain_text
from cwnotify.alerts.messages.block_kit import flatten_blocks_to_text
from cwnotify.slack.deadline_http import MIN_ATTEMPT_SECONDS, post_with_deadline
from cwnotify.slack.retry_policy import (
    WEBHOOK_GONE_STATUSES,
    Attempt,
    Delivered,
    GiveUp,
    RetryAsText,
    RetryAt,
    SlackReply,
    decide_retry,
)

TYPE_CHECKING = False  # the import of `typing` takes 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cwnotify.alerts.events.alarms import AwsEvent
    from cwnotify.alerts.messages.block_kit import Payload
    from cwnotify.slack.retry_policy import DeliveryDecision

    Planner = Callable[[Sequence[AwsEvent]], list["PendingMessage"]]

MAX_ATTEMPT_SECONDS = 10.0
# While other messages wait, an attempt takes its share of the remaining time, but at least this.
MIN_SHARED_ATTEMPT_SECONDS = 2.0
# After this many rejections in a row without any delivery, smaller digests will not help.
MAX_CONSECUTIVE_REJECTIONS = 16
DEFAULT_TIME_LIMIT = 30.0  # seconds


class NotDeliveredError(Exception):
    """Slack has not accepted a message. The text has the reason and never contains the URL."""


class PendingMessage:
    """A message to send, and its progress.

    Attributes
    ----------
    payload
        What is sent.
    events
        The events that it reports.
    subjects
        The keys of their alarms.
    is_text, is_unreadable
        Whether Slack could not read the blocks, so that text is sent; whether it could not read the text either.
    attempts, due
        How often it was tried; when to try it next (Unix seconds).
    reason
        Why it is not delivered; empty if it was not tried.
    """

    def __init__(self, payload: Payload, events: Sequence[AwsEvent] = ()) -> None:
        self.payload, self.events = payload, events
        self.subjects = {getattr(event, "key", event.id) for event in events}
        self.is_text = self.is_unreadable = False
        self.attempts, self.due, self.reason = 0, 0.0, ""


class WebhookSender:
    """Sends messages to one webhook.

    Parameters
    ----------
    find
        Returns the webhook's URL; called with True, it looks the webhook up again.
    seconds_left
        Returns the seconds that remain.
    clock, sleep
        Returns Unix seconds; waits.
    post
        Makes one attempt within a number of seconds.
    log
        Takes one line about each message.

    Attributes
    ----------
    accepted
        How many messages Slack accepted.
    """

    def __init__(
        self,
        find: Callable[[bool], str],
        seconds_left: Callable[[], float],
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        post: Callable[[str, Payload, float], SlackReply],
        log: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._find, self._seconds_left, self._clock, self._sleep = find, seconds_left, clock, sleep
        self._post, self._log = post, log
        self.accepted = 0
        self._url, self._was_looked_up_again = "", False
        # Attempts in a row without a verdict from Slack, and messages in a row that it rejected.
        self._failures, self._rejections = 0, 0
        self._started_at, self._backoff_until = clock(), 0.0

    def now(self) -> float:
        """Return Unix seconds."""
        return self._clock()

    def send(self, messages: Sequence[PendingMessage], plan: Planner = lambda events: []) -> list[PendingMessage]:
        """Send messages, and return those that Slack did not accept, each with its `PendingMessage.reason`.

        A message that fails waits while others are sent. Only changes of one alarm stay in order.

        Parameters
        ----------
        plan
            Returns the messages for some events. Digests that Slack rejects as a whole are split with it.
        """
        waiting = list(messages)
        rejected: list[PendingMessage] = []
        reason = "the webhook lookup used all the time" if self._seconds_left() > 0 else "the time limit had passed"
        try:
            self._url = self._find(False) if waiting else ""
        except NotDeliveredError as error:
            waiting, rejected = [], waiting
            for message in rejected:
                message.reason = str(error)
        while waiting:
            message = _choose_next(waiting)
            if not self._wait_until_due(message):
                break
            decision = self._try_once(message, len(waiting) - 1)
            parts: list[PendingMessage] = []
            if isinstance(decision, RetryAt):
                message.due, reason = decision.at, decision.reason
                message.reason = f"{reason} (attempt {message.attempts}, and no time for another)"
                continue
            if isinstance(decision, RetryAsText):
                continue
            if isinstance(decision, GiveUp):
                message.reason = reason = decision.reason
                parts = self._split(message, plan)
                rejected += [] if parts else [message]
            index = waiting.index(message)
            waiting[index : index + 1] = parts
        return self._report_unsent(rejected + waiting, reason)

    def _report_unsent(self, unsent: list[PendingMessage], last_reason: str) -> list[PendingMessage]:
        for message in unsent:
            message.reason = message.reason or f"no time was left; before: {last_reason}"
            self._log_line(f"not delivered: {to_plain_text(message.payload['text'])}: {message.reason}")
        return unsent

    def _log_line(self, text: str) -> None:
        self._log(" ".join(text.split()))

    def _wait_until_due(self, message: PendingMessage) -> bool:
        """Wait until `message` is due. Return False if the time does not suffice for that and an attempt."""
        pause = max(message.due, self._backoff_until) - self._clock()
        if max(pause, 0.0) + MIN_ATTEMPT_SECONDS > self._seconds_left():
            return False
        if pause > 0:
            self._sleep(pause)
        return True

    def _try_once(self, message: PendingMessage, waiting_count: int) -> DeliveryDecision:
        message.attempts += 1
        is_text = message.is_text
        payload = flatten_blocks_to_text(message.payload) if is_text else message.payload
        reply = self._post(self._url, payload, self._limit_attempt(waiting_count))
        failures = self._failures + 1
        attempt = Attempt(message.attempts, self._started_at, self._clock(), random.random(), is_text, failures)
        decision = decide_retry(reply, attempt)
        self._failures = failures if isinstance(decision, RetryAt) else 0
        if isinstance(decision, Delivered):
            self.accepted, self._rejections = self.accepted + 1, 0
            self._log_line(f"delivered: {to_plain_text(message.payload['text'])}")
        elif isinstance(decision, RetryAsText):
            message.is_text = True
        elif isinstance(decision, GiveUp):
            self._rejections += 1
            message.is_unreadable = is_text and reply.status == 400
            return self._look_up_again(decision) if reply.status in WEBHOOK_GONE_STATUSES else decision
        # One message may cause one failure; after two in a row all messages wait.
        elif decision.is_requested_by_slack or failures > 1:
            self._backoff_until = decision.backoff_until
        return decision

    def _look_up_again(self, decision: GiveUp) -> DeliveryDecision:
        """Look the webhook up again, because it may have been replaced. Retry if it has."""
        if self._was_looked_up_again:
            return decision
        self._was_looked_up_again, rejected_url = True, self._url
        try:
            self._url = self._find(True)
        except NotDeliveredError as error:
            return GiveUp(f"{decision.reason}; {error}")
        return decision if self._url == rejected_url else RetryAt(self._clock(), decision.reason)

    def _split(self, message: PendingMessage, plan: Planner) -> list[PendingMessage]:
        """Return the halves of a digest that Slack rejects even as text, because one alarm may be the cause."""
        half = len(message.events) // 2
        is_hopeless = self._rejections > MAX_CONSECUTIVE_REJECTIONS and not self.accepted
        if not half or not message.is_unreadable or is_hopeless:
            return []
        return [*plan(message.events[:half]), *plan(message.events[half:])]

    def _limit_attempt(self, waiting_count: int) -> float:
        """Return seconds for one attempt, so that a message that hangs leaves time for the others."""
        seconds = self._seconds_left()
        if waiting_count:
            seconds = min(max(seconds / (waiting_count + 1), MIN_SHARED_ATTEMPT_SECONDS), seconds / 2)
        return max(min(seconds, MAX_ATTEMPT_SECONDS), MIN_ATTEMPT_SECONDS)


def _choose_next(waiting: Sequence[PendingMessage]) -> PendingMessage:
    """Return the message that is due first and has no earlier message about the same alarm before it."""
    subjects: set[str] = set()
    unblocked = []
    for message in waiting:
        if subjects.isdisjoint(message.subjects):
            unblocked.append(message)
        subjects |= message.subjects
    return min(unblocked, key=lambda message: message.due)


def deliver_payload(payload: Payload, url: str) -> None:
    """Post `payload` to a webhook as the Lambda function does, with retries for up to 30 seconds.

    Raises
    ------
    NotDeliveredError
        If Slack did not accept it.
    """
    end = time.monotonic() + DEFAULT_TIME_LIMIT
    sender = WebhookSender(lambda _: url, lambda: end - time.monotonic(), time.time, time.sleep, post_with_deadline)
    for message in sender.send([PendingMessage(payload)]):
        raise NotDeliveredError(message.reason)
