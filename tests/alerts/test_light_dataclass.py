"""Frozen events behave as frozen dataclasses do, and cost the Lambda function none of what those import."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cwnotify.alerts.light_dataclass import frozen

TOP = Path(__file__).parents[2]
LIGHT = "cwnotify.alerts.parsing.envelopes, cwnotify.alerts.messages.digest"
HEAVY = ("dataclasses", "inspect", "zoneinfo", "cwnotify.alerts.events.runs", "cwnotify.alerts.messages.run")


@frozen
class Point:
    x: int
    y: int = 0


@dataclasses.dataclass(frozen=True)
class Twin:
    x: int
    y: int = 0


def test_it_is_as_a_frozen_dataclass_is() -> None:
    made: Any = Point
    point = made(1, y=2)
    twin = Twin(1, y=2)
    assert repr(point) == repr(twin).replace("Twin", "Point")
    assert point == made(1, 2) != made(2, 1)
    assert point != twin
    assert hash(point) == hash(made(1, 2))
    assert dataclasses.asdict(point) == dataclasses.asdict(twin)
    assert dataclasses.replace(point, x=5) == made(5, 2)
    assert made.__match_args__ == Twin.__match_args__
    assert dataclasses.is_dataclass(made)


@pytest.mark.parametrize("cls", [Point, Twin])
def test_it_refuses_what_a_frozen_dataclass_refuses(cls: Any) -> None:
    for values, named in (((), {}), ((1,), {"x": 2}), ((1,), {"z": 2}), ((1, 2, 3), {})):
        with pytest.raises(TypeError, match=cls.__name__):
            cls(*values, **named)
    with pytest.raises(AttributeError):
        cls(1).x = 2
    with pytest.raises(AttributeError):
        del cls(1).x


def test_what_the_lambda_function_imports_is_light() -> None:
    asked = f"import sys; sys.path.insert(0, {str(TOP)!r}); import json, urllib.request, {LIGHT}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", asked], capture_output=True, text=True, check=True).stdout
    assert "cwnotify.alerts.parsing.envelopes" in loaded.split()
    assert not set(HEAVY) & set(loaded.split())
