"""Whatever AWS hands to a Lambda function -> events. Pure, and total: never raises, loses nothing.

The envelopes nest: an SQS record holds an SNS notification, which holds an EventBridge event, which holds an alarm's
change. Each is opened until something is known; what stays unknown becomes a `Plain` that shows it. No event keeps
what looks like a secret.

SNS delivers over HTTPS too, to a function's URL, API Gateway or a load balancer; the request is then one more envelope:
https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
"""

from __future__ import annotations

import json
from zlib import crc32

from cwnotify.alerts.events.alarms import AwsEvent, FunctionFailed, InstanceNotice, NoticeKind, Plain
from cwnotify.alerts.parsing.alarms import Carrier, read_alarm
from cwnotify.alerts.parsing.cli_output import read_item, read_listing
from cwnotify.alerts.parsing.lenient_json import MAX_SHOWN, Node, decoded, moment, node, shown, text
from cwnotify.alerts.redaction.aws_events import MARK, redact, redact_event, redact_value
from cwnotify.alerts.regions import partition_of, read_arn, region_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Real ones nest four deep: a failure's record, SQS, SNS, EventBridge.
_MAX_DEPTH = 12
# Entries of lists that are opened in one event; 1,000 characters that are written out count as one more. The records of
# a batch from SQS are events of their own.
MAX_OPENED = 5_000
# One of these is in a custom notification, a failed function's record, and an HTTPS request.
_OTHERS = {"content", "requestcontext", "headers", "multivalueheaders"}

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
    budget = _Budget()
    try:
        events = tuple(map(redact_event, _open(event, Carrier(), 0, budget)))
        whole = len(events) == 1 and isinstance(events[0], Plain)
        # What is one text is shown as such; of what was opened the rest is counted.
        return events if whole or not budget.left_out else (*events, _left_out(budget.left_out, events[-1]))
    except Exception:
        # Left over are values whose own methods raise, which no JSON makes: they too are shown, not dropped.
        return (_plain(shown(event), Carrier(), budget),)


class _Budget:
    """How many entries of lists are still opened, and how many were not."""

    def __init__(self) -> None:
        self.left, self.left_out = MAX_OPENED, 0

    def spend(self, items: Sequence[object]) -> Iterator[object]:
        """Those of `items` that the budget allows."""
        for number, item in enumerate(items):
            if self.left <= 0:
                self.left_out += len(items) - number
                return
            self.left -= 1
            yield item


def _left_out(count: int, last: AwsEvent) -> Plain:
    return Plain("", id=f"{count} after {last.id}", left_out=count)


def _open(value: object, carrier: Carrier, depth: int, budget: _Budget) -> list[AwsEvent]:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    content = decoded(value)
    if depth < _MAX_DEPTH:
        if isinstance(content, str) and content != value:
            return _open(content, carrier, depth + 1, budget)
        if isinstance(content, list):
            opened = [event for item in budget.spend(content) for event in _open(item, carrier, depth + 1, budget)]
            if not all(isinstance(event, Plain) for event in opened):
                return opened
        if isinstance(content, dict):
            return _open_mapping(content, carrier, depth + 1, budget)
    return [_plain(value if isinstance(value, str) and content == value else content, carrier, budget)]


def _open_mapping(content: dict[object, object], carrier: Carrier, depth: int, budget: _Budget) -> list[AwsEvent]:
    message = node(content)
    records = message.get("records")
    if isinstance(records, list) and records:
        return [event for record in budget.spend(records) for event in _open(record, carrier, depth, budget)]
    items = read_listing(message)
    if items:
        return [event for item in budget.spend(items) for event in _open(item, carrier, depth, budget)]
    for key, inside, outside in _openings(message, carrier):
        if isinstance(inside.get(key), str | dict):
            return _open(inside[key], outside, depth, budget)
    event = read_alarm(message, carrier) or _notice(message)
    if event is not None:
        return [event]
    if message.keys() & _OTHERS and (others := _open_other(content, carrier, depth, budget)):
        return others
    item = read_item(message)
    return [_plain(content, _signed(message, carrier), budget)] if item is None else _open(item, carrier, depth, budget)


