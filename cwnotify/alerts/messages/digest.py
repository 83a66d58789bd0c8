"""Many alarms' changes -> few messages: counts by state, worst first, every alarm named once. Pure.

Slack accepts about one message a second, so many changes at once become digests. A message stays far below what its 50
blocks could hold: Slack documents no limit for all blocks of a message together, but has an error for blocks that are
too long (``msg_blocks_too_long``), and a reader would not read on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from cwnotify.alerts.events.alarms import AlarmStateChange, AwsEvent, deduplicate_events
from cwnotify.alerts.light_dataclass import frozen
from cwnotify.alerts.locale import format_duration, format_timestamp, to_plain_text, translate
from cwnotify.alerts.locale import resolve_time_zone as zone_of
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
# Messages of their own for what is no alarm's change, and lines for the rest, `_LINES` in a message.
MAX_SINGLE_EVENT_MESSAGES = 20
MAX_LISTED_EVENTS = 300
_LINES = 100
_MOST_SECTIONS = (
    b.MAX_BLOCKS_PER_MESSAGE - 4
)  # beside the first line, the quiet line, the button and the note on secrets
_HEAD_ROOM = 120
_KIND_ROOM = 60
_BETWEEN = " · "
# What a group is called, worst first.
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
        The events that it reports: every change of each alarm that it names.
    """

    payload: b.Payload
    events: tuple[AwsEvent, ...]


@frozen
class _Section:
    """Names of alarms as ready mrkdwn, and the keys of these alarms."""

    text: str
    keys: tuple[str, ...]


@frozen
class _Group:
    """The alarms of which the same news is told, in one colour."""

    label: str
    state: str
    tone: Severity
    mark: str
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
    """Return the messages for a batch of events, copies left out; each event is on exactly one of them.

    Parameters
    ----------
    events
        In the order in which they came; what is no alarm's change gets a message of its own.
    seconds
        Within how many seconds they came, for changes that do not say when they happened; 0 if that is not known.
    zone, channel, now
        As for `cwnotify.alerts.messages.alarm.alarm_message`.
    """
    kept = deduplicate_events(events)
    changes = [event for event in kept if isinstance(event, AlarmStateChange)]
    alone = [event for event in kept if not isinstance(event, AlarmStateChange)]
    # A note of what was left out is never left out itself.
    alone.sort(key=lambda event: not getattr(event, "left_out", 0))
    alone, rest = alone[:MAX_SINGLE_EVENT_MESSAGES], alone[MAX_SINGLE_EVENT_MESSAGES:]
    alarms = _latest(changes)
    single: list[tuple[AwsEvent, tuple[AwsEvent, ...]]] = [(event, (event,)) for event in alone]
    if len(alarms) <= 1:
        single[:0] = [(event, tuple(changes)) for event in alarms]
    pages = _Digest(alarms, changes, seconds, lang, zone, channel, now).pages() if len(alarms) > 1 else []
    alone_pages = (DigestPage(render_alert(event, lang, zone, channel, now), about) for event, about in single)
    return (*pages, *alone_pages, *_rest_pages(rest, lang, zone, channel, now))


def _rest_pages(
    events: Sequence[AwsEvent], lang: str, zone: str, channel: str, now: float | None
) -> tuple[DigestPage, ...]:
    """Messages that have a line for each of `events`, up to `MAX_LISTED_EVENTS`, and say how many more there were."""
    listed = events[:MAX_LISTED_EVENTS]
    pages = []
    for start in range(0, len(listed), _LINES):
        some = listed[start : start + _LINES]
        text = translate(lang, "digest.rest", n=len(events))
        lines = [_first_line(render_alert(event, lang, zone, channel, now)) for event in some]
        details = [b.section("\n".join(lines[i : i + 10])) for i in range(0, len(lines), 10)]
        if start + _LINES >= len(listed) and len(events) > len(listed):
            details.append(b.context(translate(lang, "digest.rest.more", n=len(events) - len(listed))))
            some = events[start:]
        pages.append(
            DigestPage(b.build_payload(text, [b.section(text)], b.COLOR_NEUTRAL, details, channel), tuple(some))
        )
    return tuple(pages)


def _first_line(payload: b.Payload) -> str:
    return "• " + b.escape_prose(next(iter(to_plain_text(str(payload["text"])).splitlines()), ""), 250)


