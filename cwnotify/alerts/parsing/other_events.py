"""Read failed functions, custom notifications and HTTPS requests. Pure. Never raises for any JSON value.

The Lambda function imports this only for such events.

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
_ENVELOPE_KEYS = ("version", "timestamp", "requestcontext", "responsecontext", "responsepayload", "requestpayload")


def is_custom_notification(message: JsonObject) -> bool:
    """Return whether this is a custom notification of Amazon Q Developer."""
    content = as_json_object(message.get("content"))
    return first_text(message.get("source")).lower() == "custom" and bool(
        first_text(content.get("title"), content.get("description"))
    )


def parse_custom_notification(message: JsonObject, context: EnvelopeContext) -> CustomNotification:
    """Return the event of a custom notification."""
    content, metadata = as_json_object(message.get("content")), as_json_object(message.get("metadata"))
    additional = metadata.get("additionalcontext")
    values = redact_json_value(additional) if isinstance(additional, dict) else None
    title, description = (
        redact_bounded_text(first_text(content.get("title"))),
        redact_bounded_text(first_text(content.get("description"))),
    )
    steps, summary = _redact_texts(content.get("nextsteps")), redact_bounded_text(first_text(metadata.get("summary")))
    pairs = tuple(
        Dimension(redact_bounded_text(pair.name), redact_bounded_text(pair.value))
        for pair in parse_dimensions(values)[:_MAX_ITEMS]
    )
    keywords, resources = _redact_texts(content.get("keywords")), _redact_texts(metadata.get("relatedresources"))
    shown_texts = [title, description, *steps, summary, *keywords, *resources]
    return CustomNotification(
        title=title,
        description=description,
        next_steps=steps,
        keywords=keywords,
        summary=summary,
        resources=resources,
        context=pairs,
        # The sender may use one id for a whole thread; SNS never does.
        id=context.id or first_text(message.get("id")) or format_any_value([title, description, steps, summary]),
        at=context.at,
        redacted=REDACTION_MARK in format_any_value([*shown_texts, *(pair.name + pair.value for pair in pairs)]),
    )


def is_function_failure(message: JsonObject) -> bool:
    """Return whether this is the record of a failed invocation, from an on-failure destination."""
    request = as_json_object(message.get("requestcontext"))
    return bool(first_text(request.get("functionarn"))) and first_text(request.get("condition")).lower() != "success"


def parse_function_failure(content: dict[object, object], context: EnvelopeContext) -> FunctionFailure:
    """Return the event of a failed invocation."""
    message = as_json_object(content)
    request, response = as_json_object(message.get("requestcontext")), as_json_object(message.get("responsecontext"))
    answer = decode_json_text(message.get("responsepayload"))
    error = as_json_object(answer)
    arn = parse_arn(first_text(request.get("functionarn")))
    # For a stream this is only the position of its records: ``KinesisBatchInfo``, ``DDBStreamBatchInfo``.
    position = {key: value for key, value in content.items() if str(key).lower() not in _ENVELOPE_KEYS}
    trace = error.get("stacktrace", error.get("trace"))
    return build_function_failure(
        function=_format_function_name(arn),
        condition=first_text(request.get("condition")),
        error_type=first_text(error.get("errortype"), response.get("functionerror")),
        error=first_text(error.get("errormessage"), answer if isinstance(answer, str) else ""),
        trace=_format_trace(trace),
        invocations=first_positive_int(request.get("approximateinvokecount")),
        payload=message.get("requestpayload", position or ""),
        id=first_text(request.get("requestid"), context.id),
        at=first_timestamp(message.get("timestamp")) or context.at,
        arn=arn,
    )


def build_function_failure(payload: object, error: str, arn: Arn | None = None, **facts: object) -> FunctionFailure:
    """Return the event of a function's failure, without secrets."""
    safe_payload = redact_bounded_text(format_any_value(redact_json_value(payload)).strip())
    texts = {
        key: redact_bounded_text(first_text(facts.pop(key, "")))
        for key in ("function", "condition", "error_type", "trace")
    }
    fields: dict[str, object] = {**facts, **texts, "error": redact_bounded_text(error), "payload": safe_payload}
    fields["redacted"] = any(REDACTION_MARK in str(value) for value in fields.values())
    arn = arn or Arn()
    fields |= {"account": arn.account, "region": arn.region, "partition": arn.partition or "aws"}
    return FunctionFailure(**fields)  # type: ignore[arg-type]


def unwrap_http_request(message: JsonObject, context: EnvelopeContext) -> tuple[str, EnvelopeContext] | None:
    """Return the body of an HTTPS request and the context from SNS's headers; None if it has no body."""
    body = message.get("body")
    if not isinstance(body, str) or not body.strip():
        return None
    if message.get("isbase64encoded") is True or message.get("is_base64_encoded") is True:
        try:
            body = binascii.a2b_base64(body).decode(errors="replace")
        except ValueError:
            return None
    headers = {**as_json_object(message.get("multivalueheaders")), **as_json_object(message.get("headers"))}
    topic = _find_header(headers, "x-amz-sns-topic-arn")
    return body, EnvelopeContext(
        id=_find_header(headers, "x-amz-sns-message-id") or context.id,
        topic_arn=topic or context.topic_arn,
        subject=context.subject,
        at=context.at,
        region=context.region,
    )


def _find_header(headers: JsonObject, name: str) -> str:
    value = headers.get(name)
    return first_text(value[0] if isinstance(value, list) and value else value)


def _format_function_name(arn: Arn) -> str:
    """Return ``job`` or ``job:prod`` from ``function:job:$LATEST`` or ``function:job:prod``."""
    return arn.resource.partition(":")[2].removesuffix(":$LATEST") or arn.resource


def _format_trace(value: object) -> str:
    lines = value if isinstance(value, list) else [value]
    return "\n".join(filter(None, (first_text(line) for line in lines[:100])))


def _redact_texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(filter(None, (redact_bounded_text(first_text(item)) for item in values[:_MAX_ITEMS])))
