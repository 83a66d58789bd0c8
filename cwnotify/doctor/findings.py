"""What ``cwnotify doctor`` finds: a line for each check, and what to do about a problem. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cwnotify.errors import CwnotifyError


class FindingState(StrEnum):
    """The result of a check. A note is neither good nor wrong."""

    GOOD = "good"
    WRONG = "wrong"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Parameters
    ----------
    part
        What was checked, in one or two words.
    text
        The result.
    todo
        What to do about it; empty if nothing is to be done.
    """

    part: str
    state: FindingState
    text: str
    todo: str = ""


def report_ok(part: str, text: str) -> Finding:
    """Return a finding without problems."""
    return Finding(part, FindingState.GOOD, text)


def report_problem(part: str, text: str, todo: str) -> Finding:
    """Return a problem that keeps cwnotify from working as configured."""
    return Finding(part, FindingState.WRONG, text, todo)


def report_note(part: str, text: str, todo: str = "") -> Finding:
    """Return a note, which may be what the user intended."""
    return Finding(part, FindingState.NOTE, text, todo)


def report_error(part: str, error: CwnotifyError) -> Finding:
    """Return an error as a problem, with its hint as what to do."""
    return report_problem(part, error.message, error.hint)


def format_count(n: int, thing: str) -> str:
    """Return ``no alarm``, ``1 alarm`` or ``2 alarms``."""
    return f"{n or 'no'} {thing}{'' if n in (0, 1) else 's'}"
