"""Convert an alarm's state change to a Slack message. Pure.

The first line gives the current state; it is also the notification text. A small line below gives the location. The
attachment has the description, the measured values, other useful facts, and CloudWatch's own reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cwnotify.alerts.events.alarms import AlarmState, AlarmStateChange, ChildAlarm, Dimension
from cwnotify.alerts.locale import format_duration, format_timestamp, resolve_time_zone, sparkline, translate
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
_MAX_LINK = 2_400  # characters; the link and its text must fit into a section
_MAX_CHILDREN = 8  # a composite alarm with more lists only `_MAX_NAMED` of them
_MAX_NAMED = 3
_MAX_RULE = 300
_MAX_VALUES = 4
_MAX_GROUPS = 10
_MAX_LOG_LINES = 10
_MAX_LOG_TEXT = 1_500
_MAX_PERIOD = 366 * 86400.0  # seconds
_STATISTICS = ("average", "sum", "minimum", "maximum", "samplecount")
_SHORT_NAMES = {"CPUUtilization": "CPU", "GPUUtilization": "GPU"}
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
# Their first line names the subject instead of the alarm.
_KINDS_WITHOUT_NAME = (ChangeKind.WORK_ENDED, ChangeKind.IDLE, ChangeKind.WORK_RESUMED, ChangeKind.WELCOME_NO_DATA)


def alarm_message(
    event: AlarmStateChange,
    lang: str,
    zone: str = "",
    channel: str = "",
    watch_gap: tuple[float, float] | None = None,
    now: float | None = None,
) -> b.Payload:
    """Return the payload for one state change.

    Parameters
    ----------
    zone
        IANA name of the reader's zone; empty for the language's default.
    channel
        Only legacy webhooks support it.
    watch_gap
        Start and end (Unix seconds) of a period in which no watch ran, if the message is late because of it.
    now
        The current time (Unix seconds). If set, a message about an old event says how late it is.
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
    """Return the first line: the alarm's current state, as mrkdwn."""
    if event.suppression_ended:
        key = "alarm.released.OK" if event.after == AlarmState.OK else "alarm.released"
        return _headline(event, lang, key, why=b.escape_label(event.suppression_ended, 120))
    match classify_change(event):
        case ChangeKind.FIRED | ChangeKind.WELCOME if event.before == AlarmState.ALARM:
            return _headline(event, lang, "alarm.still")
        case ChangeKind.RECOVERED if event.before_since is not None and event.at is not None:
            time = _format_whole_minutes(event.at - event.before_since, lang)
            return _headline(event, lang, "alarm.recovered.after", time=time)
        case ChangeKind.WORK_RESUMED if event.before == AlarmState.ALARM:
            return _headline(event, lang, "alarm.working.again")
        case ChangeKind.WELCOME_NO_DATA:
            return _headline(event, lang, "alarm.unknown", missing=_missing_data(event, lang))
        case ChangeKind.OTHER if not event.after:
            return _headline(event, lang, "alarm.changed")
        case ChangeKind.WELCOME:
            return _headline(event, lang, "alarm.fired")
        case kind:
            return _headline(event, lang, f"alarm.{kind}")


def _headline(event: AlarmStateChange, lang: str, key: str, **values: str) -> str:
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
    """Return ``service checkout, le 0.5``: the time series that changed; empty if the alarm watches only one."""
    labels = [_dimension_label(dimension) for dimension in event.contributor[:_MAX_NAMED]]
    more = ", …" if len(event.contributor) > _MAX_NAMED else ""
    return ", ".join(labels) + more or b.escape_label(event.contributor_id, 40)


def _cause(event: AlarmStateChange, lang: str) -> str:
    """Return ``: CPU 96.4 % > 50 % (2 of the last 3 datapoints)``; for a composite alarm, the child alarms."""
    if event.children:
        return f": {_children_summary(event, lang)}"
    if counted := re.match(r"(\d{1,6}\+?)(?: out of (\d{1,6}\+?))? time series evaluated to", event.reason):
        key = "alarm.series" if counted[2] else "alarm.series.all"
        return f": {translate(lang, key, n=counted[1], of=counted[2])}"
    if is_due_to_missing_data(event):
        return f": {_missing_data(event, lang)}"
    if event.value is None:
        return ""
    comparison = " ".join(filter(None, (_metric_name(event), format_comparison(event, lang))))
    m, n = _breaching_datapoints(event)
    shows_count = m < n and event.after == AlarmState.ALARM
    return f": {comparison}" + (translate(lang, "alarm.of", m=m, n=n) if shows_count else "")


