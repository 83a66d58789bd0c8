"""Read from an alarm's history what it published, and send it to Slack again as the function would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from cwnotify.alerts.events.alarms import AwsEvent
from cwnotify.alerts.messages.block_kit import Payload
from cwnotify.alerts.parsing.envelopes import parse_aws_events
from cwnotify.aws.alarm_actions import find_alarms_by_name
from cwnotify.aws.alarm_history import iterate_newest_history, parse_history_item, to_eventbridge_event
from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError, CwnotifyError
from cwnotify.settings import NoWebhookError, Secret
from cwnotify.slack.destination import WebhookResolver
from cwnotify.slack.webhook_sender import NotDeliveredError, deliver_payload


def fetch_published_events(aws: AwsSession, alarm: str, last: int) -> tuple[AwsEvent, ...]:
    """Return the newest `last` changes of `alarm`, oldest first.

    CloudWatch keeps them for 30 days. If the alarm publishes nothing, as in a fleet, the events come from its state
    changes, which contain less.

    Raises
    ------
    AwsError
        If the alarm does not exist, or has not changed.
    """
    alarms = find_alarms_by_name(aws, [alarm])
    if not alarms:
        raise AwsError(f"there is no alarm named {alarm} in {aws.region}", hint="check the name and AWS_DEFAULT_REGION")
    messages = [item["HistoryData"] for item in _read_newest(aws, alarm, "Action", last)]
    if not messages:
        items = map(parse_history_item, _read_newest(aws, alarm, "StateUpdate", last))
        messages = [to_eventbridge_event(item, alarms[0].raw_fields) for item in items if item is not None]
    if not messages:
        raise AwsError(
            f"alarm {alarm} has not changed in the last thirty days",
            hint="to see a sample, run: cwnotify test --alarm",
        )
    return tuple(event for message in reversed(messages) for event in parse_aws_events(message))


def send_payloads(payloads: Iterable[Payload], webhook: Secret | None) -> None:
    """Send messages, with the function's own waits and retries.

    Raises
    ------
    CwnotifyError
        If `webhook` is None, or a message was not delivered. Later messages are not sent.
    """
    if webhook is None:
        raise NoWebhookError
    url = WebhookResolver(webhook).wait_until_resolved().get_url()
    for payload in payloads:
        try:
            deliver_payload(payload, url.reveal())
        except NotDeliveredError as error:
            raise CwnotifyError(f"not delivered: {error}", hint="check the webhook with: cwnotify doctor") from None


def _read_newest(aws: AwsSession, alarm: str, kind: str, last: int) -> list[Mapping[str, Any]]:
    items = iterate_newest_history(aws, alarm, kind)
    # Actions of EC2 and Auto Scaling publish no message.
    return list(islice((item for item in items if kind != "Action" or "publishedMessage" in item["HistoryData"]), last))
