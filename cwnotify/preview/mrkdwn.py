"""Convert Slack's mrkdwn to HTML. All text of a payload becomes markup here. Standard library only.

The grammar is Slack's: https://docs.slack.dev/messaging/formatting-message-text (checked on 2026-11-22). If Slack shows
the markers instead of formatting, so does this module: ``*bold*`` must not touch a letter or digit on either side. A
Korean particle directly after it therefore disables it (https://github.com/seratch/ChatGPT-in-Slack/issues/61).
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
# A body never contains its own marker, so the number of markers limits the nesting depth.
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
# Characters that HTML forbids, and lone surrogates, which cannot be encoded.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def escape_html(text: str) -> str:
    """Escape any text for an element or a quoted attribute."""
    return html.escape(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text))


def escape_web_url(url: str) -> str:
    """Return `url` escaped for ``href`` if it is http or https with a host, else an empty string."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return escape_html(url) if parts.scheme in ("http", "https") and parts.netloc else ""


def render_link_html(url: str, content: str, css_class: str = "") -> str:
    """Return a link around HTML `content` that opens in a new tab, or only `content` if `url` is not a web URL."""
    href = escape_web_url(url)
    attribute = f' class="{css_class}"' if css_class else ""
    if not href:
        return f"<span{attribute}>{content}</span>" if css_class else content
    return f'<a{attribute} href="{href}" target="_blank" rel="noopener noreferrer">{content}</a>'


def render_plain_text_html(text: str) -> str:
    """Convert ``plain_text`` to HTML: emoji and line breaks, no other formatting."""
    with_emoji = _SHORTCODE.sub(lambda match: EMOJI_BY_SHORTCODE[match["emoji"]], text)
    return _escape_literal(with_emoji).replace("\n", "<br>")


def render_mrkdwn_html(text: str) -> str:
    """Convert ``mrkdwn`` to HTML: inline elements, ``pre`` and ``blockquote``."""
    pieces = []
    for number, piece in enumerate(_FENCE.split(text)):
        if number % 2:
            pieces.append(f"<pre><code>{_escape_literal(piece.strip(chr(10)))}</code></pre>")
        elif lines := piece.strip("\n"):
            pieces.append(_render_lines(lines))
    return "".join(pieces)


def _render_lines(text: str) -> str:
    """Convert lines without code blocks. Consecutive quoted lines become one quotation."""
    html_of = {True: "<blockquote>{}</blockquote>", False: "{}"}
    runs = groupby(_split_quotes(text), key=lambda line: line[0])
    return "".join(
        html_of[quoted].format("<br>".join(_render_inline(line) for _, line in lines)) for quoted, lines in runs
    )


def _split_quotes(text: str) -> Iterator[tuple[bool, str]]:
    """Yield whether each line is quoted, and the line without its marker."""
    is_rest_quoted = False
    for line in text.split("\n"):
        if not is_rest_quoted and (match := _QUOTE_REST.match(line)):
            is_rest_quoted = True
            yield True, line[match.end() :]
        elif not is_rest_quoted and (match := _QUOTE.match(line)):
            yield True, line[match.end() :]
        else:
            yield is_rest_quoted, line


def _render_inline(text: str) -> str:
    pieces, at = [], 0
    for match in _INLINE.finditer(text):
        pieces += [_escape_literal(text[at : match.start()]), _render_match(match)]
        at = match.end()
    return "".join([*pieces, _escape_literal(text[at:])])


def _render_match(match: re.Match[str]) -> str:
    kind, body = str(match.lastgroup), match[str(match.lastgroup)]
    if kind == "code":
        return f"<code>{_escape_literal(body)}</code>"
    if kind == "angle":
        return _render_angle(body)
    if kind == "bare":
        return render_link_html(_decode_entities(body), _escape_literal(body))
    if kind == "emoji":
        return EMOJI_BY_SHORTCODE[body]
    return f"<{kind}>{_render_inline(body)}</{kind}>"


def _render_angle(body: str) -> str:
    """Render the text between ``<`` and ``>``: a link, a mention or a date. Other text stays as typed."""
    target, _, name = body.partition("|")
    if target.startswith("!date^"):
        return _escape_literal(name or target)
    if target.startswith(("@", "#")):
        return _render_mention(target[0], name or target[1:])
    if target.startswith("!subteam^"):
        return _render_mention("@", name or target.removeprefix("!subteam^"))
    if target in ("!here", "!channel", "!everyone"):
        return _render_mention("@", target[1:], " everyone")
    url = _decode_entities(target)
    return (
        render_link_html(url, render_plain_text_html(name or target))
        if escape_web_url(url)
        else _escape_literal(f"<{body}>")
    )


def _render_mention(sigil: str, name: str, css_class: str = "") -> str:
    return f'<span class="mention{css_class}">{sigil}{_escape_literal(name.removeprefix(sigil))}</span>'


def _decode_entities(text: str) -> str:
    """Decode the three entities that Slack uses."""
    return _ENTITY.sub(lambda match: {"amp": "&", "lt": "<", "gt": ">"}[match[1]], text)


def _escape_literal(text: str) -> str:
    return escape_html(_decode_entities(text))
