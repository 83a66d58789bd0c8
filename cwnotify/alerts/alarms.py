"""An alarm's change -> what Slack should say of it, and whether it is good news. Pure.

An alarm is welcome when it tells of an end that one waits for: its name says "off" (``train-3-off``), or it fires
below its threshold. What is welcome is good news when it fires; when it returns to OK the machine is at work again,
which is neither good nor bad, and so neither green nor red.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cwnotify.alerts import blocks as b
from cwnotify.alerts.alarm_events import AlarmChanged, AlarmState, ChildAlarm
from cwnotify.alerts.measures import condition, measured, watched
from cwnotify.alerts.python310 import StrEnum
from cwnotify.alerts.regions import alarm_link
from cwnotify.alerts.words import clock, say
from cwnotify.alerts.words import zone as zone_of

_MOST_NAME = 1_300  # 255 characters, each of them an &
_MOST_LINES = 8
_MOST_LINK = 2_400  # so that a section can hold it, name and all


class Tone(StrEnum):
    """What sort of news a change is."""

    BAD = "bad"
    NO_DATA = "no data"
    CALM = "calm"
    GOOD = "good"


COLOURS = {Tone.BAD: b.BAD, Tone.NO_DATA: b.NO_DATA, Tone.CALM: b.NO_DATA, Tone.GOOD: b.GOOD}
MARKS = {
    Tone.BAD: ":rotating_light:",
    Tone.NO_DATA: ":grey_question:",
    Tone.CALM: ":information_source:",
    Tone.GOOD: ":white_check_mark:",
}


def tone_of(event: AlarmChanged) -> Tone:
    """What sort of news `event` is; a state that CloudWatch does not know is calm."""
    if event.after == AlarmState.ALARM:
        return Tone.GOOD if is_welcome(event.name, event.comparison) else Tone.BAD
    if event.after == AlarmState.OK:
        return Tone.CALM if is_welcome(event.name, event.comparison) else Tone.GOOD
    return Tone.NO_DATA if event.after == AlarmState.INSUFFICIENT_DATA else Tone.CALM


def is_welcome(name: str, comparison: str) -> bool:
    """Whether it is good news when an alarm of this name fires, which it does on this side of its threshold."""
    named_off = re.search(r"(?i:(?<![a-z])off(?![a-z]))|(?<=[a-z0-9])Off(?![a-z])", name)
    # A band's alarm that fires on both sides is no sign of an end.
    below = comparison.startswith("LessThan") and "GreaterThan" not in comparison
    return bool(named_off) or below


def alarm_message(
    event: AlarmChanged, lang: str, zone: str = "", channel: str = "", unwatched: tuple[float, float] | None = None
) -> b.Payload:
    """The payload for one alarm's change.

    Parameters
    ----------
    zone
        IANA name of the reader's zone; empty for the language's default.
    channel
        Only legacy webhooks heed it.
    unwatched
        From when until when nobody watched, where that is why the change is told late.
    """
    tone = tone_of(event)
    told = sentence(event, lang)
    greeting = say(lang, f"alarm.hello.{tone}")
    # Without a description our own sentence takes its place.
    body = _bold_lines(event.description, b.MOST_SECTION - len(greeting) - 1) or told
    notes = [b.prose(event.reason), *_silenced(event, lang, zone), late_note(unwatched, lang, zone)]
    top = [b.section(f"{greeting}\n{body}")]
    if quiet := [b.context(note) for note in notes if note]:
        top += [b.divider(), *quiet]
    link = alarm_link(event.name, event.region, event.partition)
    if len(link) > b.MOST_URL:
        link = alarm_link("", event.region, event.partition)
    details = [*b.fields(_facts(event, lang, zone)), *b.buttons([(say(lang, "alarm.button"), link)])]
    return b.message(f"{MARKS[tone]} {told}", top, COLOURS[tone], details, channel)


def late_note(unwatched: tuple[float, float] | None, lang: str, zone: str) -> str:
    """Why a change is told late; empty for one that is not."""
    if unwatched is None:
        return ""
    where, (since, until) = zone_of(zone, lang), unwatched
    return say(lang, "alarm.late", since=clock(since, where), until=clock(until, where, since))


def sentence(event: AlarmChanged, lang: str) -> str:
    """The one sentence that says it all, as mrkdwn."""
    key = "alarm.went" if event.before and event.after else "alarm.is" if event.after else "alarm.changed"
    return say(
        lang,
        key,
        name=b.bold(event.name, 300),
        before=b.label(event.before, 60),
        after=b.label(event.after, 60),
        facts=_cause(event, lang),
    )


def _cause(event: AlarmChanged, lang: str) -> str:
    """``: CPUUtilization 3.2 % < 10 % (`i-0abc12f9`)``, or for a composite alarm what its children did."""
    if event.children:
        return f": {', '.join(map(_state_of, event.children[:3]))}"
    unnamed = any(event.metric == one.expression for one in event.metrics)
    metric = "" if unnamed else b.label(event.metric, 80)
    what = " ".join(filter(None, (metric, measured(event, lang)))) if event.value is not None else ""
    where = b.code(event.instance or ", ".join(one.value for one in event.contributor), 60)
    return (f": {what}" if what else "") + (f" ({where})" if where else "")


def linked(name: str, region: str, partition: str) -> str:
    """An alarm's name as a link to it; the bare name if there is no console for it, or if a link were too long."""
    link = alarm_link(name, region, partition)
    shown = b.label(name.replace("|", "∣"), 255)
    return f"<{link}|{shown}>" if link and len(link) <= _MOST_LINK else shown


