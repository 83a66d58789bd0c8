"""Events that are no alarm but have a shape of their own: failed functions, custom notifications, HTTPS requests. Pure.

The function imports this only for such an event. Nothing here raises for any content that JSON can stand for.

- https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html (destination and dead-letter queue)
- https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html
- https://docs.aws.amazon.com/sns/latest/dg/http-header.html
"""

from __future__ import annotations

import binascii

from cwnotify.alerts.events.alarms import CustomNotification, Dimension, FunctionFailure
from cwnotify.alerts.parsing.alarms import EnvelopeContext
from cwnotify.alerts.parsing.lenient_json import (
    JsonObject,
    as_json_object,
    decode_json_text,
    first_positive_int,
    first_text,
    first_timestamp,
    format_any_value,
    parse_dimensions,
)
from cwnotify.alerts.redaction.aws_events import REDACTION_MARK, redact_bounded_text, redact_json_value
from cwnotify.alerts.regions import Arn, parse_arn

_MAX_ITEMS = 20
_ENVELOPE = ("version", "timestamp", "requestcontext", "responsecontext", "responsepayload", "requestpayload")


def is_custom_notification(message: JsonObject) -> bool:
    """Whether this is a custom notification of Amazon Q Developer."""
    content = as_json_object(message.get("content"))
    return first_text(message.get("source")).lower() == "custom" and bool(
        first_text(content.get("title"), content.get("description"))
    )


def parse_custom_notification(message: JsonObject, carrier: EnvelopeContext) -> CustomNotification:
    """Read what `is_custom_notification` says is one."""
    content, metadata = as_json_object(message.get("content")), as_json_object(message.get("metadata"))
    context = metadata.get("additionalcontext")
    named = redact_json_value(context) if isinstance(context, dict) else None
    title, description = (
        redact_bounded_text(first_text(content.get("title"))),
        redact_bounded_text(first_text(content.get("description"))),
    )
    steps, summary = _texts(content.get("nextsteps")), redact_bounded_text(first_text(metadata.get("summary")))
    pairs = tuple(
        Dimension(redact_bounded_text(one.name), redact_bounded_text(one.value))
        for one in parse_dimensions(named)[:_MAX_ITEMS]
    )
    keywords, resources = _texts(content.get("keywords")), _texts(metadata.get("relatedresources"))
    shown_texts = [title, description, *steps, summary, *keywords, *resources]
    return CustomNotification(
        title=title,
        description=description,
        next_steps=steps,
        keywords=keywords,
        summary=summary,
        resources=resources,
        context=pairs,
        # The sender's own id may be the same for all of a thread; SNS's is not.
        id=carrier.id or first_text(message.get("id")) or format_any_value([title, description, steps, summary]),
        at=carrier.at,
        redacted=REDACTION_MARK in format_any_value([*shown_texts, *(one.name + one.value for one in pairs)]),
    )


def is_function_failure(message: JsonObject) -> bool:
    """Whether this is the record that an on-failure destination keeps of a function's event."""
    request = as_json_object(message.get("requestcontext"))
    return bool(first_text(request.get("functionarn"))) and first_text(request.get("condition")).lower() != "success"


def parse_function_failure(content: dict[object, object], carrier: EnvelopeContext) -> FunctionFailure:
    """Read what `is_function_failure` says is one."""
    message = as_json_object(content)
    request, response = as_json_object(message.get("requestcontext")), as_json_object(message.get("responsecontext"))
    answer = decode_json_text(message.get("responsepayload"))
    error = as_json_object(answer)
    arn = parse_arn(first_text(request.get("functionarn")))
    # Of a stream's records only where they are: ``KinesisBatchInfo``, ``DDBStreamBatchInfo``.
    rest = {key: value for key, value in content.items() if str(key).lower() not in _ENVELOPE}
    trace = error.get("stacktrace", error.get("trace"))
    return build_function_failure(
        function=_function(arn),
        condition=first_text(request.get("condition")),
        error_type=first_text(error.get("errortype"), response.get("functionerror")),
        error=first_text(error.get("errormessage"), answer if isinstance(answer, str) else ""),
        trace=_trace(trace),
        invocations=first_positive_int(request.get("approximateinvokecount")),
        payload=message.get("requestpayload", rest or ""),
        id=first_text(request.get("requestid"), carrier.id),
        at=first_timestamp(message.get("timestamp")) or carrier.at,
        arn=arn,
    )


def build_function_failure(payload: object, error: str, arn: Arn | None = None, **facts: object) -> FunctionFailure:
    """A function's failure without the secrets that its texts may hold."""
    shown_payload = redact_bounded_text(format_any_value(redact_json_value(payload)).strip())
    texts = {
        key: redact_bounded_text(first_text(facts.pop(key, "")))
        for key in ("function", "condition", "error_type", "trace")
    }
    fields: dict[str, object] = {**facts, **texts, "error": redact_bounded_text(error), "payload": shown_payload}
    fields["redacted"] = any(REDACTION_MARK in str(value) for value in fields.values())
    place = arn or Arn()
    fields |= {"account": place.account, "region": place.region, "partition": place.partition or "aws"}
    return FunctionFailure(**fields)  # type: ignore[arg-type]


def unwrap_http_request(message: JsonObject, carrier: EnvelopeContext) -> tuple[str, EnvelopeContext] | None:
    """The body of an HTTPS request, and what SNS's headers tell of it; None if it has no body."""
    body = message.get("body")
    if not isinstance(body, str) or not body.strip():
        return None
    if message.get("isbase64encoded") is True or message.get("is_base64_encoded") is True:
        try:
            body = binascii.a2b_base64(body).decode(errors="replace")
        except ValueError:
            return None
    headers = {**as_json_object(message.get("multivalueheaders")), **as_json_object(message.get("headers"))}
    topic = _header(headers, "x-amz-sns-topic-arn")
    return body, EnvelopeContext(
        id=_header(headers, "x-amz-sns-message-id") or carrier.id,
        topic_arn=topic or carrier.topic_arn,
        subject=carrier.subject,
        at=carrier.at,
        region=carrier.region,
    )


def _header(headers: JsonObject, name: str) -> str:
    value = headers.get(name)
    return first_text(value[0] if isinstance(value, list) and value else value)


def _function(arn: Arn) -> str:
    """``job`` or ``job:prod``, from ``function:job:$LATEST`` or ``function:job:prod``."""
    return arn.resource.partition(":")[2].removesuffix(":$LATEST") or arn.resource


def _trace(value: object) -> str:
    lines = value if isinstance(value, list) else [value]
    return "\n".join(filter(None, (first_text(line) for line in lines[:100])))


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(filter(None, (redact_bounded_text(first_text(one)) for one in values[:_MAX_ITEMS])))
