"""Frozen classes behave like frozen dataclasses, without the imports of `dataclasses`."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cwnotify.alerts.light_dataclass import frozen

ROOT = Path(__file__).parents[2]
LIGHT_MODULES = "cwnotify.alerts.parsing.envelopes, cwnotify.alerts.messages.digest"
HEAVY_MODULES = ("dataclasses", "inspect", "zoneinfo", "cwnotify.alerts.events.runs", "cwnotify.alerts.messages.run")


@frozen
class Point:
    x: int
    y: int = 0


@dataclasses.dataclass(frozen=True)
class Twin:
    x: int
    y: int = 0


def test_frozen_class_behaves_like_a_frozen_dataclass() -> None:
    cls: Any = Point
    point = cls(1, y=2)
    twin = Twin(1, y=2)
    assert repr(point) == repr(twin).replace("Twin", "Point")
    assert point == cls(1, 2) != cls(2, 1)
    assert point != twin
    assert hash(point) == hash(cls(1, 2))
    assert dataclasses.asdict(point) == dataclasses.asdict(twin)
    assert dataclasses.replace(point, x=5) == cls(5, 2)
    assert cls.__match_args__ == Twin.__match_args__
    assert dataclasses.is_dataclass(cls)


@pytest.mark.parametrize("cls", [Point, Twin])
def test_frozen_class_rejects_wrong_arguments_and_changes(cls: Any) -> None:
    for values, named_values in (((), {}), ((1,), {"x": 2}), ((1,), {"z": 2}), ((1, 2, 3), {})):
        with pytest.raises(TypeError, match=cls.__name__):
            cls(*values, **named_values)
    with pytest.raises(AttributeError):
        cls(1).x = 2
    with pytest.raises(AttributeError):
        del cls(1).x


def test_alert_imports_of_the_function_are_light() -> None:
    imports = f"json, urllib.request, {LIGHT_MODULES}"
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {imports}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert "cwnotify.alerts.parsing.envelopes" in loaded.split()
    assert not set(HEAVY_MODULES) & set(loaded.split())
