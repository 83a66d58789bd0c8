"""Suggest corrections for misspelled words. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable


def closest_match(word: str, choices: Iterable[str]) -> str:
    """Return the choice closest to `word`, or an empty string.

    `difflib` is imported here because it is slow to import and needed only after a mistake.
    """
    from difflib import get_close_matches

    matches = get_close_matches(word, choices, 1)
    return matches[0] if matches else ""
