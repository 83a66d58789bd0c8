"""Combine the changes of one flapping alarm into one message. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cwnotify.alerts.events.alarms import AlarmStateChange
from cwnotify.alerts.locale import format_duration, format_timestamp, resolve_time_zone, translate
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.messages.alarm import alarm_button_url, alarm_location_line, contributor_label, watch_gap_note
from cwnotify.alerts.messages.alarm_meaning import SEVERITY_COLORS, SEVERITY_EMOJI, severity_of
from cwnotify.alerts.messages.late import late_line
from cwnotify.alerts.messages.metric_format import format_comparison
from cwnotify.alerts.redaction.aws_events import REDACTION_MARK

MAX_FLAPPING_LINES = 20


def flapping_message(
    changes: Sequence[AlarmStateChange],
    lang: str,
    zone: str = "",
    channel: str = "",
    watch_gap: tuple[float, float] | None = None,
    now: float | None = None,
) -> b.Payload:
    """Return the payload for the changes of one alarm.

    Parameters
    ----------
    changes
        At least one change, oldest first.
    zone, channel, watch_gap, now
        As for `cwnotify.alerts.messages.alarm.alarm_message`.
    """
    last = changes[-1]
    severity = severity_of(last)
    times = [change.at for change in changes if change.at is not None]
    series = f" ({label})" if (label := contributor_label(last)) else ""
    text = translate(
        lang,
        "alarm.flapping",
        mark=SEVERITY_EMOJI[severity],
        name=b.bold(last.name, 300) + series,
        n=len(changes),
        time=format_duration(max(times) - min(times) if times else 0.0, lang),
        after=b.escape_label(last.after, 60),
    )
    headline = "\n".join(filter(None, (text, late_line(max(times, default=None), now, lang, zone))))
    lines = [_line(change, lang, zone) for change in changes[-MAX_FLAPPING_LINES:]]
    if earlier := len(changes) - len(lines):
        lines.insert(0, f"… +{earlier}")
    top = [b.section(headline), b.context(alarm_location_line(last, lang))]
    if note := watch_gap_note(watch_gap, lang, zone):
        top.append(b.context(note))
    details = [
        b.section(b.code_block("\n".join(lines))),
        *b.link_buttons([(translate(lang, "alarm.button"), alarm_button_url(last))], primary=False),
    ]
    if REDACTION_MARK in headline:
        details.append(b.context(translate(lang, "scrubbed", mark=REDACTION_MARK)))
    if last.account:
        details.append(b.context(translate(lang, "alarm.account", account=b.escape_label(last.account, 40))))
    return b.build_payload(headline, top, SEVERITY_COLORS[severity], details, channel)


def _line(change: AlarmStateChange, lang: str, zone: str) -> str:
    at = "" if change.at is None else format_timestamp(change.at, resolve_time_zone(zone, lang))
    if change.suppression_ended:
        return translate(
            lang, "alarm.flapping.released", at=at, after=change.after or "?", why=change.suppression_ended
        )
    value = format_comparison(change, lang) if change.value is not None else ""
    # Unescaped because `code_block` escapes it again.
    value = value.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    text = translate(lang, "alarm.flapping.line", at=at, before=change.before or "?", after=change.after or "?")
    return f"{text}  {value}".rstrip()
