"""What a demo looks at: what should have arrived, and what did."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from cwnotify.alerts.locale import to_plain_text
from cwnotify.demo.slack import FakeSlack, ReceivedMessage

MESSAGE_TIMEOUT = 12.0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Parameters
    ----------
    messages
        How many of Slack's messages it accounts for.
    """

    name: str
    expected: str
    actual: str
    has_passed: bool
    message_count: int = 0


def check_messages(
    name: str, expected: str, slack: FakeSlack, fits: Callable[[ReceivedMessage], bool], count: int = 1
) -> Check:
    """Whether messages that fit came, as many as there should be."""
    with suppress(TimeoutError):
        slack.wait_for_message(lambda _: sum(map(fits, slack.messages)) >= max(count, 1), MESSAGE_TIMEOUT)
    found = [get_message_text(message) for message in slack.messages if fits(message)]
    return Check(name, expected, "; ".join(found) or "nothing", len(found) == count > 0, len(found))


def get_message_text(message: ReceivedMessage) -> str:
    """A message's first line, without marks."""
    return to_plain_text(message.payload["text"])
