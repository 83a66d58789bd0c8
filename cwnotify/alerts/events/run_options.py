"""The options of a run's alert, and the parsers of their values.

The magics and the command line build their parsers from `RUN_OPTION_SPECS`. May import the standard library,
`cwnotify.errors` and the pure parts of `cwnotify.alerts`.
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
    """The options of one run's alert.

    Parameters
    ----------
    min_seconds
        Send an alert only if the run took at least this long.
    on
        ``finish`` (only if the run finished), ``error`` (only if it did not) or ``always``.
    mention
        The user or group to ping, in Slack's syntax (``<!here>``, ``<@U…>``, ``<!subteam^S…>``), or empty.
    show
        Expressions whose values the alert includes.
    tail
        How many of the last printed lines the alert includes.
    channel
        Sent as ``channel``; only legacy webhooks support it.
    zone
        IANA name of the zone for times; empty for the language's default.
    together
        Send one alert for all such runs that follow each other.
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
        """Return whether to send an alert for a run that took `seconds` and did or did not finish."""
        if seconds < self.min_seconds:
            return False
        return self.on == "always" or (self.on == "finish") == finished


# Each unit's spellings, English and Korean, and its length in seconds; the largest unit first.
_SPELLINGS = {
    "weeks week w 주": 604800.0,
    "days day d 일": 86400.0,
    "hours hour hrs hr h 시간": 3600.0,
    "minutes minute mins min m 분": 60.0,
    "seconds second secs sec s 초": 1.0,
}
_UNITS = {word: seconds for words, seconds in _SPELLINGS.items() for word in words.split()}
# The unit of a number without one, by the unit before it: the 30 of "1h30" means minutes.
_NEXT_SMALLER = {604800.0: 86400.0, 86400.0: 3600.0, 3600.0: 60.0, 60.0: 1.0}
_PART = rf"(\d+(?:\.\d+)?|\.\d+)\s*({'|'.join(sorted(_UNITS, key=len, reverse=True))})?(?![a-z])"
_CLOCK = r"(?:(\d{1,3})[-\s])?(\d{1,4}):([0-5]?\d):([0-5]?\d(?:\.\d+)?)"
_ISO = (
    r"p(?:(\d+(?:\.\d+)?)w)?(?:(\d+(?:\.\d+)?)d)?(?:t(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?)?"
)


def parse_duration(text: str) -> float:
    """Return a duration in seconds.

    ``90`` (seconds), ``90s``, ``5 min``, ``1h30``, ``1h 30m``, ``2 hours and 5 minutes``, ``01:30:00``, ``PT1H30M``.

    Raises
    ------
    UsageError
        If `text` is not a duration, or longer than `MAX_DURATION_SECONDS`.
    """
    words = text.strip().lower()
    seconds = _parse_clock(words)
    if seconds is None:
        seconds = _parse_units(words)
    if seconds is None or seconds > MAX_DURATION_SECONDS:
        reason = ": it could mean minutes or hours" if re.fullmatch(r"\d+:\d+", words) else ""
        raise UsageError(f"{text!r} is not a duration{reason}", hint="write it like 90s, 5m or 1h30m")
    return seconds


def _parse_clock(words: str) -> float | None:
    """Parse ``H:MM:SS``, optionally after days (as SLURM writes it), or an ISO 8601 duration."""
    if match := re.fullmatch(_CLOCK, words, re.ASCII):
        days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return days * 86400.0 + hours * 3600.0 + minutes * 60.0 + seconds
    match = re.fullmatch(_ISO, words, re.ASCII)
    if match is None or not any(match.groups()):
        return None
    return sum(float(part or 0) * size for part, size in zip(match.groups(), _SPELLINGS.values(), strict=True))


def _parse_units(words: str) -> float | None:
    """Parse numbers with units, each unit smaller than the one before. A single number means seconds."""
    if re.fullmatch(r"\d+(\.\d+)?|\.\d+", words, re.ASCII):
        return float(words)
    total, last, end = 0.0, 0.0, 0
    for match in re.finditer(_PART, words, re.ASCII):
        between = words[end : match.start()]
        unit = _UNITS[match[2]] if match[2] else _NEXT_SMALLER.get(last)
        joins = re.fullmatch(r"\s*(?:,|and)?\s*", between) if end else not between
        if not joins or unit is None or (last and unit >= last):
            return None
        total, last, end = total + float(match[1]) * unit, unit, match.end()
    return total if end == len(words) and last else None


