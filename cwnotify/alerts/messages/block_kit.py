"""Block Kit's pieces, with its escaping and every one of its limits in one place. Standard library only.

Whatever text comes in, what goes out is a block that Slack accepts: control characters and lone surrogates are
replaced, ``& < >`` are escaped, and only then is the text cut, never inside an entity.
Limits: https://docs.slack.dev/reference/block-kit/blocks (checked on 2026-11-22).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

TYPE_CHECKING = False  # as in `typing`, whose import would take the Lambda function 5 ms
if TYPE_CHECKING:
    from typing import Any

    Block = dict[str, Any]
    Payload = dict[str, Any]
else:
    Block = Payload = dict

MOST_TEXT = 40_000
MOST_SECTION = 3_000
MOST_FIELD = 2_000
MOST_FIELDS = 10
MOST_BLOCKS = 50
MOST_CONTEXT = 10
MOST_BUTTON = 75
MOST_URL = 3_000

GOOD = "#30db3f"
BAD = "#eb4034"
NO_DATA = "#9aa0a6"
AMBER = "#f2a60d"

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# C0 and C1 controls but newline, other ends of a line, what reverses or hides text, and lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_WEB = re.compile(r"https?://[!-~]+")
_ITALIC = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")
_EMOJI = re.compile(r":(?=[a-z0-9_+'-]+:)")
# Slack's mrkdwn has no escape for these: look-alikes keep a name from formatting the sentence around it.
_FORMATTING = str.maketrans({"*": "∗", "~": "∼", "`": "ˋ", "\n": " "})


def clean(text: str) -> str:
    """Drop terminal colours; replace what cannot be shown or would reorder the line."""
    text = _ANSI.sub("", text).replace("\r\n", "\n").replace("\t", "    ")
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def escape(text: str, limit: int = MOST_SECTION) -> str:
    """Escape `text` for mrkdwn and cut it to `limit` characters, an ellipsis included.

    Parameters
    ----------
    limit
        Most characters of the escaped text; at least 1.
    """
    pieces, length = [], 0
    # Cleaned before it is cut: colours take no room, and no sequence of theirs is torn.
    for character in clean(text)[: limit + 1]:
        piece = _ENTITIES.get(character, character)
        pieces.append(piece)
        length += len(piece)
    if length <= limit:
        return "".join(pieces)
    while pieces and length > limit - 1:
        length -= len(pieces.pop())
    return "".join(pieces) + "…"


def cut(text: str, limit: int) -> str:
    """Clean `text` and cut it to `limit` characters, an ellipsis included; for plain_text and for titles."""
    text = clean(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def label(text: str, limit: int = 200) -> str:
    """A name for use inside a sentence: one line that can neither format nor ping."""
    text = _ITALIC.sub(lambda marks: "ˍ" * len(marks[0]), clean(text).translate(_FORMATTING).strip())
    return escape(_EMOJI.sub("∶", text), limit).strip()


def prose(text: str, limit: int = MOST_SECTION) -> str:
    """Somebody else's sentence, on one line: its emoji, times and ARNs as they are, but no formatting and no pings."""
    return escape(clean(text).translate(_FORMATTING).strip(), limit).strip()


def bold(text: str, limit: int = 200) -> str:
    """`text` in bold; formatting characters in it are replaced by look-alikes."""
    shown = label(text, limit)
    return f"*{shown}*" if shown else ""


def code(text: str, limit: int = 200) -> str:
    """`text` as inline code; backticks in it are replaced, for there is no escape for them."""
    shown = escape(clean(text).replace("`", "ˋ").replace("\n", " ").strip(), limit)
    return f"`{shown}`" if shown else ""


def code_block(text: str, limit: int = MOST_SECTION) -> str:
    """`text` as a code block, keeping its end when it is too long, since an error's last lines tell most."""
    text = clean(text).replace("`", "ˋ").strip("\n")
    room = limit - len("```\n\n```") - 1
    pieces = [_ENTITIES.get(character, character) for character in text]
    length = sum(map(len, pieces))
    start = 0
    while length > room:
        length -= len(pieces[start])
        start += 1
    return "```\n" + ("…" if start else "") + "".join(pieces[start:]) + "\n```"


