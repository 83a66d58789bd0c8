"""One alarm that changed again and again -> one message about all its changes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cwnotify.alerts.events.alarms import AlarmStateChange
from cwnotify.alerts.locale import format_duration, format_timestamp, translate
from cwnotify.alerts.locale import resolve_time_zone as zone_of
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
    """Return the payload for the changes of one alarm, oldest first; at least one.

    Parameters
    ----------
    zone, channel, unwatched, now
        As for `cwnotify.alerts.messages.alarm.alarm_message`.
    """
    last = changes[-1]
    tone = severity_of(last)
    times = [change.at for change in changes if change.at is not None]
    series = f" ({label})" if (label := contributor_label(last)) else ""
    text = translate(
        lang,
        "alarm.flapping",
        mark=SEVERITY_EMOJI[tone],
        name=b.bold(last.name, 300) + series,
        n=len(changes),
        time=format_duration(max(times) - min(times) if times else 0.0, lang),
        after=b.escape_label(last.after, 60),
    )
    first = "\n".join(filter(None, (text, late_line(max(times, default=None), now, lang, zone))))
    lines = [_line(change, lang, zone) for change in changes[-MAX_FLAPPING_LINES:]]
    if earlier := len(changes) - len(lines):
        lines.insert(0, f"… +{earlier}")
    top = [b.section(first), b.context(alarm_location_line(last, lang))]
    if note := watch_gap_note(watch_gap, lang, zone):
        top.append(b.context(note))
    details = [
        b.section(b.code_block("\n".join(lines))),
        *b.link_buttons([(translate(lang, "alarm.button"), alarm_button_url(last))], primary=False),
        *([b.context(translate(lang, "scrubbed", mark=REDACTION_MARK))] if REDACTION_MARK in first else []),
        *(
            [b.context(translate(lang, "alarm.account", account=b.escape_label(last.account, 40)))]
            if last.account
            else []
        ),
    ]
    return b.build_payload(first, top, SEVERITY_COLORS[tone], details, channel)


def _line(change: AlarmStateChange, lang: str, zone: str) -> str:
    at = "" if change.at is None else format_timestamp(change.at, zone_of(zone, lang))
    if change.suppression_ended:
        return translate(
            lang, "alarm.flapping.released", at=at, after=change.after or "?", why=change.suppression_ended
        )
    value = format_comparison(change, lang) if change.value is not None else ""
    # In code Slack's entities are written out by `code_block`.
    value = value.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    told = translate(lang, "alarm.flapping.line", at=at, before=change.before or "?", after=change.after or "?")
    return f"{told}  {value}".rstrip()
