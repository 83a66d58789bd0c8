"""How a run ended -> what Slack should say of it. Standard library and this package only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from cwnotify.alerts.events.runs import FailedCommand, LossCause, Outcome, Place, Run, RunEnded, Shown, Wait
from cwnotify.alerts.locale import clock, duration, say, sparkline, zone
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.redaction.run_events import MARK
from cwnotify.alerts.regions import instance_link, partition_of, region_of

_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS")
_MARKS = {
    Outcome.FINISHED: ":white_check_mark:",
    Outcome.FAILED: ":x:",
    Outcome.INTERRUPTED: ":black_square_for_stop:",
    Outcome.LOST: ":skull:",
}
_COLOURS = {Outcome.FINISHED: b.GOOD, Outcome.INTERRUPTED: b.NO_DATA}
_TELLING_LENGTH = 60.0
_MOST_VALUE_FIELDS = 6
# The longest line of one of many values, and what their block holds, in characters.
_VALUE_ROOMS, _VALUES_ROOM = (600, 200, 100, 50), b.MOST_SECTION - 50
_FEWEST_SAMPLES = 3
_GIB = 1 << 30


def run_message(ended: RunEnded) -> b.Payload:
    """The payload for one run."""
    options = ended.run.options
    text = " ".join(filter(None, (sentence(ended), options.mention)))
    top = [b.section(text)]
    if place := place_line(ended.run.place):
        top.append(b.context(place))
    details = [*_details(ended), *_scrubbed([ended]), *_next_places(ended.run)]
    return b.message(text, top, _colour(ended), details, options.channel)


def waiting_message(run: Run, wait: Wait, in_notebook: bool, at: float) -> b.Payload:
    """Return the payload for a run that waits for a person since `at` (Unix seconds)."""
    options, lang = run.options, run.options.lang
    place = say(lang, "wait.notebook" if in_notebook else "wait.terminal")
    text = say(lang, f"wait.{wait}", name=b.bold(_name(run)), place=place)
    text = " ".join(filter(None, (text, options.mention)))
    top = [b.section(text)]
    if line := place_line(run.place):
        top.append(b.context(line))
    zone_of = zone(options.zone, lang)
    pairs = [
        (say(lang, "started"), clock(run.started, zone_of, at)),
        (say(lang, "waits since"), clock(at, zone_of, at)),
    ]
    return b.message(text, top, b.AMBER, b.fields(pairs), options.channel)


def together_message(runs: Sequence[RunEnded]) -> b.Payload:
    """The payload for runs that asked to be told together, in the order in which they ended; at least one."""
    last = runs[-1]
    options = last.run.options
    if len(runs) == 1:
        return run_message(last)
    # Run All stops at an error, but a cell can also be lost or interrupted before others finish.
    failed = next((ended for ended in reversed(runs) if ended.outcome is not Outcome.FINISHED), None)
    time = b.bold(duration(last.ended - runs[0].run.started, options.lang))
    told = sentence(failed) if failed else _all_finished(runs, time)
    text = " ".join(filter(None, (told, options.mention)))
    lines = [
        say(
            options.lang,
            "together.line",
            mark=_mark(ended),
            name=b.label(_name(ended.run)),
            time=duration(ended.seconds, options.lang),
        )
        for ended in runs
    ]
    top = [b.section(text)]
    if place := place_line(last.run.place):
        top.append(b.context(place))
    # Ten lines to a section keeps any of them far under a section's 3000 characters.
    listed = [b.section("\n".join(lines[i : i + 10])) for i in range(0, len(lines), 10)]
    amber = next((ended for ended in runs if _command(ended)), last)
    colour = _colour(failed or amber)
    details = [*listed[-20:], *(_details(failed) if failed else []), *_scrubbed(runs)]
    return b.message(text, top, colour, details, options.channel)


def _all_finished(runs: Sequence[RunEnded], time: str) -> str:
    lang = runs[-1].run.options.lang
    command = next(filter(None, map(_command, runs)), None)
    values: dict[str, object] = {"count": len(runs), "time": time}
    return _but("together.finished", command, lang, values) if command else say(lang, "together.finished", **values)


def _but(key: str, command: FailedCommand, lang: str, values: Mapping[str, object]) -> str:
    """Return the sentence for a run that finished although a shell command in it failed."""
    how = "signal" if command.signal else "code"
    text = b.code(f"!{command.text}", 200)
    return say(lang, f"{key}.{how}", **values, command=text, code=command.code, signal=b.label(command.signal))


def _command(ended: RunEnded) -> FailedCommand | None:
    """Return the shell command that makes a finished run amber."""
    return ended.command if ended.outcome is Outcome.FINISHED else None


def _mark(ended: RunEnded) -> str:
    return ":warning:" if _command(ended) else _MARKS[ended.outcome]


def _colour(ended: RunEnded) -> str:
    return b.AMBER if _command(ended) else _COLOURS.get(ended.outcome, b.BAD)


def hello_message(host: str, lang: str, channel: str = "") -> b.Payload:
    """The greeting that proves a webhook right."""
    text = say(lang, "hello", host=b.bold(host, 80))
    more = b.section(say(lang, "hello.more"))
    return b.message(text, [b.section(text)], b.GOOD, [more, b.context(say(lang, "hello.here"))], channel)


def sentence(ended: RunEnded) -> str:
    """The one sentence that says it all, as mrkdwn."""
    run, lang = ended.run, ended.run.options.lang
    values = {"name": b.bold(_name(run)), "time": b.bold(duration(ended.seconds, lang))}
    if ended.outcome is Outcome.FAILED:
        values["error"] = b.code(ended.failure.type if ended.failure else "?")
    if command := _command(ended):
        return _but("run.finished", command, lang, values)
    if ended.outcome is Outcome.LOST:
        values["why"] = _why(ended)
        if ended.loss and ended.loss.found_later:
            return say(lang, "run.lost.later", **values)
    return say(lang, f"run.{ended.outcome}", **values)


def place_line(place: Place) -> str:
    """``train.ipynb · In [12] · train-3 (`i-0abc12f9`, g5.xlarge, ap-northeast-2a)``, as far as it is known."""
    cell = f"In [{place.cell}]" if place.cell is not None else ""
    instance = ", ".join(filter(None, (b.code(place.instance), b.label(place.instance_type), b.label(place.zone))))
    host = b.label(place.host, 80)
    machine = f"{host} ({instance})" if host and instance else host or instance
    return " · ".join(filter(None, (b.label(place.notebook, 120), cell, machine)))


def _next_places(run: Run) -> list[b.Block]:
    """A button to where one would look next: the instance, with its CPU."""
    place = run.place
    region = region_of(place.zone)
    link = instance_link(place.instance, region, partition_of(region)) if place.instance and region else ""
    return b.buttons([(say(run.options.lang, "notice.button"), link)])


def _name(run: Run) -> str:
    if name := b.clean(run.name).strip():
        return name
    number = run.place.cell
    return say(run.options.lang, "a cell" if number is None else "cell", n=number)


def _why(ended: RunEnded) -> str:
    loss = ended.loss
    lang = ended.run.options.lang
    process = say(lang, f"process.{ended.run.kind}")
    if loss is None:
        return say(lang, "loss.unknown", process=process)
    crashed = loss.cause is LossCause.SIGNAL and loss.signal in _CRASHES
    key = "loss.crash" if crashed else f"loss.{loss.cause}"
    return say(lang, key, process=process, signal=b.label(loss.signal), code=loss.code)


def _details(ended: RunEnded) -> list[b.Block]:
    """Only facts that help to decide what to do next."""
    lang = ended.run.options.lang
    pairs: list[tuple[str, str]] = []
    if ended.seconds >= _TELLING_LENGTH:
        pairs += _times(ended)
    if ended.outcome is Outcome.LOST:
        pairs += _evidence(ended)
    few = len(ended.shown) <= _MOST_VALUE_FIELDS and not ended.values_left_out
    pairs += [(b.label(one.expression, 80), _value(one, lang)) for one in ended.shown if few]
    details = b.fields(pairs)
    if not details and not ended.failure:
        # A message needs something beside its bar of colour.
        details = b.fields(_times(ended))
    if ended.failure:
        head = f"{ended.failure.frames.rstrip()}\n" if ended.failure.frames.strip() else ""
        message = f": {ended.failure.message}" if ended.failure.message else ""
        details.append(b.section(b.code_block(f"{head}{ended.failure.type}{message}")))
    if not few:
        details += _values(ended)
    if ended.tail.strip():
        details += [b.context(say(lang, "tail")), b.section(b.code_block(ended.tail))]
    return details


def _values(ended: RunEnded) -> list[b.Block]:
    """Many values in one block, the longest cut first; what finds no room is counted below it."""
    lang = ended.run.options.lang
    lines: list[str] = []
    for room in _VALUE_ROOMS:
        lines = [b.cut(f"{one.expression} = {one.value or one.error}", room) for one in ended.shown]
        # What an escape adds counts too; a block has its own limit.
        sizes = list(accumulate(len(b.escape(line)) + 1 for line in lines))
        if not sizes or sizes[-1] <= _VALUES_ROOM:
            break
    else:
        lines = [line for line, size in zip(lines, sizes, strict=True) if size <= _VALUES_ROOM]
    left_out = len(ended.shown) - len(lines) + ended.values_left_out
    details = [b.context(say(lang, "values"))]
    if lines:
        details.append(b.section(b.code_block("\n".join(lines))))
    if left_out:
        details.append(b.context(say(lang, "values.more" if left_out > 1 else "values.more.one", n=f"{left_out:,}")))
    return details


def _scrubbed(runs: Sequence[RunEnded]) -> list[b.Block]:
    """A quiet line where a secret was taken out, so that nobody takes the mark for the run's own words."""
    lang = runs[-1].run.options.lang
    some = any(ended.run.scrubbed for ended in runs)
    return [b.context(say(lang, "scrubbed", mark=MARK))] if some else []


