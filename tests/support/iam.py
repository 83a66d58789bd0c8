"""An IAM evaluator for tests: decides whether policies allow a request, independent of the code that writes them.

It knows identity policies and permissions boundaries, and the operators that our policies use; anything else is an
error. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def is_allowed(policy: dict[str, Any], action: str, resource: str, **context: str | list[str]) -> bool:
    """Whether `policy` allows `action` on `resource`; keys of `context` are spelled with `__` instead of ``:``."""
    keys = {key.replace("__", ":").lower(): value for key, value in context.items()}
    effects = {one["Effect"] for one in policy["Statement"] if _applies(one, action, resource, keys)}
    return effects == {"Allow"}


def _applies(statement: dict[str, Any], action: str, resource: str, context: Mapping[str, str | list[str]]) -> bool:
    if {*statement} - {"Sid", "Effect", "Action", "Resource", "Condition"}:
        raise NotImplementedError(statement)
    return (
        any(_like(action.lower(), one.lower()) for one in _listed(statement["Action"]))
        and any(_like(resource, one) for one in _listed(statement["Resource"]))
        and all(
            _holds(operator, _listed(expected), context.get(key.lower()))
            for operator, keys in statement.get("Condition", {}).items()
            for key, expected in keys.items()
        )
    )


def _holds(operator: str, expected: list[str], actual: str | list[str] | None) -> bool:
    if operator == "Null":
        return (actual is None) == (expected == ["true"])
    qualifier, _, name = operator.rpartition(":")
    compare = {"StringEquals": str.__eq__, "StringLike": _like, "ArnLike": _like, "ArnEquals": _like}[name]
    if actual is None:
        return qualifier == "ForAllValues"
    values = _listed(actual)
    if not qualifier and len(values) != 1:
        raise NotImplementedError("several values need a qualifier")
    return all(any(compare(value, one) for one in expected) for value in values)


def _like(value: str, pattern: str) -> bool:
    pieces = re.split(r"(\$\{[*?$]\}|[*?])", pattern)
    signs = {"*": ".*", "?": "."}
    literal = (piece[2] if re.fullmatch(r"\$\{[*?$]\}", piece) else piece for piece in pieces)
    parts = [signs[raw] if raw in signs else re.escape(text) for raw, text in zip(pieces, literal, strict=True)]
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