def _metric_name(event: AlarmStateChange) -> str:
    is_unnamed = any(event.metric == metric.expression for metric in event.metrics)
    return "" if is_unnamed else b.escape_label(_SHORT_NAMES.get(event.metric, event.metric), 80)


def _breaching_datapoints(event: AlarmStateChange) -> tuple[int, int]:
    """Return M and N if the reason says that M of the last N datapoints breached the threshold, else (0, 0)."""
    match = re.search(r"Crossed: (\d{1,6}) out of the last (\d{1,6}) ", event.reason[:2_000])
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _missing_data(event: AlarmStateChange, lang: str) -> str:
    """Return ``no CPU data for 15 min``."""
    name = processor_type(event) or _metric_name(event)
    what = f"{name} " if name else ""
    if not event.no_data:
        return translate(lang, "alarm.missing.some", what=what)
    unknown = re.search(r"(\d{1,6}) datapoints? (?:was|were) unknown", event.reason[:2_000])
    seconds = (event.period or 0.0) * (int(unknown[1]) if unknown else event.evaluation_periods or 0)
    if 0 < seconds < _MAX_PERIOD:
        return translate(lang, "alarm.missing.for", what=what, time=_format_whole_minutes(seconds, lang))
    return translate(lang, "alarm.missing", what=what)


def _children_summary(event: AlarmStateChange, lang: str) -> str:
    """Return ``200 alarms: node-000, node-001, node-002 and 197 more``."""
    children = [_child_name(child, event.after) for child in event.children[:_MAX_NAMED]]
    count, more = len(event.children), len(event.children) - len(children)
    names = ", ".join(children)
    if more:
        names = translate(lang, "alarm.and", names=names, n=f"{more:,}")
    return names if count == 1 else translate(lang, "alarm.children", n=f"{count:,}", names=names)


def _child_name(child: ChildAlarm, state: str) -> str:
    other = f" ({b.escape_label(child.state, 60)})" if child.state and child.state != state else ""
    return b.escape_label(child.name, 80) + other


def _format_whole_minutes(seconds: float, lang: str) -> str:
    return format_duration(seconds - seconds % 60 if seconds >= 600 else seconds, lang)


def alarm_location_line(event: AlarmStateChange, lang: str) -> str:
    """Return the greeting (``alarm.hello``) and the location: a link to the instance, or service and dimensions."""
    instance = _instance_link(event)
    others = [dimension for dimension in event.dimensions if dimension.value != event.instance][:_MAX_NAMED]
    if len(others) == 1 and not instance:
        dimensions = b.escape_label(others[0].value, 120)
    else:
        dimensions = ", ".join(map(_dimension_label, others))
    if dimensions and not instance:
        service = b.escape_label(event.namespace.removeprefix("AWS/"), 60)
        dimensions = f"{service} {dimensions}".strip()
    parts = (translate(lang, "alarm.hello"), instance, dimensions, b.escape_label(event.region, 60))
    return _BETWEEN.join(filter(None, parts))


def _instance_link(event: AlarmStateChange) -> str:
    if not event.instance:
        return ""
    link = instance_console_url(event.instance, event.region, event.partition)
    label = b.escape_label(event.instance.replace("|", "∣"), 60)
    return f"<{link}|{label}>" if link and len(link) <= _MAX_LINK else label


def _dimension_label(dimension: Dimension) -> str:
    return f"{b.escape_label(dimension.name, 60)} {b.escape_label(dimension.value, 80)}".strip()


def watch_gap_note(watch_gap: tuple[float, float] | None, lang: str, zone_name: str) -> str:
    """Return the sentence about the period in which no watch ran; empty if there was none."""
    if watch_gap is None:
        return ""
    zone, (since, until) = resolve_time_zone(zone_name, lang), watch_gap
    return translate(
        lang, "alarm.late", since=format_timestamp(since, zone), until=format_timestamp(until, zone, since)
    )


