"""The Lambda function: CloudWatch alarms -> Slack. Standard library and `cwnotify.alerts` only.

A drop-in for AWS's blueprint *cloudwatch-alarm-to-slack-python*. Its environment:

``hookUrl``
    The webhook's URL, with or without ``https://``; or where it is kept, ``ssm:/name`` or ``secretsmanager:name``.
``kmsEncryptedHookUrl``
    In its stead: base64 of the URL, encrypted by KMS.
``slackChannel``, ``lang``, ``timeZone``
    None of them has to be set; only a legacy webhook heeds the channel.

What Slack has not said ``ok`` to is raised (or told to SQS), so that AWS tries again and then keeps the event in the
dead-letter queue. An exception's text is never logged, for it may hold the URL.
"""

from __future__ import annotations

import functools
import http.client  # urllib.request would take as long again as all of the rest here
import json
import os
import random
import time
import urllib.parse

from cwnotify.alerts.alarm_events import unique
from cwnotify.alerts.blocks import text_only
from cwnotify.alerts.envelopes import parse
from cwnotify.alerts.render import render
from cwnotify.alerts.retries import GONE, Dead, Delivered, Reply, RetryAt, decide
from cwnotify.alerts.words import plain

TYPE_CHECKING = False  # as in `typing`, whose import takes 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from cwnotify.alerts.alarm_events import AwsEvent
    from cwnotify.alerts.blocks import Payload

    # What SQS knows a record by (empty elsewhere), and an event in it.
    Told = tuple[str, AwsEvent]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PLAIN, ENCRYPTED = "hookUrl", "kmsEncryptedHookUrl"
# Slack takes short bursts; more than these at once become a digest.
MOST_SINGLE = 5
LONGEST_ATTEMPT = 10.0
SHORTEST_ATTEMPT = 0.25
# What is kept back to say what went wrong, before AWS ends the function without a word.
FAREWELL = 0.5
# How long a webhook that was looked up is trusted (seconds): somebody may put another one there.
KEPT = 300.0
# What is assumed where no context says it, as when a person calls the handler.
SECONDS = 30.0
_LONGEST_BODY = 512


class NotDeliveredError(Exception):
    """Slack has not said ok; the message says why and never holds the URL."""


def lambda_handler(event: object, context: object) -> dict[str, object]:
    """Tell Slack of every event in `event`, whatever envelopes it comes in.

    Returns
    -------
    dict
        ``batchItemFailures`` for a batch from SQS of which a part was not delivered; how many ``messages`` were.

    Raises
    ------
    NotDeliveredError
        If anything was not delivered; from SQS, if nothing was.
    """
    left = _countdown(context)
    return handle(event, os.environ, lambda payload: deliver(payload, _find, left, time.time, time.sleep, post))


def handle(event: object, environ: Mapping[str, str], send: Callable[[Payload], None]) -> dict[str, object]:
    """As `lambda_handler`, with `send` to deliver a message; it raises `NotDeliveredError` if it cannot."""
    told = [(id, one) for id, record in _records(event) for one in parse(record)]
    lang, zone, channel = environ.get("lang", "en"), environ.get("timeZone", ""), environ.get("slackChannel", "")
    reasons: list[str] = []
    failed: set[str] = set()
    sent = 0
    for payload, records in _messages(told, lang, zone, channel):
        try:
            send(payload)
            sent += 1
            print("delivered:", *plain(payload["text"]).split())
        except NotDeliveredError as error:
            reasons.append(str(error))
            failed |= records
            print("not delivered:", *f"{plain(payload['text'])}: {error}".split())
    if reasons and failed == {id for id, _ in told}:
        raise NotDeliveredError(f"{len(reasons)} of {len(reasons) + sent} messages not delivered; {reasons[0]}")
    return {"messages": sent, "batchItemFailures": [{"itemIdentifier": id} for id in sorted(failed)]}


def payloads(event: object, lang: str, zone: str = "", channel: str = "") -> list[Payload]:
    """What the function would send for `event`."""
    told = [("", one) for one in parse(event)]
    return [payload for payload, _ in _messages(told, lang, zone, channel)]


def deliver(
    payload: Payload,
    find: Callable[[bool], str],
    left: Callable[[], float],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    post: Callable[[str, Payload, float], Reply],
) -> None:
    """Post `payload`, again and again while there is hope and time.

    Parameters
    ----------
    find
        Gives the webhook's URL; told True, it looks anew.
    left
        Seconds that remain.
    clock, sleep
        Gives Unix seconds; lets some go by.
    post
        Makes one attempt, within so many seconds.

    Raises
    ------
    NotDeliveredError
        If Slack did not say ok.
    """
    if left() < SHORTEST_ATTEMPT:
        raise NotDeliveredError("the messages before it took all the time there was")
    attempt, is_text, since, url = 0, False, clock(), find(False)
    while True:
        attempt += 1
        reply = post(url, text_only(payload) if is_text else payload, min(left(), LONGEST_ATTEMPT))
        decision = decide(reply, attempt, since, clock(), random.random(), is_text)
        if isinstance(decision, Delivered):
            return
        pause = 0.0
        if isinstance(decision, RetryAt):
            pause = max(decision.at - clock(), 0.0)
        elif isinstance(decision, Dead):
            known, url = url, find(True) if reply.status in GONE else url
            if url == known:
                raise NotDeliveredError(decision.reason)
        else:
            is_text = True
        if pause + SHORTEST_ATTEMPT > left():
            raise NotDeliveredError(f"{decision.reason} (attempt {attempt}, and no time for another)")
        sleep(pause)


