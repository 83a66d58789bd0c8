"""One alarm that changed again and again -> one message about all its changes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cwnotify.alerts.events.alarms import AlarmChanged
from cwnotify.alerts.locale import clock, duration, say
from cwnotify.alerts.locale import zone as zone_of
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.messages.alarm import button_link, contributor_label, quiet_line, unwatched_note
from cwnotify.alerts.messages.alarm_meaning import COLOURS, MARKS, tone_of
from cwnotify.alerts.messages.late import late_line
from cwnotify.alerts.messages.metric_format import measured
from cwnotify.alerts.redaction.aws_events import MARK

MOST_LINES = 20


def flapping_message(
    changes: Sequence[AlarmChanged],
    lang: str,
    zone: str = "",
    channel: str = "",
    unwatched: tuple[float, float] | None = None,
    now: float | None = None,
) -> b.Payload:
    """Return the payload for the changes of one alarm, oldest first; at least one.

    Parameters
    ----------
    zone, channel, unwatched, now
        As for `cwnotify.alerts.messages.alarm.alarm_message`.
    """
    last = changes[-1]
    tone = tone_of(last)
    times = [change.at for change in changes if change.at is not None]
    series = f" ({label})" if (label := contributor_label(last)) else ""
    text = say(
        lang,
        "alarm.flapping",
        mark=MARKS[tone],
        name=b.bold(last.name, 300) + series,
        n=len(changes),
        time=duration(max(times) - min(times) if times else 0.0, lang),
        after=b.label(last.after, 60),
    )
    first = "\n".join(filter(None, (text, late_line(max(times, default=None), now, lang, zone))))
    lines = [_line(change, lang, zone) for change in changes[-MOST_LINES:]]
    if earlier := len(changes) - len(lines):
        lines.insert(0, f"… +{earlier}")
    top = [b.section(first), b.context(quiet_line(last, lang))]
    if note := unwatched_note(unwatched, lang, zone):
        top.append(b.context(note))
    details = [
        b.section(b.code_block("\n".join(lines))),
        *b.buttons([(say(lang, "alarm.button"), button_link(last))], primary=False),
        *([b.context(say(lang, "scrubbed", mark=MARK))] if MARK in first else []),
        *([b.context(say(lang, "alarm.account", account=b.label(last.account, 40)))] if last.account else []),
    ]
    return b.message(first, top, COLOURS[tone], details, channel)


def _line(change: AlarmChanged, lang: str, zone: str) -> str:
    at = "" if change.at is None else clock(change.at, zone_of(zone, lang))
    if change.suppression_ended:
        return say(lang, "alarm.flapping.released", at=at, after=change.after or "?", why=change.suppression_ended)
    value = measured(change, lang) if change.value is not None else ""
    # In code Slack's entities are written out by `code_block`.
    value = value.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    told = say(lang, "alarm.flapping.line", at=at, before=change.before or "?", after=change.after or "?")
    return f"{told}  {value}".rstrip()