def alarm_button_url(event: AlarmStateChange) -> str:
    """Return the alarm's page in the console, or the page of all alarms if the URL would be too long."""
    link = alarm_console_url(event.name, event.region, event.partition)
    return link if len(link) <= b.MAX_BUTTON_URL_LENGTH else alarm_console_url("", event.region, event.partition)


def link_alarm_name(name: str, region: str, partition: str) -> str:
    """Return an alarm's name as a link to the console, or only the name if the link is missing or too long."""
    link = alarm_console_url(name, region, partition)
    label = b.escape_label(name.replace("|", "∣"), 255)
    return f"<{link}|{label}>" if link and len(link) <= _MAX_LINK else label


def _description(event: AlarmStateChange) -> list[b.Block]:
    """Return the description, bold only while the alarm fires."""
    if not event.description.strip():
        return []
    from cwnotify.alerts.messages.alarm_description import markdown_to_mrkdwn

    fires = event.after == AlarmState.ALARM and not is_due_to_missing_data(event)
    text = markdown_to_mrkdwn(event.description, b.MAX_SECTION_LENGTH - 100, lead=fires, bold=fires)
    return [b.section(text)] if text else []


def _measurements(event: AlarmStateChange, lang: str) -> list[b.Block]:
    """Return the recent datapoints with their statistic and period. Without datapoints, return the metric."""
    threshold = format_comparison(event, lang) if event.value is None and event.threshold is not None else ""
    conditions = [text for text in (_m_of_n(event, lang), threshold) if text]
    if len(event.recent) > 1:
        values = f"{_bars(event)} {format_datapoints(event, event.recent[-_MAX_VALUES:])}"
        conditions.insert(0, _cadence(event, lang))
    else:
        values = format_watched_metrics(event, lang) if event.metric and not event.metrics else ""
    lines = [", ".join(filter(None, (values, *conditions)))]
    missing = event.treat_missing_data.lower()
    if event.value is None and missing in ("breaching", "notbreaching", "ignore"):
        lines.append(translate(lang, f"alarm.missing.{missing}"))
    text = "\n".join(filter(None, lines))
    return [b.section(text)] if text else []


def _bars(event: AlarmStateChange) -> str:
    """Return the datapoints as bars that start at zero. For percentages the scale ends at 100."""
    highest = max(map(abs, event.recent)) or 1.0
    is_percentage = highest <= 100 and format_datapoints(event, event.recent[:1]).endswith("%")
    # Scale down first, because adding two huge datapoints can overflow a float.
    values = tuple(value / (100.0 if is_percentage else highest) for value in event.recent)
    low = min(0.0, *values)
    return sparkline(values, low, 1.0 if is_percentage else max(low + 0.1, *values))


def _cadence(event: AlarmStateChange, lang: str) -> str:
    """Return ``5-minute averages``."""
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


def _m_of_n(event: AlarmStateChange, lang: str) -> str:
    """Return the configured M of N; empty if the first line already says how many datapoints breached."""
    m, n = event.datapoints_to_alarm, event.evaluation_periods
    breaching, evaluated = _breaching_datapoints(event)
    is_in_headline = breaching < evaluated and event.after == AlarmState.ALARM and event.value is not None
    if is_in_headline or not m or not n or n == 1 or m > n:
        return ""
    return translate(lang, "alarm.points", m=m, n=n)


def _facts(event: AlarmStateChange, lang: str) -> list[b.Block]:
    groups = [b.inline_code(group, 200) for group in event.log_groups[:_MAX_GROUPS]]
    waits = [
        translate(lang, f"alarm.{kind}", time=format_duration(seconds, lang))
        for kind, seconds in (("pending", event.pending_period), ("recovery", event.recovery_period))
        if seconds is not None and 0 <= seconds < _MAX_PERIOD
    ]
    pairs = (
        ("compared", format_watched_metrics(event, lang) if event.metrics else ""),
        ("subject", _all_dimensions(event.dimensions, lang)),
        ("series", _all_dimensions(event.contributor, lang)),
        ("waits", ", ".join(waits)),
        ("groups", _join_items(groups, len(event.log_groups), lang)),
        ("rule", b.inline_code(event.rule, _MAX_RULE)),
        ("children", _children(event, lang)),
    )
    blocks = b.fact_sections((translate(lang, f"alarm.field.{key}"), value) for key, value in pairs)
    if event.query.strip():
        blocks.append(_code_section("query", event.query, 1_500, lang))
    if event.log_lines:
        lines = "\n".join(b.truncate_text(line.replace("\n", " "), 300) for line in event.log_lines[:_MAX_LOG_LINES])
        remaining = len(event.log_lines) - _MAX_LOG_LINES
        more = translate(lang, "alarm.more", n=remaining) if remaining > 0 else ""
        blocks.append(_code_section("lines", "\n".join(filter(None, (lines, more))), _MAX_LOG_TEXT, lang))
    return blocks


