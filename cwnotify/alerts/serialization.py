"""Convert frozen dataclasses to JSON-ready dicts and back. Standard library only.

Events cross the pipe and are stored in the outbox as JSON. A reader may be older or newer than the writer. It ignores
unknown keys, and missing ones take the dataclass's default.
"""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
_SCALAR_TYPES = frozenset({str, int, float, bool, type(None)})


def to_json_dict(value: Any) -> dict[str, Any]:
    """Return a dataclass instance as a dict for `json.dumps`, which writes enums as their values."""
    # `asdict` deep-copies every string and number, and this runs in the path of a cell.
    return {
        name: field if type(field) in _SCALAR_TYPES else _to_json_value(field) for name, field in vars(value).items()
    }


def _to_json_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_json_value(item) for item in value]
    return to_json_dict(value) if "__dataclass_fields__" in vars(type(value)) else value


def from_json_dict(cls: type[T], record: object) -> T:
    """Build a `cls` from a dict that `to_json_dict` returned.

    Raises
    ------
    ValueError
        If `record` is not a valid `cls`; the message names the field.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"{cls.__name__} is not a mapping")
    values = {}
    for name, kind, is_optional in _field_types(cast(Hashable, cls)):
        if name in record:
            values[name] = _read_value(kind, record[name], f"{cls.__name__}.{name}")
        elif not is_optional:
            raise ValueError(f"{cls.__name__}.{name} is missing")
    return cls(**values)


@cache
def _field_types(cls: Any) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(cls)
    return tuple(
        (field.name, hints[field.name], field.default is not MISSING or field.default_factory is not MISSING)
        for field in fields(cls)
    )


def _read_value(kind: Any, value: object, path: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        if value is None and type(None) in inner:
            return None
        return _read_value(next(option for option in inner if option is not type(None)), value, path)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{path} is not a list")
        return tuple(_read_value(inner[0], item, path) for item in value)
    if is_dataclass(kind):
        return from_json_dict(kind, value)  # type: ignore[arg-type]
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"{path} is not a valid {kind.__name__}") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{path} is too large") from None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{path} is not a valid {kind.__name__}")
    return value
