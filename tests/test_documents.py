"""The docs are correct: links resolve, commands exist, quoted errors are in the code."""

from __future__ import annotations

import ast
import json
import re
import shlex
from functools import cache
from pathlib import Path

import click
import nbformat
import pytest
from click.testing import CliRunner
from IPython.core.inputtransformer2 import TransformerManager

import cwnotify
from cwnotify.cli import cwnotify as command_line
from cwnotify.deploy.kms_keys import allows_cloudwatch
from docs.make_outputs import NOTEBOOKS

TOP = Path(__file__).parents[1]
PAGES = sorted([*TOP.glob("*.md"), *TOP.glob("docs/*.md")])
TROUBLESHOOTING = (TOP / "docs" / "troubleshooting.md").read_text()


def name(path: Path) -> str:
    return str(path.relative_to(TOP))


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def commands(page: str) -> set[str]:
    """Return every command line on a page, in its text and in its shell blocks."""
    prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    typed = [line for line in lines if re.match(r"(cwnotify|make|pip) ", line)]
    return {" ".join(one.split()) for one in [*typed, *re.findall(r"`((?:cwnotify|make) [^`]*)`", prose)]}


def headings(page: str) -> list[str]:
    prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    return re.findall(r"^(#+) .+$", prose, re.MULTILINE)


def anchors(page: str) -> set[str]:
    found = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in found}


@cache
def strings_in_code() -> str:
    """Return every string in the package, including the fixed parts of f-strings."""
    strings = []
    for path in sorted((TOP / "cwnotify").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                strings.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings.append(node.value)
    return "\n".join(strings)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_resolve(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        other = (path.parent / file) if file else path
        assert other.exists(), target
        assert not anchor or anchor in anchors(other.read_text()), target


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_commands_and_options_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (TOP / "Makefile").read_text(), re.MULTILINE))
    for line in commands(path.read_text()):
        program, *words = shlex.split(line)
        if program == "make":
            assert set(words) <= targets, line
        elif program == "cwnotify":
            context: click.Context = click.Context(command_line)
            command: click.Command = command_line
            while words and isinstance(command, click.Group):
                subcommand = command.get_command(context, words[0])
                assert subcommand, line
                command, words = subcommand, words[1:]
            # Raises if the command does not have the option, or the option rejects the value.
            command.make_context(line, words, resilient_parsing=True)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_python_blocks_compile(path: Path) -> None:
    for block in blocks(path.read_text(), "python"):
        ast.parse(TransformerManager().transform_cell(block))


@pytest.mark.parametrize("quoted", re.findall(r"^### `(.+)`$", TROUBLESHOOTING, re.MULTILINE))
def test_quoted_error_is_in_code(quoted: str) -> None:
    for part in re.split("…|; ", quoted):
        assert part.strip() in strings_in_code()


@pytest.mark.parametrize("path", sorted(TOP.glob("notebooks/*.ipynb")), ids=name)
def test_notebook_has_title_links_and_outputs(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")

    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert all("://" in link or (path.parent / link).exists() for link in links), links
    assert cells[0].source.startswith("# ")
    assert path.name not in NOTEBOOKS or any(cell.get("outputs") for cell in cells)


def test_copied_policy_equals_printed_policy() -> None:
    copied, statement = blocks((TOP / "docs" / "aws.md").read_text(), "json")
    printed = CliRunner().invoke(command_line, ["policy", "notebook"])

    assert json.loads(copied) == json.loads(printed.stdout)
    assert allows_cloudwatch({"Statement": [json.loads(statement)]})


def test_korean_readme_has_same_structure() -> None:
    english, korean = ((TOP / name).read_text() for name in ("README.md", "README.ko.md"))

    assert headings(english) == headings(korean)
    assert blocks(english, "sh") == blocks(korean, "sh")
    assert blocks(english, "python") == blocks(korean, "python")
    variables = r"`(CWNOTIFY_[A-Z_]+)`"
    assert set(re.findall(variables, english)) == set(re.findall(variables, korean))


def test_version_is_same_everywhere() -> None:
    assert f"version: {cwnotify.__version__}\n" in (TOP / "CITATION.cff").read_text()
