"""Parse the options of magics. Imports the standard library, `errors` and `suggestions` only."""

from __future__ import annotations

import argparse
import shlex
from typing import Any, NoReturn

from cwnotify.errors import UsageError
from cwnotify.suggestions import closest_match


class OptionParser(argparse.ArgumentParser):
    """An argparse parser that raises `UsageError` instead of exiting, which would end the kernel."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog, description=description, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise a `UsageError` with `message` and the usage."""
        raise UsageError(f"{message}\n{self.format_usage().strip()}")

    def read(self, line: str) -> dict[str, Any]:
        """Return the options in `line` by name.

        Raises
        ------
        UsageError
            If `line` contains an unexpected argument.
        """
        options, unexpected = self.parse_known_args(split_words(line, self))
        if unexpected:
            self.reject_argument(unexpected[0])
        return vars(options)

    def reject_argument(self, word: str) -> NoReturn:
        """Raise a `UsageError` that suggests what `word` was meant to be."""
        self.error(self.describe_misplaced_argument(word))

    def suggest_option(self, word: str) -> str:
        """Return the option that `word` probably means, or an empty string."""
        name = word.partition("=")[0].lstrip("-")
        names = [option.lstrip("-") for option in self._option_string_actions]
        match = name if name in names else closest_match(name, names)
        return f"--{match}" if match and name else ""

    def describe_misplaced_argument(self, word: str) -> str:
        """Describe an argument that the parser does not accept, with a suggestion if there is one."""
        option = word.partition("=")[0]
        if option in ("-h", "--help"):
            return f"for help write {self.prog}?"
        if suggestion := self.suggest_option(word):
            return f"{option} is not an option; did you mean {suggestion}?"
        if word.startswith("-"):
            return f"{option} is not an option"
        return f"unexpected argument {word!r}; quote values that contain spaces"


def split_words(line: str, parser: OptionParser) -> list[str]:
    """Split at spaces outside quotes. Keep the quotes: ``--show metrics["loss"], "a" in names`` needs them.

    Raises
    ------
    UsageError
        If a quote is not closed.
    """
    lexer = shlex.shlex(line, posix=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        parser.error(f"unclosed quote in {line.strip()!r}")


def strip_quotes(text: str) -> str:
    """Return `text` without the quotes around all of it."""
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" and text.count(text[0]) == 2
    return text[1:-1] if is_quoted else text
