"""What an alarm really published, out of its history: to see it again, or to send it as the function would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from cwnotify import lambda_function
from cwnotify.alerts.events.alarms import AwsEvent
from cwnotify.alerts.messages.block_kit import Payload
from cwnotify.alerts.parsing.envelopes import parse_aws_events
from cwnotify.aws.alarm_actions import find_alarms_by_name
from cwnotify.aws.alarm_history import iterate_newest_history, parse_history_item, to_eventbridge_event
from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError, CwnotifyError
from cwnotify.settings import NoWebhookError, Secret


def fetch_published_events(aws: AwsSession, alarm: str, last: int) -> tuple[AwsEvent, ...]:
    """The newest `last` changes of `alarm`, oldest first. CloudWatch keeps them for thirty days.

    An alarm that publishes nothing, as those of a fleet, is told from its changes, which know less.

    Raises
    ------
    AwsError
        If there is no such alarm, or it has not changed.
    """
    found = find_alarms_by_name(aws, [alarm])
    if not found:
        raise AwsError(f"there is no alarm named {alarm} in {aws.region}")
    told = [item["HistoryData"] for item in _newest(aws, alarm, "Action", last)]
    if not told:
        items = map(parse_history_item, _newest(aws, alarm, "StateUpdate", last))
        told = [to_eventbridge_event(item, found[0].raw_fields) for item in items if item is not None]
    if not told:
        raise AwsError(f"alarm {alarm} has not changed in the last thirty days")
    return tuple(event for one in reversed(told) for event in parse_aws_events(one))


def _newest(aws: AwsSession, alarm: str, kind: str, last: int) -> list[Mapping[str, Any]]:
    items = iterate_newest_history(aws, alarm, kind)
    # An action may also be one of EC2's or of Auto Scaling's.
    return list(islice((one for one in items if kind != "Action" or "publishedMessage" in one["HistoryData"]), last))


def send_payloads(payloads: Iterable[Payload], webhook: Secret | None) -> None:
    """Post messages, waiting and trying again as the function does.

    Raises
    ------
    CwnotifyError
        If one was not delivered; those after it are not tried.
    """
    if webhook is None:
        raise NoWebhookError
    for payload in payloads:
        try:
            lambda_function.deliver_payload(payload, webhook.reveal())
        except lambda_function.NotDeliveredError as error:
            raise CwnotifyError(f"not delivered: {error}") from None
