"""One alarm that changed again and again -> one message that tells of all its changes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cwnotify.alerts import blocks as b
from cwnotify.alerts.alarm_events import AlarmChanged
from cwnotify.alerts.alarms import COLOURS, MARKS, late_note, tone_of
from cwnotify.alerts.regions import alarm_link
from cwnotify.alerts.words import clock, duration, say
from cwnotify.alerts.words import zone as zone_of

MOST_LINES = 20


def flapping_message(
    changes: Sequence[AlarmChanged],
    lang: str,
    zone: str = "",
    channel: str = "",
    unwatched: tuple[float, float] | None = None,
) -> b.Payload:
    """The payload for the changes of one alarm, oldest first; at least one.

    Parameters
    ----------
    zone, channel, unwatched
        As for `cwnotify.alerts.alarms.alarm_message`.
    """
    last = changes[-1]
    tone = tone_of(last)
    times = [change.at for change in changes if change.at is not None]
    text = say(
        lang,
        "alarm.flapping",
        mark=MARKS[tone],
        name=b.bold(last.name, 300),
        n=len(changes),
        time=duration(max(times) - min(times) if times else 0.0, lang),
        after=b.label(last.after, 60),
    )
    lines = [_line(change, lang, zone) for change in changes[-MOST_LINES:]]
    if earlier := len(changes) - len(lines):
        lines.insert(0, f"… +{earlier}")
    top = [b.section(text)]
    if note := late_note(unwatched, lang, zone):
        top.append(b.context(note))
    link = alarm_link(last.name, last.region, last.partition)
    link = link if len(link) <= b.MOST_URL else alarm_link("", last.region, last.partition)
    details = [b.section(b.code_block("\n".join(lines))), *b.buttons([(say(lang, "alarm.button"), link)])]
    return b.message(text, top, COLOURS[tone], details, channel)


def _line(change: AlarmChanged, lang: str, zone: str) -> str:
    at = "" if change.at is None else clock(change.at, zone_of(zone, lang))
    return say(lang, "alarm.flapping.line", at=at, before=change.before or "?", after=change.after or "?")
