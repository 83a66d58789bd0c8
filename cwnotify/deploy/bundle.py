"""The function's code as a zip: the handler and the modules of ours that it imports. Standard library and `alerts`.

The imports are read from the source. The same source gives the same bytes on every machine: order, times and modes are
fixed, and nothing is compressed, because versions of zlib differ. The zip's hash therefore identifies the code in a
bucket or function.

Docstrings and comments are removed, because AWS compiles the source at every cold start. Lines keep their numbers, so
that tracebacks in the function's log match this source.
"""

from __future__ import annotations

import ast
import io
import tokenize
import zipfile
from pathlib import Path

from cwnotify.alerts.locale import list_languages

HANDLER_MODULE = "cwnotify.lambda_function"
# Modules that the handler imports only when it needs them.
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
# The file of the blueprint's handler setting, and of the console's default.
ENTRY_FILE = "lambda_function.py"
_ENTRY_SOURCE = f"from {HANDLER_MODULE} import lambda_handler as lambda_handler\n"
_ROOT = Path(__file__).resolve().parents[2]
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def make_zip() -> bytes:
    """Return the zip for AWS Lambda; its handler is ``lambda_function.lambda_handler``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, content in collect_zip_files().items():
            entry = zipfile.ZipInfo(path, _ZIP_EPOCH)
            entry.create_system = 3  # Unix, so that the mode below is read
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def collect_zip_files() -> dict[str, bytes]:
    """Return every file of the zip by its path, sorted."""
    files = {ENTRY_FILE: _ENTRY_SOURCE.encode()}
    pending = [HANDLER_MODULE, *LAZY_MODULES, *(f"cwnotify.alerts.locale.{lang}" for lang in list_languages())]
    while pending:
        module = pending.pop()
        path = _find_file(module)
        if path is None or (name := path.relative_to(_ROOT).as_posix()) in files:
            continue
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        files[name] = _strip_prose(source, tree).encode()
        pending += [module.rpartition(".")[0], *_list_imports(tree)]
    return dict(sorted(files.items()))


def _strip_prose(source: str, tree: ast.Module) -> str:
    """Return the source without comments and docstrings, with every statement on its line."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            first, last = docstring.lineno - 1, docstring.end_lineno or docstring.lineno
            # An empty string remains, because the docstring may be the whole body.
            lines[first:last] = [" " * docstring.col_offset + '""', *[""] * (last - first - 1)]
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


def _find_file(module: str) -> Path | None:
    """Return a module's or package's file; None for a name inside a module, or a module of others."""
    if module.partition(".")[0] != "cwnotify":
        return None
    base = _ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _list_imports(tree: ast.AST) -> list[str]:
    """Return what a module imports when it is loaded. The handler does not need imports inside functions."""
    modules: list[str] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif not isinstance(node, ast.FunctionDef) and not _is_type_checking_block(node):
            modules += _list_imports(node)
    return modules


def _is_type_checking_block(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
