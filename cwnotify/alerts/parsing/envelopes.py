"""Read anything that AWS sends to a Lambda function into events. Pure. Never raises, and drops nothing.

Envelopes nest: an SQS record contains an SNS notification, that an EventBridge event, that an alarm's change. They are
opened until the content is recognized; the rest becomes an `UnrecognizedEvent`. Secrets are redacted.

SNS also delivers over HTTPS, to a function URL, API Gateway or a load balancer. The request is one more envelope:
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

# Real envelopes nest four deep: a failure's record, SQS, SNS, EventBridge.
_MAX_DEPTH = 12
# List entries opened in one event. Each 1,000 characters that are written out count as one more.
# The records of a batch from SQS are separate events.
MAX_OPENED_ENTRIES = 5_000
# Custom notifications, failed functions' records and HTTPS requests have one of these keys.
_OTHER_EVENT_KEYS = {"content", "requestcontext", "headers", "multivalueheaders"}

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html,
# .../rebalance-recommendations.html and .../monitoring-instance-state-changes.html
_NOTICES = {
    "EC2 Spot Instance Interruption Warning": (NoticeKind.INTERRUPTION, "instance-action"),
    "EC2 Instance Rebalance Recommendation": (NoticeKind.REBALANCE, ""),
    "EC2 Instance State-change Notification": (NoticeKind.STATE, "state"),
}


def parse_aws_events(event: object) -> tuple[AwsEvent, ...]:
    """Return the events in `event`, in whatever envelopes they come.

    Parameters
    ----------
    event
        The function's argument, from SNS, SQS, EventBridge or an alarm's Lambda action; an alarm's own message;
        JSON text; or anything else.

    Returns
    -------
    tuple
        At least one event. One for each record of a batch, in order.
    """
    budget = _Budget()
    try:
        events = tuple(map(redact_aws_event, _open(event, EnvelopeContext(), 0, budget)))
        is_single_text = len(events) == 1 and isinstance(events[0], UnrecognizedEvent)
        if is_single_text or not budget.skipped:
            return events
        return (*events, _count_skipped(budget.skipped, events[-1]))
    except Exception:
        # Only values whose own methods raise lead here. JSON has none, but they are shown and not dropped.
        return (_build_unrecognized(format_any_value(event), EnvelopeContext(), budget),)


class _Budget:
    """How many list entries may still be opened, and how many were skipped."""

    def __init__(self) -> None:
        self.remaining, self.skipped = MAX_OPENED_ENTRIES, 0

    def spend(self, items: Sequence[object]) -> Iterator[object]:
        """Yield the `items` that the budget allows."""
        for index, item in enumerate(items):
            if self.remaining <= 0:
                self.skipped += len(items) - index
                return
            self.remaining -= 1
            yield item


def _count_skipped(count: int, last: AwsEvent) -> UnrecognizedEvent:
    return UnrecognizedEvent("", id=f"{count} after {last.id}", left_out=count)


def _open(value: object, context: EnvelopeContext, depth: int, budget: _Budget) -> list[AwsEvent]:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    content = decode_json_text(value)
    if depth < _MAX_DEPTH:
        if isinstance(content, str) and content != value:
            return _open(content, context, depth + 1, budget)
        if isinstance(content, list):
            opened = [event for item in budget.spend(content) for event in _open(item, context, depth + 1, budget)]
            if not all(isinstance(event, UnrecognizedEvent) for event in opened):
                return opened
        if isinstance(content, dict):
            return _open_mapping(content, context, depth + 1, budget)
    return [_build_unrecognized(value if isinstance(value, str) and content == value else content, context, budget)]


def _open_mapping(
    content: dict[object, object], context: EnvelopeContext, depth: int, budget: _Budget
) -> list[AwsEvent]:
    message = as_json_object(content)
    records = message.get("records")
    if isinstance(records, list) and records:
        return [event for record in budget.spend(records) for event in _open(record, context, depth, budget)]
    items = parse_cli_listing(message)
    if items:
        return [event for item in budget.spend(items) for event in _open(item, context, depth, budget)]
    for key, container, inner in _find_contents(message, context):
        if isinstance(container.get(key), str | dict):
            return _open(container[key], inner, depth, budget)
    event = parse_alarm_state_change(message, context) or _parse_instance_notice(message)
    if event is not None:
        return [event]
    if message.keys() & _OTHER_EVENT_KEYS and (others := _open_other(content, context, depth, budget)):
        return others
    item = parse_cli_item(message)
    return (
        [_build_unrecognized(content, _with_title(message, context), budget)]
        if item is None
        else _open(item, context, depth, budget)
    )


def _open_other(content: dict[object, object], context: EnvelopeContext, depth: int, budget: _Budget) -> list[AwsEvent]:
    """Return the events of a failed function's record, a request or a custom notification; else an empty list."""
    message = as_json_object(content)
    # Rare, so the function's start does not pay for this import.
    from cwnotify.alerts.parsing import other_events

    if other_events.is_custom_notification(message):
        return [other_events.parse_custom_notification(message, context)]
    if other_events.is_function_failure(message):
        contents = _open(message.get("requestpayload"), context, depth, budget)
        # A failed alarm event is still that alarm, whichever function failed to send it.
        is_recognized = not all(isinstance(event, UnrecognizedEvent) for event in contents)
        return contents if is_recognized else [other_events.parse_function_failure(content, context)]
    request = other_events.unwrap_http_request(message, context)
    return _open(*request, depth, budget) if request else []


