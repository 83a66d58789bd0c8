"""An alarm's change -> the message that Slack shows. Pure.

The first line says what is true now; it is also the notification. A quiet line says where. Beside the bar follow the
description, what was measured, what else helps to decide, and last and small CloudWatch's own reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cwnotify.alerts.events.alarms import AlarmState, AlarmStateChange, ChildAlarm, Dimension
from cwnotify.alerts.locale import format_duration, format_timestamp, sparkline, translate
from cwnotify.alerts.locale import resolve_time_zone as zone_of
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.messages.alarm_meaning import (
    SEVERITY_COLORS,
    ChangeKind,
    alarm_subject,
    classify_change,
    emoji_for_change,
    is_due_to_missing_data,
    processor_type,
    severity_of,
)
from cwnotify.alerts.messages.late import late_line
from cwnotify.alerts.messages.metric_format import format_comparison, format_datapoints, format_watched_metrics
from cwnotify.alerts.redaction.aws_events import REDACTION_MARK
from cwnotify.alerts.regions import alarm_console_url, instance_console_url

_BETWEEN = " · "
_MAX_LINK = 2_400  # so that a section can hold it, name and all
_MAX_CHILDREN = 8  # more than these are summed up
_MAX_NAMED = 3
_MAX_RULE = 300
_MAX_VALUES = 4
_MAX_GROUPS = 10
_MAX_LOG_LINES = 10
_MAX_LOG_TEXT = 1_500
_MAX_PERIOD = 366 * 86400.0  # seconds
_STATISTICS = ("average", "sum", "minimum", "maximum", "samplecount")
_SHORT_NAMES = {"CPUUtilization": "CPU", "GPUUtilization": "GPU"}


def alarm_message(
    event: AlarmStateChange,
    lang: str,
    zone: str = "",
    channel: str = "",
    watch_gap: tuple[float, float] | None = None,
    now: float | None = None,
) -> b.Payload:
    """Return the payload for one alarm's change.

    Parameters
    ----------
    zone
        IANA name of the reader's zone; empty for the language's default.
    channel
        Only legacy webhooks support it.
    unwatched
        From when until when no watch was running, where that is why the news is late.
    now
        When the message is made (Unix seconds); with it, an old event says how late it is.
    """
    first = "\n".join(filter(None, (alarm_headline(event, lang), late_line(event.at, now, lang, zone))))
    top = [
        b.section(first),
        b.context(alarm_location_line(event, lang)),
        *_contexts(watch_gap_note(watch_gap, lang, zone)),
    ]
    details = [
        *_description(event),
        *_measurements(event, lang),
        *_facts(event, lang),
        *_contexts(*_notes(event, lang, zone)),
        *b.link_buttons([(translate(lang, "alarm.button"), alarm_button_url(event))], primary=False),
        *_contexts(_last_line(event, lang, zone)),
    ]
    return b.build_payload(first, top, SEVERITY_COLORS[severity_of(event)], details, channel)


def alarm_headline(event: AlarmStateChange, lang: str) -> str:
    """The one sentence that says what is true now, as mrkdwn."""
    if event.suppression_ended:
        key = "alarm.released.OK" if event.after == AlarmState.OK else "alarm.released"
        return _say(event, lang, key, why=b.escape_label(event.suppression_ended, 120))
    match classify_change(event):
        case ChangeKind.FIRED | ChangeKind.WELCOME if event.before == AlarmState.ALARM:
            return _say(event, lang, "alarm.still")
        case ChangeKind.RECOVERED if event.before_since is not None and event.at is not None:
            return _say(event, lang, "alarm.recovered.after", time=_whole_minutes(event.at - event.before_since, lang))
        case ChangeKind.WORK_RESUMED if event.before == AlarmState.ALARM:
            return _say(event, lang, "alarm.working.again")
        case ChangeKind.WELCOME_NO_DATA:
            return _say(event, lang, "alarm.unknown", missing=_missing(event, lang))
        case ChangeKind.OTHER if not event.after:
            return _say(event, lang, "alarm.changed")
        case ChangeKind.WELCOME:
            return _say(event, lang, "alarm.fired")
        case news:
            return _say(event, lang, f"alarm.{news}")


def _say(event: AlarmStateChange, lang: str, key: str, **values: str) -> str:
    series = f" ({label})" if (label := contributor_label(event)) else ""
    return translate(
        lang,
        key,
        mark=emoji_for_change(event),
        name=b.bold(event.name, 300) + series,
        subject=b.escape_label(alarm_subject(event), 300) + series,
        state=b.escape_label(event.after, 60),
        facts=_cause(event, lang),
        **values,
    )


def contributor_label(event: AlarmStateChange) -> str:
    """``service checkout, le 0.5``: which of many time series changed; empty for an alarm on one."""
    named = [
        f"{b.escape_label(one.name, 60)} {b.escape_label(one.value, 80)}".strip()
        for one in event.contributor[:_MAX_NAMED]
    ]
    more = ", …" if len(event.contributor) > _MAX_NAMED else ""
    return ", ".join(named) + more or b.escape_label(event.contributor_id, 40)


def _cause(event: AlarmStateChange, lang: str) -> str:
    """``: CPU 96.4 % > 50 % (2 of the last 3 datapoints)``, or for a composite alarm which alarms it is about."""
    if event.children:
        return f": {_summary(event, lang)}"
    if counted := re.match(r"(\d{1,6}\+?)(?: out of (\d{1,6}\+?))? time series evaluated to", event.reason):
        key = "alarm.series" if counted[2] else "alarm.series.all"
        return f": {translate(lang, key, n=counted[1], of=counted[2])}"
    if is_due_to_missing_data(event):
        return f": {_missing(event, lang)}"
    if event.value is None:
        return ""
    what = " ".join(filter(None, (_metric_name(event), format_comparison(event, lang))))
    m, n = _crossed(event)
    return f": {what}" + (translate(lang, "alarm.of", m=m, n=n) if m < n and event.after == AlarmState.ALARM else "")


def _metric_name(event: AlarmStateChange) -> str:
    unnamed = any(event.metric == one.expression for one in event.metrics)
    return "" if unnamed else b.escape_label(_SHORT_NAMES.get(event.metric, event.metric), 80)


def _crossed(event: AlarmStateChange) -> tuple[int, int]:
    """How many of the last N datapoints crossed, as the reason has it; (0, 0) if it does not say."""
    said = re.search(r"Crossed: (\d{1,6}) out of the last (\d{1,6}) ", event.reason[:2_000])
    return (int(said[1]), int(said[2])) if said else (0, 0)


def _missing(event: AlarmStateChange, lang: str) -> str:
    """``no CPU data for 15 min``."""
    name = processor_type(event) or _metric_name(event)
    what = f"{name} " if name else ""
    if not event.no_data:
        return translate(lang, "alarm.missing.some", what=what)
    unknown = re.search(r"(\d{1,6}) datapoints? (?:was|were) unknown", event.reason[:2_000])
    seconds = (event.period or 0.0) * (int(unknown[1]) if unknown else event.evaluation_periods or 0)
    if 0 < seconds < _MAX_PERIOD:
        return translate(lang, "alarm.missing.for", what=what, time=_whole_minutes(seconds, lang))
    return translate(lang, "alarm.missing", what=what)


def _summary(event: AlarmStateChange, lang: str) -> str:
    """``200 alarms: node-000, node-001, node-002 and 197 more``."""
    names = [_child_name(child, event.after) for child in event.children[:_MAX_NAMED]]
    count, left = len(event.children), len(event.children) - len(names)
    listed = ", ".join(names)
    if left:
        listed = translate(lang, "alarm.and", names=listed, n=f"{left:,}")
    return listed if count == 1 else translate(lang, "alarm.children", n=f"{count:,}", names=listed)


def _child_name(child: ChildAlarm, state: str) -> str:
    other = f" ({b.escape_label(child.state, 60)})" if child.state and child.state != state else ""
    return b.escape_label(child.name, 80) + other


def _whole_minutes(seconds: float, lang: str) -> str:
    return format_duration(seconds - seconds % 60 if seconds >= 600 else seconds, lang)


def alarm_location_line(event: AlarmStateChange, lang: str) -> str:
    """The fairy's greeting, and where the alarm is: an instance with its link, or the service and its dimensions."""
    if event.instance:
        link = instance_console_url(event.instance, event.region, event.partition)
        shown = b.escape_label(event.instance.replace("|", "∣"), 60)
        where = f"<{link}|{shown}>" if link and len(link) <= _MAX_LINK else shown
    else:
        where = ""
    service = b.escape_label(event.namespace.removeprefix("AWS/"), 60)
    others = [one for one in event.dimensions if one.value != event.instance][:_MAX_NAMED]
    if len(others) == 1 and not where:
        listed = b.escape_label(others[0].value, 120)
    else:
        listed = ", ".join(_dimension(one) for one in others)
    if listed and not where:
        listed = f"{service} {listed}".strip()
    return _BETWEEN.join(
        filter(None, (translate(lang, "alarm.hello"), where, listed, b.escape_label(event.region, 60)))
    )


