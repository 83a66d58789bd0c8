"""What an alarm really published, out of its history: to see it again, or to send it as the function would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from cwnotify import lambda_function
from cwnotify.alerts.events.alarms import AwsEvent
from cwnotify.alerts.messages.block_kit import Payload
from cwnotify.alerts.parsing.envelopes import parse
from cwnotify.aws.alarm_actions import find_alarms
from cwnotify.aws.alarm_history import as_event, newest, read_item
from cwnotify.aws.session import Aws
from cwnotify.errors import AwsError, CwnotifyError
from cwnotify.settings import Secret


def replay(aws: Aws, alarm: str, last: int) -> tuple[AwsEvent, ...]:
    """The newest `last` changes of `alarm`, oldest first. CloudWatch keeps them for thirty days.

    An alarm that publishes nothing, as those of a fleet, is told from its changes, which know less.

    Raises
    ------
    AwsError
        If there is no such alarm, or it has not changed.
    """
    found = find_alarms(aws, [alarm])
    if not found:
        raise AwsError(f"there is no alarm named {alarm} in {aws.region}")
    told = [item["HistoryData"] for item in _newest(aws, alarm, "Action", last)]
    if not told:
        items = map(read_item, _newest(aws, alarm, "StateUpdate", last))
        told = [as_event(item, found[0].settings) for item in items if item is not None]
    if not told:
        raise AwsError(f"alarm {alarm} has not changed in the last thirty days")
    return tuple(event for one in reversed(told) for event in parse(one))


def _newest(aws: Aws, alarm: str, kind: str, last: int) -> list[Mapping[str, Any]]:
    items = newest(aws, alarm, kind)
    # An action may also be one of EC2's or of Auto Scaling's.
    return list(islice((one for one in items if kind != "Action" or "publishedMessage" in one["HistoryData"]), last))


def send(payloads: Iterable[Payload], webhook: Secret | None) -> None:
    """Post messages, waiting and trying again as the function does.

    Raises
    ------
    CwnotifyError
        If one was not delivered; those after it are not tried.
    """
    if webhook is None:
        raise CwnotifyError(
            "no Slack webhook is set", hint="store one with: cwnotify login (or set CWNOTIFY_WEBHOOK_URL)"
        )
    for payload in payloads:
        try:
            lambda_function.deliver_now(payload, webhook.reveal())
        except lambda_function.NotDeliveredError as error:
            raise CwnotifyError(f"not delivered: {error}") from None