class _Digest:
    """One batch of at least two alarms' changes, and how its readers want to read it."""

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
        self._zone = zone_of(zone, lang)
        self._counts = Counter(event.key for event in changes)
        self._times = sorted(event.at for event in changes if event.at is not None)
        self._seconds = self._times[-1] - self._times[0] if self._times else seconds

    def pages(self) -> list[DigestPage]:
        groups = self._groups()
        pages = _pages(groups)
        return [self._page(groups, page, number, len(pages)) for number, page in enumerate(pages, 1)]

    def _page(self, groups: Sequence[_Group], page: _Page, number: int, count: int) -> DigestPage:
        text = self._headline(groups, number, count)
        place = translate(self._lang, "digest.page", page=number, pages=count) if count > 1 else ""
        quiet = _BETWEEN.join(filter(None, (translate(self._lang, "digest.hello"), self._span(), place)))
        payload = b.build_payload(text, [b.section(text), b.context(quiet)], channel=self._channel)
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
        head = self._counted("digest.head", group)
        blocks = [b.section(f"{head}\n{first.text}"), *(b.section(section.text) for section in more)]
        return {"color": SEVERITY_COLORS[group.tone], "blocks": blocks}

    def _headline(self, groups: Sequence[_Group], page: int, pages: int) -> str:
        values = {"mark": groups[0].mark, "alarms": f"{len(self._alarms):,}"}
        if page > 1:
            first = translate(self._lang, "digest.next", **values, page=page, pages=pages)
        else:
            values["counts"] = ", ".join(self._counted("digest", group) for group in groups[:10])
            if self._seconds > 0:
                first = translate(
                    self._lang, "digest.within", **values, time=format_duration(self._seconds, self._lang)
                )
            else:
                first = translate(self._lang, "digest", **values)
        return "\n".join(filter(None, (first, self._late_line())))

    def _late_line(self) -> str:
        if not self._times or self._now is None or not is_late(self._times[0], self._now):
            return ""
        oldest = format_timestamp(self._times[0], self._zone, show_seconds=False)
        if self._is_spread() or not is_late(self._times[-1], self._now):
            return translate(
                self._lang, "late.up to", time=format_rough_duration(self._now - self._times[0], self._lang), at=oldest
            )
        return translate(
            self._lang, "late", time=format_rough_duration(self._now - self._times[-1], self._lang), at=oldest
        )

    def _is_spread(self) -> bool:
        return self._times[-1] - self._times[0] > LATE_AFTER_SECONDS

    def _counted(self, key: str, group: _Group) -> str:
        return translate(
            self._lang, f"{key}.{group.label}", n=f"{group.count:,}", state=b.escape_label(group.state, 60) or "?"
        )

    def _span(self) -> str:
        """From when to when the changes were; with the date, unless they are known to be of today."""
        if not self._times:
            return ""
        first = format_timestamp(self._times[0], self._zone, self._now)
        if self._seconds < 1:
            return first
        last = format_timestamp(self._times[-1], self._zone, self._times[0])
        # The zone is named once, unless it changed in between.
        return f"{first.removesuffix(last[last.rfind(' ') :])} – {last}"

    def _groups(self) -> list[_Group]:
        """The alarms by their news, worst first."""
        grouped: dict[tuple[int, str, str, Severity], list[AlarmStateChange]] = {}
        for event in sorted(self._alarms, key=lambda event: event.name):
            label = _LABELS[classify_change(event)]
            state = event.after if label == "other" else ""
            grouped.setdefault((_ORDER.index(label), label, state, severity_of(event)), []).append(event)
        return [
            _Group(label, state, tone, emoji_for_change(events[0]), len(events), tuple(_joined(self._names(events))))
            for (_, label, state, tone), events in sorted(grouped.items(), key=lambda item: item[0])
        ]

    def _names(self, events: Sequence[AlarmStateChange]) -> Iterator[tuple[str, str, str]]:
        """What goes before a name, the name, and its alarm's key: by kind, the rarest kind first."""
        counts = Counter(map(_kind, events))

        def rarity(event: AlarmStateChange) -> tuple[int, str]:
            kind = _kind(event)
            return (counts[kind], kind) if kind and counts[kind] > 1 else (0, "")

        last = 0, ""
        for event in sorted(events, key=rarity):
            count, kind = rarity(event)
            begins = kind and kind != last[1]
            prefix = f"\n{b.escape_label(kind, _KIND_ROOM)} {count:,}: " if begins else _BETWEEN
            last = count, kind
            yield prefix, self._named(event), event.key

    def _named(self, event: AlarmStateChange) -> str:
        series = contributor_label(event)
        often = f" ×{self._counts[event.key]}" if self._counts[event.key] > 1 else ""
        at = ""
        if event.at is not None and self._is_spread() and is_late(event.at, self._now):
            at = f" [{format_timestamp(event.at, self._zone, show_seconds=False)}]"
        name = link_alarm_name(event.name or "?", event.region, event.partition)
        return name + (f" ({series})" if series else "") + often + at


def _kind(event: AlarmStateChange) -> str:
    """What an alarm of a fleet is about: the words after those that number its machine, as in ``train-017-busy``."""
    numbered = re.match(r".*\d[^\W_]*[\W_]+(?=[^\W\d_])", event.name)
    return event.name[numbered.end() :] if numbered else ""


def _latest(changes: Iterable[AlarmStateChange]) -> list[AlarmStateChange]:
    """The last change of each alarm: by its time, because a queue keeps no order, else by when it came."""
    latest: dict[str, AlarmStateChange] = {}
    for event in changes:
        known = latest.get(event.key)
        if known is None or known.at is None or event.at is None or event.at >= known.at:
            latest[event.key] = event
    return list(latest.values())


def _joined(names: Iterable[tuple[str, str, str]]) -> Iterator[_Section]:
    """The names in as few sections as can hold them."""
    line, keys = "", list[str]()
    for prefix, name, key in names:
        if line and len(line) + len(prefix) + len(name) > b.MAX_SECTION_LENGTH - _HEAD_ROOM:
            yield _Section(line, tuple(keys))
            line, keys = "", []
        begins_kind = prefix != _BETWEEN
        line += f"{prefix}{name}" if line else f"{prefix.lstrip() if begins_kind else ''}{name}"
        keys.append(key)
    yield _Section(line, tuple(keys))


def _pages(groups: Iterable[_Group]) -> list[_Page]:
    """Each message's share of the groups, in order."""
    pages: list[_Page] = [[]]
    size = count = 0
    for group in groups:
        for section in group.sections:
            if pages[-1] and (size + len(section.text) > MAX_DIGEST_MESSAGE_LENGTH or count == _MOST_SECTIONS):
                pages.append([])
                size = count = 0
            if not pages[-1] or pages[-1][-1][0] is not group:
                pages[-1].append((group, []))
            pages[-1][-1][1].append(section)
            size, count = size + len(section.text), count + 1
    return pages