def _dimension(one: Dimension) -> str:
    return f"{b.escape_label(one.name, 60)} {b.escape_label(one.value, 80)}".strip()


def watch_gap_note(unwatched: tuple[float, float] | None, lang: str, zone: str) -> str:
    """Why news is late that a watch brings; empty where it was running."""
    if unwatched is None:
        return ""
    where, (since, until) = zone_of(zone, lang), unwatched
    return translate(
        lang, "alarm.late", since=format_timestamp(since, where), until=format_timestamp(until, where, since)
    )


def alarm_button_url(event: AlarmStateChange) -> str:
    """The console's page of the alarm, or of all alarms if the link would be too long."""
    link = alarm_console_url(event.name, event.region, event.partition)
    return link if len(link) <= b.MAX_BUTTON_URL_LENGTH else alarm_console_url("", event.region, event.partition)


def link_alarm_name(name: str, region: str, partition: str) -> str:
    """An alarm's name as a link to it; the bare name if there is no console for it, or if a link were too long."""
    link = alarm_console_url(name, region, partition)
    shown = b.escape_label(name.replace("|", "∣"), 255)
    return f"<{link}|{shown}>" if link and len(link) <= _MAX_LINK else shown


def _description(event: AlarmStateChange) -> list[b.Block]:
    """The description; bold only while the alarm fires: a recovery does not shout."""
    if not event.description.strip():
        return []
    from cwnotify.alerts.messages.alarm_description import markdown_to_mrkdwn

    fires = event.after == AlarmState.ALARM and not is_due_to_missing_data(event)
    shown = markdown_to_mrkdwn(event.description, b.MAX_SECTION_LENGTH - 100, lead=fires, bold=fires)
    # Without Slack's own search for links and names, which would find mentions in plain text.
    return [b.section(shown)] if shown else []


