"""The Lambda function: CloudWatch alarms to Slack.

Imports the standard library, `alerts`, and the modules of `slack` that work without requests. Nothing imports it.

A drop-in replacement for AWS's blueprint *cloudwatch-alarm-to-slack-python*. Its environment:

``hookUrl``
    The webhook's URL, with or without ``https://``, or a reference: ``ssm:/name`` or ``secretsmanager:name``.
    Also accepts every form that `cwnotify.alerts.webhook_url.parse_webhook_url` reads: quotes, ``NAME=URL`` and JSON.
``kmsEncryptedHookUrl``
    Instead of ``hookUrl``: base64 of the URL, encrypted by KMS.
``slackChannel``, ``lang``, ``timeZone``
    Optional. Only legacy webhooks support the channel.
``contributorEvents``
    ``true`` if the EventBridge rules also forward ``CloudWatch Alarm Contributor State Change``. The summary event of
    an alarm on several time series is then dropped, because each series has its own event.

If Slack does not accept a message, the function raises an error, or reports the failed records of an SQS batch. AWS
then retries, and finally moves the event to the dead-letter queue. An SQS event source needs
``ReportBatchItemFailures``.

Delivery is at least once. SNS and EventBridge call the function asynchronously and repeat the whole event when it
raises, even if Slack accepted part of it. A warm function remembers that part (by SQS's message id or AWS's request
id) and skips it. After a cold start, it is sent again. Exception texts are never logged, because they may
contain the URL.
"""

from __future__ import annotations

import functools
import json
import os
import time

from cwnotify.alerts.parsing.envelopes import parse_aws_events
from cwnotify.alerts.payloads import render_events
from cwnotify.alerts.webhook_url import REFERENCE_PREFIXES, WRAPPING_CHARACTERS, InvalidWebhookError, parse_webhook_url
from cwnotify.slack.deadline_http import post_with_deadline
from cwnotify.slack.webhook_sender import DEFAULT_TIME_LIMIT, NotDeliveredError, PendingMessage, WebhookSender

TYPE_CHECKING = False  # the import of `typing` takes 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from cwnotify.alerts.events.alarms import AwsEvent

    # Identifies an event. Copies of one event have the same key.
    EventKey = tuple[type, str]

WEBHOOK_VARIABLE, ENCRYPTED_WEBHOOK_VARIABLE = "hookUrl", "kmsEncryptedHookUrl"
CONTRIBUTOR_EVENTS_VARIABLE = "contributorEvents"
# Time reserved to report an error before AWS ends the function.
EXIT_RESERVE_SECONDS = 0.5
# The webhook stored in AWS may be replaced, so the cache expires.
WEBHOOK_CACHE_TTL = 300.0  # seconds
# Partly delivered records that a warm function remembers.
_MAX_REMEMBERED_RECORDS = 100
_LOOKUP_CONNECT_TIMEOUT, _LOOKUP_READ_TIMEOUT = 3.0, 5.0  # seconds

# The accepted part of partly delivered records, by SQS's message id or AWS's request id.
_accepted: dict[str, set[EventKey]] = {}


def lambda_handler(event: object, context: object) -> dict[str, object]:
    """Send a message for every event in `event`, whatever its envelope.

    Returns
    -------
    dict
        ``messages``: how many Slack accepted. ``batchItemFailures``: the SQS records that were not fully accepted.

    Raises
    ------
    NotDeliveredError
        If Slack did not accept everything; for a batch from SQS, if it accepted nothing.
    """
    sender = WebhookSender(_find_webhook, _make_countdown(context), time.time, time.sleep, post_with_deadline, print)
    result = handle_event(event, os.environ, sender, str(getattr(context, "aws_request_id", "") or ""))
    return _make_response(result) if _is_http_request(event) else result


def _is_http_request(event: object) -> bool:
    """Return whether the event came over HTTPS: from a function URL, API Gateway or a load balancer."""
    request = event.get("requestContext") if isinstance(event, dict) else None
    return isinstance(request, dict) and "functionArn" not in request


def _make_response(result: dict[str, object]) -> dict[str, object]:
    """Return the response format that API Gateway and load balancers require. Otherwise SNS repeats the request."""
    headers = {"Content-Type": "application/json"}
    return {"statusCode": 200, "headers": headers, "body": json.dumps(result), "isBase64Encoded": False}


def handle_event(
    event: object, environ: Mapping[str, str], sender: WebhookSender, request_id: str = ""
) -> dict[str, object]:
    """Do what `lambda_handler` does, through `sender`. `request_id` is the same when AWS repeats a call."""
    records: dict[str, list[AwsEvent]] = {}
    for id, record in _split_records(event):
        records.setdefault(id, []).extend(_drop_summaries(parse_aws_events(record), environ))
    pending = {id: _keys(events) - _accepted.get(id or request_id, set()) for id, events in records.items()}

    def plan(events: Sequence[AwsEvent]) -> list[PendingMessage]:
        lang, zone, channel = environ.get("lang", "en"), environ.get("timeZone", ""), environ.get("slackChannel", "")
        return [PendingMessage(*message) for message in render_events(events, lang, zone, channel, sender.now())]

    keys = set().union(*pending.values())
    unsent = sender.send(plan([event for events in records.values() for event in events if _key(event) in keys]), plan)
    unsent_keys = _keys([event for message in unsent for event in message.events])
    failed = [id for id in records if pending[id] & unsent_keys]
    for id in failed:
        _remember_accepted(id or request_id, _keys(records[id]) - unsent_keys)
    if failed and ("" in failed or (len(failed) == len(records) and not sender.accepted)):
        count = f"{len(unsent)} of {len(unsent) + sender.accepted}"
        raise NotDeliveredError(f"{count} messages not delivered: {unsent[0].reason}")
    return {"messages": sender.accepted, "batchItemFailures": [{"itemIdentifier": id} for id in sorted(failed)]}


