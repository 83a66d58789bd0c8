"""Translated sentences, one file per language. Pure; `zoneinfo` reads the system's time zones.

To add a language, add one file here, named by its code in letters only. It defines `TRANSLATIONS`, format strings by
key, and `DEFAULT_TIME_ZONE`, used if the reader configured no zone. Missing keys fall back to English. Values must be
ready mrkdwn: escaped, and bold or code if the caller wants that.
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
_overrides: dict[tuple[str, str], str] = {}
MAX_TRANSLATION_LENGTH = 300  # characters of a user's own sentence
_MENTION = re.compile(r"@(?=here|channel|everyone)", re.I)
_BARS = "▁▂▃▄▅▆"  # higher bars would touch the line above


def list_languages() -> tuple[str, ...]:
    """Return the codes of all languages."""
    import pkgutil

    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def get_translations(lang: str) -> dict[str, str]:
    """Return all sentences of a language by key, without the user's overrides."""
    return {**en.TRANSLATIONS, **_language(lang).TRANSLATIONS}


def translate(lang: str, key: str, **values: object) -> str:
    """Return the sentence `key` in `lang`, formatted with `values`. Fall back to English for an unknown language."""
    return _sentence(lang, key).format(**values)


def override_translations(overrides: Iterable[tuple[str, str, str]]) -> None:
    """Use these sentences instead of the built-in ones, in this process. Replaces earlier overrides.

    Parameters
    ----------
    overrides
        (language, key, sentence), already checked with `find_translation_problem`. Their text never becomes a link or
        a mention; asterisks, backticks, underscores and emoji format as in built-in sentences.
    """
    global _overrides
    _overrides = {(lang, key): _escape_sentence(sentence) for lang, key, sentence in overrides}


def _escape_sentence(sentence: str) -> str:
    """Return a user's sentence as mrkdwn. Entities that it contains are not escaped twice."""
    from cwnotify.alerts.messages.block_kit import escape_mrkdwn

    plain = sentence.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    # Slack can also read @here without brackets as a mention.
    return _MENTION.sub("@\N{WORD JOINER}", escape_mrkdwn(plain, 6 * MAX_TRANSLATION_LENGTH))


def find_translation_problem(lang: str, key: str, sentence: object) -> str:
    """Return why `sentence` cannot override the sentence `key`, or an empty string if it can."""
    if lang not in list_languages():
        return f"unknown language {lang}; choose from {', '.join(list_languages())}"
    if key not in en.TRANSLATIONS:
        from cwnotify.suggestions import closest_match

        suggestion = closest_match(key, en.TRANSLATIONS)
        return "no sentence has this key" + (f"; did you mean {suggestion}?" if suggestion else "")
    if not isinstance(sentence, str) or not 0 < len(sentence) <= MAX_TRANSLATION_LENGTH:
        return f"a sentence must be text of 1 to {MAX_TRANSLATION_LENGTH} characters"
    try:
        placeholders = _find_placeholders(sentence)
    except ValueError:
        return "unmatched brace; write {{ or }} for a literal brace"
    available = _find_placeholders(en.TRANSLATIONS[key])
    if unknown := placeholders - available:
        remedy = "use {" + "}, {".join(sorted(available)) + "}" if available else "this sentence has none"
        return f"unknown placeholder {{{min(unknown)}}}; {remedy}"
    return ""


def _find_placeholders(sentence: str) -> set[str]:
    """Return the placeholders, with conversion and format: ``{n:9999999}`` would pad the text to any length."""
    from string import Formatter

    parts = Formatter().parse(sentence)
    return {
        f"{name}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}"
        for _, name, spec, conversion in parts
        if name is not None
    }


def _sentence(lang: str, key: str) -> str:
    return _overrides.get((lang, key)) or _language(lang).TRANSLATIONS.get(key) or en.TRANSLATIONS[key]


def _language(lang: str) -> Any:
    if lang not in _languages:
        # Imported on first use: the Lambda function and a kernel usually need one language.
        from importlib import import_module

        try:
            _languages[lang] = import_module(f"{__name__}.{lang}") if lang.isalpha() else en
        except ImportError:
            return en
    return _languages[lang]


def format_duration(seconds: float, lang: str) -> str:
    """Return ``2 h 14 min``, ``3 s`` or ``0.04 s``: the two largest units, rounded down."""
    if seconds < 10:
        return translate(lang, "seconds", n=f"{max(0.0, seconds):.{1 if seconds >= 1 else 2}f}".rstrip("0").rstrip("."))
    remainder = int(seconds)
    sizes = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
    parts = []
    for unit, size in sizes:
        count, remainder = divmod(remainder, size)
        parts.append((unit, count))
    first = next(i for i, (_, count) in enumerate(parts) if count)
    return " ".join(translate(lang, unit, n=count) for unit, count in parts[first : first + 2] if count)


def resolve_time_zone(name: str, lang: str) -> tzinfo:
    """Return the zone `name`, or the language's default if `name` is empty, or UTC if the zone is unknown."""
    from zoneinfo import ZoneInfo

    zone = name or _language(lang).DEFAULT_TIME_ZONE
    try:
        return ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        # Works without zone data: Seoul has had no daylight saving time since 1988.
        return timezone(timedelta(hours=9), "KST") if zone == "Asia/Seoul" else timezone.utc  # noqa: UP017


def format_timestamp(at: float, where: tzinfo, same_day_as: float | None = None, show_seconds: bool = True) -> str:
    """Return a time as ``13:02:07 KST``, with its date unless `same_day_as` (Unix seconds) is on the same date."""
    try:
        moment = datetime.fromtimestamp(at, where)
        other = datetime.fromtimestamp(same_day_as, where) if same_day_as is not None else None
    except (ValueError, OverflowError, OSError):
        return "?"
    day = "" if other and other.date() == moment.date() else "%Y-%m-%d "
    return moment.strftime(f"{day}{'%H:%M:%S' if show_seconds else '%H:%M'} %Z").strip()


def sparkline(values: tuple[float, ...], low: float = 0.0, high: float = 100.0, width: int = 12) -> str:
    """Return `values` as bars between `low` and `high`, averaged down to at most `width` bars."""
    if not values:
        return ""
    count = min(width, len(values))
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    top = len(_BARS) - 1
    return "".join(_BARS[round(min(max((mean - low) / (high - low), 0.0), 1.0) * top)] for mean in means)


_EMOJI = {
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
    """Return a sentence for a terminal: Unicode emoji, no mrkdwn marks, no entities."""
    for name, emoji in _EMOJI.items():
        text = text.replace(name, emoji)
    text = text.replace("*", "").replace("`", "")
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
