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

from cwnotify.alerts.events.run_options import RUN_OPTION_SPECS, RunOptionSpec, parse_duration
from cwnotify.alerts.light_dataclass import frozen
from cwnotify.alerts.text_limits import MAX_DERIVED_NAME_LENGTH
from cwnotify.errors import UsageError
from cwnotify.option_parser import OptionParser, split_words, strip_quotes

_NAME = re.compile(r"[\w.]*")
# "2 hours and 5 minutes"
MAX_DURATION_WORDS = 5


@frozen
class MagicArguments:
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
def notify_on_finish_parser() -> OptionParser:
    """The parser of ``%%notify_on_finish``; its help is the magic's."""
    parser = OptionParser("%%notify_on_finish", "Tell Slack when this cell ends, however it ends.")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="what the alert calls this cell")
    _add_options(parser, RUN_OPTION_SPECS)
    return parser


@cache
def notify_all_parser() -> OptionParser:
    """The parser of ``%notify_all``."""
    parser = OptionParser("%notify_all", "Tell Slack of every cell that takes long, without registering it.")
    parser.add_argument("--off", action="store_true", help="stop it")
    _add_options(parser, [option for option in RUN_OPTION_SPECS if option.field not in ("show", "together", "tail")])
    return parser


def _add_options(parser: OptionParser, options: tuple[RunOptionSpec, ...] | list[RunOptionSpec]) -> None:
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


def parse_cell_arguments(line: str) -> MagicArguments:
    """Read the header of a cell; what cannot be understood is ignored, see `Asked.problems`."""
    if _NAME.fullmatch(line):
        # Most headers are no more than that, and the cell waits for us.
        return MagicArguments(line)
    return _Reader(notify_on_finish_parser(), RUN_OPTION_SPECS).read(line)


def parse_notify_all_arguments(line: str) -> MagicArguments | None:
    """Read ``%notify_all``'s words: the options, or None for ``--off``.

    Raises
    ------
    UsageError
        If it may have been meant to stop.
    """
    parser = notify_all_parser()
    words = split_words(line, parser)
    for word in words:
        if word != "--off" and parser.suggest_option(word) == "--off":
            parser.reject_argument(word)
    if "--off" in words:
        return None
    fields = {action.dest for action in parser._actions}
    asked = _Reader(parser, tuple(option for option in RUN_OPTION_SPECS if option.field in fields)).read(line)
    if asked.name:
        parser.reject_argument(asked.name)
    return asked


def parse_statement_arguments(line: str) -> tuple[MagicArguments, str]:
    """Split ``[options] STATEMENT``; the statement is everything from the first word that is not an option.

    Raises
    ------
    UsageError
        If an option is unknown, because the next word may be its value or the statement.
    """
    flags = {option.flag: option for option in RUN_OPTION_SPECS}
    words: list[str] = []
    rest = line.strip()
    while found := re.match(r"(--[a-z]+)(?:[=\s]+|$)", rest):
        option = flags.get(found[1])
        if option is None:
            notify_on_finish_parser().reject_argument(found[1])
        words.append(found[1])
        rest = rest[found.end() :]
        if option.read is not None:
            value = re.match(r"""("[^"]*"|'[^']*'|\S+)\s*""", rest)
            words.append(value[1] if value else "")
            rest = rest[value.end() :] if value else ""
    asked = parse_cell_arguments(" ".join(words))
    first = rest.strip().splitlines()[0] if rest.strip() else ""
    return MagicArguments(_short(first), asked.options, asked.problems), rest


def _short(statement: str) -> str:
    """The name of a statement: redacted before it is cut."""
    if len(statement) <= MAX_DERIVED_NAME_LENGTH:
        return statement
    # Only for a long one: a cell does without this import.
    from cwnotify.alerts.redaction.aws_events import shorten_derived_name

    return shorten_derived_name(statement)


class _Reader:
    """Reads words one by one, so that one that is wrong costs only itself."""

    def __init__(self, parser: OptionParser, options: tuple[RunOptionSpec, ...]) -> None:
        self._parser = parser
        self._options = {option.flag: option for option in options}
        self._words: list[str] = []
        self._names: list[str] = []
        self._given: dict[str, Any] = {}
        self._problems: list[str] = []

    def read(self, line: str) -> MagicArguments:
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
            self._problems.append(self._parser.describe_misplaced_argument(self._names[1]))
        if self._problems:
            self._problems.append(self._parser.format_usage().strip())
        return MagicArguments(" ".join(map(strip_quotes, self._names)), self._given, tuple(self._problems))

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
            self._read(option, strip_quotes(" ".join(values)))
        else:
            self._problems.append(f"{flag} expects {option.metavar}")

    def _ignore(self, word: str, has_value: bool) -> None:
        """Skip a word that is not an option, and the value of the one that was meant."""
        self._problems.append(self._parser.describe_misplaced_argument(word))
        plain = self._plain()
        meant = self._options.get(self._parser.suggest_option(word))
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

    def _values(self, option: RunOptionSpec) -> list[str]:
        """Take the words that are the value of `option`."""
        words = self._plain()
        words = words[: self._length(option, words)]
        del self._words[: len(words)]
        return words

    @staticmethod
    def _length(option: RunOptionSpec, words: list[str]) -> int:
        """How many of `words` the value of `option` takes."""
        if option.field == "min_seconds":
            return _length_of_duration(option, words)
        return len(words) if option.field == "show" else 1

    def _read(self, option: RunOptionSpec, text: str) -> None:
        assert option.read
        try:
            self._given[option.field] = option.read(text)
        except UsageError as error:
            self._problems.append(str(error))


def _length_of_duration(option: RunOptionSpec, words: list[str]) -> int:
    """How many of `words` a duration takes: ``90 s`` and ``1h 30m`` are two words without quotes."""
    for count in range(min(len(words), MAX_DURATION_WORDS), 1, -1):
        # A number at the end may be the name.
        if re.search(r"[^\W\d]", words[count - 1]) and _is_read(option, words[:count]):
            return count
    return 1


def _is_read(option: RunOptionSpec, words: list[str]) -> bool:
    try:
        return option.read is not None and option.read(strip_quotes(" ".join(words))) is not None
    except UsageError:
        return False


def apply_default_min_seconds(options: Mapping[str, Any], setting: float) -> dict[str, Any]:
    """``%notify_all`` is for long cells: five minutes, unless the user or the settings say otherwise."""
    return {"min_seconds": setting or parse_duration("5m"), **options}
