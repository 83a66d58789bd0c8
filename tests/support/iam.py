"""An IAM evaluator: decide whether a policy allows a request, independently of the code that writes the policies.

It supports identity policies, permissions boundaries and the operators that our policies use. It raises
NotImplementedError for anything else. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def is_allowed(policy: dict[str, Any], action: str, resource: str, **context: str | list[str]) -> bool:
    """Return whether `policy` allows `action` on `resource`. Write `__` for ``:`` in the keys of `context`."""
    keys = {key.replace("__", ":").lower(): value for key, value in context.items()}
    effects = {statement["Effect"] for statement in policy["Statement"] if _applies(statement, action, resource, keys)}
    return effects == {"Allow"}


def _applies(statement: dict[str, Any], action: str, resource: str, context: Mapping[str, str | list[str]]) -> bool:
    if {*statement} - {"Sid", "Effect", "Action", "Resource", "Condition"}:
        raise NotImplementedError(statement)
    return (
        any(_matches(action.lower(), pattern.lower()) for pattern in _as_list(statement["Action"]))
        and any(_matches(resource, pattern) for pattern in _as_list(statement["Resource"]))
        and all(
            _is_met(operator, _as_list(expected), context.get(key.lower()))
            for operator, keys in statement.get("Condition", {}).items()
            for key, expected in keys.items()
        )
    )


def _is_met(operator: str, expected: list[str], actual: str | list[str] | None) -> bool:
    if operator == "Null":
        return (actual is None) == (expected == ["true"])
    qualifier, _, name = operator.rpartition(":")
    compare = {"StringEquals": str.__eq__, "StringLike": _matches, "ArnLike": _matches, "ArnEquals": _matches}[name]
    if actual is None:
        return qualifier == "ForAllValues"
    values = _as_list(actual)
    if not qualifier and len(values) != 1:
        raise NotImplementedError("a list of values needs a qualifier such as ForAllValues")
    return all(any(compare(value, pattern) for pattern in expected) for value in values)


def _matches(value: str, pattern: str) -> bool:
    pieces = re.split(r"(\$\{[*?$]\}|[*?])", pattern)
    wildcards = {"*": ".*", "?": "."}
    literal = (piece[2] if re.fullmatch(r"\$\{[*?$]\}", piece) else piece for piece in pieces)
    parts = [wildcards[raw] if raw in wildcards else re.escape(text) for raw, text in zip(pieces, literal, strict=True)]
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
