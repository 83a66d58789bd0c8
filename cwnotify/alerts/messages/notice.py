"""What is no alarm -> what Slack should say of it: notices of instances, failed functions, anything else. Pure."""

from __future__ import annotations

from cwnotify.alerts.events.alarms import (
    CustomNotification,
    FunctionFailure,
    InstanceNotice,
    NoticeKind,
    UnrecognizedEvent,
)
from cwnotify.alerts.locale import format_timestamp, translate
from cwnotify.alerts.locale import resolve_time_zone as zone_of
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.messages.alarm_description import markdown_to_mrkdwn
from cwnotify.alerts.messages.late import is_late, late_line
from cwnotify.alerts.redaction.aws_events import REDACTION_MARK
from cwnotify.alerts.regions import instance_console_url

_ACTIONS = ("terminate", "stop", "hibernate")
_FENCE = "```\n{}\n```"
# A Spot interruption follows its warning by two minutes.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
_WARNING_SECONDS = 120.0


def instance_notice_message(
    notice: InstanceNotice, lang: str, zone: str = "", channel: str = "", now: float | None = None
) -> b.Payload:
    """Return the payload for an instance's notice; see `cwnotify.alerts.messages.alarm.alarm_message`."""
    instance, word = b.inline_code(notice.instance, 60), b.bold(notice.word, 60)
    key = str(notice.kind) if notice.kind is not NoticeKind.STATE or word else "unknown"
    if key != "unknown" and _is_over(notice, now):
        key += ".late"
    text = translate(lang, f"notice.{key}", instance=instance, word=word)
    text = "\n".join(filter(None, (text, late_line(notice.at, now, lang, zone))))
    at_stake = notice.kind is NoticeKind.INTERRUPTION and notice.word in _ACTIONS and not _is_over(notice, now)
    pairs = [
        (translate(lang, "notice.field.instance"), instance),
        (translate(lang, "notice.field.action"), translate(lang, f"notice.{notice.word}") if at_stake else ""),
        (translate(lang, "notice.field.time"), _when(notice.at, lang, zone)),
        (translate(lang, "notice.field.place"), _place(notice.account, notice.region)),
    ]
    link = instance_console_url(notice.instance, notice.region, notice.partition)
    details = [*b.two_column_sections(pairs), *b.link_buttons([(translate(lang, "notice.button"), link)])]
    return b.build_payload(text, [b.section(text)], _colour(notice), details, channel)


def _is_over(notice: InstanceNotice, now: float | None) -> bool:
    """Whether it is too late to say what will happen, or what is the case now."""
    if notice.kind is NoticeKind.INTERRUPTION and notice.at is not None and now is not None:
        return now - notice.at > _WARNING_SECONDS
    return is_late(notice.at, now)


def _colour(notice: InstanceNotice) -> str:
    """Red before an instance is taken away, green when it runs; a stop is as often wanted as not."""
    if notice.kind is not NoticeKind.STATE:
        return b.COLOR_BAD
    return b.COLOR_GOOD if notice.word == "running" else b.COLOR_NEUTRAL


def function_failure_message(
    failed: FunctionFailure, lang: str, zone: str = "", channel: str = "", now: float | None = None
) -> b.Payload:
    """The payload for another function's failure; see `cwnotify.alerts.messages.alarm.alarm_message`."""
    error = ": ".join(filter(None, (b.escape_prose(failed.error_type, 200), b.escape_prose(failed.error, 1_000))))
    name = b.bold(failed.function, 200)
    key = f"function.{'failed' if error else 'dropped'}{'' if name else '.unnamed'}"
    text = _late(translate(lang, key, name=name, error=error), failed.at, now, lang, zone)
    pairs = [
        (translate(lang, "function.field.condition"), b.escape_label(failed.condition, 100)),
        (translate(lang, "function.field.invocations"), f"{failed.invocations:,}" if failed.invocations else ""),
        (translate(lang, "notice.field.time"), _when(failed.at, lang, zone)),
        (translate(lang, "notice.field.place"), _place(failed.account, failed.region)),
    ]
    details = b.two_column_sections(pairs)
    if failed.trace.strip():
        details.append(b.section(b.code_block(failed.trace, 1_500)))
    if failed.payload.strip():
        details += [b.section(translate(lang, "function.payload")), b.section(_fenced(failed.payload))]
    return b.build_payload(text, [b.section(text)], b.COLOR_BAD, [*details, *_redacted(failed.redacted, lang)], channel)


