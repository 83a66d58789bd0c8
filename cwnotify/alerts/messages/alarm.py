"""An alarm's change -> the message that Slack shows. Pure.

The first line says what is true now; it is also the notification. A quiet line says where. Beside the bar follow the
description, what was measured, what else helps to decide, and last and small CloudWatch's own reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cwnotify.alerts.events.alarms import AlarmChanged, AlarmState, ChildAlarm, Dimension
from cwnotify.alerts.locale import clock, duration, say, sparkline
from cwnotify.alerts.locale import zone as zone_of
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.messages.alarm_meaning import (
    COLOURS,
    News,
    is_unmeasured,
    load_of,
    mark_of,
    news_of,
    subject_of,
    tone_of,
)
from cwnotify.alerts.messages.late import late_line
from cwnotify.alerts.messages.metric_format import measured, series, watched
from cwnotify.alerts.redaction.aws_events import MARK
from cwnotify.alerts.regions import alarm_link, instance_link

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
    event: AlarmChanged,
    lang: str,
    zone: str = "",
    channel: str = "",
    unwatched: tuple[float, float] | None = None,
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
    first = "\n".join(filter(None, (headline(event, lang), late_line(event.at, now, lang, zone))))
    top = [b.section(first), b.context(quiet_line(event, lang)), *_contexts(unwatched_note(unwatched, lang, zone))]
    details = [
        *_description(event),
        *_measurements(event, lang),
        *_facts(event, lang),
        *_contexts(*_notes(event, lang, zone)),
        *b.buttons([(say(lang, "alarm.button"), button_link(event))], primary=False),
        *_contexts(_last_line(event, lang, zone)),
    ]
    return b.message(first, top, COLOURS[tone_of(event)], details, channel)


def headline(event: AlarmChanged, lang: str) -> str:
    """The one sentence that says what is true now, as mrkdwn."""
    if event.suppression_ended:
        key = "alarm.released.OK" if event.after == AlarmState.OK else "alarm.released"
        return _say(event, lang, key, why=b.label(event.suppression_ended, 120))
    match news_of(event):
        case News.FIRED | News.WELCOME if event.before == AlarmState.ALARM:
            return _say(event, lang, "alarm.still")
        case News.RECOVERED if event.before_since is not None and event.at is not None:
            return _say(event, lang, "alarm.recovered.after", time=_whole_minutes(event.at - event.before_since, lang))
        case News.WORKING if event.before == AlarmState.ALARM:
            return _say(event, lang, "alarm.working.again")
        case News.UNKNOWN:
            return _say(event, lang, "alarm.unknown", missing=_missing(event, lang))
        case News.OTHER if not event.after:
            return _say(event, lang, "alarm.changed")
        case News.WELCOME:
            return _say(event, lang, "alarm.fired")
        case news:
            return _say(event, lang, f"alarm.{news}")


def _say(event: AlarmChanged, lang: str, key: str, **values: str) -> str:
    series = f" ({label})" if (label := contributor_label(event)) else ""
    return say(
        lang,
        key,
        mark=mark_of(event),
        name=b.bold(event.name, 300) + series,
        subject=b.label(subject_of(event), 300) + series,
        state=b.label(event.after, 60),
        facts=_cause(event, lang),
        **values,
    )


def contributor_label(event: AlarmChanged) -> str:
    """``service checkout, le 0.5``: which of many time series changed; empty for an alarm on one."""
    named = [f"{b.label(one.name, 60)} {b.label(one.value, 80)}".strip() for one in event.contributor[:_MAX_NAMED]]
    more = ", …" if len(event.contributor) > _MAX_NAMED else ""
    return ", ".join(named) + more or b.label(event.contributor_id, 40)


def _cause(event: AlarmChanged, lang: str) -> str:
    """``: CPU 96.4 % > 50 % (2 of the last 3 datapoints)``, or for a composite alarm which alarms it is about."""
    if event.children:
        return f": {_summary(event, lang)}"
    if counted := re.match(r"(\d{1,6}\+?)(?: out of (\d{1,6}\+?))? time series evaluated to", event.reason):
        key = "alarm.series" if counted[2] else "alarm.series.all"
        return f": {say(lang, key, n=counted[1], of=counted[2])}"
    if is_unmeasured(event):
        return f": {_missing(event, lang)}"
    if event.value is None:
        return ""
    what = " ".join(filter(None, (_metric_name(event), measured(event, lang))))
    m, n = _crossed(event)
    return f": {what}" + (say(lang, "alarm.of", m=m, n=n) if m < n and event.after == AlarmState.ALARM else "")


def _metric_name(event: AlarmChanged) -> str:
    unnamed = any(event.metric == one.expression for one in event.metrics)
    return "" if unnamed else b.label(_SHORT_NAMES.get(event.metric, event.metric), 80)


def _crossed(event: AlarmChanged) -> tuple[int, int]:
    """How many of the last N datapoints crossed, as the reason has it; (0, 0) if it does not say."""
    said = re.search(r"Crossed: (\d{1,6}) out of the last (\d{1,6}) ", event.reason[:2_000])
    return (int(said[1]), int(said[2])) if said else (0, 0)


def _missing(event: AlarmChanged, lang: str) -> str:
    """``no CPU data for 15 min``."""
    name = load_of(event) or _metric_name(event)
    what = f"{name} " if name else ""
    if not event.no_data:
        return say(lang, "alarm.missing.some", what=what)
    unknown = re.search(r"(\d{1,6}) datapoints? (?:was|were) unknown", event.reason[:2_000])
    seconds = (event.period or 0.0) * (int(unknown[1]) if unknown else event.evaluation_periods or 0)
    if 0 < seconds < _MAX_PERIOD:
        return say(lang, "alarm.missing.for", what=what, time=_whole_minutes(seconds, lang))
    return say(lang, "alarm.missing", what=what)


def _summary(event: AlarmChanged, lang: str) -> str:
    """``200 alarms: node-000, node-001, node-002 and 197 more``."""
    names = [_child_name(child, event.after) for child in event.children[:_MAX_NAMED]]
    count, left = len(event.children), len(event.children) - len(names)
    listed = ", ".join(names)
    if left:
        listed = say(lang, "alarm.and", names=listed, n=f"{left:,}")
    return listed if count == 1 else say(lang, "alarm.children", n=f"{count:,}", names=listed)


def _child_name(child: ChildAlarm, state: str) -> str:
    other = f" ({b.label(child.state, 60)})" if child.state and child.state != state else ""
    return b.label(child.name, 80) + other


def _whole_minutes(seconds: float, lang: str) -> str:
    return duration(seconds - seconds % 60 if seconds >= 600 else seconds, lang)


def quiet_line(event: AlarmChanged, lang: str) -> str:
    """The fairy's greeting, and where the alarm is: an instance with its link, or the service and its dimensions."""
    if event.instance:
        link = instance_link(event.instance, event.region, event.partition)
        shown = b.label(event.instance.replace("|", "∣"), 60)
        where = f"<{link}|{shown}>" if link and len(link) <= _MAX_LINK else shown
    else:
        where = ""
    service = b.label(event.namespace.removeprefix("AWS/"), 60)
    others = [one for one in event.dimensions if one.value != event.instance][:_MAX_NAMED]
    if len(others) == 1 and not where:
        listed = b.label(others[0].value, 120)
    else:
        listed = ", ".join(_dimension(one) for one in others)
    if listed and not where:
        listed = f"{service} {listed}".strip()
    return _BETWEEN.join(filter(None, (say(lang, "alarm.hello"), where, listed, b.label(event.region, 60))))


