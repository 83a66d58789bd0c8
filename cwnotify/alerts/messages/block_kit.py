"""Build Block Kit blocks, with all of Slack's escaping rules and limits. Standard library only.

Every text becomes a block that Slack accepts: control characters and lone surrogates are replaced, ``& < >`` are
escaped, and then the text is cut, never inside an entity.
Limits: https://docs.slack.dev/reference/block-kit/blocks (checked on 2026-11-22).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

TYPE_CHECKING = False  # importing `typing` would delay the Lambda function by 5 ms
if TYPE_CHECKING:
    from typing import Any

    Block = dict[str, Any]
    Payload = dict[str, Any]
else:
    Block = Payload = dict

MAX_TEXT_LENGTH = 40_000
MAX_SECTION_LENGTH = 3_000
MAX_FIELD_LENGTH = 2_000
MAX_FIELDS_PER_SECTION = 10
MAX_BLOCKS_PER_MESSAGE = 50
MAX_ELEMENTS_PER_BLOCK = 10
MAX_BUTTON_TEXT_LENGTH = 75
MAX_BUTTON_URL_LENGTH = 3_000

COLOR_GOOD = "#30db3f"
COLOR_BAD = "#eb4034"
COLOR_NEUTRAL = "#9aa0a6"
COLOR_WARNING = "#f2a60d"

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# C0 and C1 controls except newline, other line separators, bidirectional controls, and lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_WEB = re.compile(r"https?://[!-~]+")
_ITALIC = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")
_EMOJI = re.compile(r":(?=[a-z0-9_+'-]+:)")
# mrkdwn has no escapes for these. Look-alikes prevent a name from formatting the sentence around it.
_FORMATTING = str.maketrans({"*": "∗", "~": "∼", "`": "ˋ", "\n": " "})


def sanitize_text(text: str) -> str:
    """Remove terminal colours, and replace characters that cannot be shown or that reorder the line."""
    text = _ANSI.sub("", text).replace("\r\n", "\n").replace("\t", "    ")
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def escape_mrkdwn(text: str, limit: int = MAX_SECTION_LENGTH) -> str:
    """Escape `text` for mrkdwn and cut it to `limit` characters, including an ellipsis.

    Parameters
    ----------
    limit
        Maximum number of characters of the escaped text; at least 1.
    """
    pieces, length = [], 0
    # Sanitize first: colour sequences then take no space and are never cut in half.
    for character in sanitize_text(text)[: limit + 1]:
        piece = _ENTITIES.get(character, character)
        pieces.append(piece)
        length += len(piece)
    if length <= limit:
        return "".join(pieces)
    while pieces and length > limit - 1:
        length -= len(pieces.pop())
    return "".join(pieces) + "…"


def truncate_text(text: str, limit: int) -> str:
    """Sanitize `text` and cut it to `limit` characters, including an ellipsis; for plain_text objects and titles."""
    text = sanitize_text(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def escape_label(text: str, limit: int = 200) -> str:
    """Return `text` as one line for use inside a sentence, without formatting, emoji or pings."""
    text = _ITALIC.sub(lambda marks: "ˍ" * len(marks[0]), sanitize_text(text).translate(_FORMATTING).strip())
    return escape_mrkdwn(_EMOJI.sub("∶", text), limit).strip()


def escape_prose(text: str, limit: int = MAX_SECTION_LENGTH) -> str:
    """Return an external sentence as one line: emoji, times and ARNs stay, formatting and pings do not work."""
    return escape_mrkdwn(sanitize_text(text).translate(_FORMATTING).strip(), limit).strip()


def bold(text: str, limit: int = 200) -> str:
    """Return `text` in bold, with look-alikes for its formatting characters; empty if `text` is empty."""
    label = escape_label(text, limit)
    return f"*{label}*" if label else ""


def inline_code(text: str, limit: int = 200) -> str:
    """Return `text` as inline code; empty if `text` is empty. Replace backticks because mrkdwn cannot escape them."""
    code = escape_mrkdwn(sanitize_text(text).replace("`", "ˋ").replace("\n", " ").strip(), limit)
    return f"`{code}`" if code else ""


def code_block(text: str, limit: int = MAX_SECTION_LENGTH) -> str:
    """Return `text` as a code block. If it is too long, keep the end: the last lines of an error matter most."""
    text = sanitize_text(text).replace("`", "ˋ").strip("\n")
    room = limit - len("```\n\n```") - 1
    pieces = [_ENTITIES.get(character, character) for character in text]
    length = sum(map(len, pieces))
    start = 0
    while length > room:
        length -= len(pieces[start])
        start += 1
    return "```\n" + ("…" if start else "") + "".join(pieces[start:]) + "\n```"


def mrkdwn_object(text: str) -> Block:
    """Return a text object of ready mrkdwn. Slack does not search it for plain URLs and mentions.

    ``<https://…|text>`` stays a link. Nearly every text contains external input (a name, a reason, an error), which is
    why all are verbatim: https://docs.slack.dev/reference/block-kit/composition-objects/text-object
    """
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def section(text: str) -> Block:
    """Return a section block of ready mrkdwn."""
    return {"type": "section", "text": mrkdwn_object(text)}


def fact_sections(pairs: Iterable[tuple[str, str]]) -> list[Block]:
    """Return sections with one line for each name and ready mrkdwn value. Omit pairs without a value."""
    texts: list[str] = []
    for name, value in pairs:
        if not value.strip():
            continue
        line = _fit(f"*{name}*  {value}", MAX_FIELD_LENGTH)
        if texts and len(texts[-1]) + len(line) < MAX_SECTION_LENGTH:
            texts[-1] += f"\n{line}"
        else:
            texts.append(line)
    return [section(text) for text in texts]


def two_column_sections(pairs: Iterable[tuple[str, str]]) -> list[Block]:
    """Return sections with names and ready mrkdwn values in two columns. Omit pairs without a value."""
    cells = [mrkdwn_object(_fit(f"*{name}*\n{value}", MAX_FIELD_LENGTH)) for name, value in pairs if value.strip()]
    return [
        {"type": "section", "fields": cells[i : i + MAX_FIELDS_PER_SECTION]}
        for i in range(0, len(cells), MAX_FIELDS_PER_SECTION)
    ]


def context(*texts: str) -> Block:
    """Return a context block, a small grey line, of ready mrkdwn."""
    elements = [mrkdwn_object(_fit(text, MAX_SECTION_LENGTH)) for text in texts if text.strip()]
    return {"type": "context", "elements": elements[:MAX_ELEMENTS_PER_BLOCK]}


def link_buttons(links: Sequence[tuple[str, str]], primary: bool = True) -> list[Block]:
    """Return buttons that open links, the first one green if `primary`. Omit links that Slack would reject."""
    elements: list[Block] = []
    for text, url in links:
        label = truncate_text(text, MAX_BUTTON_TEXT_LENGTH)
        if _WEB.fullmatch(url) and len(url) <= MAX_BUTTON_URL_LENGTH and label.strip():
            button = {
                "type": "button",
                "text": {"type": "plain_text", "text": label, "emoji": True},
                "url": url,
            }
            elements.append(button | {"style": "primary"} if primary and not elements else button)
    return [{"type": "actions", "elements": elements[:MAX_ELEMENTS_PER_BLOCK]}] if elements else []


def build_payload(
    text: str, blocks: Sequence[Block], color: str = "", attachment_blocks: Sequence[Block] = (), channel: str = ""
) -> Payload:
    """Return the complete payload. Omit blocks above Slack's limit.

    Parameters
    ----------
    text
        Ready mrkdwn for notifications and screen readers.
    blocks
        Shown first, without a coloured bar.
    color, attachment_blocks
        The bar's colour and the blocks beside it.
    """
    payload: Payload = {"text": _fit(text, MAX_TEXT_LENGTH), "blocks": list(blocks)[:MAX_BLOCKS_PER_MESSAGE]}
    if attached := list(attachment_blocks)[: MAX_BLOCKS_PER_MESSAGE - len(payload["blocks"])]:
        payload["attachments"] = [{"color": color, "blocks": attached}]
    if channel:
        payload["channel"] = truncate_text(channel, 80)
    return payload


def drop_blocks(payload: Payload) -> Payload:
    """Return the message without blocks, for when Slack rejects them as invalid."""
    return {key: payload[key] for key in ("text", "channel") if key in payload}


def flatten_blocks_to_text(payload: Payload) -> Payload:
    """Return the message without blocks, with all text of its blocks in ``text``."""
    blocks = [*payload.get("blocks", [])]
    for attachment in payload.get("attachments", []):
        blocks += attachment.get("blocks", [])
    parts = [
        part for block in blocks for part in (block.get("text"), *block.get("fields", []), *block.get("elements", []))
    ]
    lines = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    text = "\n".join(dict.fromkeys((payload["text"], *lines)))
    return drop_blocks(payload) | {"text": _fit(text, MAX_TEXT_LENGTH)}


def _fit(text: str, limit: int) -> str:
    """Cut ready mrkdwn that is too long, without its marks: no mark or link may stay open."""
    return text if len(text) <= limit else re.sub(r"&[a-z]*$|[<>`*]", "", text[: limit - 1]) + "…"
