"""A value of the user's -> the text that an alert shows. Standard library and `alerts.limits` only.

``--show``, `cwnotify.note` and ``notify(show=…)`` all use `format_value`, so a value reads the same in each of them. It
calls the user's code, which may raise anything or block: callers contain that.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from typing import Any

from cwnotify.alerts.text_limits import MAX_VALUE_LENGTH, REDACTION_MARGIN

# How many values an alert shows that were asked for, and how many of those noted.
MAX_SHOWN_VALUES = 50
# Cut to what a message shows only after it is redacted, by `alerts.scrub`.
MAX_VALUE_TEXT = MAX_VALUE_LENGTH + REDACTION_MARGIN
MAX_ERROR_NAME = 80
MAX_ITEMS = 50
MAX_DEPTH = 3
# From here on a float is written without its fraction, and from there on with an exponent, as in `%g`.
MIN_WITHOUT_FRACTION, MIN_WITH_EXPONENT = 1e6, 1e16


def format_value(value: object) -> str:
    """Return what an alert shows of `value`, cut to `MAX_VALUE_TEXT` characters."""
    value = _scalar(value)
    return _cut(value if isinstance(value, str) else _text(value, 0), MAX_VALUE_TEXT)


def format_error_name(error: BaseException) -> str:
    """Return what an alert shows of a value that has no text."""
    return _cut(type(error).__name__, MAX_ERROR_NAME)


def _cut(text: str, limit: int) -> str:
    # As a plain text: a class of the user's may slice in its own way.
    return str.__getitem__(text, slice(limit)) + ("…" if str.__len__(text) > limit else "")


def _text(value: Any, depth: int) -> str:
    value = _scalar(value)
    kind = type(value)
    if kind is bool or value is None:
        return str(value)
    if kind is int:
        return _whole(value)
    if isinstance(value, float | complex) or _is_decimal(value):
        return _real(value)
    if kind in (list, tuple, set, frozenset, dict) and depth < MAX_DEPTH and len(value) <= MAX_ITEMS:
        return _container(value, depth)
    if isinstance(value, str):
        # What is cut here would be cut from the whole.
        return repr(str.__getitem__(value, slice(MAX_VALUE_TEXT + 1)))
    return str(value)


def _scalar(value: Any) -> Any:
    """The one number in an array or a tensor, whatever its shape; all else as it is."""
    shape = getattr(value, "shape", None)
    if shape is None or isinstance(value, type):
        return value
    try:
        if any(length != 1 for length in shape):
            return value
        item = value.item() if hasattr(value, "item") else value.numpy().item()
    except (AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError):
        # No number in it, as in a tensor without data.
        return value
    # NumPy's long doubles give themselves.
    return float(item) if type(item) is type(value) and hasattr(item, "dtype") else item


def _is_decimal(value: object) -> bool:
    decimal: Any = sys.modules.get("decimal")
    return decimal is not None and isinstance(value, decimal.Decimal)


def _whole(value: int) -> str:
    if value.bit_length() < 256:
        return int.__repr__(value)
    # Python refuses to write thousands of digits.
    exponent = math.floor(math.log10(abs(value)))
    mantissa = 10 ** (math.log10(abs(value)) - exponent)
    return f"{'-' if value < 0 else ''}{mantissa:.6g}e+{exponent}"


def _real(value: Any) -> str:
    if isinstance(value, complex) or value != value:
        # Also "not a number", which a Decimal does not compare.
        return f"{value:.6g}"
    size = abs(value)
    # "-0" says nothing.
    return f"{value:.0f}" if MIN_WITHOUT_FRACTION <= size < MIN_WITH_EXPONENT else f"{value if size else size:.6g}"


def _container(value: Any, depth: int) -> str:
    def inner(item: object) -> str:
        return _text(item, depth + 1)

    if isinstance(value, dict):
        return "{" + _joined(f"{inner(key)}: {inner(item)}" for key, item in tuple(value.items())) + "}"
    items = _joined(map(inner, tuple(value)))
    brackets: dict[type, Callable[[str], str]] = {
        list: lambda text: f"[{text}]",
        tuple: lambda text: f"({text},)" if len(value) == 1 else f"({text})",
        set: lambda text: f"{{{text}}}" if value else "set()",
        frozenset: lambda text: f"frozenset({{{text}}})" if value else "frozenset()",
    }
    return brackets[type(value)](items)


def _joined(items: Iterable[str]) -> str:
    """`items` with commas between them, as far as they are shown."""
    texts: list[str] = []
    length = 0
    for item in items:
        texts.append(item)
        length += len(item)
        if length > MAX_VALUE_TEXT:
            break
    return ", ".join(texts)
