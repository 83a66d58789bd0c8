"""The words after a magic -> what was asked. Standard library, `alerts` and `errors` only."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NoReturn

from cwnotify.alerts.frozen import frozen
from cwnotify.alerts.options import OPTIONS, Option, duration
from cwnotify.alerts.redact import short_name
from cwnotify.errors import UsageError

_NAME = re.compile(r"[\w.]*")


@frozen
class Asked:
    """What a header asks: a name, and those fields of `RunOptions` that it gives."""

    name: str = ""
    options: Mapping[str, Any] = MappingProxyType({})


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises instead of leaving, since leaving would end the kernel."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog, description=description, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise a `UsageError` with the usage below it."""
        raise UsageError(f"{message}\n{self.format_usage().strip()}")

    def read(self, line: str) -> dict[str, Any]:
        """The words of `line` by their options; what has no place among them raises `UsageError`."""
        found, left = self.parse_known_args(split(line, self))
        if left:
            self.refuse(left[0])
        return vars(found)

    def refuse(self, word: str) -> NoReturn:
        """Say what may have been meant by a word that has no place."""
        from difflib import get_close_matches

        option = word.partition("=")[0]
        known = self._option_string_actions
        near = [f"--{word}"] if f"--{word}" in known else get_close_matches(option, known, 1)
        if option in ("-h", "--help"):
            self.error(f"for help write {self.prog}?")
        if near:
            self.error(f"{option} is no option; did you mean {near[0]}?")
        if word.startswith("-"):
            self.error(f"{option} is no option")
        self.error(f"{word!r} has no place here; what holds spaces needs quotes around it")


@cache
def cell_parser() -> Parser:
    """The parser of ``%%notify_on_finish``; its help is the magic's."""
    parser = Parser("%%notify_on_finish", "Tell Slack when this cell ends, however it ends.")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="what the alert calls this cell")
    _add_options(parser, OPTIONS)
    return parser


@cache
def all_parser() -> Parser:
    """The parser of ``%notify_all``."""
    parser = Parser("%notify_all", "Tell Slack of every cell that takes long, without registering it.")
    parser.add_argument("--off", action="store_true", help="stop it")
    _add_options(parser, [option for option in OPTIONS if option.field not in ("show", "together", "tail")])
    return parser


def _add_options(parser: Parser, options: tuple[Option, ...] | list[Option]) -> None:
    for option in options:
        if option.read is None:
            parser.add_argument(option.flag, dest=option.field, action="store_true", default=None, help=option.help)
            continue
        several = {"nargs": "+"} if option.field == "show" else {}
        parser.add_argument(
            option.flag,
            dest=option.field,
            metavar=option.metavar,
            help=option.help,
            **several,  # type: ignore[arg-type]
        )


def read_cell(line: str) -> Asked:
    """Read the header of a cell.

    Raises
    ------
    UsageError
        With the usage, if the line cannot be understood.
    """
    if _NAME.fullmatch(line):
        # Most headers are no more than that, and the cell waits for us.
        return Asked(line)
    found = cell_parser().read(line)
    return Asked(unquoted(found.pop("name")), _read(found, cell_parser()))


def read_all(line: str) -> dict[str, Any] | None:
    """Read ``%notify_all``'s words: the options, or None for ``--off``."""
    found = all_parser().read(line)
    return None if found.pop("off") else _read(found, all_parser())


def read_statement(line: str) -> tuple[Asked, str]:
    """Split ``[options] STATEMENT``; the statement is everything from the first word that is no option."""
    flags = {option.flag: option for option in OPTIONS}
    words: list[str] = []
    rest = line.strip()
    while found := re.match(r"(--[a-z]+)(?:[=\s]+|$)", rest):
        option = flags.get(found[1])
        if option is None:
            cell_parser().refuse(found[1])
        words.append(found[1])
        rest = rest[found.end() :]
        if option.read is not None:
            value = re.match(r"""("[^"]*"|'[^']*'|\S+)\s*""", rest)
            words.append(value[1] if value else "")
            rest = rest[value.end() :] if value else ""
    asked = read_cell(" ".join(words))
    return Asked(short_name(rest.strip().splitlines()[0]) if rest.strip() else "", asked.options), rest


def _read(found: dict[str, Any], parser: Parser) -> dict[str, Any]:
    """Turn the words into values; only what was given stays."""
    readers = {option.field: option.read for option in OPTIONS}
    asked = {}
    for name, text in found.items():
        if text is None:
            continue
        read = readers[name]
        words = text if read is None else unquoted(" ".join(text) if isinstance(text, list) else text)
        try:
            asked[name] = words if read is None else read(words)
        except UsageError as error:
            parser.error(str(error))
    return asked


def split(line: str, parser: Parser) -> list[str]:
    """Split at spaces outside quotes. The quotes stay, for ``--show metrics["loss"], "a" in seen`` needs them."""
    lexer = shlex.shlex(line, posix=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        parser.error(f"a quote in {line.strip()!r} has no partner")


def unquoted(text: str) -> str:
    """`text` without the quotes around all of it."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" and text.count(text[0]) == 2
    return text[1:-1] if quoted else text


def long_minimum(asked: dict[str, Any], setting: float) -> dict[str, Any]:
    """``%notify_all`` is for long cells: five minutes, unless the user or the settings say otherwise."""
    return asked if "min_seconds" in asked else asked | {"min_seconds": setting or duration("5m")}
