"""The sentences, a file a language. Standard library only.

A third language is one more file here, named by its code, in letters only. It holds `SENTENCES`, format strings by
key, and `ZONE`, in which its readers are shown times where nobody says otherwise; a key that it lacks is said in
English. Values that go into a sentence are ready mrkdwn: escaped, and bold or code where the caller wants it so.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from itertools import pairwise

from cwnotify.alerts.locale import en

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_languages: dict[str, Any] = {"en": en}
_own: dict[tuple[str, str], str] = {}
MAX_TRANSLATION_LENGTH = 300
_MENTION = re.compile(r"@(?=here|channel|everyone)", re.I)
_SPARKS = "▁▂▃▄▅▆"  # higher bars would touch the line above


def list_languages() -> tuple[str, ...]:
    """The codes of all languages that there is a file for."""
    import pkgutil

    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def get_translations(lang: str) -> dict[str, str]:
    """All sentences of a language by their keys, as they are without `override_translations`."""
    return {**en.TRANSLATIONS, **_language(lang).TRANSLATIONS}


def translate(lang: str, key: str, **values: object) -> str:
    """The sentence `key` in `lang` (English where the language is unknown), with `values` put in."""
    return _sentence(lang, key).format(**values)


def override_translations(own: Iterable[tuple[str, str, str]]) -> None:
    """Say these sentences instead of ours: in this process, from now on, and no others.

    Parameters
    ----------
    own
        (language, key, sentence), free of what `find_translation_problem` finds. No text in them becomes a link or a mention; asterisks,
        backticks, underscores and emoji format as in our own.
    """
    global _own
    _own = {(lang, key): _escaped(sentence) for lang, key, sentence in own}


def _escaped(sentence: str) -> str:
    """A sentence from a file as mrkdwn. Entities that are written out, as in ours, stay what they are."""
    from cwnotify.alerts.messages.block_kit import escape_mrkdwn

    plain = sentence.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    # Slack reads @here without brackets, too, where it looks for mentions.
    return _MENTION.sub("@\N{WORD JOINER}", escape_mrkdwn(plain, 6 * MAX_TRANSLATION_LENGTH))


def find_translation_problem(lang: str, key: str, sentence: object) -> str:
    """What keeps `sentence` from being said instead of ours; empty if nothing does."""
    if lang not in list_languages():
        return f"there is no language {lang}; there are {', '.join(list_languages())}"
    if key not in en.TRANSLATIONS:
        from cwnotify.suggestions import closest_match

        near = closest_match(key, en.TRANSLATIONS)
        return "there is no such sentence" + (f"; did you mean {near}?" if near else "")
    if not isinstance(sentence, str) or not 0 < len(sentence) <= MAX_TRANSLATION_LENGTH:
        return f"a sentence is text of 1 to {MAX_TRANSLATION_LENGTH} characters"
    try:
        gaps = _gaps(sentence)
    except ValueError:
        return "a brace has no partner; write {{ for one that shall be seen"
    known = _gaps(en.TRANSLATIONS[key])
    if strangers := gaps - known:
        takes = "{" + "}, {".join(sorted(known)) + "}" if known else "no braces"
        return f"nothing is known of {{{min(strangers)}}} there; it takes {takes}"
    return ""


def _gaps(sentence: str) -> set[str]:
    """What stands in braces, all of it: ``{n:9999999}`` would be put in as asked, at any length."""
    from string import Formatter

    parts = Formatter().parse(sentence)
    return {
        f"{name}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}"
        for _, name, spec, conversion in parts
        if name is not None
    }


def _sentence(lang: str, key: str) -> str:
    return _own.get((lang, key)) or _language(lang).TRANSLATIONS.get(key) or en.TRANSLATIONS[key]


def _language(lang: str) -> Any:
    if lang not in _languages:
        # Imported when it is first spoken, for the Lambda function and a kernel speak one.
        from importlib import import_module

        try:
            _languages[lang] = import_module(f"{__name__}.{lang}") if lang.isalpha() else en
        except ImportError:
            return en
    return _languages[lang]


def format_duration(seconds: float, lang: str) -> str:
    """``2 h 14 min``, ``3 s``, ``0.04 s``: the two largest units, rounded down, as a person would say it."""
    if seconds < 10:
        return translate(lang, "seconds", n=f"{max(0.0, seconds):.{1 if seconds >= 1 else 2}f}".rstrip("0").rstrip("."))
    left = int(seconds)
    sizes = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
    parts = []
    for unit, size in sizes:
        count, left = divmod(left, size)
        parts.append((unit, count))
    first = next(i for i, (_, count) in enumerate(parts) if count)
    return " ".join(translate(lang, unit, n=count) for unit, count in parts[first : first + 2] if count)


def resolve_time_zone(name: str, lang: str) -> tzinfo:
    """The reader's zone: `name`, else the language's own, else UTC; an unknown name is UTC too."""
    from zoneinfo import ZoneInfo

    wanted = name or _language(lang).DEFAULT_TIME_ZONE
    try:
        return ZoneInfo(wanted)
    except (KeyError, ValueError, OSError):
        # A machine without zone data still knows Seoul: it has had no summer time since 1988.
        return timezone(timedelta(hours=9), "KST") if wanted == "Asia/Seoul" else timezone.utc  # noqa: UP017


def format_timestamp(at: float, where: tzinfo, same_day_as: float | None = None, show_seconds: bool = True) -> str:
    """A moment as ``13:02:07 KST``, with its date unless `beside` (another moment shown) has the same."""
    try:
        moment = datetime.fromtimestamp(at, where)
        other = datetime.fromtimestamp(same_day_as, where) if same_day_as is not None else None
    except (ValueError, OverflowError, OSError):
        return "?"
    day = "" if other and other.date() == moment.date() else "%Y-%m-%d "
    return moment.strftime(f"{day}{'%H:%M:%S' if show_seconds else '%H:%M'} %Z").strip()


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
    ":double_vertical_bar:": "⏸️",
    ":wave:": "👋",
    ":rotating_light:": "🚨",
    ":grey_question:": "❔",
    ":information_source:": "ℹ️",
    ":warning:": "⚠️",
    ":hourglass:": "⌛",
    ":no_bell:": "🔕",
    ":zzz:": "💤",
    ":fairy:": "🧚",
    ":desktop_computer:": "🖥️",
    ":envelope:": "✉️",
}


def to_plain_text(text: str) -> str:
    """A sentence of ours for a terminal: emoji as pictures, no mrkdwn marks, no entities."""
    for name, picture in _PICTURES.items():
        text = text.replace(name, picture)
    text = text.replace("*", "").replace("`", "")
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
