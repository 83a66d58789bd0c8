"""All SQL is in cwnotify/store, each statement in one place."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cwnotify

PACKAGE = Path(cwnotify.__file__).parent
STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|PRAGMA|ATTACH|DETACH|CREATE TABLE|ALTER TABLE) [\w*?({]", re.A)


def statements_in(path: Path) -> Iterator[str]:
    """Yield the texts in a module that begin like an SQL statement."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            text = ast.unparse(node)[2:-1]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if STATEMENT.match(text):
            yield " ".join(text.split())


def test_statements_are_only_in_the_store_package() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if any(statements_in(path))]

    assert {path.parent for path in modules} == {PACKAGE / "store"}


def test_each_statement_is_in_one_place() -> None:
    counts = Counter(statement for path in (PACKAGE / "store").glob("*.py") for statement in statements_in(path))

    assert len(counts) > 30
    assert [statement for statement, count in counts.items() if count > 1] == []
