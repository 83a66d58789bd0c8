"""Whatever AWS hands to a Lambda function -> events. Pure, and total: never raises, loses nothing.

The envelopes nest: an SQS record holds an SNS notification, which holds an EventBridge event, which holds an alarm's
change. Each is opened until something is known; what stays unknown becomes a `Plain` that shows it.
"""

from __future__ import annotations

from cwnotify.alerts.alarm_events import AwsEvent, InstanceNotice, NoticeKind, Plain
from cwnotify.alerts.alarm_fields import Carrier, read_alarm
from cwnotify.alerts.loose import Node, decoded, moment, node, shown, text
from cwnotify.alerts.regions import partition_of, read_arn, region_code

# Real ones nest four deep: a failure's record, SQS, SNS, EventBridge.
_DEEPEST = 12

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html,
# .../rebalance-recommendations.html and .../monitoring-instance-state-changes.html
_NOTICES = {
    "EC2 Spot Instance Interruption Warning": (NoticeKind.INTERRUPTION, "instance-action"),
    "EC2 Instance Rebalance Recommendation": (NoticeKind.REBALANCE, ""),
    "EC2 Instance State-change Notification": (NoticeKind.STATE, "state"),
}


def parse(event: object) -> tuple[AwsEvent, ...]:
    """Read an event, in whatever envelopes it comes.

    Parameters
    ----------
    event
        What the function was called with: from SNS, SQS, EventBridge or an alarm's Lambda action; an alarm's own
        message; JSON text; or anything at all.

    Returns
    -------
    tuple
        At least one event; one for each record of a batch, in its order.
    """
    try:
        return tuple(_open(event, Carrier(), 0))
    except Exception:
        # Left over are values whose own methods raise, which no JSON makes: they too are shown, not dropped.
        return (_plain(shown(event), Carrier()),)


def _open(value: object, carrier: Carrier, depth: int) -> list[AwsEvent]:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    content = decoded(value)
    if depth < _DEEPEST:
        if isinstance(content, str) and content != value:
            return _open(content, carrier, depth + 1)
        if isinstance(content, list):
            opened = [event for item in content for event in _open(item, carrier, depth + 1)]
            if not all(isinstance(event, Plain) for event in opened):
                return opened
        if isinstance(content, dict):
            return _open_mapping(content, carrier, depth + 1)
    return [_plain(value if isinstance(value, str) else shown(content), carrier)]


def _open_mapping(content: dict[object, object], carrier: Carrier, depth: int) -> list[AwsEvent]:
    message = node(content)
    records = message.get("records")
    if isinstance(records, list) and records:
        return [event for record in records for event in _open(record, carrier, depth)]
    for key, inside, outside in _openings(message, carrier):
        if isinstance(inside.get(key), str | dict):
            return _open(inside[key], outside, depth)
    event = read_alarm(message, carrier) or _notice(message)
    return [event or _plain(shown(content), _signed(message, carrier))]


def _openings(message: Node, carrier: Carrier) -> list[tuple[str, Node, Carrier]]:
    """Where an envelope of this shape has its content: a key, in which mapping, and what the envelope tells."""
    if isinstance(message.get("sns"), dict):
        sns = node(message["sns"])
        return [("message", sns, _notification(sns, carrier))]
    if "topicarn" in message and text(message.get("type"), "Notification") == "Notification":
        return [("message", message, _notification(message, carrier))]
    if "receipthandle" in message or "eventsource" in message:
        record = Carrier(text(message.get("messageid")), carrier.topic_arn, carrier.subject, carrier.at)
        return [("body", message, record)]
    if "requestcontext" in message:
        # What an asynchronous invocation's on-failure destination keeps.
        return [("requestpayload", message, carrier)]
    # An alarm's history has what it published under these, one in the other.
    history = ("publishedmessage", "default") if "email" in message else ("publishedmessage",)
    return [(key, message, carrier) for key in history]


def _notification(message: Node, carrier: Carrier) -> Carrier:
    return Carrier(
        id=text(message.get("messageid"), carrier.id),
        topic_arn=text(message.get("topicarn"), carrier.topic_arn),
        subject=text(message.get("subject")),
        at=moment(message.get("timestamp")),
    )


def _notice(message: Node) -> InstanceNotice | None:
    kind, word = _NOTICES.get(text(message.get("detail-type")), (None, ""))
    detail = node(message.get("detail"))
    instance = text(detail.get("instance-id"))
    if kind is None or not instance:
        return None
    resources = message.get("resources")
    arn = read_arn(text(*resources) if isinstance(resources, list) else "")
    region = arn.region or region_code(text(message.get("region")))
    return InstanceNotice(
        kind=kind,
        instance=instance,
        word=text(detail.get(word)),
        at=moment(message.get("time")),
        account=text(message.get("account"), arn.account),
        region=region,
        partition=arn.partition or partition_of(region),
    )


def _signed(message: Node, carrier: Carrier) -> Carrier:
    """What an EventBridge event that is no alarm calls itself, and when it was."""
    detail = node(message.get("detail"))
    what = " · ".join(filter(None, (text(detail.get("alarmname")), text(detail.get("operation")))))
    title = ": ".join(filter(None, (text(message.get("detail-type")), what)))
    id = text(message.get("id"), carrier.id) if title else carrier.id
    return Carrier(id, carrier.topic_arn, title or carrier.subject, moment(message.get("time")) or carrier.at)


def _plain(content: str, carrier: Carrier) -> Plain:
    return Plain(content.strip(), carrier.subject, carrier.id or content.strip(), carrier.at)
