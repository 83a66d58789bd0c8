"""The dead-letter queue: count its messages, and send each to the function again, the oldest event first."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cwnotify.alerts.parsing.envelopes import parse_aws_events
from cwnotify.aws.session import AwsSession
from cwnotify.deploy.invoke import invoke_function

# How long a received message is hidden from other readers. It is extended at half of this time.
HIDDEN_SECONDS = 900
# Messages received before the first is sent, because a standard queue returns them in any order.
_MAX_RECEIVED = 10_000
# Messages in one request: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
_BATCH_SIZE = 10
# This many failures in a row have a cause outside of the messages.
_MAX_FAILURES = 3


@dataclass(frozen=True)
class RedriveResult:
    """The outcome of one message. `error` says why it stays in the queue; empty if it was delivered."""

    id: str
    error: str = ""


@dataclass(frozen=True)
class _Message:
    """A received message. `at` is the time of its event, `sent` when it entered the queue (Unix seconds)."""

    id: str
    handle: str
    body: str
    at: float
    sent: float


def count_undelivered(aws: AwsSession, queue: str) -> int:
    """Return the approximate number of messages in the queue, hidden ones included."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = aws.call("sqs", "get_queue_attributes", QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(attributes.get(name, 0)) for name in names)


def redrive_messages(
    aws: AwsSession, function: str, queue: str, on_result: Callable[[RedriveResult], None]
) -> tuple[RedriveResult, ...]:
    """Call the function for each message in the order of the events, and delete what it delivers.

    A message that fails stays in the queue. Redrive stops after three failures in a row.

    Parameters
    ----------
    on_result
        Called after each message.
    """
    results: list[RedriveResult] = []
    pending: list[_Message] = []
    failed: list[_Message] = []
    try:
        while not _has_repeated_failures(results):
            hidden_at = aws.clock()
            pending += _receive_messages(aws, queue, _MAX_RECEIVED)
            if not pending:
                break
            pending.sort(key=lambda message: (message.at, message.sent))
            while pending and not _has_repeated_failures(results):
                if aws.clock() - hidden_at > HIDDEN_SECONDS / 2:
                    hidden_at = aws.clock()
                    _hide_messages(aws, queue, [*pending, *failed], HIDDEN_SECONDS)
                message = pending[0]
                invocation = invoke_function(aws, function, json.dumps(message.body))
                del pending[0]
                if invocation.error:
                    failed.append(message)
                else:
                    aws.call("sqs", "delete_message", QueueUrl=queue, ReceiptHandle=message.handle)
                results.append(RedriveResult(message.id, invocation.error))
                on_result(results[-1])
    finally:
        _hide_messages(aws, queue, [*pending, *failed], 0)
    return tuple(results)


def _has_repeated_failures(results: list[RedriveResult]) -> bool:
    last = results[-_MAX_FAILURES:]
    return len(last) == _MAX_FAILURES and all(result.error for result in last)


def _receive_messages(aws: AwsSession, queue: str, limit: int) -> list[_Message]:
    """Receive all messages of the queue, up to about `limit`."""
    messages: dict[str, _Message] = {}
    while len(messages) < limit:
        response = aws.call(
            "sqs",
            "receive_message",
            QueueUrl=queue,
            MaxNumberOfMessages=_BATCH_SIZE,
            VisibilityTimeout=HIDDEN_SECONDS,
            # With a wait, SQS queries all of its servers instead of a few.
            WaitTimeSeconds=1,
            AttributeNames=["SentTimestamp"],
        )
        if not (batch := response.get("Messages", [])):
            break
        messages |= {message.id: message for message in map(_parse_message, batch)}
    return list(messages.values())


def _parse_message(fields: dict[str, Any]) -> _Message:
    sent = int(fields.get("Attributes", {}).get("SentTimestamp", 0)) / 1000
    times = [event.at for event in parse_aws_events(fields["Body"]) if event.at is not None]
    return _Message(fields["MessageId"], fields["ReceiptHandle"], fields["Body"], min(times, default=sent), sent)


def _hide_messages(aws: AwsSession, queue: str, messages: Sequence[_Message], seconds: int) -> None:
    """Hide messages from other readers for `seconds` from now on; 0 makes them visible."""
    for i in range(0, len(messages), _BATCH_SIZE):
        entries = [
            {"Id": str(number), "ReceiptHandle": message.handle, "VisibilityTimeout": seconds}
            for number, message in enumerate(messages[i : i + _BATCH_SIZE])
        ]
        aws.call("sqs", "change_message_visibility_batch", QueueUrl=queue, Entries=entries)
