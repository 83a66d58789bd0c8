"""Encode a record as one line of JSON within a size limit. Standard library only.

What a user shows, prints or raises can have any size. An alert needs little of it, and must not be lost because of it.
"""

from __future__ import annotations

import json
from typing import Any

# The maximum length of texts and lists in a record that is too long. The first that makes it fit is used.
_MAX_LENGTHS = (4096, 1024, 256, 64, 16)
# Keys whose texts are never cut, because they identify something.
_IDENTIFIER_KEYS = frozenset(("kind", "id", "run", "job", "panel"))
# Keys whose texts are useless, or mean something else, if cut. They become empty.
_INDIVISIBLE_KEYS = frozenset(("mention", "channel", "zone", "webhook", "light", "dark"))
# The key of environment variables. A variable that is too long is left out.
_ENVIRONMENT_KEY = "environ"

# Created once: `json.dumps` with any option creates a new encoder in each call.
_dumps = json.JSONEncoder(separators=(",", ":")).encode


def encode_within_limit(record: dict[str, Any], limit: int) -> bytes:
    """Return `record` as ASCII JSON of at most `limit` bytes, cutting its longest parts if necessary.

    A cut text ends with an ellipsis. ``values_left_out`` counts the values removed from a list ``shown`` beside it.
    """
    line = _dumps(record)
    for max_length in _MAX_LENGTHS:
        if len(line) <= limit:
            break
        line = _dumps(_shorten(record, max_length))
    return line.encode("ascii")


def _shorten(record: dict[str, Any], max_length: int) -> dict[str, Any]:
    short = {key: _cut(key, value, max_length) for key, value in record.items()}
    if isinstance(values := record.get("shown"), list) and len(values) > max_length:
        short["values_left_out"] = record.get("values_left_out", 0) + len(values) - max_length
    return short


def _cut(key: str, value: Any, max_length: int) -> Any:
    # Not a subclass: our enums are short.
    if type(value) is str and len(value) > max_length and key not in _IDENTIFIER_KEYS:
        return "" if key in _INDIVISIBLE_KEYS else f"{value[: max_length - 1]}…"
    if isinstance(value, list | tuple):
        return [_cut("", item, max_length) for item in value[:max_length]]
    if isinstance(value, dict):
        if key == _ENVIRONMENT_KEY:
            return {name: text for name, text in value.items() if len(name) + len(str(text)) <= max_length}
        return _shorten(value, max_length)
    return value