def _times(ended: RunEnded) -> list[tuple[str, str]]:
    options = ended.run.options
    where = zone(options.zone, options.lang)
    pairs = [
        (say(options.lang, "started"), clock(ended.run.started, where, ended.ended)),
        (say(options.lang, "ended"), clock(ended.ended, where, ended.ended)),
    ]
    if len(ended.cpu) >= _FEWEST_SAMPLES:
        mean, most = sum(ended.cpu) / len(ended.cpu), max(ended.cpu)
        cpu = say(options.lang, "cpu", spark=sparkline(ended.cpu), mean=f"{mean:.0f}", max=f"{most:.0f}")
        pairs.append((say(options.lang, "cpu over the run"), cpu))
    return pairs


def _evidence(ended: RunEnded) -> list[tuple[str, str]]:
    options, loss, vitals = ended.run.options, ended.loss, ended.vitals
    lang = options.lang
    pairs = []
    if vitals:
        seen = say(
            lang,
            "vitals",
            at=clock(vitals.at, zone(options.zone, lang), ended.ended),
            cpu=f"{vitals.cpu:.0f}",
            used=f"{vitals.memory_used / _GIB:.1f}",
            total=f"{vitals.memory_total / _GIB:.1f}",
        )
        pairs.append((say(lang, "last seen"), seen))
    if loss:
        status = loss.signal or ("" if loss.code is None else f"exit code {loss.code}")
        clues = [say(lang, "oom.evidence", n=loss.oom_kills)] if loss.oom_kills else []
        clues += [say(lang, "exit.evidence", status=b.code(status))] if status else []
        pairs.append((say(lang, "what tells us"), "\n".join(clues)))
    return pairs


def _value(shown: Shown, lang: str) -> str:
    if shown.error:
        return say(lang, "no value", error=b.code(shown.error, 300))
    plain = shown.value.replace(".", "", 1).replace("-", "", 1).replace(",", "").isdigit()
    return b.escape(shown.value, 100) if plain else b.code(shown.value, 500) or b.code('""')
