"""Golden files: expected results as readable text.

``UPDATE_GOLDEN=1 pytest tests/alerts`` updates them. Review the diff before you commit it.
"""

from __future__ import annotations

import os
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DATA_DIR = Path(__file__).parent / "data"


def assert_golden(path: Path, text: str) -> None:
    """Assert that `path` contains `text`."""
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def format_event(event: Any) -> str:
    """Return a frozen event as lines of ``name: value``, without fields that have their default."""
    lines = [type(event).__name__]
    for field in fields(event):
        value = getattr(event, field.name)
        if value != field.default:
            lines += _lines(field.name, value)
    return "\n".join(lines) + "\n"


def _lines(name: str, value: Any) -> list[str]:
    if isinstance(value, tuple) and value and isinstance(value[0], float):
        return [f"  {name}: {', '.join(map(str, value))}"]
    if isinstance(value, tuple):
        return [f"  {name}:", *(f"    - {_short(item)}" for item in value)]
    if isinstance(value, str) and "\n" in value:
        return [f"  {name}: |", *(f"    {line}" for line in value.splitlines())]
    return [f"  {name}: {_format(name, value)}"]


def _short(item: Any) -> str:
    if isinstance(item, str):
        return item
    values = {field.name: getattr(item, field.name) for field in fields(item)}
    return ", ".join(
        f"{name} {'; '.join(map(_short, value)) if isinstance(value, tuple) else _format(name, value)}"
        for name, value in values.items()
        if value not in ("", None, ())
    )


def _format(name: str, value: Any) -> str:
    if name in ("at", "before_since", "muted_until"):
        return datetime.fromtimestamp(value, UTC).isoformat(" ", "milliseconds").replace("+00:00", " UTC")
    return str(value)
