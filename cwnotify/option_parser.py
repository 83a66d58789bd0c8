"""Parse the options of magics. Raises `UsageError` instead of ending the kernel. Standard library and `errors`."""

from __future__ import annotations

import argparse
import shlex
from typing import Any, NoReturn

from cwnotify.errors import UsageError
from cwnotify.suggestions import closest_match


class OptionParser(argparse.ArgumentParser):
    """An argparse parser that raises instead of leaving, since leaving would end the kernel."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog, description=description, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise a `UsageError` with the usage below it."""
        raise UsageError(f"{message}\n{self.format_usage().strip()}")

    def read(self, line: str) -> dict[str, Any]:
        """The words of `line` by their options; what has no place among them raises `UsageError`."""
        found, left = self.parse_known_args(split_words(line, self))
        if left:
            self.reject_argument(left[0])
        return vars(found)

    def reject_argument(self, word: str) -> NoReturn:
        """Say what may have been meant by a word that has no place."""
        self.error(self.describe_misplaced_argument(word))

    def suggest_option(self, word: str) -> str:
        """The option that was probably meant by `word`; empty if there is none."""
        option = word.partition("=")[0].lstrip("-")
        known = [known.lstrip("-") for known in self._option_string_actions]
        near = option if option in known else closest_match(option, known)
        return f"--{near}" if near and option else ""

    def describe_misplaced_argument(self, word: str) -> str:
        """What may have been meant by a word that has no place, as a text."""
        option = word.partition("=")[0]
        if option in ("-h", "--help"):
            return f"for help write {self.prog}?"
        if near := self.suggest_option(word):
            return f"{option} is not an option; did you mean {near}?"
        if word.startswith("-"):
            return f"{option} is not an option"
        return f"unexpected argument {word!r}; quote values that contain spaces"


def split_words(line: str, parser: OptionParser) -> list[str]:
    """Split at spaces outside quotes. The quotes stay, for ``--show metrics["loss"], "a" in seen`` needs them."""
    lexer = shlex.shlex(line, posix=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        parser.error(f"a quote in {line.strip()!r} has no partner")


def strip_quotes(text: str) -> str:
    """`text` without the quotes around all of it."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" and text.count(text[0]) == 2
    return text[1:-1] if quoted else text
