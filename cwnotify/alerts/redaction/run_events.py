"""Remove secrets from run events before they are stored or sent. Pure.

Texts are redacted here and then cut to what a message shows, because a secret that was cut no longer has its form.
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


def redact_run(run: Run, secret_urls: Iterable[str] = ()) -> Run:
    """Return `run` without secrets in its name and in the expressions to show."""
    secret_urls = tuple(secret_urls)
    name = _redact_start(run.name, text_limits.MAX_RUN_NAME_LENGTH, secret_urls)
    show = tuple(redact_text(expression, secret_urls) for expression in run.options.show)
    # A long command line was already redacted when it became the name.
    is_changed = (name, show) != (sanitize_text(run.name), tuple(map(sanitize_text, run.options.show)))
    if not is_changed and (run.scrubbed or REDACTION_MARK not in name):
        return run
    scrubbed = run.scrubbed or REDACTION_MARK in name or any(REDACTION_MARK in expression for expression in show)
    return replace(run, name=name, options=replace(run.options, show=show), scrubbed=scrubbed)


def redact_run_result(result: RunResult, secret_urls: Iterable[str] = ()) -> RunResult:
    """Return `result` without secrets. Its run records whether there were any."""
    secret_urls = tuple(secret_urls)
    failure = _redact_failure(result.failure, secret_urls) if result.failure else None
    shown = tuple(_redact_captured_value(value, secret_urls) for value in result.shown)
    run = redact_run(result.run, secret_urls)
    tail = redact_last_lines(result.tail, result.run.options.tail, secret_urls)
    command = result.command and replace(result.command, text=redact_text(result.command.text, secret_urls))
    after = replace(result, run=run, failure=failure, command=command, shown=shown, tail=tail)
    return replace(after, run=replace(run, scrubbed=True)) if _count_marks(after) > _count_marks(result) else after


def _redact_failure(failure: RunFailure, secret_urls: tuple[str, ...]) -> RunFailure:
    frames = redact_text(failure.frames, secret_urls).split("\n")
    return replace(
        failure,
        type=_redact_start(failure.type, text_limits.MAX_ERROR_TYPE_LENGTH, secret_urls),
        message=_fit_message(redact_text(failure.message, secret_urls)),
        frames="\n".join(_cut(line, text_limits.MAX_FRAME_LINE_LENGTH) for line in frames),
    )


def _fit_message(message: str) -> str:
    """Shorten a message with its causes. The longest lines are cut first, so that no cause is lost."""
    lines = message.split("\n")
    for limit in (text_limits.MAX_ERROR_MESSAGE_LENGTH, 600, 250):
        shortened = "\n".join(_cut(line, limit) for line in lines)
        if len(shortened) <= 2 * text_limits.MAX_ERROR_MESSAGE_LENGTH:
            break
    return _cut(shortened, 2 * text_limits.MAX_ERROR_MESSAGE_LENGTH)


def _redact_captured_value(captured: CapturedValue, secret_urls: tuple[str, ...]) -> CapturedValue:
    value = _redact_start(captured.value, text_limits.MAX_VALUE_LENGTH, secret_urls)
    if value not in ("", "None", "True", "False") and rate_secret_expression(captured.expression) == 2:
        value = REDACTION_MARK
    return CapturedValue(redact_text(captured.expression, secret_urls), value, redact_text(captured.error, secret_urls))


def _redact_start(text: str, limit: int, secret_urls: tuple[str, ...]) -> str:
    """Return the first `limit` characters of `text`, redacted."""
    window = limit + text_limits.REDACTION_MARGIN
    safe = redact_text(text[:window], secret_urls)
    if len(text) >= window:
        # The end may be a part of a secret.
        safe = safe[: _move_out_of_mark(safe, max(0, len(safe) - text_limits.REDACTION_MARGIN))] + "…"
    return _cut(safe, limit)


def redact_last_lines(text: str, lines: int, secret_urls: tuple[str, ...] = ()) -> str:
    """Return the last `lines` lines of `text`, redacted; as many as fit if `lines` is 0."""
    safe = redact_text(text[-text_limits.OUTPUT_TAIL_WINDOW :], secret_urls)
    if len(text) >= text_limits.OUTPUT_TAIL_WINDOW:
        # The beginning may be a part of a secret.
        safe = safe[text_limits.REDACTION_MARGIN :]
    safe = "\n".join(safe.split("\n")[-lines:])
    return safe[_move_out_of_mark(safe, max(0, len(safe) - text_limits.MAX_OUTPUT_TAIL_LENGTH)) :]


def _cut(text: str, limit: int) -> str:
    """Shorten `text` to `limit` characters with an ellipsis. A redaction mark is never split."""
    if len(text) <= limit:
        return text
    start = _move_out_of_mark(text, limit - 1)
    return text[:start] + "…"


def _move_out_of_mark(text: str, index: int) -> int:
    """Return `index`, or the start of the redaction mark that `index` would split."""
    start = text.rfind(REDACTION_MARK, max(0, index - len(REDACTION_MARK) + 1), index + len(REDACTION_MARK) - 1)
    return start if 0 <= start < index < start + len(REDACTION_MARK) else index


def _count_marks(result: RunResult) -> int:
    texts = [result.tail]
    for captured in result.shown:
        texts += [captured.expression, captured.value, captured.error]
    if result.failure:
        texts += [result.failure.type, result.failure.message, result.failure.frames]
    if result.command:
        texts.append(result.command.text)
    return sum(text.count(REDACTION_MARK) for text in texts)