def _find_contents(message: JsonObject, context: EnvelopeContext) -> list[tuple[str, JsonObject, EnvelopeContext]]:
    """Return where the envelope's content may be: the key, the dict with that key, and the context for the content."""
    if isinstance(message.get("sns"), dict):
        sns = as_json_object(message["sns"])
        return [("message", sns, _read_notification_context(sns, context))]
    if "topicarn" in message and first_text(message.get("type"), "Notification") == "Notification":
        return [("message", message, _read_notification_context(message, context))]
    if "receipthandle" in message or "eventsource" in message:
        record = EnvelopeContext(
            first_text(message.get("messageid")),
            context.topic_arn,
            context.subject,
            context.at,
            parse_region_code(first_text(message.get("awsregion"))) or context.region,
            _find_dead_letter_error(message) or context.error,
        )
        return [("body", message, record)]
    # An alarm's history stores the published message under these keys, one inside the other.
    history = ("publishedmessage", "default") if "email" in message else ("publishedmessage",)
    return [(key, message, context) for key in history]


def _read_notification_context(message: JsonObject, context: EnvelopeContext) -> EnvelopeContext:
    return EnvelopeContext(
        id=first_text(message.get("messageid"), context.id),
        topic_arn=first_text(message.get("topicarn"), context.topic_arn),
        subject=first_text(message.get("subject")),
        at=first_timestamp(message.get("timestamp")),
        region=context.region,
        error=_find_dead_letter_error(message) or context.error,
    )


def _find_dead_letter_error(message: JsonObject) -> str:
    """Return the error that Lambda adds to an event in a function's dead-letter queue or topic."""
    attributes = as_json_object(message.get("messageattributes"))
    if not {"requestid", "errormessage"} <= attributes.keys():
        return ""
    error = as_json_object(attributes["errormessage"])
    return first_text(error.get("stringvalue"), error.get("value"))


def _parse_instance_notice(message: JsonObject) -> InstanceNotice | None:
    kind, detail_key = _NOTICES.get(first_text(message.get("detail-type")), (None, ""))
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
        word=first_text(detail.get(detail_key)),
        at=first_timestamp(message.get("time")),
        account=first_text(message.get("account"), arn.account),
        region=region,
        partition=arn.partition or partition_of_region(region),
    )


def _with_title(message: JsonObject, context: EnvelopeContext) -> EnvelopeContext:
    """Return `context` with the title, id and time of an EventBridge event that is not an alarm."""
    detail = as_json_object(message.get("detail"))
    subject = " · ".join(filter(None, (first_text(detail.get("alarmname")), first_text(detail.get("operation")))))
    title = ": ".join(filter(None, (first_text(message.get("detail-type")), subject)))
    if not title and "topicarn" in message:
        # A topic requests to confirm the subscription of the function's address, or its end.
        title = ": ".join(
            filter(None, (first_text(message.get("type")), parse_arn(first_text(message["topicarn"])).resource))
        )
    id = first_text(message.get("id"), message.get("messageid"), context.id) if title else context.id
    at = first_timestamp(message.get("time"), message.get("timestamp")) or context.at
    return EnvelopeContext(id, context.topic_arn, title or context.subject, at, context.region, context.error)


def _build_unrecognized(
    content: object, context: EnvelopeContext, budget: _Budget
) -> UnrecognizedEvent | FunctionFailure:
    if context.error:
        from cwnotify.alerts.parsing.other_events import build_function_failure

        return build_function_failure(content, context.error, id=context.id, at=context.at)
    raw = format_any_value(content).strip()
    budget.remaining -= len(raw) // 1_000
    if not isinstance(content, str) and len(raw) <= MAX_FORMATTED_LENGTH:
        safe = redact_bounded_text(format_any_value(redact_json_value(content)).strip())
    else:
        safe = redact_bounded_text(raw)
    title = redact_bounded_text(context.subject)
    # Texts that differ only in redacted parts are still two messages.
    id = context.id or (safe if safe == raw else f"{safe}#{_checksum(content, raw)}")
    return UnrecognizedEvent(safe, title, id, context.at, redacted=REDACTION_MARK in safe or REDACTION_MARK in title)


def _checksum(content: object, raw: str) -> int:
    """Return a checksum of all of `content`; `raw` is its text or the beginning of it."""
    try:
        whole = (
            raw if len(raw) <= MAX_FORMATTED_LENGTH or isinstance(content, str) else json.dumps(content, default=repr)
        )
    except (TypeError, ValueError, RecursionError):
        whole = raw
    return crc32(whole.encode(errors="replace"))
