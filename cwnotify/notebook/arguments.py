"""Parse the arguments of magics. Imports the standard library, `alerts`, `errors` and `option_parser` only.

A run is registered whatever its options are. An invalid option is ignored and reported as a problem; the name and the
other options still count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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
    """The arguments of a magic.

    Parameters
    ----------
    name
        The name of the run; may be empty.
    options
        The fields of `RunOptions` that the user set.
    problems
        What was ignored and why, for the user to read.
    """

    name: str = ""
    options: Mapping[str, Any] = MappingProxyType({})
    problems: tuple[str, ...] = ()


@cache
def notify_on_finish_parser() -> OptionParser:
    """Return the parser of ``%%notify_on_finish``; it also produces the magic's help."""
    parser = OptionParser("%%notify_on_finish", "Send a Slack alert when this cell ends, however it ends.")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="name of this cell in the alert")
    _add_options(parser, RUN_OPTION_SPECS)
    return parser


@cache
def notify_all_parser() -> OptionParser:
    """Return the parser of ``%notify_all``; it also produces the magic's help."""
    parser = OptionParser("%notify_all", "Send a Slack alert for every long cell, without registering each one.")
    parser.add_argument("--off", action="store_true", help="stop sending these alerts")
    _add_options(parser, (spec for spec in RUN_OPTION_SPECS if spec.field not in ("show", "together", "tail")))
    return parser


def _add_options(parser: OptionParser, specs: Iterable[RunOptionSpec]) -> None:
    for spec in specs:
        if spec.read is None:
            parser.add_argument(spec.flag, dest=spec.field, action="store_true", default=None, help=spec.help)
            continue
        keywords: dict[str, Any] = {"nargs": "+"} if spec.field == "show" else {}
        parser.add_argument(spec.flag, dest=spec.field, metavar=spec.metavar, help=spec.help, **keywords)


def parse_cell_arguments(line: str) -> MagicArguments:
    """Parse the header of a cell. Report invalid parts in `MagicArguments.problems` and ignore them."""
    if _NAME.fullmatch(line):
        # Most headers are only a name; skipping the parser saves the cell time.
        return MagicArguments(line)
    return _LenientReader(notify_on_finish_parser(), RUN_OPTION_SPECS).read(line)


def parse_notify_all_arguments(line: str) -> MagicArguments | None:
    """Parse the arguments of ``%notify_all``. Return None for ``--off``.

    Raises
    ------
    UsageError
        If the user may have meant ``--off``, or wrote a name.
    """
    parser = notify_all_parser()
    words = split_words(line, parser)
    for word in words:
        if word != "--off" and parser.suggest_option(word) == "--off":
            parser.reject_argument(word)
    if "--off" in words:
        return None
    fields = {action.dest for action in parser._actions}
    specs = tuple(spec for spec in RUN_OPTION_SPECS if spec.field in fields)
    arguments = _LenientReader(parser, specs).read(line)
    if arguments.name:
        parser.reject_argument(arguments.name)
    return arguments


def parse_statement_arguments(line: str) -> tuple[MagicArguments, str]:
    """Split ``[options] STATEMENT``. The statement begins at the first word that is not an option.

    Raises
    ------
    UsageError
        If an option is unknown, because the next word may be its value or the statement.
    """
    specs = {spec.flag: spec for spec in RUN_OPTION_SPECS}
    words: list[str] = []
    statement = line.strip()
    while match := re.match(r"(--[a-z]+)(?:[=\s]+|$)", statement):
        spec = specs.get(match[1])
        if spec is None:
            notify_on_finish_parser().reject_argument(match[1])
        words.append(match[1])
        statement = statement[match.end() :]
        if spec.read is not None:
            value = re.match(r"""("[^"]*"|'[^']*'|\S+)\s*""", statement)
            words.append(value[1] if value else "")
            statement = statement[value.end() :] if value else ""
    arguments = parse_cell_arguments(" ".join(words))
    first_line = statement.strip().splitlines()[0] if statement.strip() else ""
    return MagicArguments(_derive_name(first_line), arguments.options, arguments.problems), statement


def _derive_name(statement: str) -> str:
    """Return the run name for a statement. A long one is redacted, then cut."""
    if len(statement) <= MAX_DERIVED_NAME_LENGTH:
        return statement
    # Imported here because only long statements need it.
    from cwnotify.alerts.redaction.aws_events import shorten_derived_name

    return shorten_derived_name(statement)


