"""What a user may ask of a run's alert: the options, each told once, and how their words are read.

The magics and the command line build their parsers from `RUN_OPTION_SPECS`. Standard library and `cwnotify.errors` only.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

from cwnotify.alerts.light_dataclass import frozen
from cwnotify.alerts.locale import list_languages
from cwnotify.errors import UsageError

ON_CHOICES = ("finish", "error", "always")
LANGUAGES = list_languages()
MAX_TAIL_LINES = 200
MAX_DURATION_SECONDS = 10 * 365 * 86400.0


@frozen
class RunOptions:
    """What was asked of one run's alert.

    Parameters
    ----------
    min_seconds
        Send only if the run took at least so long.
    on
        ``finish`` (only a run that finished), ``error`` (only one that did not) or ``always``.
    mention
        Who is to be pinged, in Slack's own form (``<!here>``, ``<@U…>``, ``<!subteam^S…>``), or empty.
    show
        Expressions whose values the alert carries.
    tail
        How many of the last printed lines the alert carries.
    channel
        Sent as ``channel``; only legacy webhooks heed it.
    zone
        IANA name of the zone in which times are shown; empty for the language's default.
    together
        One alert for all such runs that follow each other.
    """

    min_seconds: float = 0.0
    on: str = "always"
    mention: str = ""
    show: tuple[str, ...] = ()
    tail: int = 0
    lang: str = "en"
    channel: str = ""
    zone: str = ""
    together: bool = False

    def wants_alert(self, finished: bool, seconds: float) -> bool:
        """Whether a run that ended so, after so long, is to be told."""
        if seconds < self.min_seconds:
            return False
        return self.on == "always" or (self.on == "finish") == finished


# As people write them, the longest first; what they stand for, in seconds. Korean too.
_WRITTEN = {
    "weeks week w 주": 604800.0,
    "days day d 일": 86400.0,
    "hours hour hrs hr h 시간": 3600.0,
    "minutes minute mins min m 분": 60.0,
    "seconds second secs sec s 초": 1.0,
}
_UNITS = {word: seconds for words, seconds in _WRITTEN.items() for word in words.split()}
# The unit of a number without one, behind the unit before it: the 30 of "1h30" are minutes.
_NEXT = {604800.0: 86400.0, 86400.0: 3600.0, 3600.0: 60.0, 60.0: 1.0}
_PART = rf"(\d+(?:\.\d+)?|\.\d+)\s*({'|'.join(sorted(_UNITS, key=len, reverse=True))})?(?![a-z])"
_CLOCK = r"(?:(\d{1,3})[-\s])?(\d{1,4}):([0-5]?\d):([0-5]?\d(?:\.\d+)?)"
_ISO = (
    r"p(?:(\d+(?:\.\d+)?)w)?(?:(\d+(?:\.\d+)?)d)?(?:t(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?)?"
)


def parse_duration(text: str) -> float:
    """Read a length of time as seconds.

    ``90`` (seconds), ``90s``, ``5 min``, ``1h30``, ``1h 30m``, ``2 hours and 5 minutes``, ``01:30:00``, ``PT1H30M``.

    Raises
    ------
    UsageError
        If `text` is none of these.
    """
    words = text.strip().lower()
    seconds = _by_clock(words)
    if seconds is None:
        seconds = _by_units(words)
    if seconds is None or seconds > MAX_DURATION_SECONDS:
        hint = "; 1:30 could be minutes or hours" if re.fullmatch(r"\d+:\d+", words) else ""
        raise UsageError(f"{text!r} is not a duration{hint}", hint="write it like 90s, 5m or 1h30m")
    return seconds


def _by_clock(words: str) -> float | None:
    """``H:MM:SS``, also with days before it, as SLURM has it, and ISO 8601."""
    if found := re.fullmatch(_CLOCK, words, re.ASCII):
        days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
        return days * 86400.0 + hours * 3600.0 + minutes * 60.0 + seconds
    found = re.fullmatch(_ISO, words, re.ASCII)
    if found is None or not any(found.groups()):
        return None
    return sum(float(n or 0) * size for n, size in zip(found.groups(), _WRITTEN.values(), strict=True))


def _by_units(words: str) -> float | None:
    """Numbers with units, each smaller than the one before; a number alone is in seconds."""
    if re.fullmatch(r"\d+(\.\d+)?|\.\d+", words, re.ASCII):
        return float(words)
    total, last, end = 0.0, 0.0, 0
    for found in re.finditer(_PART, words, re.ASCII):
        between = words[end : found.start()]
        unit = _UNITS[found[2]] if found[2] else _NEXT.get(last)
        joins = re.fullmatch(r"\s*(?:,|and)?\s*", between) if end else not between
        if not joins or unit is None or (last and unit >= last):
            return None
        total, last, end = total + float(found[1]) * unit, unit, found.end()
    return total if end == len(words) and last else None


def parse_mention(text: str) -> str:
    """Turn ``@here``, ``@channel``, ``U…`` (a member) or ``S…`` (a user group) into Slack's form.

    Raises
    ------
    UsageError
        If `text` is none of these; a display name such as ``@minsu`` cannot be pinged by a webhook.
    """
    word = text.strip()
    if word in ("", "none"):
        return ""
    if word.lstrip("@") in ("here", "channel", "everyone"):
        return f"<!{word.lstrip('@')}>"
    if re.fullmatch(r"@?[UW][A-Z0-9]{2,20}", word, re.ASCII):
        return f"<@{word.lstrip('@')}>"
    if re.fullmatch(r"@?S[A-Z0-9]{2,20}", word, re.ASCII):
        return f"<!subteam^{word.lstrip('@')}>"
    raise UsageError(
        f"{text!r} cannot be mentioned; use @here, @channel, a member ID (U…) or a user group ID (S…): "
        "in Slack, open the profile, then ⋮, then Copy member ID"
    )


def parse_expressions(text: str) -> tuple[str, ...]:
    """Split ``loss, f(a, b)`` at the commas that stand outside brackets and quotes.

    Raises
    ------
    UsageError
        If a part is not a Python expression.
    """
    parts, start = [], 0
    for end in [*(found.start() for found in re.finditer(",", text)), len(text)]:
        part = text[start:end].strip()
        if _is_expression(part):
            parts.append(part)
            start = end + 1
    left = text[start:].strip()
    if left:
        raise UsageError(f"--show: {left!r} is not a Python expression")
    return tuple(parts)


def _is_expression(text: str) -> bool:
    if not text:
        return False
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def validate_time_zone(text: str) -> str:
    """Check a zone's IANA name. A machine without zone data knows none, and then every name passes.

    Raises
    ------
    UsageError
        If there is no such zone.
    """
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        if known := available_timezones():
            near = next((name for name in sorted(known) if name.lower().endswith(f"/{text.lower()}")), "Asia/Seoul")
            raise UsageError(f"{text!r} is no time zone", hint=f"one is {near}") from None
    return text


def make_choice_parser(name: str, choices: tuple[str, ...]) -> Callable[[str], str]:
    """Make a reader that accepts only `choices`."""

    def read(text: str) -> str:
        if text not in choices:
            raise UsageError(f"{name} takes {', '.join(choices)}", hint=f"not {text!r}")
        return text

    return read


def parse_line_count(text: str) -> int:
    """Read a number of lines from 0 to `MAX_TAIL_LINES`."""
    if not re.fullmatch(r"\d{1,6}", word := text.strip(), re.ASCII) or int(word) > MAX_TAIL_LINES:
        raise UsageError(f"--tail takes a number of lines from 0 to {MAX_TAIL_LINES}", hint=f"not {text!r}")
    return int(word)


@frozen
class RunOptionSpec:
    """One option: its flag, the `RunOptions` field that it fills, how to read it, and its help."""

    flag: str
    field: str
    metavar: str
    read: Callable[[str], Any] | None
    help: str
    cell_only: bool = False


RUN_OPTION_SPECS = (
    RunOptionSpec(
        "--min", "min_seconds", "DURATION", parse_duration, "tell only if it ran at least so long: 90s, 5m, 1h30m"
    ),
    RunOptionSpec(
        "--on", "on", "|".join(ON_CHOICES), make_choice_parser("--on", ON_CHOICES), "when to tell (default: always)"
    ),
    RunOptionSpec(
        "--mention", "mention", "WHO", parse_mention, "ping @here, @channel, a member (U…) or a user group (S…)"
    ),
    RunOptionSpec(
        "--show",
        "show",
        "EXPR[,EXPR…]",
        parse_expressions,
        "values that the alert shows, taken after the cell, each within two seconds",
        cell_only=True,
    ),
    RunOptionSpec(
        "--tail",
        "tail",
        "N",
        parse_line_count,
        "the last N printed lines (off by default: output can hold secrets)",
    ),
    RunOptionSpec(
        "--lang", "lang", "|".join(LANGUAGES), make_choice_parser("--lang", LANGUAGES), "the alert's language"
    ),
    RunOptionSpec("--channel", "channel", "NAME", str, "another channel (only legacy webhooks heed it)"),
    RunOptionSpec(
        "--together",
        "together",
        "",
        None,
        "one alert for all cells of a Run All that ask for it",
        cell_only=True,
    ),
)