def _dimension(one: Dimension) -> str:
    return f"{b.label(one.name, 60)} {b.label(one.value, 80)}".strip()


def unwatched_note(unwatched: tuple[float, float] | None, lang: str, zone: str) -> str:
    """Why news is late that a watch brings; empty where it was running."""
    if unwatched is None:
        return ""
    where, (since, until) = zone_of(zone, lang), unwatched
    return say(lang, "alarm.late", since=clock(since, where), until=clock(until, where, since))


def button_link(event: AlarmChanged) -> str:
    """The console's page of the alarm, or of all alarms if the link would be too long."""
    link = alarm_link(event.name, event.region, event.partition)
    return link if len(link) <= b.MOST_URL else alarm_link("", event.region, event.partition)


def linked(name: str, region: str, partition: str) -> str:
    """An alarm's name as a link to it; the bare name if there is no console for it, or if a link were too long."""
    link = alarm_link(name, region, partition)
    shown = b.label(name.replace("|", "∣"), 255)
    return f"<{link}|{shown}>" if link and len(link) <= _MAX_LINK else shown


def _description(event: AlarmChanged) -> list[b.Block]:
    """The description; bold only while the alarm fires: a recovery does not shout."""
    if not event.description.strip():
        return []
    from cwnotify.alerts.messages.alarm_description import mrkdwn

    fires = event.after == AlarmState.ALARM and not is_unmeasured(event)
    shown = mrkdwn(event.description, b.MOST_SECTION - 100, lead=fires, bold=fires)
    # Without Slack's own search for links and names, which would find mentions in plain text.
    return [b.section(shown)] if shown else []


