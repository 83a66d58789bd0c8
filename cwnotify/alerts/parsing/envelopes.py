"""Whatever AWS hands to a Lambda function -> events. Pure, and total: never raises, loses nothing.

The envelopes nest: an SQS record holds an SNS notification, which holds an EventBridge event, which holds an alarm's
change. Each is opened until something is known; what stays unknown becomes a `UnrecognizedEvent` that shows it. No event keeps
what looks like a secret.

SNS delivers over HTTPS too, to a function's URL, API Gateway or a load balancer; the request is then one more envelope:
https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
"""

from __future__ import annotations

import json
from zlib import crc32

from cwnotify.alerts.events.alarms import AwsEvent, FunctionFailure, InstanceNotice, NoticeKind, UnrecognizedEvent
from cwnotify.alerts.parsing.alarms import EnvelopeContext, parse_alarm_state_change
from cwnotify.alerts.parsing.cli_output import parse_cli_item, parse_cli_listing
from cwnotify.alerts.parsing.lenient_json import (
    MAX_FORMATTED_LENGTH,
    JsonObject,
    as_json_object,
    decode_json_text,
    first_text,
    first_timestamp,
    format_any_value,
)
from cwnotify.alerts.redaction.aws_events import (
    REDACTION_MARK,
    redact_aws_event,
    redact_bounded_text,
    redact_json_value,
)
from cwnotify.alerts.regions import parse_arn, parse_region_code, partition_of_region

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Real ones nest four deep: a failure's record, SQS, SNS, EventBridge.
_MAX_DEPTH = 12
# Entries of lists that are opened in one event; 1,000 characters that are written out count as one more. The records of
# a batch from SQS are events of their own.
MAX_OPENED_ENTRIES = 5_000
# One of these is in a custom notification, a failed function's record, and an HTTPS request.
_OTHERS = {"content", "requestcontext", "headers", "multivalueheaders"}

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html,
# .../rebalance-recommendations.html and .../monitoring-instance-state-changes.html
_NOTICES = {
    "EC2 Spot Instance Interruption Warning": (NoticeKind.INTERRUPTION, "instance-action"),
    "EC2 Instance Rebalance Recommendation": (NoticeKind.REBALANCE, ""),
    "EC2 Instance State-change Notification": (NoticeKind.STATE, "state"),
}


def parse_aws_events(event: object) -> tuple[AwsEvent, ...]:
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
        events = tuple(map(redact_aws_event, _open(event, EnvelopeContext(), 0, budget)))
        whole = len(events) == 1 and isinstance(events[0], UnrecognizedEvent)
        # What is one text is shown as such; of what was opened the rest is counted.
        return events if whole or not budget.left_out else (*events, _left_out(budget.left_out, events[-1]))
    except Exception:
        # Left over are values whose own methods raise, which no JSON makes: they too are shown, not dropped.
        return (_plain(format_any_value(event), EnvelopeContext(), budget),)


class _Budget:
    """How many entries of lists are still opened, and how many were not."""

    def __init__(self) -> None:
        self.left, self.left_out = MAX_OPENED_ENTRIES, 0

    def spend(self, items: Sequence[object]) -> Iterator[object]:
        """Those of `items` that the budget allows."""
        for number, item in enumerate(items):
            if self.left <= 0:
                self.left_out += len(items) - number
                return
            self.left -= 1
            yield item


def _left_out(count: int, last: AwsEvent) -> UnrecognizedEvent:
    return UnrecognizedEvent("", id=f"{count} after {last.id}", left_out=count)


def _open(value: object, carrier: EnvelopeContext, depth: int, budget: _Budget) -> list[AwsEvent]:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    content = decode_json_text(value)
    if depth < _MAX_DEPTH:
        if isinstance(content, str) and content != value:
            return _open(content, carrier, depth + 1, budget)
        if isinstance(content, list):
            opened = [event for item in budget.spend(content) for event in _open(item, carrier, depth + 1, budget)]
            if not all(isinstance(event, UnrecognizedEvent) for event in opened):
                return opened
        if isinstance(content, dict):
            return _open_mapping(content, carrier, depth + 1, budget)
    return [_plain(value if isinstance(value, str) and content == value else content, carrier, budget)]


def _open_mapping(
    content: dict[object, object], carrier: EnvelopeContext, depth: int, budget: _Budget
) -> list[AwsEvent]:
    message = as_json_object(content)
    records = message.get("records")
    if isinstance(records, list) and records:
        return [event for record in budget.spend(records) for event in _open(record, carrier, depth, budget)]
    items = parse_cli_listing(message)
    if items:
        return [event for item in budget.spend(items) for event in _open(item, carrier, depth, budget)]
    for key, inside, outside in _openings(message, carrier):
        if isinstance(inside.get(key), str | dict):
            return _open(inside[key], outside, depth, budget)
    event = parse_alarm_state_change(message, carrier) or _notice(message)
    if event is not None:
        return [event]
    if message.keys() & _OTHERS and (others := _open_other(content, carrier, depth, budget)):
        return others
    item = parse_cli_item(message)
    return [_plain(content, _signed(message, carrier), budget)] if item is None else _open(item, carrier, depth, budget)


