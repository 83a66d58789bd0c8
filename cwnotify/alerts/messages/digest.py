"""Convert many alarms' state changes to few messages: counts by state, worst first, each alarm once. Pure.

Slack accepts about one message per second. A message stays far below the capacity of its 50 blocks: Slack documents no
limit for all blocks together, but has an error for it (``msg_blocks_too_long``), and long messages are not read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from cwnotify.alerts.events.alarms import AlarmStateChange, AwsEvent, deduplicate_events
from cwnotify.alerts.light_dataclass import frozen
from cwnotify.alerts.locale import format_duration, format_timestamp, resolve_time_zone, to_plain_text, translate
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.messages.alarm import contributor_label, link_alarm_name
from cwnotify.alerts.messages.alarm_meaning import (
    SEVERITY_COLORS,
    ChangeKind,
    Severity,
    classify_change,
    emoji_for_change,
    severity_of,
)
from cwnotify.alerts.messages.late import LATE_AFTER_SECONDS, format_rough_duration, is_late
from cwnotify.alerts.messages.render import render_alert
from cwnotify.alerts.redaction.aws_events import REDACTION_MARK
from cwnotify.alerts.regions import alarm_console_url

MAX_DIGEST_MESSAGE_LENGTH = 30_000  # characters of names and links in one message
# Events that are not state changes get separate messages. The rest are listed, `_LINES_PER_MESSAGE` in a message.
MAX_SINGLE_EVENT_MESSAGES = 20
MAX_LISTED_EVENTS = 300
_LINES_PER_MESSAGE = 100
# The other blocks are the first line, the quiet line, the button and the note about secrets.
_MAX_SECTIONS = b.MAX_BLOCKS_PER_MESSAGE - 4
_HEADING_ROOM = 120  # characters
_MAX_PURPOSE_LENGTH = 60
_BETWEEN = " · "
# The group of each kind of change, worst first.
_LABELS = {
    ChangeKind.FIRED: "ALARM",
    ChangeKind.WELCOME_NO_DATA: "data",
    ChangeKind.NO_DATA: "data",
    ChangeKind.OTHER: "other",
    ChangeKind.WORK_ENDED: "ended",
    ChangeKind.IDLE: "idle",
    ChangeKind.WELCOME: "welcome",
    ChangeKind.WORK_RESUMED: "work",
    ChangeKind.RECOVERED: "again",
    ChangeKind.OK: "OK",
}
_ORDER = list(dict.fromkeys(_LABELS.values()))


@frozen
class DigestPage:
    """One message of a digest.

    Parameters
    ----------
    events
        The events that it reports: all changes of each alarm on the page.
    """

    payload: b.Payload
    events: tuple[AwsEvent, ...]


@frozen
class _Section:
    """Alarm names as ready mrkdwn, and the keys of these alarms."""

    text: str
    keys: tuple[str, ...]


@frozen
class _Group:
    """Alarms with the same kind of change, shown in one colour."""

    label: str
    state: str
    severity: Severity
    emoji: str
    count: int
    sections: tuple[_Section, ...]


_Page = list[tuple[_Group, list[_Section]]]


def digest_payloads(
    events: Sequence[AwsEvent], seconds: float, lang: str, zone: str = "", channel: str = "", now: float | None = None
) -> tuple[b.Payload, ...]:
    """Return the payloads of `digest_pages`."""
    return tuple(page.payload for page in digest_pages(events, seconds, lang, zone, channel, now))


def digest_pages(
    events: Sequence[AwsEvent], seconds: float, lang: str, zone: str = "", channel: str = "", now: float | None = None
) -> tuple[DigestPage, ...]:
    """Return the messages for a batch of events without copies. Each event is on exactly one page.

    Parameters
    ----------
    events
        In order of arrival. An event that is not a state change gets a separate message.
    seconds
        How long the events took to arrive, for changes without a time; 0 if unknown.
    zone, channel, now
        As for `cwnotify.alerts.messages.alarm.alarm_message`.
    """
    unique = deduplicate_events(events)
    changes = [event for event in unique if isinstance(event, AlarmStateChange)]
    others = [event for event in unique if not isinstance(event, AlarmStateChange)]
    # A note about omitted entries comes first, because it must not be omitted itself.
    others.sort(key=lambda event: not getattr(event, "left_out", 0))
    others, rest = others[:MAX_SINGLE_EVENT_MESSAGES], others[MAX_SINGLE_EVENT_MESSAGES:]
    alarms = _latest_changes(changes)
    single: list[tuple[AwsEvent, tuple[AwsEvent, ...]]] = [(event, (event,)) for event in others]
    if len(alarms) <= 1:
        single[:0] = [(event, tuple(changes)) for event in alarms]
    pages = _Digest(alarms, changes, seconds, lang, zone, channel, now).pages() if len(alarms) > 1 else []
    single_pages = (DigestPage(render_alert(event, lang, zone, channel, now), reported) for event, reported in single)
    return (*pages, *single_pages, *_list_pages(rest, lang, zone, channel, now))


def _list_pages(
    events: Sequence[AwsEvent], lang: str, zone: str, channel: str, now: float | None
) -> tuple[DigestPage, ...]:
    """Return messages with one line per event, up to `MAX_LISTED_EVENTS`, and the number of further events."""
    listed = events[:MAX_LISTED_EVENTS]
    pages = []
    for start in range(0, len(listed), _LINES_PER_MESSAGE):
        reported = listed[start : start + _LINES_PER_MESSAGE]
        text = translate(lang, "digest.rest", n=len(events))
        lines = [_bullet(render_alert(event, lang, zone, channel, now)) for event in reported]
        details = [b.section("\n".join(lines[i : i + 10])) for i in range(0, len(lines), 10)]
        if start + _LINES_PER_MESSAGE >= len(listed) and len(events) > len(listed):
            details.append(b.context(translate(lang, "digest.rest.more", n=len(events) - len(listed))))
            reported = events[start:]
        payload = b.build_payload(text, [b.section(text)], b.COLOR_NEUTRAL, details, channel)
        pages.append(DigestPage(payload, tuple(reported)))
    return tuple(pages)


def _bullet(payload: b.Payload) -> str:
    return "• " + b.escape_prose(next(iter(to_plain_text(str(payload["text"])).splitlines()), ""), 250)


class _Digest:
    """A digest of the state changes of at least two alarms."""

    def __init__(
        self,
        alarms: Sequence[AlarmStateChange],
        changes: Sequence[AlarmStateChange],
        seconds: float,
        lang: str,
        zone: str,
        channel: str,
        now: float | None,
    ) -> None:
        self._alarms, self._changes = alarms, changes
        self._lang, self._channel, self._now = lang, channel, now
        self._zone = resolve_time_zone(zone, lang)
        self._counts = Counter(event.key for event in changes)
        self._times = sorted(event.at for event in changes if event.at is not None)
        self._seconds = self._times[-1] - self._times[0] if self._times else seconds

    def pages(self) -> list[DigestPage]:
        """Return all pages of the digest."""
        groups = self._groups()
        pages = _paginate(groups)
        return [self._page(groups, page, number, len(pages)) for number, page in enumerate(pages, 1)]

    def _page(self, groups: Sequence[_Group], page: _Page, number: int, count: int) -> DigestPage:
        text = self._headline(groups, number, count)
        position = translate(self._lang, "digest.page", page=number, pages=count) if count > 1 else ""
        context = _BETWEEN.join(filter(None, (translate(self._lang, "digest.hello"), self._time_range(), position)))
        payload = b.build_payload(text, [b.section(text), b.context(context)], channel=self._channel)
        payload["attachments"] = [self._attachment(group, sections) for group, sections in page]
        first = self._alarms[0]
        link = alarm_console_url("", first.region, first.partition)
        button = b.link_buttons([(translate(self._lang, "alarm.button"), link)], primary=False)
        payload["attachments"][0]["blocks"] += button
        if any(REDACTION_MARK in section.text for _, sections in page for section in sections):
            payload["attachments"][-1]["blocks"].append(
                b.context(translate(self._lang, "scrubbed", mark=REDACTION_MARK))
            )
        keys = {key for _, sections in page for section in sections for key in section.keys}
        return DigestPage(payload, tuple(event for event in self._changes if event.key in keys))

    def _attachment(self, group: _Group, sections: Sequence[_Section]) -> b.Block:
        first, *more = sections
        heading = self._count_sentence("digest.head", group)
        blocks = [b.section(f"{heading}\n{first.text}"), *(b.section(section.text) for section in more)]
        return {"color": SEVERITY_COLORS[group.severity], "blocks": blocks}

    def _headline(self, groups: Sequence[_Group], page: int, pages: int) -> str:
        values = {"mark": groups[0].emoji, "alarms": f"{len(self._alarms):,}"}
        if page > 1:
            headline = translate(self._lang, "digest.next", **values, page=page, pages=pages)
        else:
            values["counts"] = ", ".join(self._count_sentence("digest", group) for group in groups[:10])
            if self._seconds > 0:
                time = format_duration(self._seconds, self._lang)
                headline = translate(self._lang, "digest.within", **values, time=time)
            else:
                headline = translate(self._lang, "digest", **values)
        return "\n".join(filter(None, (headline, self._late_line())))

    def _late_line(self) -> str:
        if not self._times or self._now is None or not is_late(self._times[0], self._now):
            return ""
        oldest = format_timestamp(self._times[0], self._zone, show_seconds=False)
        if self._has_wide_time_range() or not is_late(self._times[-1], self._now):
            time = format_rough_duration(self._now - self._times[0], self._lang)
            return translate(self._lang, "late.up to", time=time, at=oldest)
        time = format_rough_duration(self._now - self._times[-1], self._lang)
        return translate(self._lang, "late", time=time, at=oldest)

    def _has_wide_time_range(self) -> bool:
        return self._times[-1] - self._times[0] > LATE_AFTER_SECONDS

    def _count_sentence(self, key: str, group: _Group) -> str:
        return translate(
            self._lang, f"{key}.{group.label}", n=f"{group.count:,}", state=b.escape_label(group.state, 60) or "?"
        )

    def _time_range(self) -> str:
        """Return the times of the first and last change, with the date unless it is today's."""
        if not self._times:
            return ""
        first = format_timestamp(self._times[0], self._zone, self._now)
        if self._seconds < 1:
            return first
        last = format_timestamp(self._times[-1], self._zone, self._times[0])
        # Show the zone once, unless it changed between the two times.
        return f"{first.removesuffix(last[last.rfind(' ') :])} – {last}"

    def _groups(self) -> list[_Group]:
        """Group the alarms by kind of change, worst first."""
        grouped: dict[tuple[int, str, str, Severity], list[AlarmStateChange]] = {}
        for event in sorted(self._alarms, key=lambda event: event.name):
            label = _LABELS[classify_change(event)]
            state = event.after if label == "other" else ""
            grouped.setdefault((_ORDER.index(label), label, state, severity_of(event)), []).append(event)
        return [
            _Group(
                label,
                state,
                severity,
                emoji_for_change(events[0]),
                len(events),
                tuple(_pack_sections(self._names(events))),
            )
            for (_, label, state, severity), events in sorted(grouped.items(), key=lambda item: item[0])
        ]

    def _names(self, events: Sequence[AlarmStateChange]) -> Iterator[tuple[str, str, str]]:
        """Yield each name's prefix, the name, and the alarm's key: by purpose, the rarest purpose first."""
        counts = Counter(map(_purpose, events))

        def rarity(event: AlarmStateChange) -> tuple[int, str]:
            purpose = _purpose(event)
            return (counts[purpose], purpose) if purpose and counts[purpose] > 1 else (0, "")

        previous = ""
        for event in sorted(events, key=rarity):
            count, purpose = rarity(event)
            is_first = purpose and purpose != previous
            prefix = f"\n{b.escape_label(purpose, _MAX_PURPOSE_LENGTH)} {count:,}: " if is_first else _BETWEEN
            previous = purpose
            yield prefix, self._alarm_label(event), event.key

    def _alarm_label(self, event: AlarmStateChange) -> str:
        series = contributor_label(event)
        count = f" ×{self._counts[event.key]}" if self._counts[event.key] > 1 else ""
        at = ""
        if event.at is not None and self._has_wide_time_range() and is_late(event.at, self._now):
            at = f" [{format_timestamp(event.at, self._zone, show_seconds=False)}]"
        name = link_alarm_name(event.name or "?", event.region, event.partition)
        return name + (f" ({series})" if series else "") + count + at