def _facts(event: AlarmChanged, lang: str, zone: str) -> list[tuple[str, str]]:
    when = "" if event.at is None else clock(event.at, zone_of(zone, lang))
    subject = "instance" if event.instance else "subject"
    pairs = (
        ("before", b.label(event.before)),
        ("after", b.label(event.after)),
        ("name", b.label(event.name, _MOST_NAME)),
        ("time", when),
        ("value", condition(event, lang)),
        ("compared" if event.metrics else "metric", watched(event, lang)),
        (subject, _subject(event, lang)),
        ("rule", b.code(event.rule, 1_500)),
        ("children", _children(event, lang)),
        ("place", " · ".join(filter(None, (b.label(event.account, 40), b.label(event.region, 60))))),
    )
    return [(say(lang, f"alarm.field.{key}"), value) for key, value in pairs]


def _subject(event: AlarmChanged, lang: str) -> str:
    """The instance, and whatever else tells what was measured."""
    others = [one for one in (*event.dimensions, *event.contributor) if one.value != event.instance]
    lines = [f"{b.label(one.name, 80)}: {b.code(one.value, 140)}" for one in others]
    return _listed([*filter(None, [b.code(event.instance, 60)]), *lines], lang)


def _children(event: AlarmChanged, lang: str) -> str:
    lines = [
        f"{linked(child.name, event.region, event.partition)} {b.label(child.state, 60)}".strip()
        if len(child.name) < 100
        else _state_of(child)
        for child in event.children
    ]
    return _listed(lines, lang)


def _state_of(child: ChildAlarm) -> str:
    return f"{b.label(child.name, 80)} {b.label(child.state, 60)}".strip()


def _listed(lines: Sequence[str], lang: str) -> str:
    """As many of `lines` as a field can hold, and how many there are besides."""
    kept: list[str] = []
    for line in lines[:_MOST_LINES]:
        if sum(map(len, kept)) + len(line) > b.MOST_FIELD - 100:
            break
        kept.append(line)
    left = len(lines) - len(kept)
    return "\n".join([*kept, *([say(lang, "alarm.more", n=left)] if left else [])])


def _silenced(event: AlarmChanged, lang: str, zone: str) -> list[str]:
    """Why the alarm's own actions may have stayed away."""
    notes = []
    if event.held_back:
        notes.append(say(lang, "alarm.held", why=b.label(event.held_back, 300)))
    if event.muted_by:
        key = "alarm.muted" if event.muted_until is None else "alarm.muted.until"
        until = clock(event.muted_until or 0.0, zone_of(zone, lang))
        notes.append(say(lang, key, rule=b.code(event.muted_by), until=until))
    return notes


def _bold_lines(text: str, room: int) -> str:
    """Each line of `text` in bold, for Slack's bold ends with its line."""
    lines: list[str] = []
    for line in text.splitlines():
        left = room - sum(len(one) + 1 for one in lines) - len("**")
        if left > 1 and line.strip():
            lines.append(f"*{b.prose(line, left)}*")
    return "\n".join(lines)
