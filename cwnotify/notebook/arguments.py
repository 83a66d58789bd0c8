"""The words after a magic -> what was asked. Standard library, `alerts` and `errors` only.

A run is registered whatever its options are: an option that cannot be understood is ignored, with a problem to show,
and costs neither the run's name nor the other options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from cwnotify.alerts.events.run_options import OPTIONS, Option, duration
from cwnotify.alerts.light_dataclass import frozen
from cwnotify.alerts.text_limits import MAX_DERIVED_NAME
from cwnotify.errors import UsageError
from cwnotify.option_parser import OptionParser, split_words, unquoted

_NAME = re.compile(r"[\w.]*")
# "2 hours and 5 minutes"
MAX_DURATION_WORDS = 5


@frozen
class Asked:
    """What a header asks: a name, and those fields of `RunOptions` that it gives.

    Parameters
    ----------
    problems
        What was ignored and why, for the user to read.
    """

    name: str = ""
    options: Mapping[str, Any] = MappingProxyType({})
    problems: tuple[str, ...] = ()


@cache
def cell_parser() -> OptionParser:
    """The parser of ``%%notify_on_finish``; its help is the magic's."""
    parser = OptionParser("%%notify_on_finish", "Tell Slack when this cell ends, however it ends.")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="what the alert calls this cell")
    _add_options(parser, OPTIONS)
    return parser


@cache
def all_parser() -> OptionParser:
    """The parser of ``%notify_all``."""
    parser = OptionParser("%notify_all", "Tell Slack of every cell that takes long, without registering it.")
    parser.add_argument("--off", action="store_true", help="stop it")
    _add_options(parser, [option for option in OPTIONS if option.field not in ("show", "together", "tail")])
    return parser


def _add_options(parser: OptionParser, options: tuple[Option, ...] | list[Option]) -> None:
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
    """Read the header of a cell; what cannot be understood is ignored, see `Asked.problems`."""
    if _NAME.fullmatch(line):
        # Most headers are no more than that, and the cell waits for us.
        return Asked(line)
    return _Reader(cell_parser(), OPTIONS).read(line)


def read_all(line: str) -> Asked | None:
    """Read ``%notify_all``'s words: the options, or None for ``--off``.

    Raises
    ------
    UsageError
        If it may have been meant to stop.
    """
    parser = all_parser()
    words = split_words(line, parser)
    for word in words:
        if word != "--off" and parser.nearest(word) == "--off":
            parser.refuse(word)
    if "--off" in words:
        return None
    fields = {action.dest for action in parser._actions}
    asked = _Reader(parser, tuple(option for option in OPTIONS if option.field in fields)).read(line)
    if asked.name:
        parser.refuse(asked.name)
    return asked


def read_statement(line: str) -> tuple[Asked, str]:
    """Split ``[options] STATEMENT``; the statement is everything from the first word that is not an option.

    Raises
    ------
    UsageError
        If an option is unknown, because the next word may be its value or the statement.
    """
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
    first = rest.strip().splitlines()[0] if rest.strip() else ""
    return Asked(_short(first), asked.options, asked.problems), rest


def _short(statement: str) -> str:
    """The name of a statement: redacted before it is cut."""
    if len(statement) <= MAX_DERIVED_NAME:
        return statement
    # Only for a long one: a cell does without this import.
    from cwnotify.alerts.redaction.aws_events import short_name

    return short_name(statement)


class _Reader:
    """Reads words one by one, so that one that is wrong costs only itself."""

    def __init__(self, parser: OptionParser, options: tuple[Option, ...]) -> None:
        self._parser = parser
        self._options = {option.flag: option for option in options}
        self._words: list[str] = []
        self._names: list[str] = []
        self._given: dict[str, Any] = {}
        self._problems: list[str] = []

    def read(self, line: str) -> Asked:
        """All of `line`; the words that belong to no option are the name."""
        try:
            self._words = split_words(line, self._parser)
        except UsageError as error:
            self._problems.append(str(error).partition("\n")[0])
            self._words = line.replace('"', " ").replace("'", " ").split()
        while self._words:
            word = self._words.pop(0)
            if word != "--":
                self._take(word)
        if len(self._names) > 1:
            self._problems.append(self._parser.misplaced(self._names[1]))
        if self._problems:
            self._problems.append(self._parser.format_usage().strip())
        return Asked(" ".join(map(unquoted, self._names)), self._given, tuple(self._problems))

    def _take(self, word: str) -> None:
        flag, equals, value = word.partition("=")
        option = self._options.get(flag)
        if option is None and (word.startswith("-") or (self._names and f"--{flag}" in self._options)):
            self._ignore(word, bool(equals))
        elif option is None:
            self._names.append(word)
        elif option.read is None:
            self._given[option.field] = True
        elif values := [value] if equals else self._values(option):
            self._read(option, unquoted(" ".join(values)))
        else:
            self._problems.append(f"{flag} expects {option.metavar}")

    def _ignore(self, word: str, has_value: bool) -> None:
        """Skip a word that is not an option, and the value of the one that was meant."""
        self._problems.append(self._parser.misplaced(word))
        plain = self._plain()
        meant = self._options.get(self._parser.nearest(word))
        if not plain or has_value or word in ("-h", "--help") or (meant and meant.read is None):
            return
        length = self._length(meant, plain) if meant else 1
        if self._names or (meant and _is_read(meant, plain[:length])):
            del self._words[:length]
        elif len(plain) > 1:
            # The only word that is left would be the name.
            del self._words[0]

    def _plain(self) -> list[str]:
        """The next words, up to an option."""
        end = next((n for n, word in enumerate(self._words) if word.startswith("--")), len(self._words))
        return self._words[:end]

    def _values(self, option: Option) -> list[str]:
        """Take the words that are the value of `option`."""
        words = self._plain()
        words = words[: self._length(option, words)]
        del self._words[: len(words)]
        return words

    @staticmethod
    def _length(option: Option, words: list[str]) -> int:
        """How many of `words` the value of `option` takes."""
        if option.field == "min_seconds":
            return _length_of_duration(option, words)
        return len(words) if option.field == "show" else 1

    def _read(self, option: Option, text: str) -> None:
        assert option.read
        try:
            self._given[option.field] = option.read(text)
        except UsageError as error:
            self._problems.append(str(error))


def _length_of_duration(option: Option, words: list[str]) -> int:
    """How many of `words` a duration takes: ``90 s`` and ``1h 30m`` are two words without quotes."""
    for count in range(min(len(words), MAX_DURATION_WORDS), 1, -1):
        # A number at the end may be the name.
        if re.search(r"[^\W\d]", words[count - 1]) and _is_read(option, words[:count]):
            return count
    return 1


def _is_read(option: Option, words: list[str]) -> bool:
    try:
        return option.read is not None and option.read(unquoted(" ".join(words))) is not None
    except UsageError:
        return False


def long_minimum(asked: Mapping[str, Any], setting: float) -> dict[str, Any]:
    """``%notify_all`` is for long cells: five minutes, unless the user or the settings say otherwise."""
    return {"min_seconds": setting or duration("5m"), **asked}