def _open_other(content: dict[object, object], carrier: EnvelopeContext, depth: int, budget: _Budget) -> list[AwsEvent]:
    """What is inside of a failed function's record or a request, or a custom notification; nothing for all else."""
    message = as_json_object(content)
    # Seldom, and so imported only here.
    from cwnotify.alerts.parsing import other_events

    if other_events.is_custom_notification(message):
        return [other_events.parse_custom_notification(message, carrier)]
    if other_events.is_function_failure(message):
        inside = _open(message.get("requestpayload"), carrier, depth, budget)
        # The record of an alarm is that alarm, whichever function failed to send it.
        known = not all(isinstance(event, UnrecognizedEvent) for event in inside)
        return inside if known else [other_events.parse_function_failure(content, carrier)]
    request = other_events.unwrap_http_request(message, carrier)
    return _open(*request, depth, budget) if request else []


def _openings(message: JsonObject, carrier: EnvelopeContext) -> list[tuple[str, JsonObject, EnvelopeContext]]:
    """Where an envelope of this shape has its content: a key, in which mapping, and what the envelope tells."""
    if isinstance(message.get("sns"), dict):
        sns = as_json_object(message["sns"])
        return [("message", sns, _notification(sns, carrier))]
    if "topicarn" in message and first_text(message.get("type"), "Notification") == "Notification":
        return [("message", message, _notification(message, carrier))]
    if "receipthandle" in message or "eventsource" in message:
        record = EnvelopeContext(
            first_text(message.get("messageid")),
            carrier.topic_arn,
            carrier.subject,
            carrier.at,
            parse_region_code(first_text(message.get("awsregion"))) or carrier.region,
            _dead_letter(message) or carrier.error,
        )
        return [("body", message, record)]
    # An alarm's history has what it published under these, one in the other.
    history = ("publishedmessage", "default") if "email" in message else ("publishedmessage",)
    return [(key, message, carrier) for key in history]


def _notification(message: JsonObject, carrier: EnvelopeContext) -> EnvelopeContext:
    return EnvelopeContext(
        id=first_text(message.get("messageid"), carrier.id),
        topic_arn=first_text(message.get("topicarn"), carrier.topic_arn),
        subject=first_text(message.get("subject")),
        at=first_timestamp(message.get("timestamp")),
        region=carrier.region,
        error=_dead_letter(message) or carrier.error,
    )


def _dead_letter(message: JsonObject) -> str:
    """The error that Lambda adds to an event in a function's dead-letter queue or topic."""
    attributes = as_json_object(message.get("messageattributes"))
    if not {"requestid", "errormessage"} <= attributes.keys():
        return ""
    error = as_json_object(attributes["errormessage"])
    return first_text(error.get("stringvalue"), error.get("value"))


def _notice(message: JsonObject) -> InstanceNotice | None:
    kind, word = _NOTICES.get(first_text(message.get("detail-type")), (None, ""))
    detail = as_json_object(message.get("detail"))
    instance = first_text(detail.get("instance-id"))
    if kind is None or not instance:
        return None
    resources = message.get("resources")
    arn = parse_arn(first_text(*resources) if isinstance(resources, list) else "")
    region = arn.region or parse_region_code(first_text(message.get("region")))
    return InstanceNotice(
        kind=kind,
        instance=instance,
        word=first_text(detail.get(word)),
        at=first_timestamp(message.get("time")),
        account=first_text(message.get("account"), arn.account),
        region=region,
        partition=arn.partition or partition_of_region(region),
    )


def _signed(message: JsonObject, carrier: EnvelopeContext) -> EnvelopeContext:
    """What an EventBridge event that is no alarm calls itself, and when it was."""
    detail = as_json_object(message.get("detail"))
    what = " · ".join(filter(None, (first_text(detail.get("alarmname")), first_text(detail.get("operation")))))
    title = ": ".join(filter(None, (first_text(message.get("detail-type")), what)))
    if not title and "topicarn" in message:
        # A topic asks to confirm a subscription of the function's address, or its end.
        title = ": ".join(
            filter(None, (first_text(message.get("type")), parse_arn(first_text(message["topicarn"])).resource))
        )
    id = first_text(message.get("id"), message.get("messageid"), carrier.id) if title else carrier.id
    at = first_timestamp(message.get("time"), message.get("timestamp")) or carrier.at
    return EnvelopeContext(id, carrier.topic_arn, title or carrier.subject, at, carrier.region, carrier.error)


def _plain(content: object, carrier: EnvelopeContext, budget: _Budget) -> UnrecognizedEvent | FunctionFailure:
    if carrier.error:
        from cwnotify.alerts.parsing.other_events import build_function_failure

        return build_function_failure(content, carrier.error, id=carrier.id, at=carrier.at)
    raw = format_any_value(content).strip()
    budget.left -= len(raw) // 1_000
    if not isinstance(content, str) and len(raw) <= MAX_FORMATTED_LENGTH:
        safe = redact_bounded_text(format_any_value(redact_json_value(content)).strip())
    else:
        safe = redact_bounded_text(raw)
    title = redact_bounded_text(carrier.subject)
    # Texts that differ only in what is not shown are two messages all the same.
    id = carrier.id or (safe if safe == raw else f"{safe}#{_checksum(content, raw)}")
    return UnrecognizedEvent(safe, title, id, carrier.at, redacted=REDACTION_MARK in safe or REDACTION_MARK in title)


def _checksum(content: object, raw: str) -> int:
    """A checksum of all of `content`; `raw` shows it, or its beginning."""
    try:
        whole = (
            raw if len(raw) <= MAX_FORMATTED_LENGTH or isinstance(content, str) else json.dumps(content, default=repr)
        )
    except (TypeError, ValueError, RecursionError):
        whole = raw
    return crc32(whole.encode(errors="replace"))