def parse_mention(text: str) -> str:
    """Convert ``@here``, ``@channel``, ``U…`` (a member) or ``S…`` (a user group) to Slack's syntax.

    Raises
    ------
    UsageError
        If `text` is none of these. A webhook cannot ping a display name such as ``@minsu``.
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
        f"{text!r} cannot be mentioned",
        hint="use @here, @channel, a member ID (U…) or a user group ID (S…): "
        "in Slack, open the profile, then ⋮, then Copy member ID",
    )


def parse_expressions(text: str) -> tuple[str, ...]:
    """Split ``loss, f(a, b)`` at the commas outside brackets and quotes.

    Raises
    ------
    UsageError
        If a part is not a Python expression.
    """
    expressions, start = [], 0
    for end in [*(comma.start() for comma in re.finditer(",", text)), len(text)]:
        part = text[start:end].strip()
        if _is_expression(part):
            expressions.append(part)
            start = end + 1
    if remainder := text[start:].strip():
        raise UsageError(f"--show: {remainder!r} is not a Python expression")
    return tuple(expressions)


def _is_expression(text: str) -> bool:
    if not text:
        return False
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def validate_time_zone(text: str) -> str:
    """Return `text` if it is the IANA name of a time zone. Without zone data on this machine, accept any name.

    Raises
    ------
    UsageError
        If no time zone has this name.
    """
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        if names := available_timezones():
            example = next((name for name in sorted(names) if name.lower().endswith(f"/{text.lower()}")), "Asia/Seoul")
            raise UsageError(f"{text!r} is not a time zone", hint=f"use a name such as {example}") from None
    return text


def make_choice_parser(name: str, choices: tuple[str, ...]) -> Callable[[str], str]:
    """Return a parser that accepts only `choices`. `name` is the option's name in its errors."""

    def parse_choice(text: str) -> str:
        if text not in choices:
            raise UsageError(f"{name} cannot be {text!r}", hint=f"choose from {', '.join(choices)}")
        return text

    return parse_choice


def parse_line_count(text: str) -> int:
    """Return a number of lines from 0 to `MAX_TAIL_LINES`.

    Raises
    ------
    UsageError
        If `text` is not such a number.
    """
    if not re.fullmatch(r"\d{1,6}", word := text.strip(), re.ASCII) or int(word) > MAX_TAIL_LINES:
        raise UsageError(f"--tail cannot be {text!r}", hint=f"use a number of lines from 0 to {MAX_TAIL_LINES}")
    return int(word)


@frozen
class RunOptionSpec:
    """One option: its flag, its `RunOptions` field, its value's placeholder, its parser and its help.

    Parameters
    ----------
    read
        Parses the value; None if the option takes no value.
    cell_only
        Whether only a notebook cell accepts the option.
    """

    flag: str
    field: str
    metavar: str
    read: Callable[[str], Any] | None
    help: str
    cell_only: bool = False


RUN_OPTION_SPECS = (
    RunOptionSpec(
        "--min",
        "min_seconds",
        "DURATION",
        parse_duration,
        "notify only if the run took at least this long: 90s, 5m, 1h30m",
    ),
    RunOptionSpec(
        "--on",
        "on",
        "|".join(ON_CHOICES),
        make_choice_parser("--on", ON_CHOICES),
        "notify only after this outcome (default: always)",
    ),
    RunOptionSpec(
        "--mention", "mention", "WHO", parse_mention, "ping @here, @channel, a member (U…) or a user group (S…)"
    ),
    RunOptionSpec(
        "--show",
        "show",
        "EXPR[,EXPR…]",
        parse_expressions,
        "include values, evaluated after the cell with a limit of two seconds each",
        cell_only=True,
    ),
    RunOptionSpec(
        "--tail",
        "tail",
        "N",
        parse_line_count,
        "include the last N printed lines (default: 0, because output can contain secrets)",
    ),
    RunOptionSpec(
        "--lang", "lang", "|".join(LANGUAGES), make_choice_parser("--lang", LANGUAGES), "set the alert's language"
    ),
    RunOptionSpec("--channel", "channel", "NAME", str, "send to another channel (only legacy webhooks support this)"),
    RunOptionSpec(
        "--together", "together", "", None, "send one alert for all cells of a Run All that use it", cell_only=True
    ),
)
