"""Secrets out of what a run's alert says, before anything of it is stored or sent. Pure.

The texts are cut to what a message shows here, after they are redacted: a secret that was cut no longer has its form.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cwnotify.alerts import text_limits
from cwnotify.alerts.events.runs import Failure, Run, RunEnded, Shown
from cwnotify.alerts.messages.block_kit import clean
from cwnotify.alerts.redaction.aws_events import MARK
from cwnotify.alerts.redaction.labels import name_strength
from cwnotify.alerts.redaction.patterns import scrub

__all__ = ["MARK", "last_lines", "scrub", "scrub_ended", "scrub_run"]


def scrub_run(run: Run, known: Iterable[str] = ()) -> Run:
    """`run` with a name, and expressions to show, that hold no secret."""
    known = tuple(known)
    name = _head(run.name, text_limits.MAX_NAME, known)
    show = tuple(scrub(expression, known) for expression in run.options.show)
    # A long command line was redacted where it became the name.
    is_new = (name, show) != (clean(run.name), tuple(map(clean, run.options.show)))
    if not is_new and (run.scrubbed or MARK not in name):
        return run
    scrubbed = run.scrubbed or MARK in name or any(MARK in expression for expression in show)
    return replace(run, name=name, options=replace(run.options, show=show), scrubbed=scrubbed)


def scrub_ended(ended: RunEnded, known: Iterable[str] = ()) -> RunEnded:
    """`ended` with no secret in its name, error, values and output; it knows whether it held one."""
    known = tuple(known)
    failure = _scrub_failure(ended.failure, known) if ended.failure else None
    shown = tuple(_scrub_shown(one, known) for one in ended.shown)
    run, tail = scrub_run(ended.run, known), last_lines(ended.tail, ended.run.options.tail, known)
    command = ended.command and replace(ended.command, text=scrub(ended.command.text, known))
    after = replace(ended, run=run, failure=failure, command=command, shown=shown, tail=tail)
    return replace(after, run=replace(run, scrubbed=True)) if _marks(after) > _marks(ended) else after


def _scrub_failure(failure: Failure, known: tuple[str, ...]) -> Failure:
    frames = scrub(failure.frames, known).split("\n")
    return replace(
        failure,
        type=_head(failure.type, text_limits.MAX_TYPE, known),
        message=_fitted(scrub(failure.message, known)),
        frames="\n".join(_cut(line, text_limits.MAX_FRAME_LINE) for line in frames),
    )


def _fitted(message: str) -> str:
    """A message with the lines about its causes: its longest lines are cut first, so that none is lost."""
    lines = message.split("\n")
    for limit in (text_limits.MAX_MESSAGE, 600, 250):
        shown = "\n".join(_cut(line, limit) for line in lines)
        if len(shown) <= 2 * text_limits.MAX_MESSAGE:
            break
    return _cut(shown, 2 * text_limits.MAX_MESSAGE)


def _scrub_shown(shown: Shown, known: tuple[str, ...]) -> Shown:
    value = _head(shown.value, text_limits.MAX_VALUE, known)
    if value not in ("", "None", "True", "False") and name_strength(shown.expression) == 2:
        value = MARK
    return Shown(scrub(shown.expression, known), value, scrub(shown.error, known))


def _head(text: str, limit: int, known: tuple[str, ...]) -> str:
    """The first `limit` characters of `text`, redacted."""
    window = limit + text_limits.MARGIN
    safe = scrub(text[:window], known)
    if len(text) >= window:
        # Its end may hold a part of a secret.
        safe = safe[: _outside_mark(safe, max(0, len(safe) - text_limits.MARGIN))] + "…"
    return _cut(safe, limit)


def last_lines(text: str, lines: int, known: tuple[str, ...] = ()) -> str:
    """The last `lines` lines of `text`, redacted; all that fit if `lines` is 0."""
    safe = scrub(text[-text_limits.TAIL_WINDOW :], known)
    if len(text) >= text_limits.TAIL_WINDOW:
        # Its start may hold a part of a secret.
        safe = safe[text_limits.MARGIN :]
    safe = "\n".join(safe.split("\n")[-lines:])
    return safe[_outside_mark(safe, max(0, len(safe) - text_limits.MAX_TAIL)) :]


def _cut(text: str, limit: int) -> str:
    """`text`, with an ellipsis if it is longer than `limit`; a mark is not cut."""
    if len(text) <= limit:
        return text
    start = _outside_mark(text, limit - 1)
    return text[:start] + "…"


def _outside_mark(text: str, at: int) -> int:
    """`at`, or where the mark begins that is cut there."""
    start = text.rfind(MARK, max(0, at - len(MARK) + 1), at + len(MARK) - 1)
    return start if 0 <= start < at < start + len(MARK) else at


def _marks(ended: RunEnded) -> int:
    texts = [ended.tail, *(text for one in ended.shown for text in (one.expression, one.value, one.error))]
    if ended.failure:
        texts += [ended.failure.type, ended.failure.message, ended.failure.frames]
    if ended.command:
        texts.append(ended.command.text)
    return sum(text.count(MARK) for text in texts)
