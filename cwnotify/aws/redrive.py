"""The dead-letter queue: how much lies in it, and the function once more for each message."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cwnotify.aws.client import Aws
from cwnotify.aws.function import call

# What is received stays hidden for so long (seconds): longer than the function may take for ten messages.
_HIDDEN = 900
# So many failures in a row are not the messages' fault.
_MOST_FAILURES = 3


@dataclass(frozen=True)
class Redriven:
    """One message that was tried again; `error` says why it stays in the queue."""

    id: str
    error: str = ""


def undelivered(aws: Aws, queue: str) -> int:
    """About how many messages lie in the queue, those that somebody looks at among them."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = aws.ask("sqs", "get_queue_attributes", QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(found.get(name, 0)) for name in names)


def redrive(aws: Aws, function: str, queue: str, tell: Callable[[Redriven], None]) -> tuple[Redriven, ...]:
    """Hand the function each message once more; what it delivers is removed, the rest stays.

    Parameters
    ----------
    tell
        Called after each message.
    """
    done: list[Redriven] = []
    kept: list[str] = []
    while not _is_hopeless(done) and (messages := _received(aws, queue)):
        for message in messages:
            if _is_hopeless(done):
                kept.append(message["ReceiptHandle"])
                continue
            called = call(aws, function, _event(message["Body"]))
            if called.error:
                kept.append(message["ReceiptHandle"])
            else:
                aws.ask("sqs", "delete_message", QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            done.append(Redriven(message["MessageId"], called.error))
            tell(done[-1])
    for handle in kept:
        aws.ask("sqs", "change_message_visibility", QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=0)
    return tuple(done)


def _is_hopeless(done: list[Redriven]) -> bool:
    last = done[-_MOST_FAILURES:]
    return len(last) == _MOST_FAILURES and all(one.error for one in last)


def _received(aws: Aws, queue: str) -> list[dict[str, Any]]:
    # A second's wait asks all of the queue's servers, not a few.
    answer = aws.ask(
        "sqs", "receive_message", QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=_HIDDEN, WaitTimeSeconds=1
    )
    found: list[dict[str, Any]] = answer.get("Messages", [])
    return found


def _event(body: str) -> str:
    """The message as the function takes it: JSON, whatever it was."""
    try:
        json.loads(body)
    except ValueError:
        return json.dumps(body)
    return body
