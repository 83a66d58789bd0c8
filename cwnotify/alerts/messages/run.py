"""How a run ended -> what Slack should say of it. Standard library and this package only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

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
_MARKS = {
    Outcome.FINISHED: ":white_check_mark:",
    Outcome.FAILED: ":x:",
    Outcome.INTERRUPTED: ":black_square_for_stop:",
    Outcome.LOST: ":skull:",
}
_COLOURS = {Outcome.FINISHED: b.COLOR_GOOD, Outcome.INTERRUPTED: b.COLOR_NEUTRAL}
_TELLING_LENGTH = 60.0
_MOST_VALUE_FIELDS = 6
# The longest line of one of many values, and what their block holds, in characters.
_VALUE_ROOMS, _VALUES_ROOM = (600, 200, 100, 50), b.MAX_SECTION_LENGTH - 50
_FEWEST_SAMPLES = 3
_GIB = 1 << 30


def run_message(ended: RunResult) -> b.Payload:
    """The payload for one run."""
    options = ended.run.options
    text = " ".join(filter(None, (run_headline(ended), options.mention)))
    top = [b.section(text)]
    if place := run_location_line(ended.run.place):
        top.append(b.context(place))
    details = [*_details(ended), *_scrubbed([ended]), *_next_places(ended.run)]
    return b.build_payload(text, top, _colour(ended), details, options.channel)


def run_waiting_message(run: Run, wait: WaitReason, in_notebook: bool, at: float) -> b.Payload:
    """Return the payload for a run that waits for a person since `at` (Unix seconds)."""
    options, lang = run.options, run.options.lang
    place = translate(lang, "wait.notebook" if in_notebook else "wait.terminal")
    text = translate(lang, f"wait.{wait}", name=b.bold(_name(run)), place=place)
    text = " ".join(filter(None, (text, options.mention)))
    top = [b.section(text)]
    if line := run_location_line(run.place):
        top.append(b.context(line))
    zone_of = resolve_time_zone(options.zone, lang)
    pairs = [
        (translate(lang, "started"), format_timestamp(run.started, zone_of, at)),
        (translate(lang, "waits since"), format_timestamp(at, zone_of, at)),
    ]
    return b.build_payload(text, top, b.COLOR_WARNING, b.two_column_sections(pairs), options.channel)


def combined_runs_message(runs: Sequence[RunResult]) -> b.Payload:
    """The payload for runs that asked to be told together, in the order in which they ended; at least one."""
    last = runs[-1]
    options = last.run.options
    if len(runs) == 1:
        return run_message(last)
    # Run All stops at an error, but a cell can also be lost or interrupted before others finish.
    failed = next((ended for ended in reversed(runs) if ended.outcome is not Outcome.FINISHED), None)
    time = b.bold(format_duration(last.ended - runs[0].run.started, options.lang))
    told = run_headline(failed) if failed else _all_finished(runs, time)
    text = " ".join(filter(None, (told, options.mention)))
    lines = [
        translate(
            options.lang,
            "together.line",
            mark=_mark(ended),
            name=b.escape_label(_name(ended.run)),
            time=format_duration(ended.seconds, options.lang),
        )
        for ended in runs
    ]
    top = [b.section(text)]
    if place := run_location_line(last.run.place):
        top.append(b.context(place))
    # Ten lines to a section keeps any of them far under a section's 3000 characters.
    listed = [b.section("\n".join(lines[i : i + 10])) for i in range(0, len(lines), 10)]
    amber = next((ended for ended in runs if _command(ended)), last)
    colour = _colour(failed or amber)
    details = [*listed[-20:], *(_details(failed) if failed else []), *_scrubbed(runs)]
    return b.build_payload(text, top, colour, details, options.channel)


def _all_finished(runs: Sequence[RunResult], time: str) -> str:
    lang = runs[-1].run.options.lang
    command = next(filter(None, map(_command, runs)), None)
    values: dict[str, object] = {"count": len(runs), "time": time}
    return (
        _but("together.finished", command, lang, values) if command else translate(lang, "together.finished", **values)
    )


def _but(key: str, command: FailedCommand, lang: str, values: Mapping[str, object]) -> str:
    """Return the sentence for a run that finished although a shell command in it failed."""
    how = "signal" if command.signal else "code"
    text = b.inline_code(f"!{command.text}", 200)
    return translate(
        lang, f"{key}.{how}", **values, command=text, code=command.code, signal=b.escape_label(command.signal)
    )


def _command(ended: RunResult) -> FailedCommand | None:
    """Return the shell command that makes a finished run amber."""
    return ended.command if ended.outcome is Outcome.FINISHED else None


def _mark(ended: RunResult) -> str:
    return ":warning:" if _command(ended) else _MARKS[ended.outcome]


def _colour(ended: RunResult) -> str:
    return b.COLOR_WARNING if _command(ended) else _COLOURS.get(ended.outcome, b.COLOR_BAD)


def webhook_test_message(host: str, lang: str, channel: str = "") -> b.Payload:
    """The greeting that proves a webhook right."""
    text = translate(lang, "hello", host=b.bold(host, 80))
    more = b.section(translate(lang, "hello.more"))
    return b.build_payload(
        text, [b.section(text)], b.COLOR_GOOD, [more, b.context(translate(lang, "hello.here"))], channel
    )


def run_headline(ended: RunResult) -> str:
    """The one sentence that says it all, as mrkdwn."""
    run, lang = ended.run, ended.run.options.lang
    values = {"name": b.bold(_name(run)), "time": b.bold(format_duration(ended.seconds, lang))}
    if ended.outcome is Outcome.FAILED:
        values["error"] = b.inline_code(ended.failure.type if ended.failure else "?")
    if command := _command(ended):
        return _but("run.finished", command, lang, values)
    if ended.outcome is Outcome.LOST:
        values["why"] = _why(ended)
        if ended.loss and ended.loss.found_later:
            return translate(lang, "run.lost.later", **values)
    return translate(lang, f"run.{ended.outcome}", **values)


def run_location_line(place: RunLocation) -> str:
    """``train.ipynb · In [12] · train-3 (`i-0abc12f9`, g5.xlarge, ap-northeast-2a)``, as far as it is known."""
    cell = f"In [{place.cell}]" if place.cell is not None else ""
    instance = ", ".join(
        filter(None, (b.inline_code(place.instance), b.escape_label(place.instance_type), b.escape_label(place.zone)))
    )
    host = b.escape_label(place.host, 80)
    machine = f"{host} ({instance})" if host and instance else host or instance
    return " · ".join(filter(None, (b.escape_label(place.notebook, 120), cell, machine)))


def _next_places(run: Run) -> list[b.Block]:
    """A button to where one would look next: the instance, with its CPU."""
    place = run.place
    region = region_of_zone(place.zone)
    link = (
        instance_console_url(place.instance, region, partition_of_region(region)) if place.instance and region else ""
    )
    return b.link_buttons([(translate(run.options.lang, "notice.button"), link)])


def _name(run: Run) -> str:
    if name := b.sanitize_text(run.name).strip():
        return name
    number = run.place.cell
    return translate(run.options.lang, "a cell" if number is None else "cell", n=number)


def _why(ended: RunResult) -> str:
    loss = ended.loss
    lang = ended.run.options.lang
    process = translate(lang, f"process.{ended.run.kind}")
    if loss is None:
        return translate(lang, "loss.unknown", process=process)
    crashed = loss.cause is LossCause.SIGNAL and loss.signal in _CRASHES
    key = "loss.crash" if crashed else f"loss.{loss.cause}"
    return translate(lang, key, process=process, signal=b.escape_label(loss.signal), code=loss.code)


def _details(ended: RunResult) -> list[b.Block]:
    """Only facts that help to decide what to do next."""
    lang = ended.run.options.lang
    pairs: list[tuple[str, str]] = []
    if ended.seconds >= _TELLING_LENGTH:
        pairs += _times(ended)
    if ended.outcome is Outcome.LOST:
        pairs += _evidence(ended)
    few = len(ended.shown) <= _MOST_VALUE_FIELDS and not ended.values_left_out
    pairs += [(b.escape_label(one.expression, 80), _value(one, lang)) for one in ended.shown if few]
    details = b.two_column_sections(pairs)
    if not details and not ended.failure:
        # A message needs something beside its bar of colour.
        details = b.two_column_sections(_times(ended))
    if ended.failure:
        head = f"{ended.failure.frames.rstrip()}\n" if ended.failure.frames.strip() else ""
        message = f": {ended.failure.message}" if ended.failure.message else ""
        details.append(b.section(b.code_block(f"{head}{ended.failure.type}{message}")))
    if not few:
        details += _values(ended)
    if ended.tail.strip():
        details += [b.context(translate(lang, "tail")), b.section(b.code_block(ended.tail))]
    return details


def _values(ended: RunResult) -> list[b.Block]:
    """Many values in one block, the longest cut first; what finds no room is counted below it."""
    lang = ended.run.options.lang
    lines: list[str] = []
    for room in _VALUE_ROOMS:
        lines = [b.truncate_text(f"{one.expression} = {one.value or one.error}", room) for one in ended.shown]
        # What an escape adds counts too; a block has its own limit.
        sizes = list(accumulate(len(b.escape_mrkdwn(line)) + 1 for line in lines))
        if not sizes or sizes[-1] <= _VALUES_ROOM:
            break
    else:
        lines = [line for line, size in zip(lines, sizes, strict=True) if size <= _VALUES_ROOM]
    left_out = len(ended.shown) - len(lines) + ended.values_left_out
    details = [b.context(translate(lang, "values"))]
    if lines:
        details.append(b.section(b.code_block("\n".join(lines))))
    if left_out:
        details.append(
            b.context(translate(lang, "values.more" if left_out > 1 else "values.more.one", n=f"{left_out:,}"))
        )
    return details


def _scrubbed(runs: Sequence[RunResult]) -> list[b.Block]:
    """A quiet line where a secret was taken out, so that nobody takes the mark for the run's own words."""
    lang = runs[-1].run.options.lang
    some = any(ended.run.scrubbed for ended in runs)
    return [b.context(translate(lang, "scrubbed", mark=REDACTION_MARK))] if some else []


