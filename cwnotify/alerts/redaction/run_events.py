"""Secrets out of what a run's alert says, before anything of it is stored or sent. Pure.

The texts are cut to what a message shows here, after they are redacted: a secret that was cut no longer has its form.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cwnotify.alerts import text_limits
from cwnotify.alerts.events.runs import CapturedValue, Run, RunFailure, RunResult
from cwnotify.alerts.messages.block_kit import sanitize_text
from cwnotify.alerts.redaction.aws_events import REDACTION_MARK
from cwnotify.alerts.redaction.labels import rate_secret_expression
from cwnotify.alerts.redaction.patterns import redact_text

__all__ = ["REDACTION_MARK", "redact_last_lines", "redact_run", "redact_run_result", "redact_text"]


def redact_run(run: Run, known: Iterable[str] = ()) -> Run:
    """`run` with a name, and expressions to show, that hold no secret."""
    known = tuple(known)
    name = _head(run.name, text_limits.MAX_RUN_NAME_LENGTH, known)
    show = tuple(redact_text(expression, known) for expression in run.options.show)
    # A long command line was redacted where it became the name.
    is_new = (name, show) != (sanitize_text(run.name), tuple(map(sanitize_text, run.options.show)))
    if not is_new and (run.scrubbed or REDACTION_MARK not in name):
        return run
    scrubbed = run.scrubbed or REDACTION_MARK in name or any(REDACTION_MARK in expression for expression in show)
    return replace(run, name=name, options=replace(run.options, show=show), scrubbed=scrubbed)


def redact_run_result(ended: RunResult, known: Iterable[str] = ()) -> RunResult:
    """`ended` with no secret in its name, error, values and output; it knows whether it held one."""
    known = tuple(known)
    failure = _scrub_failure(ended.failure, known) if ended.failure else None
    shown = tuple(_scrub_shown(one, known) for one in ended.shown)
    run, tail = redact_run(ended.run, known), redact_last_lines(ended.tail, ended.run.options.tail, known)
    command = ended.command and replace(ended.command, text=redact_text(ended.command.text, known))
    after = replace(ended, run=run, failure=failure, command=command, shown=shown, tail=tail)
    return replace(after, run=replace(run, scrubbed=True)) if _marks(after) > _marks(ended) else after


def _scrub_failure(failure: RunFailure, known: tuple[str, ...]) -> RunFailure:
    frames = redact_text(failure.frames, known).split("\n")
    return replace(
        failure,
        type=_head(failure.type, text_limits.MAX_ERROR_TYPE_LENGTH, known),
        message=_fitted(redact_text(failure.message, known)),
        frames="\n".join(_cut(line, text_limits.MAX_FRAME_LINE_LENGTH) for line in frames),
    )


def _fitted(message: str) -> str:
    """A message with the lines about its causes: its longest lines are cut first, so that none is lost."""
    lines = message.split("\n")
    for limit in (text_limits.MAX_ERROR_MESSAGE_LENGTH, 600, 250):
        shown = "\n".join(_cut(line, limit) for line in lines)
        if len(shown) <= 2 * text_limits.MAX_ERROR_MESSAGE_LENGTH:
            break
    return _cut(shown, 2 * text_limits.MAX_ERROR_MESSAGE_LENGTH)


def _scrub_shown(shown: CapturedValue, known: tuple[str, ...]) -> CapturedValue:
    value = _head(shown.value, text_limits.MAX_VALUE_LENGTH, known)
    if value not in ("", "None", "True", "False") and rate_secret_expression(shown.expression) == 2:
        value = REDACTION_MARK
    return CapturedValue(redact_text(shown.expression, known), value, redact_text(shown.error, known))


def _head(text: str, limit: int, known: tuple[str, ...]) -> str:
    """The first `limit` characters of `text`, redacted."""
    window = limit + text_limits.REDACTION_MARGIN
    safe = redact_text(text[:window], known)
    if len(text) >= window:
        # Its end may hold a part of a secret.
        safe = safe[: _outside_mark(safe, max(0, len(safe) - text_limits.REDACTION_MARGIN))] + "…"
    return _cut(safe, limit)


def redact_last_lines(text: str, lines: int, known: tuple[str, ...] = ()) -> str:
    """The last `lines` lines of `text`, redacted; all that fit if `lines` is 0."""
    safe = redact_text(text[-text_limits.OUTPUT_TAIL_WINDOW :], known)
    if len(text) >= text_limits.OUTPUT_TAIL_WINDOW:
        # Its start may hold a part of a secret.
        safe = safe[text_limits.REDACTION_MARGIN :]
    safe = "\n".join(safe.split("\n")[-lines:])
    return safe[_outside_mark(safe, max(0, len(safe) - text_limits.MAX_OUTPUT_TAIL_LENGTH)) :]


def _cut(text: str, limit: int) -> str:
    """`text`, with an ellipsis if it is longer than `limit`; a mark is not cut."""
    if len(text) <= limit:
        return text
    start = _outside_mark(text, limit - 1)
    return text[:start] + "…"


def _outside_mark(text: str, at: int) -> int:
    """`at`, or where the mark begins that is cut there."""
    start = text.rfind(REDACTION_MARK, max(0, at - len(REDACTION_MARK) + 1), at + len(REDACTION_MARK) - 1)
    return start if 0 <= start < at < start + len(REDACTION_MARK) else at


def _marks(ended: RunResult) -> int:
    texts = [ended.tail, *(text for one in ended.shown for text in (one.expression, one.value, one.error))]
    if ended.failure:
        texts += [ended.failure.type, ended.failure.message, ended.failure.frames]
    if ended.command:
        texts.append(ended.command.text)
    return sum(text.count(REDACTION_MARK) for text in texts)
