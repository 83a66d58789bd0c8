"""What an examination finds: a line for each thing, good or not, and then the one thing to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cwnotify.errors import CwnotifyError


class FindingState(StrEnum):
    """How a thing is; a note is neither good nor wrong."""

    GOOD = "good"
    WRONG = "wrong"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    part
        What was looked at, in a word or two.
    text
        What was seen there.
    todo
        The one thing to do about it; where it is empty, nothing.
    """

    part: str
    state: FindingState
    text: str
    todo: str = ""


def report_ok(part: str, text: str) -> Finding:
    """All is well."""
    return Finding(part, FindingState.GOOD, text)


def report_problem(part: str, text: str, todo: str) -> Finding:
    """This keeps cwnotify from doing what it was set up to do."""
    return Finding(part, FindingState.WRONG, text, todo)


def report_note(part: str, text: str, todo: str = "") -> Finding:
    """Worth knowing; it may be just as the user wants it."""
    return Finding(part, FindingState.NOTE, text, todo)


def report_error(part: str, error: CwnotifyError) -> Finding:
    """Return what an error reports, with its hint as what to do."""
    return report_problem(part, error.message, error.hint)


def format_count(n: int, thing: str) -> str:
    """``no alarm``, ``1 alarm``, ``2 alarms``."""
    return f"{n or 'no'} {thing}{'' if n in (0, 1) else 's'}"