def _open_other(content: dict[object, object], carrier: Carrier, depth: int, budget: _Budget) -> list[AwsEvent]:
    """What is inside of a failed function's record or a request, or a custom notification; nothing for all else."""
    message = node(content)
    # Seldom, and so imported only here.
    from cwnotify.alerts.parsing import other_events

    if other_events.is_custom(message):
        return [other_events.read_custom(message, carrier)]
    if other_events.is_failure(message):
        inside = _open(message.get("requestpayload"), carrier, depth, budget)
        # The record of an alarm is that alarm, whichever function failed to send it.
        known = not all(isinstance(event, Plain) for event in inside)
        return inside if known else [other_events.read_failure(content, carrier)]
    request = other_events.read_request(message, carrier)
    return _open(*request, depth, budget) if request else []


def _openings(message: Node, carrier: Carrier) -> list[tuple[str, Node, Carrier]]:
    """Where an envelope of this shape has its content: a key, in which mapping, and what the envelope tells."""
    if isinstance(message.get("sns"), dict):
        sns = node(message["sns"])
        return [("message", sns, _notification(sns, carrier))]
    if "topicarn" in message and text(message.get("type"), "Notification") == "Notification":
        return [("message", message, _notification(message, carrier))]
    if "receipthandle" in message or "eventsource" in message:
        record = Carrier(
            text(message.get("messageid")),
            carrier.topic_arn,
            carrier.subject,
            carrier.at,
            region_code(text(message.get("awsregion"))) or carrier.region,
            _dead_letter(message) or carrier.error,
        )
        return [("body", message, record)]
    # An alarm's history has what it published under these, one in the other.
    history = ("publishedmessage", "default") if "email" in message else ("publishedmessage",)
    return [(key, message, carrier) for key in history]


def _notification(message: Node, carrier: Carrier) -> Carrier:
    return Carrier(
        id=text(message.get("messageid"), carrier.id),
        topic_arn=text(message.get("topicarn"), carrier.topic_arn),
        subject=text(message.get("subject")),
        at=moment(message.get("timestamp")),
        region=carrier.region,
        error=_dead_letter(message) or carrier.error,
    )


def _dead_letter(message: Node) -> str:
    """The error that Lambda adds to an event in a function's dead-letter queue or topic."""
    attributes = node(message.get("messageattributes"))
    if not {"requestid", "errormessage"} <= attributes.keys():
        return ""
    error = node(attributes["errormessage"])
    return text(error.get("stringvalue"), error.get("value"))


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
    if not title and "topicarn" in message:
        # A topic asks to confirm a subscription of the function's address, or its end.
        title = ": ".join(filter(None, (text(message.get("type")), read_arn(text(message["topicarn"])).resource)))
    id = text(message.get("id"), message.get("messageid"), carrier.id) if title else carrier.id
    at = moment(message.get("time"), message.get("timestamp")) or carrier.at
    return Carrier(id, carrier.topic_arn, title or carrier.subject, at, carrier.region, carrier.error)


def _plain(content: object, carrier: Carrier, budget: _Budget) -> Plain | FunctionFailed:
    if carrier.error:
        from cwnotify.alerts.parsing.other_events import failed

        return failed(content, carrier.error, id=carrier.id, at=carrier.at)
    raw = shown(content).strip()
    budget.left -= len(raw) // 1_000
    if not isinstance(content, str) and len(raw) <= MAX_SHOWN:
        safe = redact(shown(redact_value(content)).strip())
    else:
        safe = redact(raw)
    title = redact(carrier.subject)
    # Texts that differ only in what is not shown are two messages all the same.
    id = carrier.id or (safe if safe == raw else f"{safe}#{_checksum(content, raw)}")
    return Plain(safe, title, id, carrier.at, redacted=MARK in safe or MARK in title)


def _checksum(content: object, raw: str) -> int:
    """A checksum of all of `content`; `raw` shows it, or its beginning."""
    try:
        whole = raw if len(raw) <= MAX_SHOWN or isinstance(content, str) else json.dumps(content, default=repr)
    except (TypeError, ValueError, RecursionError):
        whole = raw
    return crc32(whole.encode(errors="replace"))
