"""Track what prevents the poller from reading AWS. A problem appears once, and disappears with the next success."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cwnotify.errors import AwsErrorKind, CwnotifyError
from cwnotify.view.snapshot import PanelProblem


@dataclass
class _Source:
    """One thing that the poller reads: the time of its last success and last attempt, and its current error."""

    success_at: float = 0.0
    tried_at: float = 0.0
    text: str = ""
    kind: AwsErrorKind | None = None


class ProblemTracker:
    """The problems of all sources.

    Parameters
    ----------
    clock
        Returns Unix seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sources: dict[Hashable, _Source] = {}

    @contextmanager
    def capture_errors(self, source_id: Hashable) -> Iterator[None]:
        """Turn an error in the block into the problem of this source. A block without an error removes it."""
        source = self._sources.setdefault(source_id, _Source())
        source.tried_at = self._clock()
        try:
            yield
        except CwnotifyError as error:
            source.text, source.kind = _to_sentence(str(error)), getattr(error, "kind", AwsErrorKind.OTHER)
        else:
            source.success_at, source.text, source.kind = self._clock(), "", None

    def remove_source(self, source_id: Hashable) -> None:
        """Remove a source that is not read any more."""
        self._sources.pop(source_id, None)

    def has_kind(self, kind: AwsErrorKind) -> bool:
        """Return True if a source has an error of this kind."""
        return any(source.kind is kind for source in self._sources.values())

    def was_offline_since(self, since: float) -> bool:
        """Return True if AWS could not be reached at `since` or later."""
        return any(
            source.kind is AwsErrorKind.OFFLINE and source.tried_at >= since for source in self._sources.values()
        )

    @property
    def oldest_success_at(self) -> float:
        """The oldest of the sources' last successes; 0.0 if a source never succeeded."""
        return min((source.success_at for source in self._sources.values()), default=0.0)

    def list_problems(self) -> tuple[PanelProblem, ...]:
        """Return all problems. Sources with the same text share one."""
        problems: dict[str, PanelProblem] = {}
        for source in self._sources.values():
            if source.text:
                same = problems.get(source.text)
                since = source.success_at if same is None else min(source.success_at, same.since)
                problems[source.text] = PanelProblem(source.text, since, source.tried_at)
        return tuple(problems.values())


def _to_sentence(text: str) -> str:
    end = "" if text.endswith((".", "?", "!")) else "."
    return f"{text[:1].upper()}{text[1:]}{end}"
