"""Format a user's value as the text that an alert shows. Imports the standard library and `alerts.text_limits`.

``--show``, `cwnotify.note` and ``notify(show=…)`` all use `format_value`, so a value has the same text in each. It runs
user code, which may raise anything or block; callers must guard against that.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from typing import Any

from cwnotify.alerts.text_limits import MAX_VALUE_LENGTH, REDACTION_MARGIN

# For the values of `show`, and again for those of `note`.
MAX_SHOWN_VALUES = 50
# Includes a margin: `alerts.redaction` cuts a value to what a message shows only after redacting it.
MAX_VALUE_TEXT = MAX_VALUE_LENGTH + REDACTION_MARGIN
MAX_ERROR_NAME = 80
MAX_ITEMS = 50
MAX_DEPTH = 3
# Floats of this size or more have no fraction, then an exponent, as with `%g`.
MIN_WITHOUT_FRACTION, MIN_WITH_EXPONENT = 1e6, 1e16


def format_value(value: object) -> str:
    """Return the text for `value`, cut to `MAX_VALUE_TEXT` characters."""
    value = _unwrap_scalar(value)
    return _cut(value if isinstance(value, str) else _format_item(value, 0), MAX_VALUE_TEXT)


def format_error_name(error: BaseException) -> str:
    """Return what the alert shows instead of a value whose text raised `error`."""
    return _cut(type(error).__name__, MAX_ERROR_NAME)


def _cut(text: str, limit: int) -> str:
    # `str` methods, because a subclass may override slicing and length.
    return str.__getitem__(text, slice(limit)) + ("…" if str.__len__(text) > limit else "")


def _format_item(value: Any, depth: int) -> str:
    value = _unwrap_scalar(value)
    kind = type(value)
    if kind is bool or value is None:
        return str(value)
    if kind is int:
        return _format_int(value)
    if isinstance(value, float | complex) or _is_decimal(value):
        return _format_float(value)
    if kind in (list, tuple, set, frozenset, dict) and depth < MAX_DEPTH and len(value) <= MAX_ITEMS:
        return _format_container(value, depth)
    if isinstance(value, str):
        # The rest could not be shown, so its repr is not built.
        return repr(str.__getitem__(value, slice(MAX_VALUE_TEXT + 1)))
    return str(value)


def _unwrap_scalar(value: Any) -> Any:
    """Return the number in an array or tensor with one element, whatever its shape; any other value unchanged."""
    shape = getattr(value, "shape", None)
    if shape is None or isinstance(value, type):
        return value
    try:
        if any(length != 1 for length in shape):
            return value
        item = value.item() if hasattr(value, "item") else value.numpy().item()
    except (AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError):
        # It holds no number: for example a tensor on the meta device.
        return value
    # A NumPy long double returns itself.
    return float(item) if type(item) is type(value) and hasattr(item, "dtype") else item


def _is_decimal(value: object) -> bool:
    decimal: Any = sys.modules.get("decimal")
    return decimal is not None and isinstance(value, decimal.Decimal)


def _format_int(value: int) -> str:
    if value.bit_length() < 256:
        return int.__repr__(value)
    # Python raises ValueError for thousands of digits.
    exponent = math.floor(math.log10(abs(value)))
    mantissa = 10 ** (math.log10(abs(value)) - exponent)
    return f"{'-' if value < 0 else ''}{mantissa:.6g}e+{exponent}"


def _format_float(value: Any) -> str:
    if isinstance(value, complex) or value != value:
        # NaN comes first, because a Decimal NaN cannot be compared by size.
        return f"{value:.6g}"
    size = abs(value)
    # `size` turns -0.0 into 0.
    return f"{value:.0f}" if MIN_WITHOUT_FRACTION <= size < MIN_WITH_EXPONENT else f"{value if size else size:.6g}"


def _format_container(value: Any, depth: int) -> str:
    def format_inner(item: object) -> str:
        return _format_item(item, depth + 1)

    if isinstance(value, dict):
        pairs = (f"{format_inner(key)}: {format_inner(item)}" for key, item in tuple(value.items()))
        return "{" + _join_visible(pairs) + "}"
    items = _join_visible(map(format_inner, tuple(value)))
    brackets: dict[type, Callable[[str], str]] = {
        list: lambda text: f"[{text}]",
        tuple: lambda text: f"({text},)" if len(value) == 1 else f"({text})",
        set: lambda text: f"{{{text}}}" if value else "set()",
        frozenset: lambda text: f"frozenset({{{text}}})" if value else "frozenset()",
    }
    return brackets[type(value)](items)


def _join_visible(items: Iterable[str]) -> str:
    """Join `items` with commas, and stop when the text is longer than an alert shows."""
    texts: list[str] = []
    length = 0
    for item in items:
        texts.append(item)
        length += len(item)
        if length > MAX_VALUE_TEXT:
            break
    return ", ".join(texts)