def _measurements(event: AlarmChanged, lang: str) -> list[b.Block]:
    """The recent datapoints with their statistic and period; for an alarm without them, its metric."""
    limit = measured(event, lang) if event.value is None and event.threshold is not None else ""
    points = [one for one in (_m_of_n(event, lang), limit) if one]
    if len(event.recent) > 1:
        what = f"{_bars(event)} {series(event, event.recent[-_MAX_VALUES:])}"
        points.insert(0, _cadence(event, lang))
    else:
        what = watched(event, lang) if event.metric and not event.metrics else ""
    lines = [", ".join(filter(None, (what, *points)))]
    missing = event.treat_missing_data.lower()
    if event.value is None and missing in ("breaching", "notbreaching", "ignore"):
        lines.append(say(lang, f"alarm.missing.{missing}"))
    text = "\n".join(filter(None, lines))
    return [b.section(text)] if text else []


def _bars(event: AlarmChanged) -> str:
    """The datapoints as bars that stand on zero; percentages reach up to 100."""
    highest = max(map(abs, event.recent)) or 1.0
    is_share = highest <= 100 and series(event, event.recent[:1]).endswith("%")
    # As shares of the highest: the sum of two datapoints may be more than a float holds.
    values = tuple(value / (100.0 if is_share else highest) for value in event.recent)
    low = min(0.0, *values)
    return sparkline(values, low, 1.0 if is_share else max(low + 0.1, *values))


def _cadence(event: AlarmChanged, lang: str) -> str:
    """``5-minute averages``."""
    period, statistic = event.period or 0.0, event.statistic.lower()
    if not 0 < period < _MAX_PERIOD:
        return say(lang, f"alarm.{statistic}") if statistic in _STATISTICS else b.label(event.statistic, 40)
    if not statistic:
        return say(lang, "alarm.every", time=duration(period, lang))
    unit, size = next((unit, size) for unit, size in _UNITS if period % size == 0 or size == 1)
    often = say(lang, f"alarm.every.{unit}", n=f"{period / size:g}")
    if statistic in _STATISTICS:
        return say(lang, f"alarm.each.{statistic}", often=often)
    return say(lang, "alarm.each", often=often, statistic=b.label(event.statistic, 40))


_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def _m_of_n(event: AlarmChanged, lang: str) -> str:
    """M of N as it is configured, unless the first line tells how many crossed."""
    m, n = event.datapoints_to_alarm, event.evaluation_periods
    crossed, of = _crossed(event)
    in_headline = crossed < of and event.after == AlarmState.ALARM and event.value is not None
    if in_headline or not m or not n or n == 1 or m > n:
        return ""
    return say(lang, "alarm.points", m=m, n=n)


def _facts(event: AlarmChanged, lang: str) -> list[b.Block]:
    groups = [b.code(one, 200) for one in event.log_groups[:_MAX_GROUPS]]
    waits = [
        say(lang, f"alarm.{kind}", time=duration(seconds, lang))
        for kind, seconds in (("pending", event.pending_period), ("recovery", event.recovery_period))
        if seconds is not None and 0 <= seconds < _MAX_PERIOD
    ]
    pairs = (
        ("compared", watched(event, lang) if event.metrics else ""),
        ("subject", _many(event.dimensions, lang)),
        ("series", _many(event.contributor, lang)),
        ("waits", ", ".join(waits)),
        ("groups", _listed(groups, len(event.log_groups), lang)),
        ("rule", b.code(event.rule, _MAX_RULE)),
        ("children", _children(event, lang)),
    )
    blocks = b.facts((say(lang, f"alarm.field.{key}"), value) for key, value in pairs)
    if event.query.strip():
        blocks.append(_coded("query", event.query, 1_500, lang))
    if event.log_lines:
        lines = "\n".join(b.cut(line.replace("\n", " "), 300) for line in event.log_lines[:_MAX_LOG_LINES])
        left = len(event.log_lines) - _MAX_LOG_LINES
        more = say(lang, "alarm.more", n=left) if left > 0 else ""
        blocks.append(_coded("lines", "\n".join(filter(None, (lines, more))), _MAX_LOG_TEXT, lang))
    return blocks