def _drop_summaries(events: Sequence[AwsEvent], environ: Mapping[str, str]) -> list[AwsEvent]:
    """Drop summary events of several time series, if the stack's rules also forward an event for each series."""
    if environ.get(CONTRIBUTOR_EVENTS_VARIABLE) != "true":
        return list(events)
    others = [event for event in events if not getattr(event, "contributors_follow", False)]
    if len(others) < len(events):
        print("dropped a summary event: each of its time series has its own event")
    return others


def _split_records(event: object) -> list[tuple[str, object]]:
    """Return the records of a batch from SQS, each with its id; anything else as one record without an id."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        return [("", event)]
    batch = [
        (record["messageId"], record)
        for record in records
        if record.get("eventSource") == "aws:sqs" and "messageId" in record
    ]
    return batch if batch and len(batch) == len(records) else [("", event)]


def _key(event: AwsEvent) -> EventKey:
    return type(event), event.id


def _keys(events: Sequence[AwsEvent]) -> set[EventKey]:
    return {_key(event) for event in events}


def _remember_accepted(id: str, keys: set[EventKey]) -> None:
    if id and keys:
        _accepted.pop(id, None)
        _accepted[id] = keys
        while len(_accepted) > _MAX_REMEMBERED_RECORDS:
            del _accepted[next(iter(_accepted))]


def _make_countdown(context: Any) -> Callable[[], float]:
    """Return a function that returns the remaining seconds; without a context, those of the default limit."""
    get_milliseconds = getattr(context, "get_remaining_time_in_millis", None)
    if get_milliseconds is not None:
        return lambda: get_milliseconds() / 1000 - EXIT_RESERVE_SECONDS
    end = time.monotonic() + DEFAULT_TIME_LIMIT
    return lambda: end - time.monotonic()


def _find_webhook(is_again: bool) -> str:
    if is_again:
        _look_up_webhook.cache_clear()
    return _look_up_webhook(
        os.environ.get(WEBHOOK_VARIABLE, ""),
        os.environ.get(ENCRYPTED_WEBHOOK_VARIABLE, ""),
        int(time.monotonic() // WEBHOOK_CACHE_TTL),
    )


@functools.lru_cache(maxsize=1)
def _look_up_webhook(hook: str, encrypted: str, period: int = 0) -> str:
    """Return the webhook's URL. A warm function caches it per `period`, because a lookup takes time and costs money."""
    if not hook.strip() and not encrypted.strip():
        raise NotDeliveredError(
            f"neither {WEBHOOK_VARIABLE} nor {ENCRYPTED_WEBHOOK_VARIABLE} is set in the function's environment"
        )
    source = WEBHOOK_VARIABLE if hook.strip() else ENCRYPTED_WEBHOOK_VARIABLE
    try:
        url = parse_webhook_url(hook if source == WEBHOOK_VARIABLE else _decrypt(encrypted), allow_missing_scheme=True)
        if url.startswith(REFERENCE_PREFIXES):
            source = url
            url = parse_webhook_url(_read_stored(source), allow_missing_scheme=True)
            if url.startswith(REFERENCE_PREFIXES):
                raise InvalidWebhookError("contains another reference instead of a webhook")
    except InvalidWebhookError as error:
        raise NotDeliveredError(f"the webhook in {source} cannot be used: it {error}") from None
    except Exception as error:
        raise NotDeliveredError(f"the webhook could not be looked up: {type(error).__name__}: {error}") from None
    return url


def _read_stored(reference: str) -> str | bytes:
    """Return what AWS stores under ``ssm:/name`` or ``secretsmanager:name``."""
    store, _, name = reference.partition(":")
    if store == "ssm":
        return str(_make_client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])
    secret = _make_client("secretsmanager").get_secret_value(SecretId=name)
    value: str | bytes = secret.get("SecretString") or secret["SecretBinary"]
    return value


def _decrypt(encrypted: str) -> bytes:
    """Decrypt with KMS. Newer copies of the blueprint encrypt with the function's name as context, older without."""
    import base64

    kms, blob = _make_client("kms"), base64.b64decode(encrypted.strip(WRAPPING_CHARACTERS))
    try:
        context = {"LambdaFunctionName": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")}
        response = kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)
    except kms.exceptions.InvalidCiphertextException:
        response = kms.decrypt(CiphertextBlob=blob)
    plaintext: bytes = response["Plaintext"]
    return plaintext


def _make_client(service: str) -> Any:
    import boto3
    from botocore.config import Config

    make: Any = boto3.client
    config = Config(
        connect_timeout=_LOOKUP_CONNECT_TIMEOUT,
        read_timeout=_LOOKUP_READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": 2},
    )
    return make(service, config=config)
