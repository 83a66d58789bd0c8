"""The Lambda function: CloudWatch alarms -> Slack. Standard library and `cwnotify.alerts` only.

A drop-in for AWS's blueprint *cloudwatch-alarm-to-slack-python*. Its environment:

``hookUrl``
    The webhook's URL, with or without ``https://``; or where it is stored, ``ssm:/name`` or ``secretsmanager:name``.
    Also as `cwnotify.alerts.webhook_url.parse_webhook_url` finds it in quotes, ``NAME=URL`` or JSON.
``kmsEncryptedHookUrl``
    In its stead: base64 of the URL, encrypted by KMS.
``slackChannel``, ``lang``, ``timeZone``
    None of them has to be set; only legacy webhooks support the channel.
``contributorEvents``
    ``true`` where the EventBridge rules also bring ``CloudWatch Alarm Contributor State Change``. The event that only
    counts an alarm's time series is then left out: each of them has its own.

What Slack has not accepted is raised, or reported to SQS record by record, so that AWS tries again and then keeps the
event in the dead-letter queue. The event source of a queue needs ``ReportBatchItemFailures``.

Delivery is at least once. SNS and EventBridge call the function asynchronously and repeat the whole event when it
raises, also if Slack accepted a part of it. A warm function remembers that part (by SQS's message id or AWS's request
id) and leaves it out; a cold one sends it again. An exception's text is never logged, because it may hold the URL.
"""

from __future__ import annotations

import functools
import http.client  # urllib.request would take as long again as all of the rest here
import io
import json
import os
import random
import socket
import time
import urllib.parse

from cwnotify.alerts.events.alarms import deduplicate_events
from cwnotify.alerts.locale import to_plain_text
from cwnotify.alerts.messages.block_kit import flatten_blocks_to_text
from cwnotify.alerts.messages.render import render_alert
from cwnotify.alerts.parsing.envelopes import parse_aws_events
from cwnotify.alerts.webhook_url import REFERENCE_PREFIXES, WRAPPING_CHARACTERS, InvalidWebhookError, parse_webhook_url
from cwnotify.slack.retry_policy import (
    WEBHOOK_GONE_STATUSES,
    Delivered,
    GiveUp,
    RetryAsText,
    RetryAt,
    SlackReply,
    decide_retry,
)

TYPE_CHECKING = False  # as in `typing`, whose import takes 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from cwnotify.alerts.events.alarms import AwsEvent
    from cwnotify.alerts.messages.block_kit import Payload
    from cwnotify.slack.retry_policy import DeliveryDecision

    # The same for each copy of an event.
    Key = tuple[type, str]

WEBHOOK_VARIABLE, ENCRYPTED_WEBHOOK_VARIABLE = "hookUrl", "kmsEncryptedHookUrl"
CONTRIBUTOR_EVENTS_VARIABLE = "contributorEvents"
# Slack takes short bursts; more than these at once become a digest.
MAX_MESSAGES_WITHOUT_DIGEST = 5
MAX_ATTEMPT_SECONDS = 10.0
MIN_ATTEMPT_SECONDS = 0.25
# While other messages wait, an attempt takes its share of the time that remains, but not less than this (seconds).
MIN_SHARED_ATTEMPT_SECONDS = 2.0
# When Slack refuses this many messages in a row and has accepted none, smaller digests will not help.
MAX_CONSECUTIVE_REJECTIONS = 16
# What is kept back to say what went wrong, before AWS ends the function without a word.
EXIT_RESERVE_SECONDS = 0.5
# How long a webhook that was looked up is trusted (seconds): somebody may put another one there.
WEBHOOK_CACHE_TTL = 300.0
# What is assumed where no context says it, as when a person calls the handler.
DEFAULT_FUNCTION_TIMEOUT = 30.0
_LONGEST_BODY = 512
# Bytes that are sent under one timeout; a record of TLS.
_PIECE = 16_384
# Partly delivered records that a warm function remembers.
_MAX_REMEMBERED = 100
# Seconds for a connection to AWS and for its answer, when the webhook is looked up.
_LOOKUP_TIMEOUTS = (3.0, 5.0)

