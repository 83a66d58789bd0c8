"""What is no alarm -> what Slack should say of it: notices of instances, failed functions, anything else. Pure."""

from __future__ import annotations

from cwnotify.alerts import blocks as b
from cwnotify.alerts.alarm_events import CustomNotification, FunctionFailed, InstanceNotice, NoticeKind, Plain
from cwnotify.alerts.redact import MARK
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
        (say(lang, "notice.field.time"), _when(notice.at, lang, zone)),
        (say(lang, "notice.field.place"), _place(notice.account, notice.region)),
    ]
    link = instance_link(notice.instance, notice.region, notice.partition)
    details = [*b.fields(pairs), *b.buttons([(say(lang, "notice.button"), link)])]
    return b.message(text, [b.section(text)], _colour(notice), details, channel)


def _colour(notice: InstanceNotice) -> str:
    """Red before an instance is taken away, green when it runs; a stop is as often wanted as not."""
    if notice.kind is not NoticeKind.STATE:
        return b.BAD
    return b.GOOD if notice.word == "running" else b.NO_DATA


def failure_message(failed: FunctionFailed, lang: str, zone: str = "", channel: str = "") -> b.Payload:
    """The payload for another function's failure; see `cwnotify.alerts.alarms.alarm_message`."""
    error = ": ".join(filter(None, (b.prose(failed.error_type, 200), b.prose(failed.error, 1_000))))
    name = b.bold(failed.function, 200)
    key = f"function.{'failed' if error else 'dropped'}{'' if name else '.unnamed'}"
    text = say(lang, key, name=name, error=error)
    pairs = [
        (say(lang, "function.field.condition"), b.label(failed.condition, 100)),
        (say(lang, "function.field.invocations"), f"{failed.invocations:,}" if failed.invocations else ""),
        (say(lang, "notice.field.time"), _when(failed.at, lang, zone)),
        (say(lang, "notice.field.place"), _place(failed.account, failed.region)),
    ]
    details = b.fields(pairs)
    if failed.trace.strip():
        details.append(b.section(b.code_block(failed.trace, 1_500)))
    if failed.payload.strip():
        details += [b.section(say(lang, "function.payload")), b.section(_fenced(failed.payload))]
    return b.message(text, [b.section(text)], b.BAD, [*details, *_redacted(failed.redacted, lang)], channel)


def custom_message(custom: CustomNotification, lang: str, zone: str = "", channel: str = "") -> b.Payload:
    """The payload for a custom notification: its title first, as its sender wrote it."""
    title = b.prose(custom.title or custom.summary or custom.description.partition("\n")[0], 300)
    text = say(lang, "custom", title=title)
    details = [
        b.section(part)
        for part in ["\n".join(b.prose(line, 1_000) for line in custom.description.splitlines() if line.strip())]
        if part
    ]
    if custom.next_steps:
        steps = "\n".join(f"• {b.prose(step, 240)}" for step in custom.next_steps[:10])
        details.append(b.section(f"*{say(lang, 'custom.steps')}*\n{steps}"))
    details += b.fields((b.label(one.name, 80), b.prose(one.value, 400)) for one in custom.context[: b.MOST_FIELDS])
    summary = custom.summary if custom.summary not in (custom.title, custom.description) else ""
    quiet = (
        b.prose(summary, 500),
        " · ".join(b.code(one, 200) for one in custom.resources[:10]),
        " · ".join(b.label(one, 60) for one in custom.keywords),
        _when(custom.at, lang, zone),
    )
    details += [b.context(line) for line in quiet if line]
    return b.message(text, [b.section(text)], b.NO_DATA, [*details, *_redacted(custom.redacted, lang)], channel)


def plain_message(plain: Plain, lang: str, zone: str = "", channel: str = "") -> b.Payload:
    """The payload for what is no alarm: its beginning, as it is, in a code block."""
    title = b.bold(plain.title, 300)
    text = say(lang, "plain.title", title=title) if title else say(lang, "plain")
    body = b.section(_fenced(plain.text) if plain.text.strip() else say(lang, "plain.empty"))
    when = [b.context(shown) for shown in [_when(plain.at, lang, zone)] if shown]
    return b.message(text, [b.section(text)], b.NO_DATA, [body, *when, *_redacted(plain.redacted, lang)], channel)


def _fenced(text: str) -> str:
    """The beginning of `text` as a code block."""
    return _FENCE.format(b.escape(text.replace("`", "ˋ"), b.MOST_SECTION - len(_FENCE)))


def _redacted(redacted: bool, lang: str) -> list[b.Block]:
    return [b.context(say(lang, "scrubbed", mark=MARK))] if redacted else []


def _when(at: float | None, lang: str, zone: str) -> str:
    return "" if at is None else clock(at, zone_of(zone, lang))


def _place(account: str, region: str) -> str:
    return " · ".join(filter(None, (b.label(account, 40), b.label(region, 60))))
