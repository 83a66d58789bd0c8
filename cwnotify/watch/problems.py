"""What keeps the watch from seeing: each trouble named once, with what to do, and gone as soon as it has passed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cwnotify.errors import AwsErrorKind, CwnotifyError
from cwnotify.view.snapshot import PanelProblem


@dataclass
class _Part:
    """One thing that is asked of AWS, again and again: when it last went well, and what is wrong now."""

    well: float = 0.0
    tried: float = 0.0
    text: str = ""
    kind: AwsErrorKind | None = None


class ProblemTracker:
    """The troubles of all parts of the watch.

    Parameters
    ----------
    clock
        Gives Unix seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._parts: dict[Hashable, _Part] = {}

    @contextmanager
    def capture_errors(self, part: Hashable) -> Iterator[None]:
        """What is asked in here may be refused by AWS; then that is the trouble of this part, until it goes well."""
        state = self._parts.setdefault(part, _Part())
        state.tried = self._clock()
        try:
            yield
        except CwnotifyError as error:
            said = str(error)
            end = "" if said.endswith((".", "?", "!")) else "."
            state.text, state.kind = f"{said[:1].upper()}{said[1:]}{end}", getattr(error, "kind", AwsErrorKind.OTHER)
        else:
            state.well, state.text, state.kind = self._clock(), "", None

    def remove_source(self, part: Hashable) -> None:
        """This part is not asked any more."""
        self._parts.pop(part, None)

    def has_kind(self, kind: AwsErrorKind) -> bool:
        """Whether there is a trouble of this kind; see `cwnotify.errors.AwsError.kind`."""
        return any(part.kind is kind for part in self._parts.values())

    def was_offline_since(self, since: float) -> bool:
        """Whether AWS could not be reached when something was asked at `since` or later."""
        return any(part.kind is AwsErrorKind.OFFLINE and part.tried >= since for part in self._parts.values())

    @property
    def oldest_success_at(self) -> float:
        """When all that is asked was last well: the oldest of the parts, 0.0 where one never was."""
        return min((part.well for part in self._parts.values()), default=0.0)

    def list_problems(self) -> tuple[PanelProblem, ...]:
        """All of them; one that several parts share is told once."""
        found: dict[str, PanelProblem] = {}
        for part in self._parts.values():
            if part.text:
                known = found.get(part.text)
                since = part.well if known is None else min(part.well, known.since)
                found[part.text] = PanelProblem(part.text, since, part.tried)
        return tuple(found.values())
