"""One run from its beginning to its end, as the magics, `notify` and ``cwnotify run`` all record it.

Nothing here raises and nothing waits: the work that is recorded must not notice. Standard library, `alerts`,
`errors`, `settings`, `failures`, `ranks`, `patience` and `sidecar.link` only.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

from cwnotify import ranks, settings
from cwnotify.alerts import words
from cwnotify.alerts.events import Failure, Loss, Outcome, Place, Run, RunEnded, RunKind, Shown
from cwnotify.alerts.limits import MARGIN, MAX_LABEL, MAX_NAME, MAX_VALUE
from cwnotify.alerts.options import RunOptions
from cwnotify.patience import MOST_SECONDS, within
from cwnotify.screen import say_once
from cwnotify.sidecar.link import Link, shared

MOST_NOTED = 50
# So many notes are passed on at once, and one a second after that.
BURST = 20.0
_HOST = os.uname().nodename
# Not the system's, for the cell would wait for that; not the one that a cell may seed.
_random = Random()
os.register_at_fork(after_in_child=_random.seed)
# The runs of this process that are under way, in the order in which they began.
_under_way: list[Recording] = []


class _Clock:
    """The clocks as they were when this was loaded: a cell may put others in their place, stop them or break them."""

    now = staticmethod(time.time)
    steady = staticmethod(time.monotonic)


def note(values: Mapping[str, object] | None = None, /, **more: object) -> None:
    """Keep values of the run that is under way: its alert shows the newest of each name, however the run ends.

    They reach the alert also when the process is killed, for the sidecar hears of them as training goes on::

        for epoch in range(90):
            loss = train_one_epoch()
            cwnotify.note(epoch=epoch, loss=loss)

    It takes microseconds and raises nothing. Without a registered cell or `notify` around it, it does nothing; of
    several runs in one process it means the one that began last.

    Parameters
    ----------
    values, more
        Names and values. A value is turned into text when it is passed on, which happens at most once a second where
        notes come faster than that; so a tensor on a GPU is not waited for in every step.
    """
    if not _under_way:
        return
    try:
        _under_way[-1].note({**(values or {}), **more})
    except Exception as error:
        say_once(f"cwnotify.note could not keep these values: {type(error).__name__}: {error}")


def as_shown(values: Mapping[str, object]) -> tuple[Shown, ...]:
    """Values as the alert shows them; one that has no text, or comes too late to have one, is shown by its error."""
    # At once, for another thread may note something meanwhile.
    asked = [(str(name)[: MAX_LABEL + MARGIN], value) for name, value in tuple(values.items())]
    shown: list[Shown] = []

    def ask() -> None:
        for name, value in asked:
            shown.append(_shown(name, value))

    if asked:
        try:
            within(MOST_SECONDS, ask)
        except TimeoutError:
            shown += [Shown(name, error=TimeoutError.__name__) for name, _ in asked[len(shown) :]]
    return tuple(shown)


def _shown(name: str, value: object) -> Shown:
    try:
        if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
            # A tensor or an array that holds one number.
            value = value.item()
        return Shown(name, value=f"{value:.6g}" if isinstance(value, float) else str(value)[: MAX_VALUE + MARGIN])
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Also `SystemExit`: a value that is only told of ends nothing.
        return Shown(name, error=type(error).__name__)


class Recording:
    """A run that has begun.

    Parameters
    ----------
    name
        As the user called it.
    asked
        Fields of `RunOptions` that were given; the settings fill the rest.
    overrides
        What ``%config CWNotify`` sets.
    """

    def __init__(
        self,
        name: str,
        kind: RunKind,
        place: Place,
        asked: Mapping[str, Any],
        overrides: Mapping[str, str] | None = None,
        link: Link | None = None,
    ) -> None:
        found, troubles = settings.gather(overrides=overrides)
        words.amend(found.words)
        for trouble in troubles:
            say_once(trouble)
        self.webhook = found.webhook
        self._link = link or shared()
        self._rank = ranks.rank()
        self._began = _Clock.steady()
        self._seconds: float | None = None
        self._noted: dict[str, object] = {}
        self._notes_left, self._note_at = BURST, self._began
        self.run = Run(
            id=f"{_random.getrandbits(96):024x}",
            name=name[: MAX_NAME + MARGIN],
            started=_Clock.now(),
            kind=kind,
            place=place,
            options=resolve(asked, found),
            job="" if self._rank is None else ranks.job(name),
        )

    def begin(self) -> None:
        """Tell that it began, and at the screen what went wrong with earlier alerts.

        Apart from the constructor, so that a caller who is interrupted in here holds something to end.
        """
        self._began = _Clock.steady()
        _under_way.append(self)
        if self._speaks:
            self._link.aim(self.webhook)
            self._link.started(self.run)
        self._complain()

    def _complain(self) -> None:
        while self._link.troubles:
            say_once(self._link.troubles.pop(0))

    @property
    def _speaks(self) -> bool:
        return not self._rank

    def note(self, values: Mapping[str, object]) -> None:
        """Keep `values` for the end, and let the sidecar know of them in case that this process is lost."""
        self._noted.update((str(name)[: MAX_LABEL + MARGIN], value) for name, value in values.items())
        while len(self._noted) > MOST_NOTED:
            del self._noted[next(iter(self._noted))]
        now = _Clock.steady()
        self._notes_left, self._note_at = min(BURST, self._notes_left + now - self._note_at), now
        if self._speaks and self._notes_left >= 1:
            self._notes_left -= 1
            shown = as_shown(self._noted)
            if _Clock.steady() - now > MOST_SECONDS:
                # The work is not held up once more.
                self._notes_left = -math.inf
            self._link.noted(self._ended(Outcome.LOST, shown))

    def stop(self) -> None:
        """The work is over; the time that it takes to say how is not its own."""
        self._seconds = _Clock.steady() - self._began

    def _ended(self, outcome: Outcome, shown: tuple[Shown, ...] = (), **how: Any) -> RunEnded:
        seconds = _Clock.steady() - self._began if self._seconds is None else self._seconds
        return RunEnded(self.run, outcome, seconds, _Clock.now(), shown=shown, **how)

    def end(
        self,
        outcome: Outcome,
        failure: Failure | None = None,
        loss: Loss | None = None,
        shown: tuple[Shown, ...] = (),
        tail: str = "",
        hold: bool = False,
    ) -> RunEnded:
        """Tell how the run ended; gives what was told."""
        if self in _under_way:
            _under_way.remove(self)
        ended = self._ended(outcome, (*shown, *as_shown(self._noted)), failure=failure, loss=loss, tail=tail)
        if self._rank and failure:
            ended = replace(ended, failure=replace(failure, message=f"[rank {self._rank}] {failure.message}"))
        if self._speaks or outcome in (Outcome.FAILED, Outcome.LOST):
            self._link.aim(self.webhook)
            self._link.ended(ended, hold)
        self._complain()
        return ended

    def wait(self, seconds: float, delivered: bool) -> None:
        """Wait until the end is on disk, or even `delivered` (or dead), for callers that have time."""
        deadline = _Clock.steady() + seconds
        if self._link.wait(seconds) and delivered:
            self._link.wait_told(self.run.id, deadline - _Clock.steady())


def resolve(asked: Mapping[str, Any], found: settings.Settings) -> RunOptions:
    """What was asked, with the settings where nothing was."""
    # Not `dataclasses.replace`, which would make a dataclass first, on the path of the first cell.
    given = {name: value for name, value in asked.items() if value is not None}
    defaults = {name: getattr(found, name) for name in ("min_seconds", "mention", "lang", "channel", "zone")}
    return RunOptions(**defaults | given)


def here(notebook: str = "", cell: int | None = None) -> Place:
    """This machine, and the notebook's place on it."""
    return Place(notebook=os.path.basename(notebook), cell=cell, host=_HOST)  # noqa: PTH119 (in the kernel)