def _coded(key: str, text: str, limit: int, lang: str) -> b.Block:
    shown = b.escape(text.strip().replace("`", "ˋ"), limit)
    return b.section(f"*{say(lang, f'alarm.field.{key}')}*\n```\n{shown}\n```")


def _many(dimensions: Sequence[Dimension], lang: str) -> str:
    """All dimensions, where the lines above have room for a few only."""
    if len(dimensions) <= _MAX_NAMED:
        return ""
    return _listed(
        [f"{b.label(one.name, 60)} {b.code(one.value, 100)}" for one in dimensions[:10]], len(dimensions), lang
    )


def _children(event: AlarmChanged, lang: str) -> str:
    few = len(event.children) <= _MAX_CHILDREN
    lines = [
        f"{linked(child.name, event.region, event.partition)} {b.label(child.state, 60)}".strip()
        if len(child.name) < 100
        else _child_name(child, "")
        for child in event.children[: _MAX_CHILDREN if few else _MAX_NAMED]
    ]
    return _listed(lines, len(event.children), lang)


def _listed(items: Sequence[str], count: int, lang: str) -> str:
    """As many of the items as a line can hold, and how many of `count` are left."""
    kept: list[str] = []
    for item in items:
        if sum(map(len, kept)) + len(item) > b.MOST_FIELD - 200:
            break
        kept.append(item)
    left = count - len(kept)
    return _BETWEEN.join([*kept, *([say(lang, "alarm.more", n=f"{left:,}")] if left else [])])


def _notes(event: AlarmChanged, lang: str, zone: str) -> list[str]:
    """What limits what this alarm says or does: an incomplete evaluation, actions held back, a mute rule."""
    notes = []
    if event.evaluation_state:
        known = event.evaluation_state in ("PARTIAL_DATA", "EVALUATION_FAILURE", "EVALUATION_ERROR")
        key = f"alarm.evaluation.{event.evaluation_state}" if known else "alarm.evaluation"
        notes.append(say(lang, key, state=b.code(event.evaluation_state, 60)))
    if event.held_back:
        notes.append(say(lang, "alarm.held", why=b.label(event.held_back, 300)))
    if event.muted_by:
        key = "alarm.muted" if event.muted_until is None else "alarm.muted.until"
        until = clock(event.muted_until or 0.0, zone_of(zone, lang))
        notes.append(say(lang, key, rule=b.code(event.muted_by), until=until))
    if event.redacted:
        notes.append(say(lang, "scrubbed", mark=MARK))
    return notes


def _last_line(event: AlarmChanged, lang: str, zone: str) -> str:
    renamed = news_of(event) in (News.ENDED, News.IDLE, News.WORKING, News.UNKNOWN) and not event.suppression_ended
    tags = ", ".join(f"{b.label(one.key, 60)}={b.label(one.value, 80)}" for one in event.tags[:10])
    more = f" … +{len(event.tags) - 10}" if len(event.tags) > 10 else ""
    pieces = (
        say(lang, "alarm.name", name=b.label(event.name, 300)) if renamed else "",
        say(lang, "alarm.account", account=b.label(event.account, 40)) if event.account else "",
        "" if event.at is None else clock(event.at, zone_of(zone, lang)),
        say(lang, "alarm.tags", tags=tags + more) if tags else "",
        b.prose(event.reason, 1_500),
    )
    return _BETWEEN.join(filter(None, pieces))


def _contexts(*notes: str) -> list[b.Block]:
    return [b.context(note) for note in notes if note.strip()]
