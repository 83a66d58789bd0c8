"""Report changes of an alarm that were found after a later change had been sent. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from cwnotify.alerts.events.alarms import AlarmStateChange
from cwnotify.alerts.locale import format_timestamp, resolve_time_zone, translate
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.messages.alarm import alarm_button_url

MAX_MISSED_CHANGE_LINES = 20


def missed_changes_message(
    changes: Sequence[AlarmStateChange], state: str, lang: str, zone: str = "", channel: str = ""
) -> b.Payload:
    """Return the payload for missed changes of one alarm.

    Parameters
    ----------
    changes
        At least one change, oldest first.
    state
        The alarm's current state. The first line names it, to distinguish the old changes from the newest one.
    zone, channel
        As for `cwnotify.alerts.messages.alarm.alarm_message`.
    """
    last = changes[-1]
    text = translate(
        lang, "alarm.meanwhile", name=b.bold(last.name, 300), state=b.escape_label(state, 60), n=len(changes)
    )
    lines = [_line(change, resolve_time_zone(zone, lang)) for change in changes[-MAX_MISSED_CHANGE_LINES:]]
    if earlier := len(changes) - len(lines):
        lines.insert(0, f"… +{earlier}")
    buttons = b.link_buttons([(translate(lang, "alarm.button"), alarm_button_url(last))])
    details = [b.section(b.code_block("\n".join(lines))), *buttons]
    return b.build_payload(text, [b.section(text)], b.COLOR_NEUTRAL, details, channel)


def _line(change: AlarmStateChange, zone: tzinfo) -> str:
    at = "" if change.at is None else format_timestamp(change.at, zone)
    return f"{at}  {change.before or '?'} → {change.after or '?'}"
