"""Convert an alarm's description to Slack's mrkdwn. Pure; never raises.

CloudWatch shows descriptions as Markdown. Many teams write Slack's link syntax into them, and some write a JSON object.
Only http and https links become links. If a link's text looks like a different address, the message shows the real
address instead. Everything else is escaped: a description cannot mention anyone.
"""

from __future__ import annotations

import json
import re

from cwnotify.alerts.light_dataclass import frozen
from cwnotify.alerts.messages import block_kit as b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_INPUT = 12_000  # characters; CloudWatch allows 1,024
_MAX_FIELDS = 40
_MAX_URL = 2_000
_MAX_LABEL = 300
_ZERO_WIDTH = "\u200b"  # Slack ignores marks next to a letter; this separates the two invisibly

_FENCE = re.compile(r"\s{0,3}(?:(```+)[^`]*|(~~~+).*)$")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+")
_UNDERLINE = re.compile(r"\s{0,3}(?:=+|-{2,})\s*$")
_ITEM = re.compile(r"(\s*)(?:[-*+•]|(\d{1,9})[.)])\s+(?:\[([ xX])\]\s+)?(.*)$")
_QUOTE = re.compile(r"\s{0,3}>\s?(.*)$")

_INVISIBLE = "\u00ad\u061c\u180e\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff"
_FOREIGN = rf"[^\x00-\x7f\s\ufffd{_INVISIBLE}]"
# A bare URL ends before a non-ASCII letter, such as a Korean particle, unless the letter follows a delimiter.
_ATOM = re.compile(
    r"\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|(?<!`)(?P<ticks>`{1,3})(?P<code>[^`\n]+)(?P=ticks)(?!`)"
    r"|!?\[(?P<text>[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]"
    r"\(\s*(?:<(?P<angled>[^<>\n]*)>|(?P<target>[^\s()<>]*(?:\([^\s()<>]*\)[^\s()<>]*)*))"
    r"(?:\s+(?:\"[^\"\n]*\"|'[^'\n]*'))?\s*\)"
    r"|<(?P<link>https?://[^\s<>|]+)(?:\|(?P<name>[^<>\n]*))?>"
    r"|(?<![A-Za-z0-9])"
    rf"(?P<bare>https?://(?:[!#-;=?-_a-~]|(?<=[^A-Za-z0-9\s]){_FOREIGN}|(?<=[^\x00-\x7f]){_FOREIGN})+)",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile("\x00(\\d+)\x01")
_MARKS = re.compile(r"(\*+|_+|~~)")
_STYLES = {"**": "*", "__": "*", "*": "_", "_": "_", "~~": "~", "***": "*_", "___": "*_"}
_LITERAL = str.maketrans({"*": "∗", "~": "∼", "`": "ˋ", "\n": " "})
_WEB = re.compile(
    r"https?://(?P<host>[^\s/?#@\\<>\"`|:()\[\]]+|\[[0-9a-f:.]+\])(?::\d{1,5})?(?:[/?#][^\s<>\"`\ufffd]*)?",
    re.IGNORECASE,
)
_HOST_LIKE = re.compile(r"[\w-]+(?:\.[\w-]+)+")
_DOTS = str.maketrans(dict.fromkeys("。．｡․﹒", "."))


@frozen
class _Line:
    """One line of the result: a `prefix` in mrkdwn, then `raw` Markdown, or code that is shown unchanged."""

    prefix: str = ""
    raw: str = ""
    strong: bool = False
    is_code: bool = False


def markdown_to_mrkdwn(text: str, limit: int = b.MAX_SECTION_LENGTH, lead: bool = False, bold: bool = True) -> str:
    """Convert a description to mrkdwn of at most `limit` characters.

    Parameters
    ----------
    lead
        Make the first line bold, unless it already has bold parts.
    bold
        False removes all bold marks, for example after a recovery.
    """
    text = b.sanitize_text(text[:_MAX_INPUT]).strip()
    fields = _json_lines(text, bold)
    lines = fields or list(_markdown_lines(text))
    first = lines[0] if lines else _Line()
    if lead and not fields and first.raw and not (first.prefix or first.is_code or "**" in first.raw):
        lines[0] = _Line(raw=first.raw, strong=True)
    return _join_lines(lines, limit, bold).strip("\n")


def _join_lines(lines: list[_Line], limit: int, bold: bool) -> str:
    rendered: list[str] = []
    room = limit
    for line in lines:
        whole = _render_line(line, bold) if len(line.raw) <= 2 * limit else ""
        if len(whole) > room or (line.raw and not whole):
            rendered.append(_shorten_line(line, room, bold))
            break
        rendered.append(whole)
        room -= len(whole) + 1
    return "\n".join(rendered)[:limit]


def _json_lines(text: str, bold: bool) -> list[_Line]:
    """Return a line for each field of a JSON object; empty for any other text."""
    if not (text.startswith("{") and text.endswith("}")):
        return []
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return []
    lines = []
    for name, value in list(fields.items())[:_MAX_FIELDS]:
        key = b.escape_label(name, 120)
        prefix = f"*{key}*: " if bold and key else f"{key}: "
        items = value if isinstance(value, list) else [value]
        if any(isinstance(item, dict | list) for item in items):
            lines.append(_Line(prefix + b.inline_code(json.dumps(value, ensure_ascii=False), 500)))
        else:
            words = ", ".join(item if isinstance(item, str) else json.dumps(item) for item in items)
            lines.append(_Line(prefix, " ".join(b.sanitize_text(words).split())))
    return lines


def _markdown_lines(text: str) -> Iterator[_Line]:
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if fence := _FENCE.match(line):
            mark = fence[1] or fence[2]
            end = next((i for i in range(at, len(lines)) if lines[i].strip().startswith(mark)), len(lines))
            if code := "\n".join(lines[at:end]).strip("\n"):
                yield _Line(raw=code, is_code=True)
            at = end + 1
            continue
        if not line.strip() or _is_rule(line):
            continue
        following = lines[at] if at < len(lines) else ""
        if heading := _HEADING.match(line):
            yield _Line(raw=line[heading.end() :].strip().rstrip("#").rstrip(), strong=True)
        elif following.strip() and _UNDERLINE.match(following) and not _ITEM.match(line):
            yield _Line(raw=line.strip(), strong=True)
            at += 1
        elif item := _ITEM.match(line):
            yield _list_item(*item.groups())
        elif quote := _QUOTE.match(line):
            yield _Line("&gt; ", quote[1].lstrip("> "))
        else:
            yield _Line(raw=line.strip())


def _is_rule(line: str) -> bool:
    """Return whether a line is a horizontal rule, or the separator below a table's header."""
    signs = "".join(line.split())
    if len(signs) < 3:
        return False
    return set(signs) in ({"-"}, {"*"}, {"_"}) or ("---" in signs and set(signs) <= set("-:|"))


def _list_item(indent: str, number: str | None, checkbox: str | None, text: str) -> _Line:
    depth = min(len(indent) // 2, 4)
    bullet = f"{number}." if number else "◦" if depth else "•"
    box = "" if checkbox is None else "☐ " if checkbox == " " else "☑ "
    return _Line(f"{'    ' * depth}{bullet} {box}", text.strip())


def _render_line(line: _Line, bold: bool) -> str:
    if line.is_code:
        return f"```\n{b.escape_mrkdwn(line.raw.replace('`', 'ˋ'), len(line.raw) * 5 + 1)}\n```"
    is_strong = line.strong and bold
    body = _render_inline(line.raw, bold and not is_strong).strip()
    return line.prefix + (f"*{body}*" if is_strong and body else body)


def _shorten_line(line: _Line, room: int, bold: bool) -> str:
    """Return as much of a line as fits into `room` characters; never a part of a URL."""
    if line.is_code:
        fence = "```\n\n```"
        if room < len(fence) + 2:
            return _render_line(_Line(raw="…"), bold)
        return f"```\n{b.escape_mrkdwn(line.raw.replace('`', 'ˋ'), room - len(fence))}\n```"
    if not line.raw or room < len(line.prefix) + 2:
        return "…"[:room]
    raw = line.raw[:room]
    while raw := raw.rpartition(" ")[0]:
        rendered = _render_line(_Line(line.prefix, raw, line.strong), bold) + "…"
        if len(rendered) <= room:
            return rendered
        raw = raw[: max(len(raw) * 3 // 4, 1)]
    if "://" in line.raw:
        return "…"[:room]
    return line.prefix + b.escape_mrkdwn(line.raw.translate(_LITERAL).replace("_", "ˍ"), room - len(line.prefix))


def _render_inline(raw: str, bold: bool) -> str:
    """Convert one line of Markdown without its block's prefix."""
    raw = re.sub(" {2,}", " ", raw)
    atoms: list[str] = []
    pieces: list[str] = []
    at = 0
    while match := _ATOM.search(raw, at):
        before = raw[at : match.start()]
        atom, end = _render_atom(match, "".join(pieces) + before)
        if atom:
            atoms.append(atom)
            pieces += [before, f"\x00{len(atoms) - 1}\x01"]
        else:
            # Not a link. Its first character is text; a link may start after that.
            end = match.start() + 1
            pieces.append(raw[at:end])
        at = end
    pieces.append(raw[at:])
    text = _convert_emphasis("".join(pieces), bold)
    return _PLACEHOLDER.sub(lambda match: atoms[int(match[1])], text)


def _render_atom(match: re.Match[str], before: str) -> tuple[str, int]:
    """Return an escape, code or link as mrkdwn, and its end; an empty string if it is plain text."""
    if match["escaped"]:
        return _escape_literal(match["escaped"]), match.end()
    if match["code"]:
        return b.inline_code(match["code"], 5 * len(match["code"]) + 1), match.end()
    if match["bare"]:
        url = _trim_url(match["bare"], before)
        return _render_link(url, ""), match.start() + len(url)
    url = match["link"] or match["angled"] or match["target"] or ""
    return _render_link(url, match["name"] if match["link"] else match["text"]), match.end()


def _trim_url(url: str, before: str) -> str:
    """Return a bare URL without the sentence's punctuation and without the closing marks of emphasis around it."""
    while True:
        last = url[-1:]
        opening = {")": "(", "]": "["}.get(last)
        is_mark = last in ("*", "_", "~") and len(re.findall(rf"[{last}]+", before)) % 2 == 1
        if last in (".", ",", ";", ":", "!", "?", "'") or is_mark or (opening and url.count(last) > url.count(opening)):
            url = url[:-1]
        else:
            return url


def _render_link(url: str, name: str | None) -> str:
    """Return a link; empty if `url` is not an http or https URL."""
    web = _WEB.fullmatch(url)
    if not web or len(url) > _MAX_URL:
        return ""
    address = url.replace("&", "&amp;").replace("|", "%7C")
    label = _clean_label(name or "")
    if not label or label == url:
        return f"<{address}>"
    host = _normalize_host(web["host"])
    named_hosts = filter(_is_host, _HOST_LIKE.findall(label.translate(_DOTS)))
    names_other_host = any(_normalize_host(named) != host for named in named_hosts)
    if "://" in label or (" " not in label and names_other_host):
        return f"<{address}>"
    text = _escape_literal(label)
    if names_other_host:
        text += f" ({_escape_literal(host)})"
    return f"<{address}|{text}>"


def _clean_label(name: str) -> str:
    text = re.sub(r"\*+|~~|`+|\\(?=[!-/:-@\[-`{-~])", "", re.sub(f"[{_INVISIBLE}]", "", name)).replace("|", "∣")
    return " ".join(text.split())[:_MAX_LABEL]


def _is_host(text: str) -> bool:
    last = text.rpartition(".")[2]
    return (len(last) > 1 and not any(c.isdigit() for c in last)) or bool(re.fullmatch(r"\d+(?:\.\d+){3}", text))


def _normalize_host(host: str) -> str:
    return host.lower().removeprefix("www.").rstrip(".")


def _escape_literal(text: str) -> str:
    """Escape text, and replace marks that would format it with look-alikes."""
    text = text.translate(_LITERAL)
    return _escape_entities(re.sub(r"(?<![^\W_])_+|_+(?![^\W_])", lambda run: "ˍ" * len(run[0]), text))


def _convert_emphasis(text: str, bold: bool) -> str:
    """Convert Markdown's emphasis to Slack's. Marks without a partner become look-alikes."""
    pieces = _MARKS.split(text)
    output = [_escape_entities(piece) if i % 2 == 0 else _escape_mark(pieces, i) for i, piece in enumerate(pieces)]
    opened: list[int] = []
    for i in range(1, len(pieces), 2):
        mark, before, after = pieces[i], pieces[i - 1][-1:], pieces[i + 1][:1]
        if mark not in _STYLES:
            continue
        is_inside_word = mark[0] == "_" and before.isalnum() and after.isalnum()
        partner = next((j for j in reversed(opened) if pieces[j] == mark), None)
        if before.strip() and partner is not None and not is_inside_word and i - partner > 0:
            style = _STYLES[mark] if bold else _STYLES[mark].replace("*", "")
            front = _ZERO_WIDTH if style and pieces[partner - 1][-1:].isalnum() else ""
            back = _ZERO_WIDTH if style and after.isalnum() else ""
            output[partner], output[i] = front + style, style[::-1] + back
            del opened[opened.index(partner) :]
        elif after.strip() and not is_inside_word:
            opened.append(i)
    return "".join(output)


def _escape_mark(pieces: list[str], i: int) -> str:
    """Return a mark that formats nothing: unchanged inside a word, else as a look-alike."""
    mark = pieces[i]
    if mark[0] == "_" and pieces[i - 1][-1:].isalnum() and pieces[i + 1][:1].isalnum():
        return mark
    return mark.replace("_", "ˍ").translate(_LITERAL)


def _escape_entities(text: str) -> str:
    """Escape sanitized text. Unlike `block_kit.escape_mrkdwn`, keep the placeholders, which are control characters."""
    return text.translate(_LITERAL).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