class _LenientReader:
    """Read words one by one, so that an invalid word affects only itself."""

    def __init__(self, parser: OptionParser, specs: tuple[RunOptionSpec, ...]) -> None:
        self._parser = parser
        self._specs = {spec.flag: spec for spec in specs}
        self._words: list[str] = []
        self._names: list[str] = []
        self._options: dict[str, Any] = {}
        self._problems: list[str] = []

    def read(self, line: str) -> MagicArguments:
        """Read all of `line`. Words that belong to no option are the name."""
        try:
            self._words = split_words(line, self._parser)
        except UsageError as error:
            self._problems.append(str(error).partition("\n")[0])
            self._words = line.replace('"', " ").replace("'", " ").split()
        while self._words:
            word = self._words.pop(0)
            if word != "--":
                self._read_word(word)
        if len(self._names) > 1:
            self._problems.append(self._parser.describe_misplaced_argument(self._names[1]))
        if self._problems:
            self._problems.append(self._parser.format_usage().strip())
        return MagicArguments(" ".join(map(strip_quotes, self._names)), self._options, tuple(self._problems))

    def _read_word(self, word: str) -> None:
        flag, equals, value = word.partition("=")
        spec = self._specs.get(flag)
        if spec is None and (word.startswith("-") or (self._names and f"--{flag}" in self._specs)):
            self._skip_unknown_option(word, bool(equals))
        elif spec is None:
            self._names.append(word)
        elif spec.read is None:
            self._options[spec.field] = True
        elif values := [value] if equals else self._take_value_words(spec):
            self._store_value(spec, strip_quotes(" ".join(values)))
        else:
            self._problems.append(f"{flag} expects {spec.metavar}")

    def _skip_unknown_option(self, word: str, has_value: bool) -> None:
        """Skip a word that is not an option, and the value that belongs to it."""
        self._problems.append(self._parser.describe_misplaced_argument(word))
        candidates = self._peek_value_words()
        suggestion = self._specs.get(self._parser.suggest_option(word))
        is_flag = suggestion is not None and suggestion.read is None
        if not candidates or has_value or word in ("-h", "--help") or is_flag:
            return
        length = _count_value_words(suggestion, candidates) if suggestion else 1
        if self._names or (suggestion and _can_read(suggestion, candidates[:length])):
            del self._words[:length]
        elif len(candidates) > 1:
            # A single remaining word is the name instead.
            del self._words[0]

    def _peek_value_words(self) -> list[str]:
        """Return the next words, up to an option."""
        end = next((index for index, word in enumerate(self._words) if word.startswith("--")), len(self._words))
        return self._words[:end]

    def _take_value_words(self, spec: RunOptionSpec) -> list[str]:
        """Remove and return the words that are the value of an option."""
        words = self._peek_value_words()
        words = words[: _count_value_words(spec, words)]
        del self._words[: len(words)]
        return words

    def _store_value(self, spec: RunOptionSpec, text: str) -> None:
        assert spec.read
        try:
            self._options[spec.field] = spec.read(text)
        except UsageError as error:
            self._problems.append(str(error))


def _count_value_words(spec: RunOptionSpec, words: list[str]) -> int:
    """Return how many of `words` belong to the option's value."""
    if spec.field == "min_seconds":
        return _count_duration_words(spec, words)
    return len(words) if spec.field == "show" else 1


def _count_duration_words(spec: RunOptionSpec, words: list[str]) -> int:
    """Return how many of `words` form a duration: ``90 s`` and ``1h 30m`` are two words without quotes."""
    for count in range(min(len(words), MAX_DURATION_WORDS), 1, -1):
        # A number at the end may be the name.
        if re.search(r"[^\W\d]", words[count - 1]) and _can_read(spec, words[:count]):
            return count
    return 1


def _can_read(spec: RunOptionSpec, words: list[str]) -> bool:
    try:
        return spec.read is not None and spec.read(strip_quotes(" ".join(words))) is not None
    except UsageError:
        return False


def apply_default_min_seconds(options: Mapping[str, Any], setting: float) -> dict[str, Any]:
    """Return `options` with a minimum length, because ``%notify_all`` is meant for long cells.

    Parameters
    ----------
    setting
        The minimum from the settings, in seconds. If it is 0, the default is five minutes.
    """
    return {"min_seconds": setting or parse_duration("5m"), **options}
