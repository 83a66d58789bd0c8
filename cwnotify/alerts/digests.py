"""Many alarms' changes -> few messages: counts by state, worst first, every alarm named once. Pure.

Slack takes about one message a second, so a storm of changes has to be told in digests. A message is kept far below
what its 50 blocks could hold: Slack names no limit for all of a message's blocks together, but it has an error for
those that are too long (``msg_blocks_too_long``), and nobody would read on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from cwnotify.alerts import blocks as b
from cwnotify.alerts.alarm_events import AlarmChanged, AlarmState, AwsEvent, unique
from cwnotify.alerts.alarms import COLOURS, MARKS, Tone, linked, tone_of
from cwnotify.alerts.frozen import frozen
from cwnotify.alerts.regions import alarm_link
from cwnotify.alerts.render import render
from cwnotify.alerts.words import clock, duration, say
from cwnotify.alerts.words import zone as zone_of

MOST_MESSAGE = 30_000  # characters of names and links in one message
_MOST_SECTIONS = b.MOST_BLOCKS - 3  # beside the sentence, the quiet line and the button
_HEAD_ROOM = 120
_BETWEEN = " · "
_RANKS = {AlarmState.ALARM: 0, AlarmState.INSUFFICIENT_DATA: 1, AlarmState.OK: 3}
_UNKNOWN_RANK = 2


@frozen
class Page:
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
    """The alarms that are now in one state; `tone` is that of the news which matter most among them."""

    state: str
    tone: Tone
    count: int
    sections: tuple[_Section, ...]


_Page = list[tuple[_Group, list[_Section]]]


def digest_messages(
    events: Sequence[AwsEvent], seconds: float, lang: str, zone: str = "", channel: str = ""
) -> tuple[b.Payload, ...]:
    """Return the payloads of `digest_pages`."""
    return tuple(page.payload for page in digest_pages(events, seconds, lang, zone, channel))


def digest_pages(
    events: Sequence[AwsEvent], seconds: float, lang: str, zone: str = "", channel: str = ""
) -> tuple[Page, ...]:
    """Return the messages for a batch of events, copies left out; each event is on exactly one of them.

    Parameters
    ----------
    events
        In the order in which they came; what is no alarm's change gets a message of its own.
    seconds
        Within how many seconds they came; 0 if that is not known.
    zone, channel
        As for `cwnotify.alerts.alarms.alarm_message`.
    """
    told = unique(events)
    changes = [event for event in told if isinstance(event, AlarmChanged)]
    alone = [event for event in told if not isinstance(event, AlarmChanged)]
    alarms = _latest(changes)
    single: list[tuple[AwsEvent, tuple[AwsEvent, ...]]] = [(event, (event,)) for event in alone]
    if len(alarms) <= 1:
        single[:0] = [(event, tuple(changes)) for event in alarms]
    pages = _digest(alarms, changes, seconds, lang, zone, channel) if len(alarms) > 1 else []
    return (*pages, *(Page(render(event, lang, zone, channel), about) for event, about in single))


def _digest(
    alarms: Sequence[AlarmChanged], changes: Sequence[AlarmChanged], seconds: float, lang: str, zone: str, channel: str
) -> list[Page]:
    groups = _groups(alarms, Counter(event.key for event in changes))
    footer = [_span(alarms, lang, zone)]
    button = b.buttons([(say(lang, "alarm.button"), alarm_link("", alarms[0].region, alarms[0].partition))])
    pages = _pages(groups)
    messages = []
    for number, page in enumerate(pages, 1):
        if len(pages) > 1:
            footer[1:] = [say(lang, "digest.page", page=number, pages=len(pages))]
        text = _headline(groups, len(alarms), seconds, number, len(pages), lang)
        quiet = _BETWEEN.join(filter(None, footer))
        last = [*([b.context(quiet)] if quiet else []), *button]
        keys = {key for _, sections in page for section in sections for key in section.keys}
        reported = tuple(event for event in changes if event.key in keys)
        messages.append(Page(_payload(text, page, last, lang, channel), reported))
    return messages


def _latest(changes: Iterable[AlarmChanged]) -> list[AlarmChanged]:
    """The last change of each alarm: by its time, for a queue keeps no order, else by when it came."""
    latest: dict[str, AlarmChanged] = {}
    for event in changes:
        known = latest.get(event.key)
        if known is None or known.at is None or event.at is None or event.at >= known.at:
            latest[event.key] = event
    return list(latest.values())


def _groups(alarms: Sequence[AlarmChanged], changes: Counter[str]) -> list[_Group]:
    """One group a state, the worst state first; within it bad news first, then by name."""
    by_state: dict[str, list[AlarmChanged]] = {}
    for event in sorted(alarms, key=lambda event: (tone_of(event) is not Tone.BAD, event.name)):
        by_state.setdefault(event.after, []).append(event)
    groups = []
    for state in sorted(by_state, key=lambda state: (_rank(state), state)):
        tones = {tone_of(event) for event in by_state[state]}
        tone = next(tone for tone in (Tone.BAD, Tone.GOOD, *Tone) if tone in tones)
        names = [(_named(event, changes[event.key]), event.key) for event in by_state[state]]
        groups.append(_Group(state, tone, len(names), tuple(_joined(names))))
    return groups


def _rank(state: str) -> int:
    return _RANKS[AlarmState(state)] if state in AlarmState.__members__ else _UNKNOWN_RANK


def _named(event: AlarmChanged, changes: int) -> str:
    series = b.label(", ".join(one.value for one in event.contributor) or event.contributor_id, 120)
    often = f" ×{changes}" if changes > 1 else ""
    return linked(event.name or "?", event.region, event.partition) + (f" ({series})" if series else "") + often


def _joined(names: Iterable[tuple[str, str]]) -> Iterator[_Section]:
    """The names, each with its alarm's key, in as few sections as can hold them."""
    line, keys = "", list[str]()
    for name, key in names:
        if line and len(line) + len(_BETWEEN) + len(name) > b.MOST_SECTION - _HEAD_ROOM:
            yield _Section(line, tuple(keys))
            line, keys = "", []
        line = f"{line}{_BETWEEN}{name}" if line else name
        keys.append(key)
    yield _Section(line, tuple(keys))


