"""Convert a run's result to a Slack message. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from cwnotify.alerts.events.run_options import RunOptions
from cwnotify.alerts.events.runs import (
    CapturedValue,
    FailedCommand,
    LossCause,
    Outcome,
    Run,
    RunLocation,
    RunResult,
    WaitReason,
)
from cwnotify.alerts.locale import format_duration, format_timestamp, resolve_time_zone, sparkline, translate
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.redaction.run_events import REDACTION_MARK
from cwnotify.alerts.regions import instance_console_url, partition_of_region, region_of_zone

_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS")
_EMOJI = {
    Outcome.FINISHED: ":white_check_mark:",
    Outcome.FAILED: ":x:",
    Outcome.INTERRUPTED: ":black_square_for_stop:",
    Outcome.LOST: ":skull:",
}
_COLORS = {Outcome.FINISHED: b.COLOR_GOOD, Outcome.INTERRUPTED: b.COLOR_NEUTRAL}
_MIN_SECONDS_FOR_TIMES = 60.0  # the times of shorter runs are not worth a line
_MAX_VALUE_FIELDS = 6
# In characters: the maximum line of each value, tried in this order, and the maximum of all lines.
_MAX_VALUE_LENGTHS, _MAX_VALUES_LENGTH = (600, 200, 100, 50), b.MAX_SECTION_LENGTH - 50
_MIN_SAMPLES = 3
_GIB = 1 << 30


def run_message(result: RunResult) -> b.Payload:
    """Return the payload for one run."""
    options = result.run.options
    text = _add_mention(run_headline(result), options)
    details = [*_details(result), *_redaction_note([result]), *_instance_button(result.run)]
    return b.build_payload(text, _top_blocks(text, result.run), _color_of(result), details, options.channel)


def run_waiting_message(run: Run, wait: WaitReason, in_notebook: bool, at: float) -> b.Payload:
    """Return the payload for a run that has been waiting for the user since `at` (Unix seconds)."""
    options, lang = run.options, run.options.lang
    place = translate(lang, "wait.notebook" if in_notebook else "wait.terminal")
    text = _add_mention(translate(lang, f"wait.{wait}", name=b.bold(_name(run)), place=place), options)
    zone = resolve_time_zone(options.zone, lang)
    pairs = [
        (translate(lang, "started"), format_timestamp(run.started, zone, at)),
        (translate(lang, "waits since"), format_timestamp(at, zone, at)),
    ]
    blocks = b.two_column_sections(pairs)
    return b.build_payload(text, _top_blocks(text, run), b.COLOR_WARNING, blocks, options.channel)


def combined_runs_message(runs: Sequence[RunResult]) -> b.Payload:
    """Return one payload for all runs of a group.

    Parameters
    ----------
    runs
        At least one run, in the order in which they ended.
    """
    last = runs[-1]
    options = last.run.options
    if len(runs) == 1:
        return run_message(last)
    # Run All stops at an error, but a cell can also be lost or interrupted before others finish.
    failed = next((result for result in reversed(runs) if result.outcome is not Outcome.FINISHED), None)
    text = _add_mention(run_headline(failed) if failed else _all_finished_sentence(runs), options)
    lines = [_group_line(result, options.lang) for result in runs]
    # Ten lines stay far below a section's maximum length.
    sections = [b.section("\n".join(lines[i : i + 10])) for i in range(0, len(lines), 10)]
    with_failed_command = next((result for result in runs if _failed_command(result)), last)
    color = _color_of(failed or with_failed_command)
    details = [*sections[-20:], *(_details(failed) if failed else []), *_redaction_note(runs)]
    return b.build_payload(text, _top_blocks(text, last.run), color, details, options.channel)


def _add_mention(text: str, options: RunOptions) -> str:
    return " ".join(filter(None, (text, options.mention)))


def _top_blocks(text: str, run: Run) -> list[b.Block]:
    location = run_location_line(run.place)
    return [b.section(text), *([b.context(location)] if location else [])]


def _group_line(result: RunResult, lang: str) -> str:
    emoji = ":warning:" if _failed_command(result) else _EMOJI[result.outcome]
    name, time = b.escape_label(_name(result.run)), format_duration(result.seconds, lang)
    return translate(lang, "together.line", mark=emoji, name=name, time=time)


def _all_finished_sentence(runs: Sequence[RunResult]) -> str:
    lang = runs[-1].run.options.lang
    time = b.bold(format_duration(runs[-1].ended - runs[0].run.started, lang))
    values: dict[str, object] = {"count": len(runs), "time": time}
    if command := next(filter(None, map(_failed_command, runs)), None):
        return _failed_command_sentence("together.finished", command, lang, values)
    return translate(lang, "together.finished", **values)


def _failed_command_sentence(key: str, command: FailedCommand, lang: str, values: Mapping[str, object]) -> str:
    """Return the sentence for a run that finished although a shell command in it failed."""
    suffix = "signal" if command.signal else "code"
    text = b.inline_code(f"!{command.text}", 200)
    return translate(
        lang, f"{key}.{suffix}", **values, command=text, code=command.code, signal=b.escape_label(command.signal)
    )


def _failed_command(result: RunResult) -> FailedCommand | None:
    """Return the shell command that failed in a finished run."""
    return result.command if result.outcome is Outcome.FINISHED else None


def _color_of(result: RunResult) -> str:
    return b.COLOR_WARNING if _failed_command(result) else _COLORS.get(result.outcome, b.COLOR_BAD)


def webhook_test_message(host: str, lang: str, channel: str = "") -> b.Payload:
    """Return the greeting that shows that a webhook works."""
    text = translate(lang, "hello", host=b.bold(host, 80))
    details = [b.section(translate(lang, "hello.more")), b.context(translate(lang, "hello.here"))]
    return b.build_payload(text, [b.section(text)], b.COLOR_GOOD, details, channel)


def run_headline(result: RunResult) -> str:
    """Return the first line, which says how the run ended, as mrkdwn."""
    run, lang = result.run, result.run.options.lang
    values = {"name": b.bold(_name(run)), "time": b.bold(format_duration(result.seconds, lang))}
    if result.outcome is Outcome.FAILED:
        values["error"] = b.inline_code(result.failure.type if result.failure else "?")
    if command := _failed_command(result):
        return _failed_command_sentence("run.finished", command, lang, values)
    if result.outcome is Outcome.LOST:
        values["why"] = _loss_reason(result)
        if result.loss and result.loss.found_later:
            return translate(lang, "run.lost.later", **values)
    return translate(lang, f"run.{result.outcome}", **values)


def run_location_line(place: RunLocation) -> str:
    """Return the known parts of ``train.ipynb · In [12] · train-3 (`i-0abc12f9`, g5.xlarge, ap-northeast-2a)``."""
    cell = f"In [{place.cell}]" if place.cell is not None else ""
    instance = ", ".join(
        filter(None, (b.inline_code(place.instance), b.escape_label(place.instance_type), b.escape_label(place.zone)))
    )
    host = b.escape_label(place.host, 80)
    machine = f"{host} ({instance})" if host and instance else host or instance
    return " · ".join(filter(None, (b.escape_label(place.notebook, 120), cell, machine)))


def _instance_button(run: Run) -> list[b.Block]:
    """Return a button to the instance's page in the console, if the instance is known."""
    instance, region = run.place.instance, region_of_zone(run.place.zone)
    link = instance_console_url(instance, region, partition_of_region(region)) if instance and region else ""
    return b.link_buttons([(translate(run.options.lang, "notice.button"), link)])


