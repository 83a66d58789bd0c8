"""The dead-letter queue: count its messages, and call the function once more for each, the oldest event first."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cwnotify.alerts.parsing.envelopes import parse_aws_events
from cwnotify.aws.session import AwsSession
from cwnotify.deploy.invoke import invoke_function

# Seconds for which a received message is hidden from others. It is hidden anew before that ends.
_HIDDEN = 900
# What is received before the first message is sent; a standard queue returns its messages in any order.
_MAX_RECEIVED = 10_000
# SQS takes and gives so many messages at once.
_BATCH = 10
# So many failures in a row are not the messages' fault.
_MOST_FAILURES = 3


@dataclass(frozen=True)
class RedriveResult:
    """One message that was tried again; `error` says why it stays in the queue."""

    id: str
    error: str = ""


@dataclass(frozen=True)
class _Message:
    """A received message; `at` is when its event was, `sent` when it came into the queue (Unix seconds)."""

    id: str
    handle: str
    body: str
    at: float
    sent: float


def count_undelivered(aws: AwsSession, queue: str) -> int:
    """Return about how many messages the queue holds, hidden ones included."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = aws.call("sqs", "get_queue_attributes", QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(attributes.get(name, 0)) for name in names)


def redrive_messages(
    aws: AwsSession, function: str, queue: str, tell: Callable[[RedriveResult], None]
) -> tuple[RedriveResult, ...]:
    """Call the function for each message in the order of the events; delete what it delivers, and keep the rest.

    A message that fails stays in the queue, and the next call finds it in its place again.

    Parameters
    ----------
    tell
        Called after each message.
    """
    done: list[RedriveResult] = []
    waiting: list[_Message] = []
    failed: list[_Message] = []
    try:
        while not _is_hopeless(done):
            hidden = aws.clock()
            waiting += _received(aws, queue, _MAX_RECEIVED)
            if not waiting:
                break
            waiting.sort(key=lambda message: (message.at, message.sent))
            while waiting and not _is_hopeless(done):
                if aws.clock() - hidden > _HIDDEN / 2:
                    hidden = aws.clock()
                    _hide(aws, queue, [*waiting, *failed], _HIDDEN)
                message = waiting[0]
                called = invoke_function(aws, function, json.dumps(message.body))
                del waiting[0]
                if called.error:
                    failed.append(message)
                else:
                    aws.call("sqs", "delete_message", QueueUrl=queue, ReceiptHandle=message.handle)
                done.append(RedriveResult(message.id, called.error))
                tell(done[-1])
    finally:
        _hide(aws, queue, [*waiting, *failed], 0)
    return tuple(done)


def _is_hopeless(done: list[RedriveResult]) -> bool:
    last = done[-_MOST_FAILURES:]
    return len(last) == _MOST_FAILURES and all(one.error for one in last)


def _received(aws: AwsSession, queue: str, most: int) -> list[_Message]:
    """Receive all messages of the queue, up to about `most`."""
    found: dict[str, _Message] = {}
    while len(found) < most:
        answer = aws.call(
            "sqs",
            "receive_message",
            QueueUrl=queue,
            MaxNumberOfMessages=_BATCH,
            VisibilityTimeout=_HIDDEN,
            # A second's wait asks all of the queue's servers, not a few.
            WaitTimeSeconds=1,
            AttributeNames=["SentTimestamp"],
        )
        if not (messages := answer.get("Messages", [])):
            break
        found |= {message.id: message for message in map(_read, messages)}
    return list(found.values())


def _read(message: dict[str, Any]) -> _Message:
    sent = int(message.get("Attributes", {}).get("SentTimestamp", 0)) / 1000
    times = [event.at for event in parse_aws_events(message["Body"]) if event.at is not None]
    return _Message(message["MessageId"], message["ReceiptHandle"], message["Body"], min(times, default=sent), sent)


def _hide(aws: AwsSession, queue: str, messages: Sequence[_Message], seconds: int) -> None:
    """Hide messages for so many more seconds; with 0, show them to others again."""
    for i in range(0, len(messages), _BATCH):
        entries = [
            {"Id": str(number), "ReceiptHandle": message.handle, "VisibilityTimeout": seconds}
            for number, message in enumerate(messages[i : i + _BATCH])
        ]
        aws.call("sqs", "change_message_visibility_batch", QueueUrl=queue, Entries=entries)
