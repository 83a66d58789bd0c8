"""Events that are no alarm but have a shape of their own: failed functions, custom notifications, HTTPS requests. Pure.

The function imports this only for such an event. Nothing here raises for any content that JSON can stand for.

- https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html (destination and dead-letter queue)
- https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html
- https://docs.aws.amazon.com/sns/latest/dg/http-header.html
"""

from __future__ import annotations

import binascii

from cwnotify.alerts.events.alarms import CustomNotification, Dimension, FunctionFailed
from cwnotify.alerts.parsing.alarms import Carrier
from cwnotify.alerts.parsing.lenient_json import Node, count, decoded, dimensions, moment, node, shown, text
from cwnotify.alerts.redaction.aws_events import MARK, redact, redact_value
from cwnotify.alerts.regions import Arn, read_arn

_MAX_ITEMS = 20
_ENVELOPE = ("version", "timestamp", "requestcontext", "responsecontext", "responsepayload", "requestpayload")


def is_custom(message: Node) -> bool:
    """Whether this is a custom notification of Amazon Q Developer."""
    content = node(message.get("content"))
    return text(message.get("source")).lower() == "custom" and bool(
        text(content.get("title"), content.get("description"))
    )


def read_custom(message: Node, carrier: Carrier) -> CustomNotification:
    """Read what `is_custom` says is one."""
    content, metadata = node(message.get("content")), node(message.get("metadata"))
    context = metadata.get("additionalcontext")
    named = redact_value(context) if isinstance(context, dict) else None
    title, description = redact(text(content.get("title"))), redact(text(content.get("description")))
    steps, summary = _texts(content.get("nextsteps")), redact(text(metadata.get("summary")))
    pairs = tuple(Dimension(redact(one.name), redact(one.value)) for one in dimensions(named)[:_MAX_ITEMS])
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
        id=carrier.id or text(message.get("id")) or shown([title, description, steps, summary]),
        at=carrier.at,
        redacted=MARK in shown([*shown_texts, *(one.name + one.value for one in pairs)]),
    )


def is_failure(message: Node) -> bool:
    """Whether this is the record that an on-failure destination keeps of a function's event."""
    request = node(message.get("requestcontext"))
    return bool(text(request.get("functionarn"))) and text(request.get("condition")).lower() != "success"


def read_failure(content: dict[object, object], carrier: Carrier) -> FunctionFailed:
    """Read what `is_failure` says is one."""
    message = node(content)
    request, response = node(message.get("requestcontext")), node(message.get("responsecontext"))
    answer = decoded(message.get("responsepayload"))
    error = node(answer)
    arn = read_arn(text(request.get("functionarn")))
    # Of a stream's records only where they are: ``KinesisBatchInfo``, ``DDBStreamBatchInfo``.
    rest = {key: value for key, value in content.items() if str(key).lower() not in _ENVELOPE}
    trace = error.get("stacktrace", error.get("trace"))
    return failed(
        function=_function(arn),
        condition=text(request.get("condition")),
        error_type=text(error.get("errortype"), response.get("functionerror")),
        error=text(error.get("errormessage"), answer if isinstance(answer, str) else ""),
        trace=_trace(trace),
        invocations=count(request.get("approximateinvokecount")),
        payload=message.get("requestpayload", rest or ""),
        id=text(request.get("requestid"), carrier.id),
        at=moment(message.get("timestamp")) or carrier.at,
        arn=arn,
    )


def failed(payload: object, error: str, arn: Arn | None = None, **facts: object) -> FunctionFailed:
    """A function's failure without the secrets that its texts may hold."""
    shown_payload = redact(shown(redact_value(payload)).strip())
    texts = {key: redact(text(facts.pop(key, ""))) for key in ("function", "condition", "error_type", "trace")}
    fields: dict[str, object] = {**facts, **texts, "error": redact(error), "payload": shown_payload}
    fields["redacted"] = any(MARK in str(value) for value in fields.values())
    place = arn or Arn()
    fields |= {"account": place.account, "region": place.region, "partition": place.partition or "aws"}
    return FunctionFailed(**fields)  # type: ignore[arg-type]


def read_request(message: Node, carrier: Carrier) -> tuple[str, Carrier] | None:
    """The body of an HTTPS request, and what SNS's headers tell of it; None if it has no body."""
    body = message.get("body")
    if not isinstance(body, str) or not body.strip():
        return None
    if message.get("isbase64encoded") is True or message.get("is_base64_encoded") is True:
        try:
            body = binascii.a2b_base64(body).decode(errors="replace")
        except ValueError:
            return None
    headers = {**node(message.get("multivalueheaders")), **node(message.get("headers"))}
    topic = _header(headers, "x-amz-sns-topic-arn")
    return body, Carrier(
        id=_header(headers, "x-amz-sns-message-id") or carrier.id,
        topic_arn=topic or carrier.topic_arn,
        subject=carrier.subject,
        at=carrier.at,
        region=carrier.region,
    )


def _header(headers: Node, name: str) -> str:
    value = headers.get(name)
    return text(value[0] if isinstance(value, list) and value else value)


def _function(arn: Arn) -> str:
    """``job`` or ``job:prod``, from ``function:job:$LATEST`` or ``function:job:prod``."""
    return arn.resource.partition(":")[2].removesuffix(":$LATEST") or arn.resource


def _trace(value: object) -> str:
    lines = value if isinstance(value, list) else [value]
    return "\n".join(filter(None, (text(line) for line in lines[:100])))


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(filter(None, (redact(text(one)) for one in values[:_MAX_ITEMS])))