def _name(run: Run) -> str:
    if name := b.sanitize_text(run.name).strip():
        return name
    number = run.place.cell
    return translate(run.options.lang, "a cell" if number is None else "cell", n=number)


def _loss_reason(result: RunResult) -> str:
    loss = result.loss
    lang = result.run.options.lang
    process = translate(lang, f"process.{result.run.kind}")
    if loss is None:
        return translate(lang, "loss.unknown", process=process)
    is_crash = loss.cause is LossCause.SIGNAL and loss.signal in _CRASHES
    key = "loss.crash" if is_crash else f"loss.{loss.cause}"
    return translate(lang, key, process=process, signal=b.escape_label(loss.signal), code=loss.code)


def _details(result: RunResult) -> list[b.Block]:
    """Return the facts that help to decide what to do next."""
    lang = result.run.options.lang
    pairs: list[tuple[str, str]] = []
    if result.seconds >= _MIN_SECONDS_FOR_TIMES:
        pairs += _time_pairs(result)
    if result.outcome is Outcome.LOST:
        pairs += _evidence_pairs(result)
    fits_in_fields = len(result.shown) <= _MAX_VALUE_FIELDS and not result.values_left_out
    if fits_in_fields:
        pairs += [(b.escape_label(item.expression, 80), _format_value(item, lang)) for item in result.shown]
    details = b.two_column_sections(pairs)
    if not details and not result.failure:
        # The coloured bar is shown only if the attachment has a block.
        details = b.two_column_sections(_time_pairs(result))
    if result.failure:
        frames = f"{result.failure.frames.rstrip()}\n" if result.failure.frames.strip() else ""
        message = f": {result.failure.message}" if result.failure.message else ""
        details.append(b.section(b.code_block(f"{frames}{result.failure.type}{message}")))
    if not fits_in_fields:
        details += _value_list(result)
    if result.tail.strip():
        details += [b.context(translate(lang, "tail")), b.section(b.code_block(result.tail))]
    return details