def _measurements(event: AlarmStateChange, lang: str) -> list[b.Block]:
    """The recent datapoints with their statistic and period; for an alarm without them, its metric."""
    limit = format_comparison(event, lang) if event.value is None and event.threshold is not None else ""
    points = [one for one in (_m_of_n(event, lang), limit) if one]
    if len(event.recent) > 1:
        what = f"{_bars(event)} {format_datapoints(event, event.recent[-_MAX_VALUES:])}"
        points.insert(0, _cadence(event, lang))
    else:
        what = format_watched_metrics(event, lang) if event.metric and not event.metrics else ""
    lines = [", ".join(filter(None, (what, *points)))]
    missing = event.treat_missing_data.lower()
    if event.value is None and missing in ("breaching", "notbreaching", "ignore"):
        lines.append(translate(lang, f"alarm.missing.{missing}"))
    text = "\n".join(filter(None, lines))
    return [b.section(text)] if text else []


def _bars(event: AlarmStateChange) -> str:
    """The datapoints as bars that stand on zero; percentages reach up to 100."""
    highest = max(map(abs, event.recent)) or 1.0
    is_share = highest <= 100 and format_datapoints(event, event.recent[:1]).endswith("%")
    # As shares of the highest: the sum of two datapoints may be more than a float holds.
    values = tuple(value / (100.0 if is_share else highest) for value in event.recent)
    low = min(0.0, *values)
    return sparkline(values, low, 1.0 if is_share else max(low + 0.1, *values))


def _cadence(event: AlarmStateChange, lang: str) -> str:
    """``5-minute averages``."""
    period, statistic = event.period or 0.0, event.statistic.lower()
    if not 0 < period < _MAX_PERIOD:
        return (
            translate(lang, f"alarm.{statistic}") if statistic in _STATISTICS else b.escape_label(event.statistic, 40)
        )
    if not statistic:
        return translate(lang, "alarm.every", time=format_duration(period, lang))
    unit, size = next((unit, size) for unit, size in _UNITS if period % size == 0 or size == 1)
    often = translate(lang, f"alarm.every.{unit}", n=f"{period / size:g}")
    if statistic in _STATISTICS:
        return translate(lang, f"alarm.each.{statistic}", often=often)
    return translate(lang, "alarm.each", often=often, statistic=b.escape_label(event.statistic, 40))


_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def _m_of_n(event: AlarmStateChange, lang: str) -> str:
    """M of N as it is configured, unless the first line tells how many crossed."""
    m, n = event.datapoints_to_alarm, event.evaluation_periods
    crossed, of = _crossed(event)
    in_headline = crossed < of and event.after == AlarmState.ALARM and event.value is not None
    if in_headline or not m or not n or n == 1 or m > n:
        return ""
    return translate(lang, "alarm.points", m=m, n=n)


