"""One message as Slack draws it: sender, blocks, and attachments with their bars. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from cwnotify.alerts.parsing.lenient_json import as_dict, as_list, as_str
from cwnotify.preview.mrkdwn import escape_html, render_link_html, render_mrkdwn_html, render_plain_text_html

_HANGUL = re.compile("[가-힣]")
_TAG = re.compile("<[^>]*>")
_COLOUR = re.compile("#?([0-9a-fA-F]{6}|[0-9a-fA-F]{3})")
_NAMED_COLOURS = {"good": "#2eb886", "warning": "#daa038", "danger": "#a30100"}
_NO_COLOUR = "#dddddd"

_Draw = Callable[[dict[object, object]], str]


def render_message_html(payload: object, at: datetime | None = None) -> str:
    """One message as an HTML fragment, to be shown with the style sheet of `cwnotify.preview.page`.

    Parameters
    ----------
    payload
        What would be sent to the webhook; anything else renders too, as placeholders.
    at
        When it arrived, in the reader's time zone; without it no time is shown.

    Returns
    -------
    str
        An ``article`` whose accessible name is the notification's text.
    """
    message = as_dict(payload)
    text = render_mrkdwn_html(as_str(message.get("text")))
    korean = bool(_HANGUL.search(text))
    blocks = as_list(message.get("blocks"))
    # Slack shows the top-level text only where there are no blocks; else it is for notifications.
    body = "".join(map(_block, blocks)) if blocks else text and f'<div class="text">{text}</div>'
    body += "".join(map(_attachment, as_list(message.get("attachments"))))
    label = " ".join(_TAG.sub(" ", text).split()) or "Message without a text"
    return (
        f'<article class="message" lang="{"ko" if korean else "en"}" aria-label="{label}">'
        '<div class="avatar" aria-hidden="true">cw</div>'
        f'<header><h3>cwnotify</h3> <span class="app">APP</span> {_time(at, korean)}</header>'
        f'<div class="body">{body or _placeholder("This message is empty")}</div></article>'
    )


def _time(at: datetime | None, korean: bool) -> str:
    if at is None:
        return ""
    half = ("오전", "오후") if korean else ("AM", "PM")
    clock, name = f"{at.hour % 12 or 12}:{at.minute:02}", half[at.hour >= 12]
    shown = f"{name} {clock}" if korean else f"{clock} {name}"
    return f'<time datetime="{at.isoformat(timespec="seconds")}">{shown}</time>'


def _placeholder(words: str) -> str:
    return f'<span class="unknown">{escape_html(words)}</span>'


def _drawn(value: object, table: dict[str, _Draw], what: str) -> str:
    """A block or an element by its type; one that the preview does not know is named in its place."""
    piece = as_dict(value)
    kind = as_str(piece.get("type"))
    draw = table.get(kind)
    return draw(piece) if draw else _placeholder(f"{what} of type “{kind or '?'}”, not drawn in this preview")


def _block(value: object) -> str:
    return _drawn(value, _BLOCKS, "A block")


def _element(value: object) -> str:
    return _drawn(value, _ELEMENTS, "An element")


def _attachment(value: object) -> str:
    attachment = as_dict(value)
    colour = as_str(attachment.get("color"))
    found = _COLOUR.fullmatch(colour)
    bar = f"#{found[1]}" if found else _NAMED_COLOURS.get(colour, _NO_COLOUR)
    text = as_str(attachment.get("text")) or as_str(attachment.get("fallback"))
    body = "".join(map(_block, as_list(attachment.get("blocks")))) or (
        f'<div class="text">{render_mrkdwn_html(text)}</div>' if text else _placeholder("This attachment is empty")
    )
    return f'<div class="attachment" style="--bar:{bar}">{body}</div>'


def _text(value: object) -> str:
    """A text object, as mrkdwn where it says so."""
    text = as_str(as_dict(value).get("text"))
    return render_mrkdwn_html(text) if text and as_dict(value).get("type") == "mrkdwn" else _plain(value)


def _plain(value: object) -> str:
    """A text object where Slack takes ``plain_text`` alone: never with links or blocks of its own."""
    text = as_str(as_dict(value).get("text"))
    return render_plain_text_html(text) if text else _placeholder("Text is missing")


def _header(block: dict[object, object]) -> str:
    return f'<h4 class="header">{_plain(block.get("text"))}</h4>'


def _section(block: dict[object, object]) -> str:
    text = f'<div class="text">{_text(block["text"])}</div>' if "text" in block else ""
    cells = "".join(f'<div class="text">{_text(cell)}</div>' for cell in as_list(block.get("fields")))
    fields = f'<div class="fields">{cells}</div>' if cells else ""
    beside = f'<div class="accessory">{_element(block["accessory"])}</div>' if "accessory" in block else ""
    return f'<div class="section"><div class="main">{text}{fields}</div>{beside}</div>'


def _context(block: dict[object, object]) -> str:
    return f'<div class="context">{"".join(map(_element, as_list(block.get("elements"))))}</div>'


def _divider(_: dict[object, object]) -> str:
    return "<hr>"


def _actions(block: dict[object, object]) -> str:
    return f'<div class="actions">{"".join(map(_element, as_list(block.get("elements"))))}</div>'


def _button(element: dict[object, object]) -> str:
    style = as_str(element.get("style"))
    kind = f"button {style}" if style in ("primary", "danger") else "button"
    return render_link_html(as_str(element.get("url")), _plain(element.get("text")), kind)


def _picture(element: dict[object, object]) -> str:
    """A picture's place and its words: fetching it would tell a stranger's server who looks."""
    words = escape_html(as_str(element.get("alt_text"))) or "without alt text"
    return render_link_html(as_str(element.get("image_url")), f"Picture: {words}", "picture")


def _image(block: dict[object, object]) -> str:
    caption = f"<figcaption>{_plain(block['title'])}</figcaption>" if "title" in block else ""
    return f"<figure>{caption}{_picture(block)}</figure>"


def _words(element: dict[object, object]) -> str:
    return f'<div class="text">{_text(element)}</div>'


_BLOCKS: dict[str, _Draw] = {
    "header": _header,
    "section": _section,
    "context": _context,
    "divider": _divider,
    "actions": _actions,
    "image": _image,
}
_ELEMENTS: dict[str, _Draw] = {"button": _button, "image": _picture, "mrkdwn": _words, "plain_text": _words}
