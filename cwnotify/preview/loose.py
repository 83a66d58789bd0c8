"""JSON of unknown make, read without trust: a value of the wrong type counts as missing. Imports nothing."""

from __future__ import annotations


def as_dict(value: object) -> dict[object, object]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """`value` if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def as_str(value: object) -> str:
    """`value` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""
