"""The transformer that turns a header into a call of a hidden line magic."""

from __future__ import annotations

import ast

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from cwnotify.notebook.cell_hooks import REGISTER_CELL_MAGIC, find_header_arguments, transform
from cwnotify.notebook.magics import CWNotify


def transform_cell(cell: str) -> str:
    """Transform a cell as IPython does."""
    manager = TransformerManager()
    manager.cleanup_transforms.append(transform)
    return manager.transform_cell(cell)


def magic_call(line: str) -> tuple[str, str]:
    """Return the magic and the argument of a transformed header."""
    call = ast.parse(line).body[0].value  # type: ignore[attr-defined]
    magic, argument = (ast.literal_eval(argument) for argument in call.args)
    return magic, argument


def test_header_magic_is_registered_and_private() -> None:
    assert CWNotify.magics["line"][REGISTER_CELL_MAGIC] == "_register_cell"
    assert REGISTER_CELL_MAGIC.startswith("_")


@pytest.mark.parametrize(
    "arguments", ["", "train", "'my run' --min 5m", '--show f"{epoch}", {"a": 1}["a"]', "$x {y} \\"]
)
def test_header_becomes_one_line_call(arguments: str) -> None:
    header, *body = transform_cell(f"%%notify_on_finish {arguments}\nx = 1\n\nx").splitlines()

    assert magic_call(header) == (REGISTER_CELL_MAGIC, arguments)
    assert body == ["x = 1", "", "x"]


def test_cell_magic_below_header_is_transformed() -> None:
    header, call = transform_cell("%%notify_on_finish train\n%%time\nx = 1").splitlines()

    assert magic_call(header) == (REGISTER_CELL_MAGIC, "train")
    assert call == "get_ipython().run_cell_magic('time', '', 'x = 1\\n')"


def test_header_above_future_import_becomes_empty_line() -> None:
    body = "# comment\nfrom __future__ import annotations\n"

    assert transform_cell(f"%%notify_on_finish train\n{body}") == f"\n{body}"


@pytest.mark.parametrize(
    "cell", ["x = 1\n", "%%notify_on_finished\n", "%%notify_on_finish?\n", "# %%notify_on_finish\n"]
)
def test_cell_without_header_is_unchanged(cell: str) -> None:
    lines = cell.splitlines(keepends=True)

    assert transform(lines) is lines
    assert find_header_arguments(cell) is None