def mrkdwn(text: str) -> Block:
    """Ready mrkdwn as it is: Slack makes no link and no mention out of what only looks like one.

    ``<https://…|text>`` stays a link. Nearly every text here holds something from outside (a name, a reason, an error),
    so all of them are verbatim: https://docs.slack.dev/reference/block-kit/composition-objects/text-object
    """
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def section(text: str) -> Block:
    """A paragraph of ready mrkdwn."""
    return {"type": "section", "text": mrkdwn(text)}


def facts(pairs: Iterable[tuple[str, str]]) -> list[Block]:
    """Name and ready mrkdwn value, a line each; pairs without a value are left out."""
    texts: list[str] = []
    for name, value in pairs:
        if not value.strip():
            continue
        line = _fit(f"*{name}*  {value}", MOST_FIELD)
        if texts and len(texts[-1]) + len(line) < MOST_SECTION:
            texts[-1] += f"\n{line}"
        else:
            texts.append(line)
    return [section(text) for text in texts]


def fields(pairs: Iterable[tuple[str, str]]) -> list[Block]:
    """Name and ready mrkdwn value in two columns; pairs without a value are left out, ten to a section at most."""
    cells = [mrkdwn(_fit(f"*{name}*\n{value}", MOST_FIELD)) for name, value in pairs if value.strip()]
    return [{"type": "section", "fields": cells[i : i + MOST_FIELDS]} for i in range(0, len(cells), MOST_FIELDS)]


def context(*texts: str) -> Block:
    """A quiet line of ready mrkdwn."""
    elements = [mrkdwn(_fit(text, MOST_SECTION)) for text in texts if text.strip()]
    return {"type": "context", "elements": elements[:MOST_CONTEXT]}


def buttons(links: Sequence[tuple[str, str]], primary: bool = True) -> list[Block]:
    """Buttons that open a link, the first one green if `primary`; a link that Slack would refuse is left out."""
    elements: list[Block] = []
    for text, url in links:
        shown = cut(text, MOST_BUTTON)
        if _WEB.fullmatch(url) and len(url) <= MOST_URL and shown.strip():
            button = {
                "type": "button",
                "text": {"type": "plain_text", "text": shown, "emoji": True},
                "url": url,
            }
            elements.append(button | {"style": "primary"} if primary and not elements else button)
    return [{"type": "actions", "elements": elements[:MOST_CONTEXT]}] if elements else []


def message(
    text: str, blocks: Sequence[Block], color: str = "", coloured: Sequence[Block] = (), channel: str = ""
) -> Payload:
    """The whole payload.

    Parameters
    ----------
    text
        Ready mrkdwn: the notification's line, and what a screen reader reads.
    blocks
        Shown first, without a bar.
    color, coloured
        The bar's colour and the blocks beside it.
    """
    payload: Payload = {"text": _fit(text, MOST_TEXT), "blocks": list(blocks)[:MOST_BLOCKS]}
    if beside := list(coloured)[: MOST_BLOCKS - len(payload["blocks"])]:
        payload["attachments"] = [{"color": color, "blocks": beside}]
    if channel:
        payload["channel"] = cut(channel, 80)
    return payload


def text_only(payload: Payload) -> Payload:
    """The same message without blocks, for the case that Slack calls them invalid."""
    return {key: payload[key] for key in ("text", "channel") if key in payload}


def full_text(payload: Payload) -> Payload:
    """The same message without blocks, with all that its blocks say in its text."""
    attachments = payload.get("attachments", [])
    blocks = [*payload.get("blocks", []), *(block for one in attachments for block in one.get("blocks", []))]
    parts = [
        part for block in blocks for part in (block.get("text"), *block.get("fields", []), *block.get("elements", []))
    ]
    lines = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    text = "\n".join(dict.fromkeys((payload["text"], *lines)))
    return text_only(payload) | {"text": _fit(text, MOST_TEXT)}


def _fit(text: str, limit: int) -> str:
    """Cut ready mrkdwn that is too long all the same: as plain text, so that nothing stays half open."""
    return text if len(text) <= limit else re.sub(r"&[a-z]*$|[<>`*]", "", text[: limit - 1]) + "…"