def _pages(groups: Iterable[_Group]) -> list[_Page]:
    """Each message's share of the groups, in order."""
    pages: list[_Page] = [[]]
    size = count = 0
    for group in groups:
        for section in group.sections:
            if pages[-1] and (size + len(section.text) > MOST_MESSAGE or count == _MOST_SECTIONS):
                pages.append([])
                size = count = 0
            if not pages[-1] or pages[-1][-1][0] is not group:
                pages[-1].append((group, []))
            pages[-1][-1][1].append(section)
            size, count = size + len(section.text), count + 1
    return pages


def _headline(groups: Sequence[_Group], alarms: int, seconds: float, page: int, pages: int, lang: str) -> str:
    values = {"mark": MARKS[groups[0].tone], "alarms": f"{alarms:,}"}
    if page > 1:
        return say(lang, "digest.next", **values, page=page, pages=pages)
    values["counts"] = ", ".join(_counted(lang, "digest", group) for group in groups[:10])
    if seconds > 0:
        return say(lang, "digest.seconds", **values, time=duration(seconds, lang))
    return say(lang, "digest", **values)


def _counted(lang: str, key: str, group: _Group) -> str:
    state = group.state if group.state in AlarmState.__members__ else "other"
    return say(lang, f"{key}.{state}", n=f"{group.count:,}", state=b.label(group.state, 60) or "?")


def _payload(text: str, page: _Page, last: Sequence[b.Block], lang: str, channel: str) -> b.Payload:
    payload = b.message(text, [b.section(text)], channel=channel)
    attachments: list[b.Block] = []
    for group, (first, *more) in page:
        head = _counted(lang, "digest.head", group)
        blocks = [b.section(f"{head}\n{first.text}"), *(b.section(section.text) for section in more)]
        attachments.append({"color": COLOURS[group.tone], "blocks": blocks})
    attachments[-1]["blocks"] += last
    return payload | {"attachments": attachments}


def _span(alarms: Iterable[AlarmChanged], lang: str, zone: str) -> str:
    """From when to when the changes were."""
    times = sorted(event.at for event in alarms if event.at is not None)
    if not times:
        return ""
    where = zone_of(zone, lang)
    first, last = clock(times[0], where), clock(times[-1], where, times[0])
    return first if times[-1] - times[0] < 1 else f"{first} – {last}"