def custom_notification_message(
    custom: CustomNotification, lang: str, zone: str = "", channel: str = "", now: float | None = None
) -> b.Payload:
    """The payload for a custom notification: its title first, as its sender wrote it."""
    title = b.escape_prose(custom.title or custom.summary or custom.description.partition("\n")[0], 300)
    text = _late(
        translate(lang, "custom", title=title) if title else translate(lang, "plain"), custom.at, now, lang, zone
    )
    details = [b.section(part) for part in [markdown_to_mrkdwn(custom.description)] if part.strip()]
    if custom.next_steps:
        steps = "\n".join(
            f"• {' '.join(markdown_to_mrkdwn(step, 260).splitlines())}" for step in custom.next_steps[:10]
        )
        details.append(b.section(f"*{translate(lang, 'custom.steps')}*\n{steps}"))
    details += b.two_column_sections(
        (b.escape_label(one.name, 80), b.escape_prose(one.value, 400))
        for one in custom.context[: b.MAX_FIELDS_PER_SECTION]
    )
    summary = "" if custom.summary in (custom.title or custom.summary, custom.description) else custom.summary
    quiet = (
        b.escape_prose(summary, 500),
        " · ".join(b.inline_code(one, 200) for one in custom.resources[:10]),
        " · ".join(b.escape_label(one, 60) for one in custom.keywords),
        _when(custom.at, lang, zone),
    )
    details += [b.context(line) for line in quiet if line]
    return b.build_payload(
        text, [b.section(text)], b.COLOR_NEUTRAL, [*details, *_redacted(custom.redacted, lang)], channel
    )


def unrecognized_event_message(
    plain: UnrecognizedEvent, lang: str, zone: str = "", channel: str = "", now: float | None = None
) -> b.Payload:
    """The payload for what is no alarm: its beginning, as it is, in a code block."""
    if plain.left_out:
        text = translate(lang, "plain.left out", n=plain.left_out)
        return b.build_payload(text, [b.section(text)], b.COLOR_NEUTRAL, channel=channel)
    title = b.bold(plain.title, 300)
    text = translate(lang, "plain.title", title=title) if title else translate(lang, "plain")
    text = _late(text, plain.at, now, lang, zone)
    body = b.section(_fenced(plain.text) if plain.text.strip() else translate(lang, "plain.empty"))
    when = [b.context(shown) for shown in [_when(plain.at, lang, zone)] if shown]
    return b.build_payload(
        text, [b.section(text)], b.COLOR_NEUTRAL, [body, *when, *_redacted(plain.redacted, lang)], channel
    )


def _late(text: str, at: float | None, now: float | None, lang: str, zone: str) -> str:
    return "\n".join(filter(None, (text, late_line(at, now, lang, zone))))


def _fenced(text: str) -> str:
    """The beginning of `text` as a code block."""
    return _FENCE.format(b.escape_mrkdwn(text.replace("`", "ˋ"), b.MAX_SECTION_LENGTH - len(_FENCE)))


def _redacted(redacted: bool, lang: str) -> list[b.Block]:
    return [b.context(translate(lang, "scrubbed", mark=REDACTION_MARK))] if redacted else []


def _when(at: float | None, lang: str, zone: str) -> str:
    return "" if at is None else format_timestamp(at, zone_of(zone, lang))


def _place(account: str, region: str) -> str:
    return " · ".join(filter(None, (b.escape_label(account, 40), b.escape_label(region, 60))))
