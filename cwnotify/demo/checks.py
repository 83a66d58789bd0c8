"""What a demo looks at: what should have arrived, and what did."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from cwnotify.alerts.locale import plain
from cwnotify.demo.slack import Message, SlackStandIn

PATIENCE = 12.0


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
    arrived: str
    ok: bool
    messages: int = 0


def check_messages(
    name: str, expected: str, slack: SlackStandIn, fits: Callable[[Message], bool], count: int = 1
) -> Check:
    """Whether messages that fit came, as many as there should be."""
    with suppress(TimeoutError):
        slack.wait_for(lambda _: sum(map(fits, slack.messages)) >= max(count, 1), PATIENCE)
    found = [sentence(message) for message in slack.messages if fits(message)]
    return Check(name, expected, "; ".join(found) or "nothing", len(found) == count > 0, len(found))


def sentence(message: Message) -> str:
    """A message's first line, without marks."""
    return plain(message.payload["text"])