def _value_list(result: RunResult) -> list[b.Block]:
    """Return many values in one block, long values cut, and the number of those that did not fit."""
    lang = result.run.options.lang
    lines: list[str] = []
    for limit in _MAX_VALUE_LENGTHS:
        lines = [b.truncate_text(f"{item.expression} = {item.value or item.error}", limit) for item in result.shown]
        # Measured after escaping, which makes a line longer.
        sizes = list(accumulate(len(b.escape_mrkdwn(line)) + 1 for line in lines))
        if not sizes or sizes[-1] <= _MAX_VALUES_LENGTH:
            break
    else:
        lines = [line for line, size in zip(lines, sizes, strict=True) if size <= _MAX_VALUES_LENGTH]
    details = [b.context(translate(lang, "values"))]
    if lines:
        details.append(b.section(b.code_block("\n".join(lines))))
    if left_out := len(result.shown) - len(lines) + result.values_left_out:
        key = "values.more" if left_out > 1 else "values.more.one"
        details.append(b.context(translate(lang, key, n=f"{left_out:,}")))
    return details


def _redaction_note(runs: Sequence[RunResult]) -> list[b.Block]:
    """Return a note that explains the mark in place of a secret, if a secret was removed."""
    lang = runs[-1].run.options.lang
    is_redacted = any(result.run.scrubbed for result in runs)
    return [b.context(translate(lang, "scrubbed", mark=REDACTION_MARK))] if is_redacted else []


def _time_pairs(result: RunResult) -> list[tuple[str, str]]:
    options = result.run.options
    zone = resolve_time_zone(options.zone, options.lang)
    pairs = [
        (translate(options.lang, "started"), format_timestamp(result.run.started, zone, result.ended)),
        (translate(options.lang, "ended"), format_timestamp(result.ended, zone, result.ended)),
    ]
    if len(result.cpu) >= _MIN_SAMPLES:
        mean, maximum = sum(result.cpu) / len(result.cpu), max(result.cpu)
        cpu = translate(options.lang, "cpu", spark=sparkline(result.cpu), mean=f"{mean:.0f}", max=f"{maximum:.0f}")
        pairs.append((translate(options.lang, "cpu over the run"), cpu))
    return pairs


def _evidence_pairs(result: RunResult) -> list[tuple[str, str]]:
    options, loss, load = result.run.options, result.loss, result.vitals
    lang = options.lang
    pairs = []
    if load:
        text = translate(
            lang,
            "vitals",
            at=format_timestamp(load.at, resolve_time_zone(options.zone, lang), result.ended),
            cpu=f"{load.cpu:.0f}",
            used=f"{load.memory_used / _GIB:.1f}",
            total=f"{load.memory_total / _GIB:.1f}",
        )
        pairs.append((translate(lang, "last seen"), text))
    if loss:
        status = loss.signal or ("" if loss.code is None else f"exit code {loss.code}")
        evidence = [translate(lang, "oom.evidence", n=loss.oom_kills)] if loss.oom_kills else []
        evidence += [translate(lang, "exit.evidence", status=b.inline_code(status))] if status else []
        pairs.append((translate(lang, "evidence"), "\n".join(evidence)))
    return pairs


def _format_value(item: CapturedValue, lang: str) -> str:
    if item.error:
        return translate(lang, "no value", error=b.inline_code(item.error, 300))
    is_number = item.value.replace(".", "", 1).replace("-", "", 1).replace(",", "").isdigit()
    return b.escape_mrkdwn(item.value, 100) if is_number else b.inline_code(item.value, 500) or b.inline_code('""')
