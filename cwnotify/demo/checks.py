"""The demo's checks: what should arrive at Slack, and what did."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from cwnotify.alerts.locale import to_plain_text
from cwnotify.demo.slack import FakeSlack, ReceivedMessage

MESSAGE_TIMEOUT = 12.0  # seconds


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Parameters
    ----------
    message_count
        How many of Slack's messages the check accounts for.
    """

    name: str
    expected: str
    actual: str
    has_passed: bool
    message_count: int = 0


def check_messages(
    name: str, expected: str, slack: FakeSlack, matches: Callable[[ReceivedMessage], bool], count: int = 1
) -> Check:
    """Wait for matching messages, and check that exactly `count` of them arrived (at least one)."""
    with suppress(TimeoutError):
        slack.wait_for_message(lambda _: sum(map(matches, slack.messages)) >= max(count, 1), MESSAGE_TIMEOUT)
    texts = [get_message_text(message) for message in slack.messages if matches(message)]
    return Check(name, expected, "; ".join(texts) or "nothing", len(texts) == count > 0, len(texts))


def get_message_text(message: ReceivedMessage) -> str:
    """Return a message's first line without markup."""
    return to_plain_text(message.payload["text"])
