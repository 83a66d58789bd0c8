"""What Slack answers to a webhook's payload. Pure; standard library only.

Words: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks; limits:
https://docs.slack.dev/reference/block-kit/blocks (both checked on 2026-11-22). They are written down apart
from `cwnotify.alerts.messages.block_kit`, whose work they judge. A breach in an attachment is ``invalid_attachments``,
and so are legacy fields beside an attachment's blocks (https://github.com/slackapi/bolt-js/issues/717).
Stricter than Slack in one thing: a block type that cwnotify never sends is refused, real or not.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

MAX_BLOCKS = 50
MAX_ATTACHMENTS = 100
_MOST_ID = 255
_MOST_ALT = 2000
_MOST_URL = 3000


@dataclass(frozen=True)
class WebhookResponse:
    """Slack's reply.

    Parameters
    ----------
    status, word
        The HTTP status and the body: 200 and ``ok``, else the error's name.
    why
        What breaks which rule, with its place in the payload. Slack keeps this to itself.
    payload
        The message, where it was accepted.
    """

    status: int
    body: str
    reason: str = ""
    payload: dict[str, Any] | None = None


class _RuleError(Exception):
    """Where the payload breaks which rule. Never leaves this module."""


def respond_to_webhook(body: bytes) -> WebhookResponse:
    """What Slack answers to `body`, a webhook's request body."""
    try:
        payload = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return WebhookResponse(400, "invalid_payload", "the body is not JSON")
    if not isinstance(payload, dict):
        return WebhookResponse(400, "invalid_payload", "the body is not a JSON object")
    blocks, attachments = payload.get("blocks", []), payload.get("attachments", [])
    if not isinstance(payload.get("text", ""), str):
        return WebhookResponse(400, "invalid_payload", "text is not a string")
    if not (payload.get("text") or blocks or attachments):
        return WebhookResponse(400, "no_text", "there is neither text nor a block nor an attachment")
    if not (payload.get("text") or blocks or any(map(_says_something, _listed(attachments)))):
        return WebhookResponse(400, "missing_text_or_fallback_or_attachments", "no attachment says anything")
    if len(_listed(attachments)) > MAX_ATTACHMENTS:
        return WebhookResponse(400, "too_many_attachments", f"more than {MAX_ATTACHMENTS} attachments")
    ids: set[str] = set()
    for word, check, value in (
        ("blocks", _check_blocks, blocks),
        ("attachments", _check_attachments, attachments),
    ):
        try:
            check(value, word, ids)
        except _RuleError as error:
            return WebhookResponse(400, f"invalid_{word}", str(error))
    return WebhookResponse(200, "ok", payload=payload)


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _says_something(attachment: object) -> bool:
    return not isinstance(attachment, dict) or any(attachment.get(key) for key in ("blocks", "text", "fallback"))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _demand(true: object, where: str, rule: str) -> None:
    if not true:
        raise _RuleError(f"{where}: {rule}")


def _items(value: object, where: str, most: int, least: int = 1) -> list[Any]:
    _demand(isinstance(value, list), where, "must be an array")
    items = _listed(value)
    _demand(least <= len(items) <= most, where, f"holds {len(items)}, must hold {least} to {most}")
    return items


def _object(value: object, where: str, known: Collection[str]) -> dict[str, Any]:
    _demand(isinstance(value, dict), where, "must be an object")
    piece: dict[str, Any] = value if isinstance(value, dict) else {}
    for key in piece:
        _demand(key in known, where, f"has the unknown property {key!r}")
    return piece


def _string(value: object, where: str, most: int) -> None:
    _demand(isinstance(value, str), where, "must be a string")
    length = len(value) if isinstance(value, str) else 0
    _demand(1 <= length <= most, where, f"has {length} characters, must have 1 to {most}")


def _check_attachments(value: object, where: str, ids: set[str]) -> None:
    for number, one in enumerate(_items(value, where, MAX_ATTACHMENTS, least=0)):
        place = f"{where}[{number}]"
        _demand(isinstance(one, dict), place, "must be an object")
        if "blocks" in one:
            _object(one, place, ("blocks", "color", "fallback"))
            _check_blocks(one["blocks"], f"{place}.blocks", ids)
        else:
            _demand(one.get("text") or one.get("fallback"), place, "has neither blocks nor a text nor a fallback")