# What Slack accepted of records that it did not accept in full, by SQS's message id or AWS's request id.
_accepted: dict[str, set[Key]] = {}


class NotDeliveredError(Exception):
    """Slack has not said ok; the message says why and never holds the URL."""


def lambda_handler(event: object, context: object) -> dict[str, object]:
    """Send Slack a message for every event in `event`, whatever envelopes it comes in.

    Returns
    -------
    dict
        ``messages``, how many Slack accepted; ``batchItemFailures``, the records of a batch from SQS of which Slack did
        not accept everything.

    Raises
    ------
    NotDeliveredError
        If Slack did not accept everything; for a batch from SQS, if it accepted nothing.
    """
    sender = WebhookSender(_find, _countdown(context), time.time, time.sleep, post_with_deadline, print)
    result = handle_event(event, os.environ, sender, str(getattr(context, "aws_request_id", "") or ""))
    return _response(result) if _is_request(event) else result


def _is_request(event: object) -> bool:
    """Whether this came over HTTPS: from a function URL, API Gateway or a load balancer."""
    request = event.get("requestContext") if isinstance(event, dict) else None
    return isinstance(request, dict) and "functionArn" not in request


def _response(result: dict[str, object]) -> dict[str, object]:
    """The answer to a request; API Gateway and load balancers take no other form, and SNS repeats what has none."""
    headers = {"Content-Type": "application/json"}
    return {"statusCode": 200, "headers": headers, "body": json.dumps(result), "isBase64Encoded": False}


def handle_event(
    event: object, environ: Mapping[str, str], sender: WebhookSender, request: str = ""
) -> dict[str, object]:
    """As `lambda_handler`, through `sender`; `request` is the same whenever AWS repeats a call."""
    records: dict[str, list[AwsEvent]] = {}
    for id, record in _records(event):
        records.setdefault(id, []).extend(_without_summaries(parse_aws_events(record), environ))
    due = {id: _keys(events) - _remembered(id or request) for id, events in records.items()}
    events = [one for events in records.values() for one in events]

    def plan(some: Sequence[AwsEvent]) -> list[PendingMessage]:
        lang, zone, channel = environ.get("lang", "en"), environ.get("timeZone", ""), environ.get("slackChannel", "")
        return _messages(some, lang, zone, channel, sender.now())

    wanted = set().union(*due.values())
    unsent = sender.send(plan([one for one in events if _key(one) in wanted]), plan)
    left = _keys([one for message in unsent for one in message.events])
    failed = [id for id in records if due[id] & left]
    for id in failed:
        _remember(id or request, _keys(records[id]) - left)
    if failed and ("" in failed or (len(failed) == len(records) and not sender.accepted)):
        count = f"{len(unsent)} of {len(unsent) + sender.accepted}"
        raise NotDeliveredError(f"{count} messages not delivered; {unsent[0].reason}")
    return {"messages": sender.accepted, "batchItemFailures": [{"itemIdentifier": id} for id in sorted(failed)]}


def _without_summaries(events: Sequence[AwsEvent], environ: Mapping[str, str]) -> list[AwsEvent]:
    """Leave out what only counts time series, where the stack's rules also bring an event for each of them."""
    if environ.get(CONTRIBUTOR_EVENTS_VARIABLE) != "true":
        return list(events)
    kept = [one for one in events if not getattr(one, "contributors_follow", False)]
    if len(kept) < len(events):
        print("left out: a summary of time series, which have events of their own")
    return kept


def render_payloads(
    event: object, lang: str, zone: str = "", channel: str = "", now: float | None = None
) -> list[Payload]:
    """Return what the function would send for `event`; with `now` (Unix seconds) an old event says how late it is."""
    return [message.payload for message in _messages(parse_aws_events(event), lang, zone, channel, now)]


