"""Slack's mrkdwn -> HTML: the only place where text of a payload becomes markup. Standard library only.

The grammar is Slack's (https://docs.slack.dev/messaging/formatting-message-text, checked on 2026-11-22), and
where Slack shows the markers instead of formatting, so does this: ``*bold*`` needs something other than a
letter or a digit on both sides. A Korean particle that follows it directly spoils it, in Slack and here alike
(https://github.com/seratch/ChatGPT-in-Slack/issues/61).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import groupby
from urllib.parse import urlsplit

EMOJI_BY_SHORTCODE = {
    "+1": "👍", "-1": "👎", "alarm_clock": "⏰", "arrow_down": "⬇️", "arrow_right": "➡️", "arrow_up": "⬆️",
    "ballot_box_with_check": "☑️", "bar_chart": "📊", "bell": "🔔", "black_square_for_stop": "⏹️",
    "boom": "💥", "broken_heart": "💔", "bug": "🐛", "bulb": "💡", "chart_with_downwards_trend": "📉",
    "chart_with_upwards_trend": "📈", "checkered_flag": "🏁", "clap": "👏", "computer": "💻", "cry": "😢",
    "desktop_computer": "🖥️", "double_vertical_bar": "⏸️", "envelope": "✉️",
    "exclamation": "❗", "eyes": "👀", "fairy": "🧚",
    "female_fairy": "🧚‍♀️", "fire": "🔥", "gear": "⚙️", "ghost": "👻", "green_circle": "🟢",
    "grey_exclamation": "❕", "grey_question": "❔", "hand": "✋", "heart": "❤️", "heavy_check_mark": "✔️",
    "hourglass": "⌛", "hourglass_flowing_sand": "⏳", "information_source": "ℹ️",
    "large_blue_circle": "🔵", "large_green_circle": "🟢", "large_red_square": "🟥",
    "large_yellow_circle": "🟡", "link": "🔗", "lock": "🔒", "loudspeaker": "📢", "mag": "🔍", "memo": "📝",
    "no_bell": "🔕", "no_entry": "⛔", "ok": "🆗", "ok_hand": "👌", "partying_face": "🥳", "pray": "🙏",
    "question": "❓", "raised_hands": "🙌", "red_circle": "🔴", "robot_face": "🤖", "rocket": "🚀",
    "rotating_light": "🚨", "skull": "💀", "skull_and_crossbones": "☠️", "sleeping": "😴",
    "slightly_smiling_face": "🙂", "smile": "😄", "snail": "🐌", "sob": "😭", "sparkles": "✨", "star": "⭐",
    "stopwatch": "⏱️", "sunny": "☀️", "tada": "🎉", "thinking_face": "🤔", "thumbsdown": "👎",
    "thumbsup": "👍", "traffic_light": "🚥", "trophy": "🏆", "warning": "⚠️", "wave": "👋",
    "white_check_mark": "✅", "white_circle": "⚪", "wrench": "🔧", "x": "❌", "zap": "⚡", "zzz": "💤",
}  # fmt: skip

_EMOJI = f":(?P<emoji>{'|'.join(map(re.escape, EMOJI_BY_SHORTCODE))}):"
_SHORTCODE = re.compile(_EMOJI)
_FENCE = re.compile(r"```(.+?)```", re.DOTALL)
_QUOTE = re.compile(r"(?:&gt;|>) ?")
_QUOTE_REST = re.compile(r"(?:&gt;|>){3} ?")
# A body never holds its own marker, so nesting is at most as deep as there are markers.
_INLINE = re.compile(
    r"`(?P<code>[^`\n]+)`"
    r"|<(?P<angle>[^<>\n]+)>"
    r"|(?<!\w)\*(?P<b>(?=\S)[^*\n]*[^*\s])\*(?!\w)"
    r"|(?<!\w)_(?P<i>(?=\S)[^_\n]*[^_\s])_(?!\w)"
    r"|(?<!\w)~(?P<s>(?=\S)[^~\n]*[^~\s])~(?!\w)"
    r"|(?P<bare>https?://[^\s<>`*|]*[^\s<>`*|.,;:!?)])"
    r"|" + _EMOJI
)
_ENTITY = re.compile("&(amp|lt|gt);")
# What HTML forbids, and lone surrogates, which no encoder takes.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def escape_html(text: str) -> str:
    """Any text as HTML that is safe in an element and in a quoted attribute."""
    return html.escape(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text))


def escape_web_url(url: str) -> str:
    """`url` escaped for ``href`` where it is http or https with a host, else empty."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return escape_html(url) if parts.scheme in ("http", "https") and parts.netloc else ""


