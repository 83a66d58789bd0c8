"""A record -> one line of JSON that never exceeds a limit. Standard library only.

What a user shows, prints or raises can have any size. An alert needs little of it, and must not be lost because of it.
"""

from __future__ import annotations

import json
from typing import Any

# The longest text and list in a record that does not fit: the first of these that makes it fit.
_ROOMS = (4096, 1024, 256, 64, 16)
# Keys with texts that stay whole: they name a run.
_WHOLE = frozenset(("kind", "id", "run", "job", "panel"))
# Keys with texts that are of no use, or mean something else, when they are cut: these become empty.
_ALL_OR_NONE = frozenset(("mention", "channel", "zone", "webhook", "light", "dark"))
# A dict with variables of the environment: one that is too long is left out.
_VARIABLES = "environ"

# Made once: `json.dumps` makes one anew each time that it is asked for anything special.
_dumps = json.JSONEncoder(separators=(",", ":")).encode


def encode_within_limit(record: dict[str, Any], limit: int) -> bytes:
    """Return `record` as ASCII JSON of at most `limit` bytes; where it is longer, its longest parts are cut first.

    A cut text ends with an ellipsis. Values left out of a list ``shown`` are counted in ``values_left_out`` beside it.
    """
    line = _dumps(record)
    for room in _ROOMS:
        if len(line) <= limit:
            break
        line = _dumps(_shortened(record, room))
    return line.encode("ascii")


def _shortened(record: dict[str, Any], room: int) -> dict[str, Any]:
    short = {key: _cut(key, value, room) for key, value in record.items()}
    if isinstance(shown := record.get("shown"), list) and len(shown) > room:
        short["values_left_out"] = record.get("values_left_out", 0) + len(shown) - room
    return short


def _cut(key: str, value: Any, room: int) -> Any:
    # Enums are texts of ours, and short.
    if type(value) is str and len(value) > room and key not in _WHOLE:
        return "" if key in _ALL_OR_NONE else f"{value[: room - 1]}…"
    if isinstance(value, list | tuple):
        return [_cut("", item, room) for item in value[:room]]
    if isinstance(value, dict):
        if key == _VARIABLES:
            return {name: text for name, text in value.items() if len(name) + len(str(text)) <= room}
        return _shortened(value, room)
    return value
