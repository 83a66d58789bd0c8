"""The sentences, a file a language; a third language is one more file. Standard library only.

A language's file holds `SENTENCES`, format strings by key, and nothing else. Values that go into them are ready
mrkdwn: escaped, and bold or code where the caller wants it so.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from itertools import pairwise

from cwnotify.alerts.words import en, ko

_TABLES = {"en": en.SENTENCES, "ko": ko.SENTENCES}
_DEFAULT_ZONES = {"ko": "Asia/Seoul"}
_SPARKS = "▁▂▃▄▅▆▇█"


def say(lang: str, key: str, **values: object) -> str:
    """The sentence `key` in `lang` (English where the language is unknown), with `values` put in."""
    return _TABLES.get(lang, en.SENTENCES)[key].format(**values)


def duration(seconds: float, lang: str) -> str:
    """``2 h 14 min``, ``3 s``, ``0.04 s``: the two largest units, rounded down, as a person would say it."""
    if seconds < 10:
        return say(lang, "seconds", n=f"{max(0.0, seconds):.{1 if seconds >= 1 else 2}f}".rstrip("0").rstrip("."))
    left = int(seconds)
    sizes = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
    parts = []
    for unit, size in sizes:
        count, left = divmod(left, size)
        parts.append((unit, count))
    first = next(i for i, (_, count) in enumerate(parts) if count)
    return " ".join(say(lang, unit, n=count) for unit, count in parts[first : first + 2] if count)


def zone(name: str, lang: str) -> tzinfo:
    """The reader's zone: `name`, else the language's own, else UTC; an unknown name is UTC too."""
    from zoneinfo import ZoneInfo

    wanted = name or _DEFAULT_ZONES.get(lang, "UTC")
    try:
        return ZoneInfo(wanted)
    except (KeyError, ValueError, OSError):
        # A machine without zone data still knows Seoul: it has had no summer time since 1988.
        return timezone(timedelta(hours=9), "KST") if wanted == "Asia/Seoul" else timezone.utc  # noqa: UP017


def clock(at: float, where: tzinfo, beside: float | None = None) -> str:
    """A moment as ``13:02:07 KST``, with its date unless `beside` (another moment shown) has the same."""
    try:
        moment = datetime.fromtimestamp(at, where)
        other = datetime.fromtimestamp(beside, where) if beside is not None else None
    except (ValueError, OverflowError, OSError):
        return "?"
    day = "" if other and other.date() == moment.date() else "%Y-%m-%d "
    return moment.strftime(f"{day}%H:%M:%S %Z").strip()


def sparkline(values: tuple[float, ...], low: float = 0.0, high: float = 100.0, width: int = 12) -> str:
    """`values` as little bars between `low` and `high`, averaged down to at most `width` of them."""
    if not values:
        return ""
    count = min(width, len(values))
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    top = len(_SPARKS) - 1
    return "".join(_SPARKS[round(min(max((mean - low) / (high - low), 0.0), 1.0) * top)] for mean in means)


_PICTURES = {
    ":white_check_mark:": "✅",
    ":x:": "❌",
    ":black_square_for_stop:": "⏹️",
    ":skull:": "💀",
    ":wave:": "👋",
}


def plain(text: str) -> str:
    """A sentence of ours for a terminal: emoji as pictures, no mrkdwn marks, no entities."""
    for name, picture in _PICTURES.items():
        text = text.replace(name, picture)
    text = text.replace("*", "").replace("`", "")
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