def _purpose(event: AlarmStateChange) -> str:
    """Return the part of a fleet alarm's name after the machine's number: ``busy`` of ``train-017-busy``."""
    words = list(re.finditer(r"[^\W_]+", event.name))
    for machine, word in zip(words[-2::-1], words[::-1], strict=False):
        if not word[0][0].isdecimal() and re.search(r"\d", machine[0]):
            return event.name[word.start() :]
    return ""


def _latest_changes(changes: Iterable[AlarmStateChange]) -> list[AlarmStateChange]:
    """Return each alarm's last change: by time, because a queue does not preserve order, else by arrival."""
    latest: dict[str, AlarmStateChange] = {}
    for event in changes:
        previous = latest.get(event.key)
        if previous is None or previous.at is None or event.at is None or event.at >= previous.at:
            latest[event.key] = event
    return list(latest.values())


def _pack_sections(names: Iterable[tuple[str, str, str]]) -> Iterator[_Section]:
    """Pack the names into as few sections as possible."""
    text, keys = "", list[str]()
    for prefix, name, key in names:
        if text and len(text) + len(prefix) + len(name) > b.MAX_SECTION_LENGTH - _HEADING_ROOM:
            yield _Section(text, tuple(keys))
            text, keys = "", []
        starts_purpose = prefix != _BETWEEN
        text += f"{prefix}{name}" if text else f"{prefix.lstrip() if starts_purpose else ''}{name}"
        keys.append(key)
    yield _Section(text, tuple(keys))


def _paginate(groups: Iterable[_Group]) -> list[_Page]:
    """Distribute the groups' sections over messages, in order."""
    pages: list[_Page] = [[]]
    size = count = 0
    for group in groups:
        for section in group.sections:
            if pages[-1] and (size + len(section.text) > MAX_DIGEST_MESSAGE_LENGTH or count == _MAX_SECTIONS):
                pages.append([])
                size = count = 0
            if not pages[-1] or pages[-1][-1][0] is not group:
                pages[-1].append((group, []))
            pages[-1][-1][1].append(section)
            size, count = size + len(section.text), count + 1
    return pages