class PendingMessage:
    """A message to send, and how far it has come.

    Attributes
    ----------
    payload
        What is sent.
    events
        The events that it reports.
    subjects
        Their alarms.
    is_text, is_unreadable
        Whether Slack cannot read the blocks, and gets what they say as text; whether it cannot read that either.
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
    """Sends messages to one webhook until Slack accepts or refuses each of them, or time is up.

    Parameters
    ----------
    find
        Returns the webhook's URL; called with True, it looks the webhook up again.
    left
        Returns the seconds that remain.
    clock, sleep
        Returns Unix seconds; waits.
    post
        Makes one attempt, within some seconds.
    log
        Takes a line about each message, in words.

    Attributes
    ----------
    accepted
        How many messages Slack accepted.
    """

    def __init__(
        self,
        find: Callable[[bool], str],
        left: Callable[[], float],
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        post: Callable[[str, Payload, float], SlackReply],
        log: Callable[..., object] = lambda *words: None,
    ) -> None:
        self._find, self._left, self._clock, self._sleep, self._post = find, left, clock, sleep, post
        self._log = log
        self.accepted = 0
        self._url, self._is_looked_up_again = "", False
        # Attempts in a row without a verdict of Slack's, and messages in a row that it refused.
        self._failures, self._refusals = 0, 0
        self._began, self._rest = clock(), 0.0

    def now(self) -> float:
        """Return Unix seconds."""
        return self._clock()

    def send(
        self,
        messages: Sequence[PendingMessage],
        plan: Callable[[Sequence[AwsEvent]], list[PendingMessage]] = lambda events: [],
    ) -> list[PendingMessage]:
        """Send messages, and return those that Slack did not accept, each with its `Message.reason`.

        A message that fails waits while the others go; only the changes of one alarm stay in their order.

        Parameters
        ----------
        plan
            Returns the messages for some events, to send a digest in parts that Slack refuses as a whole.
        """
        waiting, refused = list(messages), list[PendingMessage]()
        reason = "the webhook's look-up took all the time" if self._left() > 0 else "there was no time at all"
        try:
            self._url = self._find(False) if waiting else ""
        except NotDeliveredError as error:
            waiting, refused = [], waiting
            for message in refused:
                message.reason = str(error)
        while waiting:
            message = _next(waiting)
            if not self._wait_for(message):
                break
            decision = self._try(message, len(waiting) - 1)
            parts: list[PendingMessage] = []
            if isinstance(decision, RetryAt):
                message.due, reason = decision.at, decision.reason
                message.reason = f"{reason} (attempt {message.attempts}, and no time for another)"
                continue
            if isinstance(decision, RetryAsText):
                continue
            if isinstance(decision, GiveUp):
                message.reason = reason = decision.reason
                parts = self._parts(message, plan)
                refused += [] if parts else [message]
            place = waiting.index(message)
            waiting[place : place + 1] = parts
        for message in (*refused, *waiting):
            message.reason = message.reason or f"no time was left; before: {reason}"
            self._log("not delivered:", *f"{to_plain_text(message.payload['text'])}: {message.reason}".split())
        return refused + waiting

    def _wait_for(self, message: PendingMessage) -> bool:
        """Wait until `message` is due; return False if there is no time for that and an attempt."""
        pause = max(message.due, self._rest) - self._clock()
        if max(pause, 0.0) + MIN_ATTEMPT_SECONDS > self._left():
            return False
        if pause > 0:
            self._sleep(pause)
        return True

    def _try(self, message: PendingMessage, others: int) -> DeliveryDecision:
        message.attempts += 1
        payload = flatten_blocks_to_text(message.payload) if message.is_text else message.payload
        reply = self._post(self._url, payload, self._share(others))
        jitter, failures = random.random(), self._failures + 1
        now, is_text = self._clock(), message.is_text
        decision = decide_retry(reply, message.attempts, self._began, now, jitter, is_text, failures=failures)
        self._failures = failures if isinstance(decision, RetryAt) else 0
        if isinstance(decision, Delivered):
            self.accepted, self._refusals = self.accepted + 1, 0
            self._log("delivered:", *to_plain_text(message.payload["text"]).split())
        elif isinstance(decision, RetryAsText):
            message.is_text = True
        elif isinstance(decision, GiveUp):
            self._refusals += 1
            message.is_unreadable = is_text and reply.status == 400
            return self._looked_up_again(decision) if reply.status in WEBHOOK_GONE_STATUSES else decision
        # One failure can be the message's own fault; after two in a row all messages wait.
        elif decision.is_requested_by_slack or failures > 1:
            self._rest = decision.backoff_until
        return decision

    def _looked_up_again(self, decision: GiveUp) -> DeliveryDecision:
        """Slack says that the webhook is gone. Look it up once more; it may have been replaced where it is stored."""
        if self._is_looked_up_again:
            return decision
        self._is_looked_up_again, gone = True, self._url
        try:
            self._url = self._find(True)
        except NotDeliveredError as error:
            return GiveUp(f"{decision.reason}; {error}")
        return decision if self._url == gone else RetryAt(self._clock(), decision.reason)

    def _parts(
        self, message: PendingMessage, plan: Callable[[Sequence[AwsEvent]], list[PendingMessage]]
    ) -> list[PendingMessage]:
        """The messages to send instead of a digest that Slack refuses also as text: one alarm in it may be why."""
        half = len(message.events) // 2
        is_hopeless = self._refusals > MAX_CONSECUTIVE_REJECTIONS and not self.accepted
        if not half or not message.is_unreadable or is_hopeless:
            return []
        return [*plan(message.events[:half]), *plan(message.events[half:])]

    def _share(self, others: int) -> float:
        """Seconds for one attempt, so that a message that hangs leaves time for the others."""
        left = self._left()
        if others:
            left = min(max(left / (others + 1), MIN_SHARED_ATTEMPT_SECONDS), left / 2)
        return max(min(left, MAX_ATTEMPT_SECONDS), MIN_ATTEMPT_SECONDS)


def _next(waiting: Sequence[PendingMessage]) -> PendingMessage:
    """The message that is due first, of those that no earlier message about the same alarm precedes."""
    subjects: set[str] = set()
    free = []
    for message in waiting:
        if subjects.isdisjoint(message.subjects):
            free.append(message)
        subjects |= message.subjects
    return min(free, key=lambda one: one.due)


def deliver_payload(payload: Payload, hook: str) -> None:
    """Post `payload` outside of a function: `hook` is what its environment would have as ``hookUrl``.

    Raises
    ------
    NotDeliveredError
        If Slack did not accept it.
    """
    sender = WebhookSender(
        lambda again: _webhook(hook, ""), _countdown(None), time.time, time.sleep, post_with_deadline
    )
    for message in sender.send([PendingMessage(payload)]):
        raise NotDeliveredError(message.reason)


def post_with_deadline(url: str, payload: Payload, seconds: float) -> SlackReply:
    """Make one attempt that ends within `seconds`. Never raises, follows no redirect, and tells nothing of the URL."""
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "cwnotify"}
    try:
        parts = urllib.parse.urlsplit(url)
        connection = _connection(parts, time.monotonic() + max(seconds, MIN_ATTEMPT_SECONDS))
        try:
            connection.connect()
            connection.request("POST", parts._replace(scheme="", netloc="").geturl(), json.dumps(payload), headers)
            answer = connection.getresponse()
            body = answer.read(_LONGEST_BODY).decode(errors="replace")
            return SlackReply(answer.status, body, answer.getheader("Retry-After", ""))
        finally:
            connection.close()
    except Exception as error:
        return SlackReply(error=_trouble(error))


class _Timed:
    """What makes an `http.client` connection end at `deadline`, however slowly the other side answers or reads.

    A socket's timeout only limits one operation: a server that sends a byte a second never exceeds it. (Not limited
    is the look-up of the host's name, which has the resolver's own timeout.)
    """

    deadline: float
    sock: Any

    def left(self) -> float:
        """Return the seconds that remain, for a socket's timeout."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _create_connection(self, address: tuple[str, int], *ignored: object) -> socket.socket:
        """Connect to the first of the host's addresses that answers; each has its share of the time."""
        places, error = socket.getaddrinfo(*address, type=socket.SOCK_STREAM), OSError()
        for number, (family, kind, protocol, _, place) in enumerate(places):
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(self.left() / (len(places) - number))
                made.connect(place)
                made.settimeout(self.left())
                return made
            except OSError as refused:
                error = refused
                made.close()
        raise error

    def send(self, data: Any) -> None:
        """Send `data` piece by piece, because TLS applies the socket's timeout to each of its records."""
        for start in range(0, len(data), _PIECE):
            self.sock.settimeout(self.left())
            self.sock.sendall(data[start : start + _PIECE])

    def response_class(self, sock: Any, *how: Any, **named: Any) -> http.client.HTTPResponse:
        """Make a response that reads until the deadline."""
        response = http.client.HTTPResponse(sock, *how, **named)
        response.fp = io.BufferedReader(_Reader(self, sock, response.fp.detach()))
        return response


