"""What is no alarm -> what Slack should say of it: an instance's notice, or whatever else came. Pure."""

from __future__ import annotations

from cwnotify.alerts import blocks as b
from cwnotify.alerts.alarm_events import InstanceNotice, NoticeKind, Plain
from cwnotify.alerts.regions import instance_link
from cwnotify.alerts.words import clock, say
from cwnotify.alerts.words import zone as zone_of

_ACTIONS = ("terminate", "stop", "hibernate")
_FENCE = "```\n{}\n```"


def notice_message(notice: InstanceNotice, lang: str, zone: str = "", channel: str = "") -> b.Payload:
    """The payload for what EventBridge says of an instance; see `cwnotify.alerts.alarms.alarm_message`."""
    instance, word = b.code(notice.instance, 60), b.bold(notice.word, 60)
    key = notice.kind if notice.kind is not NoticeKind.STATE or word else "unknown"
    text = say(lang, f"notice.{key}", instance=instance, word=word)
    at_stake = notice.kind is NoticeKind.INTERRUPTION and notice.word in _ACTIONS
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


def _colour(notice: InstanceNotice) -> str:
    """Red before an instance is taken away, green when it runs; a stop is as often wanted as not."""
    if notice.kind is not NoticeKind.STATE:
        return b.BAD
    return b.GOOD if notice.word == "running" else b.NO_DATA


def plain_message(plain: Plain, lang: str, zone: str = "", channel: str = "") -> b.Payload:
    """The payload for what is no alarm: its beginning, as it is, in a code block."""
    title = b.bold(plain.title, 300)
    text = say(lang, "plain.title", title=title) if title else say(lang, "plain")
    room = b.MOST_SECTION - len(_FENCE)
    content = b.escape(plain.text.replace("`", "ˋ"), room) if plain.text.strip() else ""
    body = b.section(_FENCE.format(content) if content else say(lang, "plain.empty"))
    when = [] if plain.at is None else [b.context(clock(plain.at, zone_of(zone, lang)))]
    return b.message(text, [b.section(text)], b.NO_DATA, [body, *when], channel)
