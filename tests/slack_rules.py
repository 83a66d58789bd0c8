"""Whether Slack would take a payload, and whether what others wrote in it can ping, forge a link or break the layout.

slack_sdk's own models are asked first; what they let pass (fields over 2000 characters, button texts over 75, URLs over
3000, properties that do not exist, more than 50 blocks, the same block_id twice, empty text) is checked here. Limits:
https://docs.slack.dev/reference/block-kit/blocks (checked on 2026-11-22).
"""

from __future__ import annotations

import json
import re
from typing import Any

from slack_sdk.models.blocks import Block

Json = dict[str, Any]

_PROPERTIES = {
    "section": {"type", "text", "fields", "block_id", "accessory"},
    "context": {"type", "elements", "block_id"},
    "divider": {"type", "block_id"},
    "actions": {"type", "elements", "block_id"},
    "mrkdwn": {"type", "text", "verbatim"},
    "plain_text": {"type", "text", "emoji"},
    "button": {"type", "text", "url", "style", "action_id", "value"},
}
_PAYLOAD = {"text", "blocks", "attachments", "channel"}
_ATTACHMENT = {"color", "blocks"}
_ENTITY = re.compile(r"&(?!amp;|lt;|gt;)")
_LINK = re.compile(r"<https?://[^\s<>|]{1,2990}(?:\|[^\n<>|]{1,2000})?>", re.IGNORECASE)


def assert_valid_payload(payload: Json, mentions: tuple[str, ...] = ()) -> None:
    """Assert that Slack would take `payload`, and that it holds no markup but ours.

    Parameters
    ----------
    mentions
        Whom it may ping, in Slack's own form.
    """
    json.dumps(payload, ensure_ascii=False).encode()
    assert payload.keys() <= _PAYLOAD
    assert_valid_mrkdwn(payload["text"], 40_000, mentions)
    attachments = payload.get("attachments", [])
    assert len(attachments) <= 100
    blocks = list(payload.get("blocks", []))
    for attachment in attachments:
        assert attachment.keys() == _ATTACHMENT
        assert re.fullmatch("#[0-9a-f]{6}", attachment["color"])
        assert attachment["blocks"]
        blocks += attachment["blocks"]
    assert 1 <= len(blocks) <= 50
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    assert len(ids) == len(set(ids))
    for block in blocks:
        _check_block(block, mentions)
    parsed = Block.parse_all(blocks)
    assert len(parsed) == len(blocks)
    for model in parsed:
        model.validate_json()


def payload_texts(payload: Json) -> list[str]:
    """Every text in the payload, its blocks' and their fields'."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.extend(item for key, item in value.items() if key == "text" and isinstance(item, str))
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(payload)
    return found


def _check_block(block: Json, mentions: tuple[str, ...]) -> None:
    assert block.keys() <= _PROPERTIES[block["type"]]
    assert 1 <= len(block.get("block_id", "x")) <= 255
    if block["type"] == "section":
        assert "text" in block or block["fields"]
        if "text" in block:
            _check_text(block["text"], 3_000, mentions)
        assert len(block.get("fields", [])) <= 10
        for field in block.get("fields", []):
            _check_text(field, 2_000, mentions)
    if block["type"] == "context":
        assert 1 <= len(block["elements"]) <= 10
        for element in block["elements"]:
            _check_text(element, 3_000, mentions)
    if block["type"] == "actions":
        assert 1 <= len(block["elements"]) <= 25
        for button in block["elements"]:
            _check_button(button)


def _check_text(text: Json, limit: int, mentions: tuple[str, ...]) -> None:
    assert text.keys() <= _PROPERTIES[text["type"]]
    if text["type"] == "mrkdwn":
        # Or Slack makes links and mentions out of what a name or an error only looks like.
        assert text.get("verbatim") is True
        assert_valid_mrkdwn(text["text"], limit, mentions)
    assert 1 <= len(text["text"].strip()) <= len(text["text"]) <= limit


def assert_valid_mrkdwn(text: str, limit: int, mentions: tuple[str, ...]) -> None:
    assert text.strip()
    assert len(text) <= limit
    assert not _ENTITY.search(text)
    for mention in mentions:
        text = text.replace(mention, "")
    rest = _LINK.sub("", text)
    assert "<" not in rest
    assert ">" not in rest
    # An odd number of backticks would leave code open to the end of the text.
    assert rest.count("`") % 2 == 0


def _check_button(button: Json) -> None:
    assert button.keys() <= _PROPERTIES["button"]
    _check_text(button["text"], 75, ())
    assert button["text"]["type"] == "plain_text"
    assert button.get("style", "primary") in ("primary", "danger")
    assert re.fullmatch(r"https?://[!-~]+", button["url"])
    assert len(button["url"]) <= 3_000
