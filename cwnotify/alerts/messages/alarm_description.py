"""An alarm's description -> Slack's mrkdwn. Pure and total; imports only `blocks` and the standard library.

CloudWatch shows descriptions as Markdown, many teams write Slack's own links into them, and some put a JSON object
there. Only http and https links become links, and a link whose text looks like another address shows its true one.
Everything else is escaped, so a description cannot mention anyone.
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
_ZERO_WIDTH = "\u200b"  # Slack formats nothing that touches a letter; this separates the two invisibly

_FENCE = re.compile(r"\s{0,3}(?:(```+)[^`]*|(~~~+).*)$")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+")
_UNDERLINE = re.compile(r"\s{0,3}(?:=+|-{2,})\s*$")
_ITEM = re.compile(r"(\s*)(?:[-*+•]|(\d{1,9})[.)])\s+(?:\[([ xX])\]\s+)?(.*)$")
_QUOTE = re.compile(r"\s{0,3}>\s?(.*)$")

_INVISIBLE = "\u00ad\u061c\u180e\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff"
_FOREIGN = rf"[^\x00-\x7f\s\ufffd{_INVISIBLE}]"
# Bare URLs end before a letter that is not ASCII, such as a Korean particle, unless that follows a delimiter.
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
_HELD = re.compile("\x00(\\d+)\x01")
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
    """One line of the result: ready `prefix`, then `raw` Markdown, or code that is shown as it is."""

    prefix: str = ""
    raw: str = ""
    strong: bool = False
    is_code: bool = False


def markdown_to_mrkdwn(text: str, limit: int = b.MAX_SECTION_LENGTH, lead: bool = False, bold: bool = True) -> str:
    """Convert a description to mrkdwn of at most `limit` characters.

    Parameters
    ----------
    lead
        Make the first line bold, unless it has bold parts of its own.
    bold
        False drops all bold marks: after a recovery, an alarming description should not shout.
    """
    text = b.sanitize_text(text[:_MAX_INPUT]).strip()
    fields = _json_lines(text, bold)
    lines = fields or list(_markdown_lines(text))
    first = lines[0] if lines else _Line()
    if lead and not fields and first.raw and not (first.prefix or first.is_code or "**" in first.raw):
        lines[0] = _Line(raw=first.raw, strong=True)
    return _joined(lines, limit, bold).strip("\n")


def _joined(lines: list[_Line], limit: int, bold: bool) -> str:
    shown: list[str] = []
    room = limit
    for line in lines:
        whole = _shown(line, bold) if len(line.raw) <= 2 * limit else ""
        if len(whole) > room or (line.raw and not whole):
            shown.append(_shortened(line, room, bold))
            break
        shown.append(whole)
        room -= len(whole) + 1
    return "\n".join(shown)[:limit]


def _json_lines(text: str, bold: bool) -> list[_Line]:
    """A line for each field of a JSON object; empty for any other text."""
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
            yield _item(*item.groups())
        elif quote := _QUOTE.match(line):
            yield _Line("&gt; ", quote[1].lstrip("> "))
        else:
            yield _Line(raw=line.strip())


def _is_rule(line: str) -> bool:
    """Whether a line is a horizontal rule, or the one below a table's head."""
    signs = "".join(line.split())
    if len(signs) < 3:
        return False
    return set(signs) in ({"-"}, {"*"}, {"_"}) or ("---" in signs and set(signs) <= set("-:|"))


