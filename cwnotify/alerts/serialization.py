"""Frozen dataclasses -> JSON-ready dicts, and back. Standard library only.

Events cross the pipe and rest in the outbox as JSON. A reader may be older or newer than the writer, so keys that
are not known are passed over and missing ones take the dataclass's default.
"""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
_AS_IS = frozenset({str, int, float, bool, type(None)})


def to_json_dict(value: Any) -> dict[str, Any]:
    """A dataclass instance as a dict of what JSON knows (enums become their values when dumped)."""
    # Not `asdict`: it copies every string and number deeply, and this runs on the path of a cell.
    return {name: inner if type(inner) in _AS_IS else _plain(inner) for name, inner in vars(value).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return to_json_dict(value) if "__dataclass_fields__" in vars(type(value)) else value


def from_json_dict(cls: type[T], record: object) -> T:
    """Build a `cls` from what `to_json_dict` made of one.

    Raises
    ------
    ValueError
        If `record` cannot be a `cls`; the message names the field.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"{cls.__name__} is no mapping")
    values = {}
    for name, kind, optional in _shape(cast(Hashable, cls)):
        if name in record:
            values[name] = _read(kind, record[name], f"{cls.__name__}.{name}")
        elif not optional:
            raise ValueError(f"{cls.__name__}.{name} is missing")
    return cls(**values)


@cache
def _shape(cls: Any) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(cls)
    return tuple(
        (f.name, hints[f.name], f.default is not MISSING or f.default_factory is not MISSING) for f in fields(cls)
    )


def _read(kind: Any, value: object, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        if value is None and type(None) in inner:
            return None
        return _read(next(k for k in inner if k is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} is no list")
        return tuple(_read(inner[0], item, where) for item in value)
    if is_dataclass(kind):
        return from_json_dict(kind, value)  # type: ignore[arg-type]
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"{where} is no {kind.__name__}") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{where} is too large") from None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{where} is no {kind.__name__}")
    return value
