"""Check that Slack would accept a payload, and that foreign text in it cannot mention, link or break the layout.

slack_sdk's models check only a part. The rest is checked here: fields over 2,000 characters, button texts over 75,
URLs over 3,000, unknown properties, more than 50 blocks, repeated block_ids and empty text. Limits:
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
    """Assert that Slack would accept `payload`, and that it has no markup but ours.

    Parameters
    ----------
    mentions
        The allowed mentions, in Slack's syntax (``<!here>``).
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
    models = Block.parse_all(blocks)
    assert len(models) == len(blocks)
    for model in models:
        model.validate_json()


def payload_texts(payload: Json) -> list[str]:
    """Return every text of the payload, its blocks and their fields."""
    texts: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            texts.extend(item for key, item in value.items() if key == "text" and isinstance(item, str))
            for item in value.values():
                collect(item)
        elif isinstance(value, list):
            for item in value:
                collect(item)

    collect(payload)
    return texts


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
        # Without it, Slack turns parts of names and errors into links and mentions.
        assert text.get("verbatim") is True
        assert_valid_mrkdwn(text["text"], limit, mentions)
    assert 1 <= len(text["text"].strip()) <= len(text["text"]) <= limit


def assert_valid_mrkdwn(text: str, limit: int, mentions: tuple[str, ...]) -> None:
    """Assert that `text` has at most `limit` characters and no markup but links, code and `mentions`."""
    assert text.strip()
    assert len(text) <= limit
    assert not _ENTITY.search(text)
    for mention in mentions:
        text = text.replace(mention, "")
    without_links = _LINK.sub("", text)
    assert "<" not in without_links
    assert ">" not in without_links
    # An odd number of backticks would leave a code span open.
    assert without_links.count("`") % 2 == 0


def _check_button(button: Json) -> None:
    assert button.keys() <= _PROPERTIES["button"]
    _check_text(button["text"], 75, ())
    assert button["text"]["type"] == "plain_text"
    assert button.get("style", "primary") in ("primary", "danger")
    assert re.fullmatch(r"https?://[!-~]+", button["url"])
    assert len(button["url"]) <= 3_000
