"""Changes of an alarm that became known only after a later one was sent -> one message. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cwnotify.alerts.events.alarms import AlarmChanged
from cwnotify.alerts.locale import clock, say
from cwnotify.alerts.locale import zone as zone_of
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.regions import alarm_link

MAX_LINES = 20


def meanwhile_message(
    changes: Sequence[AlarmChanged], state: str, lang: str, zone: str = "", channel: str = ""
) -> b.Payload:
    """Return the payload for missed changes of one alarm, oldest first; at least one.

    Parameters
    ----------
    state
        The alarm's state now: the first line says it, so that an old change is not taken for the newest.
    zone, channel
        As for `cwnotify.alerts.messages.alarm.alarm_message`.
    """
    last = changes[-1]
    text = say(lang, "alarm.meanwhile", name=b.bold(last.name, 300), state=b.label(state, 60), n=len(changes))
    where = zone_of(zone, lang)
    lines = [
        f"{clock(change.at, where) if change.at is not None else ''}  {change.before or '?'} → {change.after or '?'}"
        for change in changes[-MAX_LINES:]
    ]
    if earlier := len(changes) - len(lines):
        lines.insert(0, f"… +{earlier}")
    link = alarm_link(last.name, last.region, last.partition)
    link = link if len(link) <= b.MOST_URL else alarm_link("", last.region, last.partition)
    details = [b.section(b.code_block("\n".join(lines))), *b.buttons([(say(lang, "alarm.button"), link)])]
    return b.message(text, [b.section(text)], b.NO_DATA, details, channel)
