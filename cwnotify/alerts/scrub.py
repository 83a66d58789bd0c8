"""Secrets out of what a run's alert would say, before anything of it is written or sent. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cwnotify.alerts.blocks import clean
from cwnotify.alerts.events import Run, RunEnded, Shown
from cwnotify.alerts.redact import MARK
from cwnotify.alerts.secret_forms import LABEL_ALONE, scrub

__all__ = ["MARK", "scrub", "scrub_ended", "scrub_run"]


def scrub_run(run: Run, known: Iterable[str] = ()) -> Run:
    """`run` with a name, and expressions to show, that hold no secret."""
    name = scrub(run.name, known)
    show = tuple(scrub(expression, known) for expression in run.options.show)
    if (name, show) == (clean(run.name), tuple(map(clean, run.options.show))):
        return run
    return replace(run, name=name, options=replace(run.options, show=show), scrubbed=True)


def scrub_ended(ended: RunEnded, known: Iterable[str] = ()) -> RunEnded:
    """`ended` with no secret in its name, error, values and output; it knows whether it held one."""
    known = tuple(known)
    failure = ended.failure
    if failure:
        failure = replace(
            failure,
            type=scrub(failure.type, known),
            message=scrub(failure.message, known),
            frames=scrub(failure.frames, known),
        )
    shown = tuple(_scrub_shown(one, known) for one in ended.shown)
    run, tail = scrub_run(ended.run, known), scrub(ended.tail, known)
    command = ended.command and replace(ended.command, text=scrub(ended.command.text, known))
    after = replace(ended, run=run, failure=failure, command=command, shown=shown, tail=tail)
    return replace(after, run=replace(run, scrubbed=True)) if _marks(after) > _marks(ended) else after


def _scrub_shown(shown: Shown, known: tuple[str, ...]) -> Shown:
    value = scrub(shown.value, known)
    if value not in ("", "None", "True", "False") and LABEL_ALONE.search(shown.expression):
        value = MARK
    return Shown(scrub(shown.expression, known), value, scrub(shown.error, known))


def _marks(ended: RunEnded) -> int:
    texts = [ended.tail, *(text for one in ended.shown for text in (one.expression, one.value, one.error))]
    if ended.failure:
        texts += [ended.failure.type, ended.failure.message, ended.failure.frames]
    if ended.command:
        texts.append(ended.command.text)
    return sum(text.count(MARK) for text in texts)