def deliver_now(payload: Payload, hook: str) -> None:
    """As `deliver`, outside of a function: `hook` is what its environment would have as ``hookUrl``."""
    deliver(payload, lambda anew: _webhook(hook, ""), _countdown(None), time.time, time.sleep, post)


def post(url: str, payload: Payload, seconds: float) -> Reply:
    """Make one attempt. Never raises, follows no redirect, and tells nothing of the URL."""
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "cwnotify"}
    try:
        parts = urllib.parse.urlsplit(url)
        connection = _connection(parts, max(seconds, SHORTEST_ATTEMPT))
        try:
            connection.request("POST", parts._replace(scheme="", netloc="").geturl(), json.dumps(payload), headers)
            answer = connection.getresponse()
            body = answer.read(_LONGEST_BODY).decode(errors="replace")
            return Reply(answer.status, body, answer.getheader("Retry-After", ""))
        finally:
            connection.close()
    except Exception as error:
        return Reply(trouble=_trouble(error))


def _connection(parts: urllib.parse.SplitResult, seconds: float) -> http.client.HTTPConnection:
    """A connection to the webhook's host, through the proxy that the environment may name."""
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=seconds)
    proxy = _proxy(host)
    if proxy is None:
        return http.client.HTTPSConnection(host, parts.port, timeout=seconds)
    connection = http.client.HTTPSConnection(proxy.hostname or "", proxy.port or 80, timeout=seconds)
    connection.set_tunnel(host, parts.port, _credentials(proxy))
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


def _messages(told: Sequence[Told], lang: str, zone: str, channel: str) -> Iterable[tuple[Payload, set[str]]]:
    """The payloads to send, each with the records that it answers for. Copies of an event share one payload."""
    events = unique(event for _, event in told)
    if len(events) <= MOST_SINGLE:
        records: dict[tuple[type, str], set[str]] = {}
        for id, event in told:
            records.setdefault((type(event), event.id), set()).add(id)
        return [(render(one, lang, zone, channel), records[type(one), one.id]) for one in events]
    # Compiled at every cold start, were it imported above: a storm can wait for it.
    from cwnotify.alerts.digests import digest_messages

    # A digest spreads over its pages by state, not by record: should one page fail, all is told again.
    everything = {id for id, _ in told}
    times = [event.at for event in events if event.at is not None]
    span = max(times) - min(times) if times else 0.0
    return [(payload, everything) for payload in digest_messages(events, span, lang, zone, channel)]


def _countdown(context: Any) -> Callable[[], float]:
    """Tells the seconds that remain."""
    ask = getattr(context, "get_remaining_time_in_millis", None)
    if ask is not None:
        return lambda: ask() / 1000 - FAREWELL
    end = time.monotonic() + SECONDS
    return lambda: end - time.monotonic()


def _find(anew: bool) -> str:
    if anew:
        _webhook.cache_clear()
    return _webhook(os.environ.get(PLAIN, ""), os.environ.get(ENCRYPTED, ""), int(time.monotonic() // KEPT))


@functools.lru_cache(maxsize=1)
def _webhook(hook: str, encrypted: str, age: int = 0) -> str:
    """The webhook's URL; kept in a warm container while `age` is the same: a look-up takes time and has a price."""
    if not hook.strip() and not encrypted.strip():
        raise NotDeliveredError("neither hookUrl nor kmsEncryptedHookUrl is set in the function's environment")
    try:
        url = (_kept(hook.strip()) if hook.strip() else _decrypted(encrypted.strip())).strip()
    except Exception as error:
        raise NotDeliveredError(f"the webhook could not be looked up: {type(error).__name__}: {error}") from None
    return _checked(url if "://" in url else f"https://{url}")


def _checked(url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        raise NotDeliveredError("the webhook is no valid URL") from None
    if (parts.scheme == "https" and parts.hostname) or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return url
    raise NotDeliveredError("the webhook must begin with https://")


def _kept(hook: str) -> str:
    store, _, name = hook.partition(":")
    if store == "ssm":
        found = _client("ssm").get_parameter(Name=name, WithDecryption=True)
        return str(found["Parameter"]["Value"])
    if store == "secretsmanager":
        return secret_text(_client("secretsmanager").get_secret_value(SecretId=name)["SecretString"])
    return hook


def secret_text(text: str) -> str:
    """What a secret holds; the console keeps it as a mapping, here of one name to the URL."""
    if not text.lstrip().startswith("{"):
        return text
    (value,) = json.loads(text).values()
    return str(value)


def _decrypted(encrypted: str) -> str:
    """What KMS makes of it; newer copies of the blueprint encrypt with the name as context, older without."""
    import base64

    kms, blob = _client("kms"), base64.b64decode(encrypted)
    try:
        context = {"LambdaFunctionName": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")}
        found = kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)
    except kms.exceptions.InvalidCiphertextException:
        found = kms.decrypt(CiphertextBlob=blob)
    return str(found["Plaintext"].decode())


def _client(service: str) -> Any:
    import boto3

    make: Any = boto3.client
    return make(service)