def _facts(event: AlarmStateChange, lang: str) -> list[b.Block]:
    groups = [b.inline_code(one, 200) for one in event.log_groups[:_MAX_GROUPS]]
    waits = [
        translate(lang, f"alarm.{kind}", time=format_duration(seconds, lang))
        for kind, seconds in (("pending", event.pending_period), ("recovery", event.recovery_period))
        if seconds is not None and 0 <= seconds < _MAX_PERIOD
    ]
    pairs = (
        ("compared", format_watched_metrics(event, lang) if event.metrics else ""),
        ("subject", _many(event.dimensions, lang)),
        ("series", _many(event.contributor, lang)),
        ("waits", ", ".join(waits)),
        ("groups", _listed(groups, len(event.log_groups), lang)),
        ("rule", b.inline_code(event.rule, _MAX_RULE)),
        ("children", _children(event, lang)),
    )
    blocks = b.fact_sections((translate(lang, f"alarm.field.{key}"), value) for key, value in pairs)
    if event.query.strip():
        blocks.append(_coded("query", event.query, 1_500, lang))
    if event.log_lines:
        lines = "\n".join(b.truncate_text(line.replace("\n", " "), 300) for line in event.log_lines[:_MAX_LOG_LINES])
        left = len(event.log_lines) - _MAX_LOG_LINES
        more = translate(lang, "alarm.more", n=left) if left > 0 else ""
        blocks.append(_coded("lines", "\n".join(filter(None, (lines, more))), _MAX_LOG_TEXT, lang))
    return blocks


def _coded(key: str, text: str, limit: int, lang: str) -> b.Block:
    shown = b.escape_mrkdwn(text.strip().replace("`", "ˋ"), limit)
    return b.section(f"*{translate(lang, f'alarm.field.{key}')}*\n```\n{shown}\n```")


def _many(dimensions: Sequence[Dimension], lang: str) -> str:
    """All dimensions, where the lines above have room for a few only."""
    if len(dimensions) <= _MAX_NAMED:
        return ""
    return _listed(
        [f"{b.escape_label(one.name, 60)} {b.inline_code(one.value, 100)}" for one in dimensions[:10]],
        len(dimensions),
        lang,
    )


def _children(event: AlarmStateChange, lang: str) -> str:
    few = len(event.children) <= _MAX_CHILDREN
    lines = [
        f"{link_alarm_name(child.name, event.region, event.partition)} {b.escape_label(child.state, 60)}".strip()
        if len(child.name) < 100
        else _child_name(child, "")
        for child in event.children[: _MAX_CHILDREN if few else _MAX_NAMED]
    ]
    return _listed(lines, len(event.children), lang)


def _listed(items: Sequence[str], count: int, lang: str) -> str:
    """As many of the items as a line can hold, and how many of `count` are left."""
    kept: list[str] = []
    for item in items:
        if sum(map(len, kept)) + len(item) > b.MAX_FIELD_LENGTH - 200:
            break
        kept.append(item)
    left = count - len(kept)
    return _BETWEEN.join([*kept, *([translate(lang, "alarm.more", n=f"{left:,}")] if left else [])])


def _notes(event: AlarmStateChange, lang: str, zone: str) -> list[str]:
    """What limits what this alarm says or does: an incomplete evaluation, actions held back, a mute rule."""
    notes = []
    if event.evaluation_state:
        known = event.evaluation_state in ("PARTIAL_DATA", "EVALUATION_FAILURE", "EVALUATION_ERROR")
        key = f"alarm.evaluation.{event.evaluation_state}" if known else "alarm.evaluation"
        notes.append(translate(lang, key, state=b.inline_code(event.evaluation_state, 60)))
    if event.held_back:
        notes.append(translate(lang, "alarm.held", why=b.escape_label(event.held_back, 300)))
    if event.muted_by:
        key = "alarm.muted" if event.muted_until is None else "alarm.muted.until"
        until = format_timestamp(event.muted_until or 0.0, zone_of(zone, lang))
        notes.append(translate(lang, key, rule=b.inline_code(event.muted_by), until=until))
    if event.redacted:
        notes.append(translate(lang, "scrubbed", mark=REDACTION_MARK))
    return notes


def _last_line(event: AlarmStateChange, lang: str, zone: str) -> str:
    renamed = (
        classify_change(event)
        in (ChangeKind.WORK_ENDED, ChangeKind.IDLE, ChangeKind.WORK_RESUMED, ChangeKind.WELCOME_NO_DATA)
        and not event.suppression_ended
    )
    tags = ", ".join(f"{b.escape_label(one.key, 60)}={b.escape_label(one.value, 80)}" for one in event.tags[:10])
    more = f" … +{len(event.tags) - 10}" if len(event.tags) > 10 else ""
    pieces = (
        translate(lang, "alarm.name", name=b.escape_label(event.name, 300)) if renamed else "",
        translate(lang, "alarm.account", account=b.escape_label(event.account, 40)) if event.account else "",
        "" if event.at is None else format_timestamp(event.at, zone_of(zone, lang)),
        translate(lang, "alarm.tags", tags=tags + more) if tags else "",
        b.escape_prose(event.reason, 1_500),
    )
    return _BETWEEN.join(filter(None, pieces))


def _contexts(*notes: str) -> list[b.Block]:
    return [b.context(note) for note in notes if note.strip()]
