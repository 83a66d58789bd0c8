"""The function's code as a zip: the handler and those modules of ours that it imports, found by reading the imports.

Standard library and `alerts` only. The same source gives the same bytes on every machine: order, times and modes are
fixed, and nothing is compressed, because zlib's versions compress differently. So the zip's hash tells whether a bucket
or a function holds this very code. Docstrings and
comments stay behind, for AWS compiles the source at every cold start; lines keep their numbers, so that a traceback
in the function's log points to the right place here.
"""

from __future__ import annotations

import ast
import io
import tokenize
import zipfile
from pathlib import Path

from cwnotify.alerts.locale import list_languages

HANDLER_MODULE = "cwnotify.lambda_function"
# What the handler imports only when it needs it.
LAZY_MODULES = (
    "cwnotify.alerts.messages.alarm_description",
    "cwnotify.alerts.messages.digest",
    "cwnotify.alerts.messages.notice",
    "cwnotify.alerts.parsing.other_events",
    "cwnotify.alerts.redaction.patterns",
    "cwnotify.alerts.redaction.values",
)
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html; see cwnotify.alerts.python310 for the oldest one.
RUNTIMES = ("python3.10", "python3.11", "python3.12", "python3.13", "python3.14")
# Where the blueprint's handler setting, and the console's default, look for it.
ENTRY_FILE = "lambda_function.py"
_ENTRY_TEXT = f"from {HANDLER_MODULE} import lambda_handler as lambda_handler\n"
_ROOT = Path(__file__).resolve().parents[2]
_EARLIEST = (1980, 1, 1, 0, 0, 0)


def make_zip() -> bytes:
    """The zip, ready for AWS Lambda; its handler is ``lambda_function.lambda_handler``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, content in collect_zip_files().items():
            entry = zipfile.ZipInfo(path, _EARLIEST)
            entry.create_system = 3  # Unix, so that the mode below is read
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def collect_zip_files() -> dict[str, bytes]:
    """Every file of the zip by its path there, in order."""
    found = {ENTRY_FILE: _ENTRY_TEXT.encode()}
    todo = [HANDLER_MODULE, *LAZY_MODULES, *(f"cwnotify.alerts.locale.{lang}" for lang in list_languages())]
    while todo:
        module = todo.pop()
        path = _file(module)
        if path is None or (name := path.relative_to(_ROOT).as_posix()) in found:
            continue
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        found[name] = _lean(source, tree).encode()
        todo += [module.rpartition(".")[0], *_imports(tree)]
    return dict(sorted(found.items()))


def _lean(source: str, tree: ast.Module) -> str:
    """The source without comments and docstrings; what is left stands on the lines where it stood."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            text = node.body[0]
            first, last = text.lineno - 1, text.end_lineno or text.lineno
            # Something has to remain where the docstring was all of the body.
            lines[first:last] = [" " * text.col_offset + '""', *[""] * (last - first - 1)]
    return _shrink_indentation("\n".join(lines) + "\n")


def _shrink_indentation(source: str) -> str:
    """Indent by one space instead of four, except inside strings. The zip is not compressed."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    string_rows = {row for token in tokens for row in range(token.start[0] + 1, token.end[0] + 1)}
    lines = source.splitlines(keepends=True)
    for row, line in enumerate(lines, start=1):
        if row not in string_rows:
            code = line.lstrip(" ")
            lines[row - 1] = " " * ((len(line) - len(code)) // 4) + code
    return "".join(lines)


def _file(module: str) -> Path | None:
    """A module's or package's file; None for what is a name in a module, or not ours."""
    if module.partition(".")[0] != "cwnotify":
        return None
    base = _ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _imports(tree: ast.AST) -> list[str]:
    """What a module imports as it is imported; what only its functions import, the handler does without."""
    found: list[str] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif not isinstance(node, ast.FunctionDef) and not _is_for_checkers(node):
            found += _imports(node)
    return found


def _is_for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