def _item(indent: str, number: str | None, ticked: str | None, rest: str) -> _Line:
    depth = min(len(indent) // 2, 4)
    sign = f"{number}." if number else "◦" if depth else "•"
    box = "" if ticked is None else "☐ " if ticked == " " else "☑ "
    return _Line(f"{'    ' * depth}{sign} {box}", rest.strip())


def _shown(line: _Line, bold: bool) -> str:
    if line.is_code:
        return f"```\n{b.escape_mrkdwn(line.raw.replace('`', 'ˋ'), len(line.raw) * 5 + 1)}\n```"
    strong = line.strong and bold
    body = _inline(line.raw, bold and not strong).strip()
    return line.prefix + (f"*{body}*" if strong and body else body)


def _shortened(line: _Line, room: int, bold: bool) -> str:
    """As much of a line as fits into `room`; never a part of a URL."""
    if line.is_code:
        fence = "```\n\n```"
        return _shown(_Line(raw="…"), bold) if room < len(fence) + 2 else _fenced(line.raw, room - len(fence))
    if not line.raw or room < len(line.prefix) + 2:
        return "…"[:room]
    raw = line.raw[:room]
    while raw := raw.rpartition(" ")[0]:
        shown = _shown(_Line(line.prefix, raw, line.strong), bold) + "…"
        if len(shown) <= room:
            return shown
        raw = raw[: max(len(raw) * 3 // 4, 1)]
    if "://" in line.raw:
        return "…"[:room]
    return line.prefix + b.escape_mrkdwn(line.raw.translate(_LITERAL).replace("_", "ˍ"), room - len(line.prefix))


def _fenced(code: str, room: int) -> str:
    return f"```\n{b.escape_mrkdwn(code.replace('`', 'ˋ'), room)}\n```"


def _inline(raw: str, bold: bool) -> str:
    """One line of Markdown without its block's mark."""
    raw = re.sub(" {2,}", " ", raw)
    held: list[str] = []
    pieces: list[str] = []
    at = 0
    while match := _ATOM.search(raw, at):
        before = raw[at : match.start()]
        shown, end = _atom(match, "".join(pieces) + before)
        if shown:
            held.append(shown)
            pieces += [before, f"\x00{len(held) - 1}\x01"]
        else:
            # No link after all: its first character is text, and what follows may hold a link.
            end = match.start() + 1
            pieces.append(raw[at:end])
        at = end
    pieces.append(raw[at:])
    text = _emphasised("".join(pieces), bold)
    return _HELD.sub(lambda match: held[int(match[1])], text)


def _atom(match: re.Match[str], before: str) -> tuple[str, int]:
    """What is never searched for emphasis, as mrkdwn, and where it ends; empty if it is plain text."""
    if match["escaped"]:
        return _literal(match["escaped"]), match.end()
    if match["code"]:
        return b.inline_code(match["code"], 5 * len(match["code"]) + 1), match.end()
    if match["bare"]:
        url = _trimmed(match["bare"], before)
        return _link(url, ""), match.start() + len(url)
    url = match["link"] or match["angled"] or match["target"] or ""
    return _link(url, match["name"] if match["link"] else match["text"]), match.end()


def _trimmed(url: str, before: str) -> str:
    """A bare URL without the punctuation of the sentence, and without marks that were opened before it."""
    while True:
        last = url[-1:]
        opening = {")": "(", "]": "["}.get(last)
        is_mark = last in ("*", "_", "~") and len(re.findall(rf"[{last}]+", before)) % 2 == 1
        if last in (".", ",", ";", ":", "!", "?", "'") or is_mark or (opening and url.count(last) > url.count(opening)):
            url = url[:-1]
        else:
            return url


def _link(url: str, name: str | None) -> str:
    """A link; empty where `url` does not lead to a web host."""
    web = _WEB.fullmatch(url)
    if not web or len(url) > _MAX_URL:
        return ""
    address = url.replace("&", "&amp;").replace("|", "%7C")
    label = _label(name or "")
    if not label or label == url:
        return f"<{address}>"
    host = _bare_host(web["host"])
    hosts = [one for one in _HOST_LIKE.findall(label.translate(_DOTS)) if _is_host(one)]
    if "://" in label or (" " not in label and any(_bare_host(one) != host for one in hosts)):
        return f"<{address}>"
    shown = _literal(label)
    if any(_bare_host(one) != host for one in hosts):
        shown += f" ({_literal(host)})"
    return f"<{address}|{shown}>"


def _label(name: str) -> str:
    text = re.sub(r"\*+|~~|`+|\\(?=[!-/:-@\[-`{-~])", "", re.sub(f"[{_INVISIBLE}]", "", name)).replace("|", "∣")
    return " ".join(text.split())[:_MAX_LABEL]


def _is_host(text: str) -> bool:
    last = text.rpartition(".")[2]
    return (len(last) > 1 and not any(c.isdigit() for c in last)) or bool(re.fullmatch(r"\d+(?:\.\d+){3}", text))


def _bare_host(host: str) -> str:
    return host.lower().removeprefix("www.").rstrip(".")


def _literal(text: str) -> str:
    """Text that formats nothing, escaped."""
    text = text.translate(_LITERAL)
    return _escaped(re.sub(r"(?<![^\W_])_+|_+(?![^\W_])", lambda run: "ˍ" * len(run[0]), text))


def _emphasised(text: str, bold: bool) -> str:
    """Markdown's emphasis as Slack's; marks without a partner become look-alikes."""
    pieces = _MARKS.split(text)
    shown = [_escaped(piece) if i % 2 == 0 else _lone(pieces, i) for i, piece in enumerate(pieces)]
    opened: list[int] = []
    for i in range(1, len(pieces), 2):
        mark, before, after = pieces[i], pieces[i - 1][-1:], pieces[i + 1][:1]
        if mark not in _STYLES:
            continue
        inside_word = mark[0] == "_" and _is_letter(before) and _is_letter(after)
        partner = next((j for j in reversed(opened) if pieces[j] == mark), None)
        if before.strip() and partner is not None and not inside_word and i - partner > 0:
            style = _STYLES[mark] if bold else _STYLES[mark].replace("*", "")
            front = _ZERO_WIDTH if style and _is_letter(pieces[partner - 1][-1:]) else ""
            back = _ZERO_WIDTH if style and _is_letter(after) else ""
            shown[partner], shown[i] = front + style, style[::-1] + back
            del opened[opened.index(partner) :]
        elif after.strip() and not inside_word:
            opened.append(i)
    return "".join(shown)


def _lone(pieces: list[str], i: int) -> str:
    mark = pieces[i]
    if mark[0] == "_" and _is_letter(pieces[i - 1][-1:]) and _is_letter(pieces[i + 1][:1]):
        return mark
    return mark.replace("_", "ˍ").translate(_LITERAL)


def _escaped(text: str) -> str:
    """Text that was cleaned before, with what is held in it; `b.escape` would replace the marks of that."""
    return text.translate(_LITERAL).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _is_letter(character: str) -> bool:
    return character.isalnum()
