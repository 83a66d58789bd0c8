"""Read JSON of unknown shape. Every function returns the type it promises and never raises. Pure.

`as_json_object` compares keys in lower case, because one fact has many spellings: ``NewStateValue`` from SNS,
``newStateValue`` from EventBridge, and ``Name`` or ``name`` from tools that imitate them.
"""

from __future__ import annotations

import json
import math
from datetime import datetime

from cwnotify.alerts.events.alarms import Dimension
from cwnotify.alerts.python310 import UTC, normalize_iso_time

JsonObject = dict[str, object]

# Twice CloudWatch's longest text, the rule of a composite alarm.
_MAX_TEXT_LENGTH = 20_480

# A contributor may have this many attributes. A metric has at most 30 dimensions.
_MAX_DIMENSIONS = 150

# Characters of a value that is written out. A message shows 3,000.
MAX_FORMATTED_LENGTH = 100_000

# Unix seconds from 2001 to 2286: all times that AWS can send.
_MIN_TIME, _MAX_TIME = 1e9, 1e10

# Python raises when it formats an integer of more than 4300 digits.
_MAX_NUMBER = 10**400


def as_dict(value: object) -> dict[object, object]:
    """Return `value` if it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """Return `value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_str(value: object) -> str:
    """Return `value` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def as_json_object(value: object) -> JsonObject:
    """Return a dict's items by lower-case key; an empty dict for anything else."""
    if not isinstance(value, dict):
        return {}
    return {key.lower(): item for key, item in value.items() if isinstance(key, str)}


def as_json_objects(value: object) -> list[JsonObject]:
    """Return the dicts in a list, each as `as_json_object` does."""
    return [as_json_object(item) for item in as_list(value) if isinstance(item, dict)]


def first_text(*values: object) -> str:
    """Return the first of `values` that is a number or non-blank text, stripped and cut to a bounded length."""
    for value in values:
        if isinstance(value, str) and value.strip():
            return value.strip()[:_MAX_TEXT_LENGTH]
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MAX_NUMBER:
            return str(value)
    return ""


def first_number(*values: object) -> float | None:
    """Return the first of `values` that is a finite number, or text of one."""
    for value in values:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                number = float(value)
            except (ValueError, OverflowError):
                continue
            if math.isfinite(number):
                return number
    return None


def first_positive_int(*values: object) -> int | None:
    """Return the first of `values` that is a count: a whole number of at least one."""
    for value in values:
        number = first_number(value)
        if number is not None and 1 <= number < 1e9 and number == int(number):
            return int(number)
    return None


def first_timestamp(*values: object) -> float | None:
    """Return the first of `values` that is a time, as Unix seconds: ISO 8601 (UTC without an offset) or a number.

    The AWS CLI can be configured to print seconds, and AWS's histories contain milliseconds.
    """
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool) and _MIN_TIME <= value <= _MAX_TIME * 1000:
            return float(value) if value <= _MAX_TIME else value / 1000
        if isinstance(value, str):
            try:
                # AWS's own example of a Lambda action has blanks in its times: 12: 56: 46.138+0000.
                time = datetime.fromisoformat(normalize_iso_time(value.strip().replace(": ", ":")))
                return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
            except (ValueError, OverflowError):
                continue
    return None


def parse_dimensions(value: object) -> tuple[Dimension, ...]:
    """Return dimensions from a list of names and values, or from a dict."""
    pairs: list[tuple[object, object]] = [(item.get("name"), item.get("value")) for item in as_json_objects(value)]
    if isinstance(value, dict):
        pairs = list(value.items())
    return tuple(
        Dimension(first_text(name), first_text(content))
        for name, content in pairs[:_MAX_DIMENSIONS]
        if first_text(name)
    )


def decode_json_text(value: object) -> object:
    """Return the value of JSON text; anything else unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def format_any_value(value: object) -> str:
    """Return any value as readable text: text unchanged, anything else as indented JSON of bounded length.

    The limit matters: 240 kB of deeply nested JSON would be 200 MB with its indentation.
    """
    if isinstance(value, str):
        return value
    for write in (_format_indented, _format_line, repr):
        try:
            return write(value)
        except Exception:
            continue
    return f"({type(value).__name__})"


def _format_indented(value: object) -> str:
    pieces, length = [], 0
    # Whole pieces are never cut inside a string, where a secret would no longer match its pattern.
    for piece in json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(value):
        pieces.append(piece)
        length += len(piece)
        if length > MAX_FORMATTED_LENGTH:
            return "".join((*pieces, "…"))
    return "".join(pieces)


def _format_line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
