"""Render one message as in Slack: sender, blocks and attachments with color bars. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from cwnotify.alerts.parsing.lenient_json import as_dict, as_list, as_str
from cwnotify.preview.mrkdwn import escape_html, render_link_html, render_mrkdwn_html, render_plain_text_html

_HANGUL = re.compile("[가-힣]")
_TAG = re.compile("<[^>]*>")
_COLOR = re.compile("#?([0-9a-fA-F]{6}|[0-9a-fA-F]{3})")
_NAMED_COLORS = {"good": "#2eb886", "warning": "#daa038", "danger": "#a30100"}
_DEFAULT_COLOR = "#dddddd"

_Renderer = Callable[[dict[object, object]], str]


def render_message_html(payload: object, at: datetime | None = None) -> str:
    """Return a message as an HTML fragment for the style sheet of `cwnotify.preview.page`.

    Parameters
    ----------
    payload
        The body of a webhook request. Invalid parts render as placeholders.
    at
        When it arrived, in the reader's time zone. If None, no time is shown.

    Returns
    -------
    str
        An ``article`` whose accessible name is the notification's text.
    """
    message = as_dict(payload)
    text = render_mrkdwn_html(as_str(message.get("text")))
    is_korean = bool(_HANGUL.search(text))
    blocks = as_list(message.get("blocks"))
    # If there are blocks, Slack shows the top-level text only in notifications.
    body = "".join(map(_render_block, blocks)) if blocks else text and f'<div class="text">{text}</div>'
    body += "".join(map(_render_attachment, as_list(message.get("attachments"))))
    label = " ".join(_TAG.sub(" ", text).split()) or "Message without a text"
    return (
        f'<article class="message" lang="{"ko" if is_korean else "en"}" aria-label="{label}">'
        '<div class="avatar" aria-hidden="true">cw</div>'
        f'<header><h3>cwnotify</h3> <span class="app">APP</span> {_render_time(at, is_korean)}</header>'
        f'<div class="body">{body or _render_placeholder("This message is empty")}</div></article>'
    )


def _render_time(at: datetime | None, is_korean: bool) -> str:
    if at is None:
        return ""
    period = ("오전", "오후") if is_korean else ("AM", "PM")
    clock, half = f"{at.hour % 12 or 12}:{at.minute:02}", period[at.hour >= 12]
    text = f"{half} {clock}" if is_korean else f"{clock} {half}"
    return f'<time datetime="{at.isoformat(timespec="seconds")}">{text}</time>'


def _render_placeholder(text: str) -> str:
    return f'<span class="unknown">{escape_html(text)}</span>'


def _render_by_type(value: object, renderers: dict[str, _Renderer], label: str) -> str:
    """Render a block or an element by its type. An unsupported type becomes a placeholder with its name."""
    fields = as_dict(value)
    kind = as_str(fields.get("type"))
    renderer = renderers.get(kind)
    return renderer(fields) if renderer else _render_placeholder(f"{label} of type “{kind or '?'}”: not supported here")


def _render_block(value: object) -> str:
    return _render_by_type(value, _BLOCK_RENDERERS, "Block")


def _render_element(value: object) -> str:
    return _render_by_type(value, _ELEMENT_RENDERERS, "Element")


def _render_attachment(value: object) -> str:
    attachment = as_dict(value)
    color = as_str(attachment.get("color"))
    match = _COLOR.fullmatch(color)
    bar = f"#{match[1]}" if match else _NAMED_COLORS.get(color, _DEFAULT_COLOR)
    text = as_str(attachment.get("text")) or as_str(attachment.get("fallback"))
    body = "".join(map(_render_block, as_list(attachment.get("blocks")))) or (
        f'<div class="text">{render_mrkdwn_html(text)}</div>'
        if text
        else _render_placeholder("This attachment is empty")
    )
    return f'<div class="attachment" style="--bar:{bar}">{body}</div>'


def _render_text(value: object) -> str:
    """Render a text object of either type."""
    text = as_str(as_dict(value).get("text"))
    return render_mrkdwn_html(text) if text and as_dict(value).get("type") == "mrkdwn" else _render_plain_text(value)


def _render_plain_text(value: object) -> str:
    """Render a text object where Slack accepts only ``plain_text``, without markup."""
    text = as_str(as_dict(value).get("text"))
    return render_plain_text_html(text) if text else _render_placeholder("Text is missing")


def _render_header(block: dict[object, object]) -> str:
    return f'<h4 class="header">{_render_plain_text(block.get("text"))}</h4>'


def _render_section(block: dict[object, object]) -> str:
    text = f'<div class="text">{_render_text(block["text"])}</div>' if "text" in block else ""
    cells = "".join(f'<div class="text">{_render_text(cell)}</div>' for cell in as_list(block.get("fields")))
    fields = f'<div class="fields">{cells}</div>' if cells else ""
    accessory = f'<div class="accessory">{_render_element(block["accessory"])}</div>' if "accessory" in block else ""
    return f'<div class="section"><div class="main">{text}{fields}</div>{accessory}</div>'


def _render_context(block: dict[object, object]) -> str:
    return f'<div class="context">{"".join(map(_render_element, as_list(block.get("elements"))))}</div>'


def _render_divider(_: dict[object, object]) -> str:
    return "<hr>"


def _render_actions(block: dict[object, object]) -> str:
    return f'<div class="actions">{"".join(map(_render_element, as_list(block.get("elements"))))}</div>'


def _render_button(element: dict[object, object]) -> str:
    style = as_str(element.get("style"))
    kind = f"button {style}" if style in ("primary", "danger") else "button"
    return render_link_html(as_str(element.get("url")), _render_plain_text(element.get("text")), kind)


def _render_picture(element: dict[object, object]) -> str:
    """Render a link and the alt text instead of the picture. Fetching it would reveal the reader to its server."""
    text = escape_html(as_str(element.get("alt_text"))) or "no alt text"
    return render_link_html(as_str(element.get("image_url")), f"Picture: {text}", "picture")


def _render_image(block: dict[object, object]) -> str:
    caption = f"<figcaption>{_render_plain_text(block['title'])}</figcaption>" if "title" in block else ""
    return f"<figure>{caption}{_render_picture(block)}</figure>"


def _render_text_element(element: dict[object, object]) -> str:
    return f'<div class="text">{_render_text(element)}</div>'


_BLOCK_RENDERERS: dict[str, _Renderer] = {
    "header": _render_header,
    "section": _render_section,
    "context": _render_context,
    "divider": _render_divider,
    "actions": _render_actions,
    "image": _render_image,
}
_ELEMENT_RENDERERS: dict[str, _Renderer] = {
    "button": _render_button,
    "image": _render_picture,
    "mrkdwn": _render_text_element,
    "plain_text": _render_text_element,
}
