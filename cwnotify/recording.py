"""One run from its beginning to its end, as the magics, `notify` and ``cwnotify run`` all record it.

Nothing here raises and nothing waits: the work that is recorded must not notice. Standard library, `alerts`,
`errors`, `settings`, `failures`, `ranks` and `sidecar.link` only.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cwnotify import ranks, settings
from cwnotify.alerts.events import Failure, Loss, Outcome, Place, Run, RunEnded, RunKind, Shown
from cwnotify.alerts.options import RunOptions
from cwnotify.screen import say_once
from cwnotify.sidecar.link import Link, shared


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
        for trouble in troubles:
            say_once(trouble)
        self.webhook = found.webhook
        self._link = link or shared()
        self._rank = ranks.rank()
        self._began = time.monotonic()
        self.run = Run(
            id=secrets.token_hex(12),
            name=name[:200],
            started=time.time(),
            kind=kind,
            place=place,
            options=resolve(asked, found),
            job="" if self._rank is None else ranks.job(name),
        )

    def begin(self) -> None:
        """Tell that it began, and at the screen what went wrong with earlier alerts.

        Apart from the constructor, so that a caller who is interrupted in here holds something to end.
        """
        self._began = time.monotonic()
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
        ended = RunEnded(
            run=self.run,
            outcome=outcome,
            seconds=time.monotonic() - self._began,
            ended=time.time(),
            failure=failure,
            loss=loss,
            shown=shown,
            tail=tail,
        )
        if self._rank and failure:
            ended = replace(ended, failure=replace(failure, message=f"[rank {self._rank}] {failure.message}"))
        if self._speaks or outcome in (Outcome.FAILED, Outcome.LOST):
            self._link.aim(self.webhook)
            self._link.ended(ended, hold)
        self._complain()
        return ended

    def wait(self, seconds: float, delivered: bool) -> None:
        """Wait until the end is on disk, or even `delivered` (or dead), for callers that have time."""
        deadline = time.monotonic() + seconds
        if self._link.wait(seconds) and delivered:
            self._link.wait_told(self.run.id, deadline - time.monotonic())


def resolve(asked: Mapping[str, Any], found: settings.Settings) -> RunOptions:
    """What was asked, with the settings where nothing was."""
    defaults = RunOptions(
        min_seconds=found.min_seconds,
        mention=found.mention,
        lang=found.lang,
        channel=found.channel,
        zone=found.zone,
    )
    return replace(defaults, **{name: value for name, value in asked.items() if value is not None})


def here(notebook: str = "", cell: int | None = None) -> Place:
    """This machine, and the notebook's place on it."""
    return Place(notebook=os.path.basename(notebook), cell=cell, host=os.uname().nodename)  # noqa: PTH119 (in the kernel)
