"""What is no alarm -> what Slack should say of it: an instance's notice, or whatever else came. Pure."""

from __future__ import annotations

from cwnotify.alerts import blocks as b
from cwnotify.alerts.alarm_events import InstanceNotice, NoticeKind, Plain
from cwnotify.alerts.late import is_late, late_line
from cwnotify.alerts.regions import instance_link
from cwnotify.alerts.words import clock, say
from cwnotify.alerts.words import zone as zone_of

_ACTIONS = ("terminate", "stop", "hibernate")
_FENCE = "```\n{}\n```"
# A Spot interruption follows its warning by two minutes.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
_WARNING_SECONDS = 120.0


def notice_message(
    notice: InstanceNotice, lang: str, zone: str = "", channel: str = "", now: float | None = None
) -> b.Payload:
    """Return the payload for an instance's notice; see `cwnotify.alerts.alarms.alarm_message`."""
    instance, word = b.code(notice.instance, 60), b.bold(notice.word, 60)
    key = str(notice.kind) if notice.kind is not NoticeKind.STATE or word else "unknown"
    if key != "unknown" and _is_over(notice, now):
        key += ".late"
    text = say(lang, f"notice.{key}", instance=instance, word=word)
    text = "\n".join(filter(None, (text, late_line(notice.at, now, lang, zone))))
    at_stake = notice.kind is NoticeKind.INTERRUPTION and notice.word in _ACTIONS and not _is_over(notice, now)
    pairs = [
        (say(lang, "notice.field.instance"), instance),
        (say(lang, "notice.field.action"), say(lang, f"notice.{notice.word}") if at_stake else ""),
        (say(lang, "notice.field.time"), "" if notice.at is None else clock(notice.at, zone_of(zone, lang))),
        (
            say(lang, "notice.field.place"),
            " · ".join(filter(None, (b.label(notice.account, 40), b.label(notice.region, 60)))),
        ),
    ]
    link = instance_link(notice.instance, notice.region, notice.partition)
    details = [*b.fields(pairs), *b.buttons([(say(lang, "notice.button"), link)])]
    return b.message(text, [b.section(text)], _colour(notice), details, channel)


def _is_over(notice: InstanceNotice, now: float | None) -> bool:
    """Whether it is too late to say what will happen, or what is the case now."""
    if notice.kind is NoticeKind.INTERRUPTION and notice.at is not None and now is not None:
        return now - notice.at > _WARNING_SECONDS
    return is_late(notice.at, now)


def _colour(notice: InstanceNotice) -> str:
    """Red before an instance is taken away, green when it runs; a stop is as often wanted as not."""
    if notice.kind is not NoticeKind.STATE:
        return b.BAD
    return b.GOOD if notice.word == "running" else b.NO_DATA


def plain_message(plain: Plain, lang: str, zone: str = "", channel: str = "", now: float | None = None) -> b.Payload:
    """Return the payload for what is no alarm: its beginning, as it is, in a code block."""
    title = b.bold(plain.title, 300)
    text = say(lang, "plain.title", title=title) if title else say(lang, "plain")
    text = "\n".join(filter(None, (text, late_line(plain.at, now, lang, zone))))
    room = b.MOST_SECTION - len(_FENCE)
    content = b.escape(plain.text.replace("`", "ˋ"), room) if plain.text.strip() else ""
    body = b.section(_FENCE.format(content) if content else say(lang, "plain.empty"))
    when = [] if plain.at is None else [b.context(clock(plain.at, zone_of(zone, lang)))]
    return b.message(text, [b.section(text)], b.NO_DATA, [body, *when], channel)
