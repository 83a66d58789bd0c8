"""Build links that open a payload in Slack's Block Kit Builder. Standard library only."""

from __future__ import annotations

import json
from urllib.parse import quote

from cwnotify.alerts.parsing.lenient_json import as_dict, as_list, as_str

BLOCK_KIT_BUILDER_URL = "https://app.slack.com/block-kit-builder/#"


def build_block_kit_builder_url(payload: object) -> str:
    """Return a link to Slack's preview of `payload`.

    The message is in the URL's fragment, which browsers do not send. The Builder supports only blocks and attachments.
    Therefore the text of a message without blocks becomes a section.
    """
    message = as_dict(payload)
    blocks = as_list(message.get("blocks"))
    text = as_str(message.get("text"))
    if not blocks and text:
        blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}]
    content = {"blocks": blocks, "attachments": as_list(message.get("attachments"))}
    try:
        return BLOCK_KIT_BUILDER_URL + quote(
            json.dumps(content, separators=(",", ":"), skipkeys=True, default=str), safe=""
        )
    except (ValueError, RecursionError):  # a payload built in Python may contain itself
        return BLOCK_KIT_BUILDER_URL
