"""Reading loose data: whatever the value is, an answer of the type asked for, never an exception. Pure.

Keys are compared in lower case, since the same fact is spelled ``NewStateValue`` by SNS, ``newStateValue`` by
EventBridge and ``Name`` or ``name`` by whatever imitates them.
"""

from __future__ import annotations

import json
import math
from datetime import datetime

from cwnotify.alerts.events.alarms import Dimension
from cwnotify.alerts.python310 import UTC, normalize_iso_time

JsonObject = dict[str, object]

# Twice the longest that CloudWatch allows, a composite alarm's rule; whatever is longer is none of its texts.
_MOST_TEXT = 20_480

# As many attributes as a contributor may have; a metric has at most 30 dimensions.
_MAX_DIMENSIONS = 150

# Characters of a value that are written out; a message shows 3,000 of them.
MAX_FORMATTED_LENGTH = 100_000

# Any time that AWS can send: 2001 to 2286.
_EARLIEST, _LATEST = 1e9, 1e10

# Python refuses to write out integers of more than 4300 digits; nobody would read this many either.
_LARGEST = 10**400


def as_json_object(value: object) -> JsonObject:
    """A mapping's items by lower-case key; nothing for anything else."""
    if not isinstance(value, dict):
        return {}
    return {key.lower(): item for key, item in value.items() if isinstance(key, str)}


def as_json_objects(value: object) -> list[JsonObject]:
    """The mappings in a list."""
    return [as_json_object(item) for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def first_text(*values: object) -> str:
    """The first of `values` that says something, without the space around it and not beyond any sense."""
    for value in values:
        if isinstance(value, str) and value.strip():
            return value.strip()[:_MOST_TEXT]
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST:
            return str(value)
    return ""


def first_number(*values: object) -> float | None:
    """The first of `values` that is a finite number, or the text of one."""
    for value in values:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                found = float(value)
            except (ValueError, OverflowError):
                continue
            if math.isfinite(found):
                return found
    return None


def first_positive_int(*values: object) -> int | None:
    """The first of `values` that can be a number of things: whole, and at least one."""
    for value in values:
        found = first_number(value)
        if found is not None and 1 <= found < 1e9 and found == int(found):
            return int(found)
    return None


def first_timestamp(*values: object) -> float | None:
    """The first of `values` that is a time, as Unix seconds: ISO 8601 (without an offset UTC), or a number.

    The command line prints numbers of seconds where it is configured to, and AWS's histories hold milliseconds.
    """
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool) and _EARLIEST <= value <= _LATEST * 1000:
            return float(value) if value <= _LATEST else value / 1000
        if isinstance(value, str):
            try:
                # AWS's own example of a Lambda action has blanks in its times: 12: 56: 46.138+0000.
                found = datetime.fromisoformat(normalize_iso_time(value.strip().replace(": ", ":")))
                return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
            except (ValueError, OverflowError):
                continue
    return None


def parse_dimensions(value: object) -> tuple[Dimension, ...]:
    """Dimensions from a list of names and values, or from a mapping."""
    pairs: list[tuple[object, object]] = [(item.get("name"), item.get("value")) for item in as_json_objects(value)]
    if isinstance(value, dict):
        pairs = list(value.items())
    return tuple(
        Dimension(first_text(name), first_text(given)) for name, given in pairs[:_MAX_DIMENSIONS] if first_text(name)
    )


def decode_json_text(value: object) -> object:
    """What JSON text stands for; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def format_any_value(value: object) -> str:
    """Any value as text that a person can read: text as it is, the rest as indented JSON, cut where it grows too long.

    Indented, 240 kB of deeply nested JSON would be 200 MB.
    """
    if isinstance(value, str):
        return value
    for write in (_as_json, _as_line, repr):
        try:
            return write(value)
        except Exception:
            continue
    return f"({type(value).__name__})"


def _as_json(value: object) -> str:
    pieces, length = [], 0
    # Piece by piece, and so never cut inside a string, where a secret could lose its form.
    for piece in json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(value):
        pieces.append(piece)
        length += len(piece)
        if length > MAX_FORMATTED_LENGTH:
            return "".join((*pieces, "…"))
    return "".join(pieces)


def _as_line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
