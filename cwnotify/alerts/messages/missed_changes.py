"""Changes of an alarm that became known only after a later one was sent -> one message. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cwnotify.alerts.events.alarms import AlarmStateChange
from cwnotify.alerts.locale import format_timestamp, translate
from cwnotify.alerts.locale import resolve_time_zone as zone_of
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.regions import alarm_console_url

MAX_MISSED_CHANGE_LINES = 20


def missed_changes_message(
    changes: Sequence[AlarmStateChange], state: str, lang: str, zone: str = "", channel: str = ""
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
    text = translate(
        lang, "alarm.meanwhile", name=b.bold(last.name, 300), state=b.escape_label(state, 60), n=len(changes)
    )
    where = zone_of(zone, lang)
    lines = [
        f"{format_timestamp(change.at, where) if change.at is not None else ''}  {change.before or '?'} → {change.after or '?'}"
        for change in changes[-MAX_MISSED_CHANGE_LINES:]
    ]
    if earlier := len(changes) - len(lines):
        lines.insert(0, f"… +{earlier}")
    link = alarm_console_url(last.name, last.region, last.partition)
    link = link if len(link) <= b.MAX_BUTTON_URL_LENGTH else alarm_console_url("", last.region, last.partition)
    details = [b.section(b.code_block("\n".join(lines))), *b.link_buttons([(translate(lang, "alarm.button"), link)])]
    return b.build_payload(text, [b.section(text)], b.COLOR_NEUTRAL, details, channel)