def _code_section(key: str, text: str, limit: int, lang: str) -> b.Block:
    code = b.escape_mrkdwn(text.strip().replace("`", "ˋ"), limit)
    return b.section(f"*{translate(lang, f'alarm.field.{key}')}*\n```\n{code}\n```")


def _all_dimensions(dimensions: Sequence[Dimension], lang: str) -> str:
    """Return all dimensions; empty if the lines above already show them all."""
    if len(dimensions) <= _MAX_NAMED:
        return ""
    items = [f"{b.escape_label(item.name, 60)} {b.inline_code(item.value, 100)}" for item in dimensions[:10]]
    return _join_items(items, len(dimensions), lang)


def _children(event: AlarmStateChange, lang: str) -> str:
    count = len(event.children)
    items = [
        f"{link_alarm_name(child.name, event.region, event.partition)} {b.escape_label(child.state, 60)}".strip()
        if len(child.name) < 100
        else _child_name(child, "")
        for child in event.children[: _MAX_CHILDREN if count <= _MAX_CHILDREN else _MAX_NAMED]
    ]
    return _join_items(items, count, lang)


def _join_items(items: Sequence[str], count: int, lang: str) -> str:
    """Join as many items as fit in a field, and say how many of `count` are left out."""
    parts: list[str] = []
    for item in items:
        if sum(map(len, parts)) + len(item) > b.MAX_FIELD_LENGTH - 200:
            break
        parts.append(item)
    if remaining := count - len(parts):
        parts.append(translate(lang, "alarm.more", n=f"{remaining:,}"))
    return _BETWEEN.join(parts)


def _notes(event: AlarmStateChange, lang: str, zone: str) -> list[str]:
    """Return notes about an incomplete evaluation, suppressed actions, a mute rule and removed secrets."""
    notes = []
    if event.evaluation_state:
        has_sentence = event.evaluation_state in ("PARTIAL_DATA", "EVALUATION_FAILURE", "EVALUATION_ERROR")
        key = f"alarm.evaluation.{event.evaluation_state}" if has_sentence else "alarm.evaluation"
        notes.append(translate(lang, key, state=b.inline_code(event.evaluation_state, 60)))
    if event.held_back:
        notes.append(translate(lang, "alarm.held", why=b.escape_label(event.held_back, 300)))
    if event.muted_by:
        key = "alarm.muted" if event.muted_until is None else "alarm.muted.until"
        until = format_timestamp(event.muted_until or 0.0, resolve_time_zone(zone, lang))
        notes.append(translate(lang, key, rule=b.inline_code(event.muted_by), until=until))
    if event.redacted:
        notes.append(translate(lang, "scrubbed", mark=REDACTION_MARK))
    return notes


def _last_line(event: AlarmStateChange, lang: str, zone: str) -> str:
    is_unnamed = classify_change(event) in _KINDS_WITHOUT_NAME and not event.suppression_ended
    tags = ", ".join(f"{b.escape_label(tag.key, 60)}={b.escape_label(tag.value, 80)}" for tag in event.tags[:10])
    more = f" … +{len(event.tags) - 10}" if len(event.tags) > 10 else ""
    pieces = (
        translate(lang, "alarm.name", name=b.escape_label(event.name, 300)) if is_unnamed else "",
        translate(lang, "alarm.account", account=b.escape_label(event.account, 40)) if event.account else "",
        "" if event.at is None else format_timestamp(event.at, resolve_time_zone(zone, lang)),
        translate(lang, "alarm.tags", tags=tags + more) if tags else "",
        b.escape_prose(event.reason, 1_500),
    )
    return _BETWEEN.join(filter(None, pieces))


def _contexts(*notes: str) -> list[b.Block]:
    return [b.context(note) for note in notes if note.strip()]
