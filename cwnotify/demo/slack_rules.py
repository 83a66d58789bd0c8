"""Slack's response to a webhook's payload. Pure; standard library only.

Error names: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks. Limits:
https://docs.slack.dev/reference/block-kit/blocks (both checked on 2026-11-22). The rules are separate from
`cwnotify.alerts.messages.block_kit`, because they test it. A violation in an attachment is ``invalid_attachments``, and
so are legacy fields next to an attachment's blocks (https://github.com/slackapi/bolt-js/issues/717). In one point the
rules are stricter than Slack: block types that cwnotify never sends are rejected.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

MAX_BLOCKS = 50
MAX_ATTACHMENTS = 100
_MAX_ID_LENGTH = 255
_MAX_ALT_LENGTH = 2000
_MAX_URL_LENGTH = 3000


@dataclass(frozen=True)
class WebhookResponse:
    """Slack's response.

    Parameters
    ----------
    status, body
        The HTTP status and the body: 200 and ``ok``, or the name of the error.
    reason
        Which part of the payload violates which rule. Slack itself does not send it.
    payload
        The message if it was accepted.
    """

    status: int
    body: str
    reason: str = ""
    payload: dict[str, Any] | None = None


class _RuleError(Exception):
    """A part of the payload violates a rule. Never leaves this module."""


def respond_to_webhook(body: bytes) -> WebhookResponse:
    """Return Slack's response to a webhook's request body."""
    try:
        payload = json.loads(body, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        return WebhookResponse(400, "invalid_payload", "the body is not JSON")
    if not isinstance(payload, dict):
        return WebhookResponse(400, "invalid_payload", "the body is not a JSON object")
    blocks, attachments = payload.get("blocks", []), payload.get("attachments", [])
    if not isinstance(payload.get("text", ""), str):
        return WebhookResponse(400, "invalid_payload", "text is not a string")
    if not (payload.get("text") or blocks or attachments):
        return WebhookResponse(400, "no_text", "has no text, block or attachment")
    if not (payload.get("text") or blocks or any(map(_has_content, _as_list(attachments)))):
        return WebhookResponse(400, "missing_text_or_fallback_or_attachments", "no attachment has content")
    if len(_as_list(attachments)) > MAX_ATTACHMENTS:
        return WebhookResponse(400, "too_many_attachments", f"more than {MAX_ATTACHMENTS} attachments")
    ids: set[str] = set()
    for field, check, value in (
        ("blocks", _check_blocks, blocks),
        ("attachments", _check_attachments, attachments),
    ):
        try:
            check(value, field, ids)
        except _RuleError as error:
            return WebhookResponse(400, f"invalid_{field}", str(error))
    return WebhookResponse(200, "ok", payload=payload)


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _has_content(attachment: object) -> bool:
    return not isinstance(attachment, dict) or any(attachment.get(key) for key in ("blocks", "text", "fallback"))


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _require(condition: object, path: str, violation: str) -> None:
    if not condition:
        raise _RuleError(f"{path}: {violation}")


def _check_array(value: object, path: str, max_count: int, min_count: int = 1) -> list[Any]:
    _require(isinstance(value, list), path, "must be an array")
    items = _as_list(value)
    violation = f"has {len(items)} items, must have {min_count} to {max_count}"
    _require(min_count <= len(items) <= max_count, path, violation)
    return items


def _check_object(value: object, path: str, properties: Collection[str]) -> dict[str, Any]:
    _require(isinstance(value, dict), path, "must be an object")
    piece: dict[str, Any] = value if isinstance(value, dict) else {}
    for key in piece:
        _require(key in properties, path, f"has the unknown property {key!r}")
    return piece


def _check_string(value: object, path: str, max_length: int) -> None:
    _require(isinstance(value, str), path, "must be a string")
    length = len(value) if isinstance(value, str) else 0
    _require(1 <= length <= max_length, path, f"has {length} characters, must have 1 to {max_length}")


def _check_attachments(value: object, path: str, ids: set[str]) -> None:
    for index, item in enumerate(_check_array(value, path, MAX_ATTACHMENTS, min_count=0)):
        item_path = f"{path}[{index}]"
        _require(isinstance(item, dict), item_path, "must be an object")
        if "blocks" in item:
            _check_object(item, item_path, ("blocks", "color", "fallback"))
            _check_blocks(item["blocks"], f"{item_path}.blocks", ids)
        else:
            _require(item.get("text") or item.get("fallback"), item_path, "has no blocks, text or fallback")


def _check_blocks(value: object, path: str, ids: set[str]) -> None:
    for index, block in enumerate(_check_array(value, path, MAX_BLOCKS, min_count=0)):
        item_path = f"{path}[{index}]"
        kind = _check_type(block, item_path, _BLOCKS)
        properties, check = _BLOCKS[kind]
        piece = _check_object(block, item_path, ("type", "block_id", *properties))
        if "block_id" in piece:
            _check_string(piece["block_id"], f"{item_path}.block_id", _MAX_ID_LENGTH)
            _require(piece["block_id"] not in ids, f"{item_path}.block_id", "is not unique in the message")
            ids.add(piece["block_id"])
        check(piece, item_path)


def _check_type(value: object, path: str, types: Collection[str]) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    _require(isinstance(kind, str) and kind in types, f"{path}.type", f"{kind!r} is not one of {', '.join(types)}")
    return str(kind)


def _check_text(value: object, path: str, max_length: int, types: tuple[str, ...] = ("mrkdwn", "plain_text")) -> None:
    kind = _check_type(value, path, types)
    piece = _check_object(value, path, ("type", "text", "emoji" if kind == "plain_text" else "verbatim"))
    _check_string(piece.get("text"), f"{path}.text", max_length)


def _check_plain_text(value: object, path: str, max_length: int) -> None:
    _check_text(value, path, max_length, ("plain_text",))


def _check_header(block: dict[str, Any], path: str) -> None:
    _check_plain_text(block.get("text"), f"{path}.text", 150)


def _check_section(block: dict[str, Any], path: str) -> None:
    _require("text" in block or "fields" in block, path, "has neither text nor fields")
    if "text" in block:
        _check_text(block["text"], f"{path}.text", 3000)
    if "fields" in block:
        for index, field in enumerate(_check_array(block["fields"], f"{path}.fields", 10)):
            _check_text(field, f"{path}.fields[{index}]", 2000)
    if "accessory" in block:
        _check_element(block["accessory"], f"{path}.accessory", ("button", "image"))


def _check_context(block: dict[str, Any], path: str) -> None:
    for index, item in enumerate(_check_array(block.get("elements"), f"{path}.elements", 10)):
        _check_element(item, f"{path}.elements[{index}]", ("mrkdwn", "plain_text", "image"))


def _check_actions(block: dict[str, Any], path: str) -> None:
    for index, item in enumerate(_check_array(block.get("elements"), f"{path}.elements", 25)):
        _check_element(item, f"{path}.elements[{index}]", ("button",))


def _check_divider(_: dict[str, Any], __: str) -> None:
    """A divider has no properties to check."""


def _check_element(value: object, path: str, types: tuple[str, ...]) -> None:
    kind = _check_type(value, path, types)
    if kind == "button":
        _check_button(value, path)
    elif kind == "image":
        _check_image(_check_object(value, path, ("type", "image_url", "alt_text")), path)
    else:
        _check_text(value, path, 3000)


def _check_button(value: object, path: str) -> None:
    button = _check_object(value, path, ("type", "text", "url", "value", "style", "action_id", "accessibility_label"))
    _check_plain_text(button.get("text"), f"{path}.text", 75)
    for key, max_length in (
        ("url", _MAX_URL_LENGTH),
        ("value", 2000),
        ("action_id", _MAX_ID_LENGTH),
        ("accessibility_label", 75),
    ):
        if key in button:
            _check_string(button[key], f"{path}.{key}", max_length)
    _require(_is_web_url(button.get("url", "https://")), f"{path}.url", "is not an http or https URL")
    _require(button.get("style") in (None, "primary", "danger"), f"{path}.style", "is not primary or danger")


def _check_image(piece: dict[str, Any], path: str) -> None:
    _check_string(piece.get("image_url"), f"{path}.image_url", _MAX_URL_LENGTH)
    _require(_is_web_url(piece["image_url"]), f"{path}.image_url", "is not an http or https URL")
    _check_string(piece.get("alt_text"), f"{path}.alt_text", _MAX_ALT_LENGTH)
    if "title" in piece:
        _check_plain_text(piece["title"], f"{path}.title", 2000)


def _is_web_url(url: str) -> bool:
    return url.startswith(("https://", "http://"))


_BLOCKS = {
    "header": (("text",), _check_header),
    "section": (("text", "fields", "accessory", "expand"), _check_section),
    "context": (("elements",), _check_context),
    "divider": ((), _check_divider),
    "actions": (("elements",), _check_actions),
    "image": (("image_url", "alt_text", "title"), _check_image),
}
