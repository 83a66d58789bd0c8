"""What the sidecar writes down: events in, messages out, each in one transaction.

An alert's id is its run's id, so whoever comes second (a resent line, another sidecar) changes nothing.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from cwnotify.alerts.events import Loss, LossCause, Outcome, RunEnded, Vitals
from cwnotify.alerts.runs import run_message, together_message
from cwnotify.errors import StateError
from cwnotify.settings import Secret
from cwnotify.sidecar import state
from cwnotify.sidecar.outbox import IN_MEMORY, OpenRun, Outbox
from cwnotify.sidecar.processes import Fate, Watched, fate, name_process


class Books:
    """The outbox, and the rules by which events become messages in it.

    Parameters
    ----------
    directory
        The state directory; where it cannot be used, alerts are kept in memory only, and `trouble` says why.
    """

    def __init__(self, directory: Path) -> None:
        self.trouble = ""
        self.vitals: Vitals | None = None
        self._directory: Path | None = None
        here = name_process(os.getpid())
        self.owner = f"{here.pid}:{here.start}:{here.boot}:{here.namespace}"
        try:
            self._directory = state.prepare(directory)
            self.outbox = self.connect()
        except (StateError, sqlite3.Error, OSError) as error:
            self.trouble = f"{error}; alerts are kept in memory until then"
            self._directory = None
            self.outbox = self.connect()

    def connect(self) -> Outbox:
        """A further connection, for a thread of its own."""
        return Outbox(self._directory / state.OUTBOX if self._directory else IN_MEMORY)

    def destination(self, webhook: Secret | None) -> str:
        """The name under which messages for `webhook` lie in the outbox."""
        return state.fingerprint(webhook, self._directory)

    def tell(self, ended: RunEnded, destination: str, due: float | None = None) -> None:
        """A run ended: close it and put its alert, if it is wanted."""
        with self.outbox.transaction():
            self._tell(ended, destination, due)

    def _tell(self, ended: RunEnded, destination: str, due: float | None = None) -> None:
        now = time.time()
        self.outbox.close_run(ended.run.id)
        if ended.run.options.wants(ended.outcome is Outcome.FINISHED, ended.seconds):
            self.outbox.put(ended.alert_id, destination, run_message(ended), now, due)
        # A run that is not told under its own id is settled under it all the same: a resent line finds it known.
        self.outbox.skip(ended.run.id, now)

    def revise(self, ended: RunEnded) -> None:
        """Say something truer of a run whose alert has not been sent yet."""
        if ended.run.options.wants(False, ended.seconds):
            self.outbox.replace(ended.alert_id, run_message(ended), time.time())

    def hold(self, ended: RunEnded, kernel: Watched, destination: str) -> None:
        """Keep an ended run until its group is told."""
        if ended.run.options.wants(ended.outcome is Outcome.FINISHED, ended.seconds):
            self.outbox.hold_run(ended, kernel, destination, time.time())
        else:
            self.tell(ended, destination)

    def running(self, kernel: Watched) -> list[str]:
        """The ids of the runs that are still running in `kernel`."""
        return [one.run.id for one in self._of(kernel, self.outbox.open_runs()) if one.ended is None]

    def together_is_running(self, kernel: Watched) -> bool:
        """Whether a run that is to be told with others is still open."""
        return any(one.run.options.together and one.ended is None for one in self._of(kernel, self.outbox.open_runs()))

    def tell_held(self, kernel: Watched) -> None:
        """Tell all that is held for `kernel` in one alert."""
        with self.outbox.transaction():
            self._put_together([one for one in self._of(kernel, self.outbox.open_runs()) if one.ended])

    def _put_together(self, held: list[OpenRun]) -> None:
        told = [one.ended for one in held if one.ended]
        if not told:
            return
        for ended in told:
            self.outbox.close_run(ended.run.id)
            self.outbox.skip(ended.run.id, time.time())
        # Each run is settled under its own id; the group's alert has one more, made of the last one's.
        self.outbox.put(f"{told[-1].run.id}+", held[-1].destination, together_message(told), time.time())

    def tell_lost(self, kernel: Watched, loss: Loss, ended: float, cpu: Mapping[str, tuple[float, ...]]) -> None:
        """The watched process is gone: each of its open runs was lost, at `ended` (Unix seconds)."""
        with self.outbox.transaction():
            held = []
            for one in self._of(kernel, self.outbox.open_runs()):
                if one.ended:
                    held.append(one)
                    continue
                lost = RunEnded(
                    run=one.run,
                    outcome=Outcome.LOST,
                    seconds=max(ended - one.run.started, 0.0),
                    ended=ended,
                    loss=loss,
                    cpu=cpu.get(one.run.id, ()),
                    vitals=one.vitals if loss.found_later else self.vitals,
                )
                if one.run.options.together and one.run.options.wants(False, lost.seconds):
                    held.append(replace(one, ended=lost))
                else:
                    self._tell(lost, one.destination)
            self._put_together(held)

    def see(self, running: Iterable[str]) -> None:
        """Note that these runs are alive."""
        with self.outbox.transaction():
            for id in running:
                self.outbox.see_run(id, time.time(), self.vitals)

    def take_over(self) -> None:
        """Tell of runs whose process went away unwatched, and free what dead sidecars had claimed."""
        now = time.time()
        for one in self.outbox.open_runs():
            match fate(one.watched, now - one.seen):
                case Fate.GONE:
                    loss = Loss(LossCause.UNKNOWN, found_later=True)
                case Fate.REBOOTED:
                    loss = Loss(LossCause.REBOOT, found_later=True)
                case _:
                    continue
            self.tell_lost(one.watched, loss, one.seen, {})
        for owner in self.outbox.lease_owners(now):
            if _is_dead(owner):
                self.outbox.break_leases(owner)
        self.outbox.sweep(now)

    @staticmethod
    def _of(kernel: Watched, runs: Iterable[OpenRun]) -> list[OpenRun]:
        return [one for one in runs if one.watched == kernel]


def _is_dead(owner: str) -> bool:
    pid, start, boot, namespace = owner.split(":", 3)
    return fate(Watched(int(pid), start, "", boot, namespace), 0.0) is Fate.GONE
