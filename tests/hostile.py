"""Malformed data for Hypothesis: any Python value, and real events with some parts replaced."""

from __future__ import annotations

import copy
import functools
import json
from typing import Any

from hypothesis import strategies as st

HOSTILE_STRINGS = (
    "<!channel> <!here|x> <@U123> <https://evil.example|click> &amp; & > \u202e ``` ` * _ ~ |",
    "&" * 5_000,
    "🚀" * 300,
    "\ud800 lone",
    "\x1b[31mred\x00",
    "a\nb\n\nc",
    "REGION",
    "1" * 5_000,
    '{"AlarmName": "x", "NewStateValue": "ALARM"}',
    "[" * 3_000,
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**4_200),
    st.floats(),
    st.text(st.characters(), max_size=40),
    st.sampled_from(HOSTILE_STRINGS),
)


@functools.cache  # Hypothesis validates every new strategy, which takes longer than to draw from it.
def any_value() -> st.SearchStrategy[Any]:
    """Return values that JSON can represent, and some that only Python can."""
    keys = st.text(max_size=10) | st.sampled_from(("Records", "Sns", "Message", "detail", "state", "AlarmName"))
    json_values = st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=20
    )
    python_values = st.sampled_from((object(), {1: 2}, {None: "x"}, (1, 2), {3}, b"\xff{", 1j, float("nan")))
    return json_values | python_values


@st.composite
def mutated_events(draw: st.DrawFn, events: dict[str, Any]) -> Any:
    """Return one of `events` with some parts replaced or removed, also inside JSON strings."""
    event = copy.deepcopy(events[draw(st.sampled_from(sorted(events)))])
    for _ in range(draw(st.integers(1, 4))):
        event = _mutate(draw, event, draw(st.integers(1, 9)))
    return event


def _mutate(draw: st.DrawFn, value: Any, depth: int) -> Any:
    if isinstance(value, str) and value[:1] in "{[" and depth > 0:
        try:
            return json.dumps(_mutate(draw, json.loads(value), depth))
        except (ValueError, TypeError, RecursionError):
            return value
    if isinstance(value, dict) and value and depth > 0:
        key = draw(st.sampled_from(sorted(value, key=str)))
        if draw(st.integers(0, 9)) == 0:
            return {name: item for name, item in value.items() if name != key}
        return value | {key: _mutate(draw, value[key], depth - 1)}
    if isinstance(value, list) and value and depth > 0:
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], _mutate(draw, value[index], depth - 1), *value[index + 1 :]]
    return draw(any_value())
