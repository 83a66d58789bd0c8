"""Check tracked files for the words in banned_words.tsv. Usage: check_words.py [PATH...]; exits with 1 on a match."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

LIST = Path(__file__).with_name("banned_words.tsv")
CHECKED = (".py", ".md", ".ipynb", ".yaml", ".yml", ".cfg", ".toml", ".sh")
# Real inputs and expected outputs keep their words; the lists name the words themselves.
EXCLUDED = ("tests/data/", ".ci/", "requirements/", "benchmarks/RESULTS.md")


def banned_words() -> dict[str, str]:
    """Return each banned word with its replacements."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in lines if line and not line.startswith("#"))


def pattern_of(words: dict[str, str]) -> re.Pattern[str]:
    """Return a pattern that matches any of the words in prose and as a part of a snake_case name."""
    parts = sorted((re.escape(word).replace(r"\*", "[a-z]*").replace(r"\ ", r"\s+") for word in words), reverse=True)
    return re.compile(rf"(?<![A-Za-z])({'|'.join(parts)})(?![A-Za-z])", re.IGNORECASE)


def replacement_for(match: str, words: dict[str, str]) -> str:
    """Return what to write instead of `match`."""
    text = " ".join(match.lower().split())
    return next(better for word, better in words.items() if text == word or text.startswith(word.rstrip("*")))


def main(paths: list[str]) -> int:
    """Print each banned word with its place and its replacement."""
    tracked = subprocess.run(["git", "ls-files", *paths], capture_output=True, text=True, check=True).stdout.split("\n")
    words = banned_words()
    pattern = pattern_of(words)
    count = 0
    for name in tracked:
        is_checked = name.endswith(CHECKED) or name == "Makefile"
        if not is_checked or name.startswith(EXCLUDED) or not Path(name).is_file():
            continue
        text = Path(name).read_text(encoding="utf-8")
        for match in pattern.finditer(text):
            if text[match.start() - 1 : match.start()] == text[match.end() : match.end() + 1] == '"':
                continue  # a JSON key or another name that is stored
            count += 1
            line = text.count("\n", 0, match.start()) + 1
            print(f"{name}:{line}: {match[0]!r}: use {replacement_for(match[0], words)}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