def render_link_html(url: str, shown: str, style: str = "") -> str:
    """A link around ready HTML, opening in its own tab; where `url` is not for the web, `shown` alone."""
    href = escape_web_url(url)
    kind = f' class="{style}"' if style else ""
    if not href:
        return f"<span{kind}>{shown}</span>" if style else shown
    return f'<a{kind} href="{href}" target="_blank" rel="noopener noreferrer">{shown}</a>'


def render_plain_text_html(text: str) -> str:
    """A ``plain_text`` as HTML: emoji and line breaks, no other formatting."""
    shown = _SHORTCODE.sub(lambda found: EMOJI_BY_SHORTCODE[found["emoji"]], text)
    return _literal(shown).replace("\n", "<br>")


def render_mrkdwn_html(text: str) -> str:
    """A ``mrkdwn`` text as HTML: a mix of inline elements, ``pre`` and ``blockquote``."""
    pieces = []
    for number, piece in enumerate(_FENCE.split(text)):
        if number % 2:
            pieces.append(f"<pre><code>{_literal(piece.strip(chr(10)))}</code></pre>")
        elif lines := piece.strip("\n"):
            pieces.append(_lines_html(lines))
    return "".join(pieces)


def _lines_html(text: str) -> str:
    """Lines without code blocks; those that are quoted stand together in one quotation."""
    html_of = {True: "<blockquote>{}</blockquote>", False: "{}"}
    runs = groupby(_quoted(text), key=lambda line: line[0])
    return "".join(
        html_of[quoted].format("<br>".join(_inline_html(line) for _, line in lines)) for quoted, lines in runs
    )


def _quoted(text: str) -> Iterator[tuple[bool, str]]:
    """Each line with whether it is quoted; its marker is taken away."""
    rest = False
    for line in text.split("\n"):
        if not rest and (found := _QUOTE_REST.match(line)):
            rest = True
            yield True, line[found.end() :]
        elif not rest and (found := _QUOTE.match(line)):
            yield True, line[found.end() :]
        else:
            yield rest, line


def _inline_html(text: str) -> str:
    pieces, at = [], 0
    for found in _INLINE.finditer(text):
        pieces += [_literal(text[at : found.start()]), _piece_html(found)]
        at = found.end()
    return "".join([*pieces, _literal(text[at:])])


def _piece_html(found: re.Match[str]) -> str:
    kind, body = str(found.lastgroup), found[str(found.lastgroup)]
    if kind == "code":
        return f"<code>{_literal(body)}</code>"
    if kind == "angle":
        return _angle_html(body)
    if kind == "bare":
        return render_link_html(_decoded(body), _literal(body))
    if kind == "emoji":
        return EMOJI_BY_SHORTCODE[body]
    return f"<{kind}>{_inline_html(body)}</{kind}>"


def _angle_html(body: str) -> str:
    """What stands between ``<`` and ``>``: a link, a mention or a date; anything else as it was typed."""
    target, _, name = body.partition("|")
    if target.startswith("!date^"):
        return _literal(name or target)
    if target.startswith(("@", "#")):
        return _mention(target[0], name or target[1:])
    if target.startswith("!subteam^"):
        return _mention("@", name or target.removeprefix("!subteam^"))
    if target in ("!here", "!channel", "!everyone"):
        return _mention("@", target[1:], " everyone")
    url = _decoded(target)
    return (
        render_link_html(url, render_plain_text_html(name or target)) if escape_web_url(url) else _literal(f"<{body}>")
    )


def _mention(sigil: str, name: str, more: str = "") -> str:
    return f'<span class="mention{more}">{sigil}{_literal(name.removeprefix(sigil))}</span>'


def _decoded(text: str) -> str:
    """Undo Slack's own escaping, which knows three entities and no others."""
    return _ENTITY.sub(lambda found: {"amp": "&", "lt": "<", "gt": ">"}[found[1]], text)


def _literal(text: str) -> str:
    return escape_html(_decoded(text))