def _check_blocks(value: object, where: str, ids: set[str]) -> None:
    for number, block in enumerate(_items(value, where, MAX_BLOCKS, least=0)):
        place = f"{where}[{number}]"
        kind = _kind(block, place, _BLOCKS)
        keys, check = _BLOCKS[kind]
        piece = _object(block, place, ("type", "block_id", *keys))
        if "block_id" in piece:
            _string(piece["block_id"], f"{place}.block_id", _MOST_ID)
            _demand(piece["block_id"] not in ids, f"{place}.block_id", "stands twice in the message")
            ids.add(piece["block_id"])
        check(piece, place)


def _kind(value: object, where: str, known: Collection[str]) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    _demand(isinstance(kind, str) and kind in known, f"{where}.type", f"{kind!r} is none of {', '.join(known)}")
    return str(kind)


def _text(value: object, where: str, most: int, kinds: tuple[str, ...] = ("mrkdwn", "plain_text")) -> None:
    kind = _kind(value, where, kinds)
    piece = _object(value, where, ("type", "text", "emoji" if kind == "plain_text" else "verbatim"))
    _string(piece.get("text"), f"{where}.text", most)


def _plain(value: object, where: str, most: int) -> None:
    _text(value, where, most, ("plain_text",))


def _header(block: dict[str, Any], where: str) -> None:
    _plain(block.get("text"), f"{where}.text", 150)


def _section(block: dict[str, Any], where: str) -> None:
    _demand("text" in block or "fields" in block, where, "has neither text nor fields")
    if "text" in block:
        _text(block["text"], f"{where}.text", 3000)
    if "fields" in block:
        for number, cell in enumerate(_items(block["fields"], f"{where}.fields", 10)):
            _text(cell, f"{where}.fields[{number}]", 2000)
    if "accessory" in block:
        _element(block["accessory"], f"{where}.accessory", ("button", "image"))


def _context(block: dict[str, Any], where: str) -> None:
    for number, one in enumerate(_items(block.get("elements"), f"{where}.elements", 10)):
        _element(one, f"{where}.elements[{number}]", ("mrkdwn", "plain_text", "image"))


def _actions(block: dict[str, Any], where: str) -> None:
    for number, one in enumerate(_items(block.get("elements"), f"{where}.elements", 25)):
        _element(one, f"{where}.elements[{number}]", ("button",))


def _divider(_: dict[str, Any], __: str) -> None:
    """A divider holds nothing that could be wrong."""


def _element(value: object, where: str, kinds: tuple[str, ...]) -> None:
    kind = _kind(value, where, kinds)
    if kind == "button":
        _button(value, where)
    elif kind == "image":
        _image(_object(value, where, ("type", "image_url", "alt_text")), where)
    else:
        _text(value, where, 3000)


def _button(value: object, where: str) -> None:
    button = _object(value, where, ("type", "text", "url", "value", "style", "action_id", "accessibility_label"))
    _plain(button.get("text"), f"{where}.text", 75)
    for key, most in (
        ("url", _MOST_URL),
        ("value", 2000),
        ("action_id", _MOST_ID),
        ("accessibility_label", 75),
    ):
        if key in button:
            _string(button[key], f"{where}.{key}", most)
    _demand(_is_web(button.get("url", "https://")), f"{where}.url", "is not a link to the web")
    _demand(button.get("style") in (None, "primary", "danger"), f"{where}.style", "is neither primary nor danger")


def _image(piece: dict[str, Any], where: str) -> None:
    _string(piece.get("image_url"), f"{where}.image_url", _MOST_URL)
    _demand(_is_web(piece["image_url"]), f"{where}.image_url", "is not a link to the web")
    _string(piece.get("alt_text"), f"{where}.alt_text", _MOST_ALT)
    if "title" in piece:
        _plain(piece["title"], f"{where}.title", 2000)


def _is_web(url: str) -> bool:
    return url.startswith(("https://", "http://"))


_BLOCKS = {
    "header": (("text",), _header),
    "section": (("text", "fields", "accessory", "expand"), _section),
    "context": (("elements",), _context),
    "divider": ((), _divider),
    "actions": (("elements",), _actions),
    "image": (("image_url", "alt_text", "title"), _image),
}