class _Reader(io.RawIOBase):
    def __init__(self, connection: _Timed, sock: Any, raw: Any) -> None:
        self._connection, self._sock, self._raw = connection, sock, raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._connection.left())
        read: int | None = self._raw.readinto(buffer)
        return read

    def close(self) -> None:
        # The socket closes once its readers have.
        self._raw.close()
        super().close()


def _connection(parts: urllib.parse.SplitResult, deadline: float) -> http.client.HTTPConnection:
    """A connection to the webhook's host, through the proxy that the environment may name."""
    host = parts.hostname or ""
    proxy = None if parts.scheme == "http" else _proxy(host)
    kind = http.client.HTTPConnection if parts.scheme == "http" else http.client.HTTPSConnection
    made: Any = type("Timed", (_Timed, kind), {"deadline": deadline})
    connection: http.client.HTTPConnection
    if proxy is None:
        connection = made(host, parts.port)
    else:
        connection = made(proxy.hostname or "", proxy.port or 80)
        connection.set_tunnel(host, parts.port, _credentials(proxy))
    # An attribute of the instance, which hides the method.
    connection._create_connection = _Timed._create_connection.__get__(connection)  # type: ignore[attr-defined]
    return connection


def _proxy(host: str) -> urllib.parse.SplitResult | None:
    named = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    if not named:
        return None
    from urllib.request import proxy_bypass

    return None if proxy_bypass(host) else urllib.parse.urlsplit(named if "://" in named else f"//{named}")