def _times(ended: RunResult) -> list[tuple[str, str]]:
    options = ended.run.options
    where = resolve_time_zone(options.zone, options.lang)
    pairs = [
        (translate(options.lang, "started"), format_timestamp(ended.run.started, where, ended.ended)),
        (translate(options.lang, "ended"), format_timestamp(ended.ended, where, ended.ended)),
    ]
    if len(ended.cpu) >= _FEWEST_SAMPLES:
        mean, most = sum(ended.cpu) / len(ended.cpu), max(ended.cpu)
        cpu = translate(options.lang, "cpu", spark=sparkline(ended.cpu), mean=f"{mean:.0f}", max=f"{most:.0f}")
        pairs.append((translate(options.lang, "cpu over the run"), cpu))
    return pairs


def _evidence(ended: RunResult) -> list[tuple[str, str]]:
    options, loss, vitals = ended.run.options, ended.loss, ended.vitals
    lang = options.lang
    pairs = []
    if vitals:
        seen = translate(
            lang,
            "vitals",
            at=format_timestamp(vitals.at, resolve_time_zone(options.zone, lang), ended.ended),
            cpu=f"{vitals.cpu:.0f}",
            used=f"{vitals.memory_used / _GIB:.1f}",
            total=f"{vitals.memory_total / _GIB:.1f}",
        )
        pairs.append((translate(lang, "last seen"), seen))
    if loss:
        status = loss.signal or ("" if loss.code is None else f"exit code {loss.code}")
        clues = [translate(lang, "oom.evidence", n=loss.oom_kills)] if loss.oom_kills else []
        clues += [translate(lang, "exit.evidence", status=b.inline_code(status))] if status else []
        pairs.append((translate(lang, "what tells us"), "\n".join(clues)))
    return pairs


def _value(shown: CapturedValue, lang: str) -> str:
    if shown.error:
        return translate(lang, "no value", error=b.inline_code(shown.error, 300))
    plain = shown.value.replace(".", "", 1).replace("-", "", 1).replace(",", "").isdigit()
    return b.escape_mrkdwn(shown.value, 100) if plain else b.inline_code(shown.value, 500) or b.inline_code('""')