def _credentials(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    import base64

    pair = ":".join(map(urllib.parse.unquote, (proxy.username, proxy.password or "")))
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _trouble(error: BaseException) -> str:
    """What kept the reply away, from the exception's type alone."""
    signs = {
        TimeoutError: "no answer in time",
        ConnectionRefusedError: "the connection was refused",
        ConnectionError: "the connection was dropped",
    }
    names = {"gaierror": "its name could not be resolved", "InvalidURL": "the webhook is no valid URL"}
    found = next((words for kind, words in signs.items() if isinstance(error, kind)), "")
    name = type(error).__name__
    return found or names.get(name) or ("TLS failed" if name.startswith("SSL") else name)


def _records(event: object) -> list[tuple[str, object]]:
    """A batch's records from SQS, each with its id; anything else as one record without."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list) or not all(isinstance(one, dict) for one in records):
        return [("", event)]
    queued = [(one["messageId"], one) for one in records if one.get("eventSource") == "aws:sqs" and "messageId" in one]
    return queued if queued and len(queued) == len(records) else [("", event)]


def _key(event: AwsEvent) -> Key:
    return type(event), event.id


def _keys(events: Sequence[AwsEvent]) -> set[Key]:
    return {_key(event) for event in events}


def _remembered(id: str) -> set[Key]:
    """What Slack accepted of a record, or of a request, when it came before."""
    return _accepted.get(id, set())


def _remember(id: str, keys: set[Key]) -> None:
    if id and keys:
        _accepted.pop(id, None)
        _accepted[id] = keys
        while len(_accepted) > _MAX_REMEMBERED:
            del _accepted[next(iter(_accepted))]


def _messages(
    events: Sequence[AwsEvent], lang: str, zone: str, channel: str, now: float | None
) -> list[PendingMessage]:
    """The messages to send for some events; copies of an event share one."""
    single = deduplicate_events(events)
    if len(single) <= MAX_MESSAGES_WITHOUT_DIGEST:
        return [PendingMessage(render_alert(event, lang, zone, channel, now), (event,)) for event in single]
    # Compiled at every cold start, were it imported above: a storm can wait for it.
    from cwnotify.alerts.messages.digest import digest_pages

    times = [event.at for event in single if event.at is not None]
    span = max(times) - min(times) if times else 0.0
    pages = digest_pages(single, span, lang, zone, channel, now)
    return [PendingMessage(page.payload, page.events) for page in pages]


def _countdown(context: Any) -> Callable[[], float]:
    """Tells the seconds that remain."""
    ask = getattr(context, "get_remaining_time_in_millis", None)
    if ask is not None:
        return lambda: ask() / 1000 - EXIT_RESERVE_SECONDS
    end = time.monotonic() + DEFAULT_FUNCTION_TIMEOUT
    return lambda: end - time.monotonic()


def _find(anew: bool) -> str:
    if anew:
        _webhook.cache_clear()
    return _webhook(
        os.environ.get(WEBHOOK_VARIABLE, ""),
        os.environ.get(ENCRYPTED_WEBHOOK_VARIABLE, ""),
        int(time.monotonic() // WEBHOOK_CACHE_TTL),
    )


@functools.lru_cache(maxsize=1)
def _webhook(hook: str, encrypted: str, age: int = 0) -> str:
    """The webhook's URL; kept in a warm container while `age` is the same: a look-up takes time and has a price."""
    if not hook.strip() and not encrypted.strip():
        raise NotDeliveredError(
            f"neither {WEBHOOK_VARIABLE} nor {ENCRYPTED_WEBHOOK_VARIABLE} is set in the function's environment"
        )
    place = WEBHOOK_VARIABLE if hook.strip() else ENCRYPTED_WEBHOOK_VARIABLE
    try:
        url = parse_webhook_url(hook if place == WEBHOOK_VARIABLE else _decrypted(encrypted), allow_missing_scheme=True)
        if url.startswith(REFERENCE_PREFIXES):
            place = url
            url = parse_webhook_url(_stored(place), allow_missing_scheme=True)
            if url.startswith(REFERENCE_PREFIXES):
                raise InvalidWebhookError("holds the name of another place instead of a webhook")
    except InvalidWebhookError as error:
        raise NotDeliveredError(f"the webhook in {place} cannot be used: it {error}") from None
    except Exception as error:
        raise NotDeliveredError(f"the webhook could not be looked up: {type(error).__name__}: {error}") from None
    return url


def _stored(reference: str) -> str | bytes:
    """What is stored under ``ssm:/name`` or ``secretsmanager:name``."""
    store, _, name = reference.partition(":")
    if store == "ssm":
        return str(_client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])
    secret = _client("secretsmanager").get_secret_value(SecretId=name)
    value: str | bytes = secret.get("SecretString") or secret["SecretBinary"]
    return value


def _decrypted(encrypted: str) -> bytes:
    """What KMS makes of it; newer copies of the blueprint encrypt with the name as context, older without."""
    import base64

    kms, blob = _client("kms"), base64.b64decode(encrypted.strip(WRAPPING_CHARACTERS))
    try:
        context = {"LambdaFunctionName": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")}
        found = kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)
    except kms.exceptions.InvalidCiphertextException:
        found = kms.decrypt(CiphertextBlob=blob)
    plaintext: bytes = found["Plaintext"]
    return plaintext


def _client(service: str) -> Any:
    import boto3
    from botocore.config import Config

    connect, read = _LOOKUP_TIMEOUTS
    make: Any = boto3.client
    config = Config(connect_timeout=connect, read_timeout=read, retries={"mode": "standard", "total_max_attempts": 2})
    return make(service, config=config)
