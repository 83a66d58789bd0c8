"""Convert events other than alarms to messages: instance notices, failed functions and the rest. Pure."""

from __future__ import annotations

from cwnotify.alerts.events.alarms import (
    CustomNotification,
    FunctionFailure,
    InstanceNotice,
    NoticeKind,
    UnrecognizedEvent,
)
from cwnotify.alerts.locale import format_timestamp, resolve_time_zone, translate
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.messages.alarm_description import markdown_to_mrkdwn
from cwnotify.alerts.messages.late import is_late, late_line
from cwnotify.alerts.redaction.aws_events import REDACTION_MARK
from cwnotify.alerts.regions import instance_console_url

_ACTIONS = ("terminate", "stop", "hibernate")
_FENCE = "```\n{}\n```"
# The time between an interruption notice and the interruption.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
_NOTICE_SECONDS = 120.0


def instance_notice_message(
    notice: InstanceNotice, lang: str, zone: str = "", channel: str = "", now: float | None = None
) -> b.Payload:
    """Return the payload for an instance notice. The parameters are those of `alarm.alarm_message`."""
    instance, word = b.inline_code(notice.instance, 60), b.bold(notice.word, 60)
    key = str(notice.kind) if notice.kind is not NoticeKind.STATE or word else "unknown"
    if key != "unknown" and _is_outdated(notice, now):
        key += ".late"
    text = translate(lang, f"notice.{key}", instance=instance, word=word)
    text = _add_late_line(text, notice.at, now, lang, zone)
    will_act = notice.kind is NoticeKind.INTERRUPTION and notice.word in _ACTIONS and not _is_outdated(notice, now)
    pairs = [
        (translate(lang, "notice.field.instance"), instance),
        (translate(lang, "notice.field.action"), translate(lang, f"notice.{notice.word}") if will_act else ""),
        (translate(lang, "notice.field.time"), _format_time(notice.at, lang, zone)),
        (translate(lang, "notice.field.place"), _format_place(notice.account, notice.region)),
    ]
    link = instance_console_url(notice.instance, notice.region, notice.partition)
    details = [*b.two_column_sections(pairs), *b.link_buttons([(translate(lang, "notice.button"), link)])]
    return b.build_payload(text, [b.section(text)], _color_of(notice), details, channel)


def _is_outdated(notice: InstanceNotice, now: float | None) -> bool:
    """Return whether the notice's announcement, or the state that it reports, may no longer be true."""
    if notice.kind is NoticeKind.INTERRUPTION and notice.at is not None and now is not None:
        return now - notice.at > _NOTICE_SECONDS
    return is_late(notice.at, now)


def _color_of(notice: InstanceNotice) -> str:
    """Return red for an interruption, green for a running instance, and grey for a stop, which may be intended."""
    if notice.kind is not NoticeKind.STATE:
        return b.COLOR_BAD
    return b.COLOR_GOOD if notice.word == "running" else b.COLOR_NEUTRAL


def function_failure_message(
    failed: FunctionFailure, lang: str, zone: str = "", channel: str = "", now: float | None = None
) -> b.Payload:
    """Return the payload for another function's failure. The parameters are those of `alarm.alarm_message`."""
    error = ": ".join(filter(None, (b.escape_prose(failed.error_type, 200), b.escape_prose(failed.error, 1_000))))
    name = b.bold(failed.function, 200)
    key = f"function.{'failed' if error else 'dropped'}{'' if name else '.unnamed'}"
    text = _add_late_line(translate(lang, key, name=name, error=error), failed.at, now, lang, zone)
    pairs = [
        (translate(lang, "function.field.condition"), b.escape_label(failed.condition, 100)),
        (translate(lang, "function.field.invocations"), f"{failed.invocations:,}" if failed.invocations else ""),
        (translate(lang, "notice.field.time"), _format_time(failed.at, lang, zone)),
        (translate(lang, "notice.field.place"), _format_place(failed.account, failed.region)),
    ]
    details = b.two_column_sections(pairs)
    if failed.trace.strip():
        details.append(b.section(b.code_block(failed.trace, 1_500)))
    if failed.payload.strip():
        details += [b.section(translate(lang, "function.payload")), b.section(_code_block(failed.payload))]
    details += _redaction_note(failed.redacted, lang)
    return b.build_payload(text, [b.section(text)], b.COLOR_BAD, details, channel)


def custom_notification_message(
    custom: CustomNotification, lang: str, zone: str = "", channel: str = "", now: float | None = None
) -> b.Payload:
    """Return the payload for a custom notification. The parameters are those of `alarm.alarm_message`."""
    title = b.escape_prose(custom.title or custom.summary or custom.description.partition("\n")[0], 300)
    text = translate(lang, "custom", title=title) if title else translate(lang, "plain")
    text = _add_late_line(text, custom.at, now, lang, zone)
    details = [b.section(part) for part in [markdown_to_mrkdwn(custom.description)] if part.strip()]
    if custom.next_steps:
        steps = "\n".join(
            f"• {' '.join(markdown_to_mrkdwn(step, 260).splitlines())}" for step in custom.next_steps[:10]
        )
        details.append(b.section(f"*{translate(lang, 'custom.steps')}*\n{steps}"))
    details += b.two_column_sections(
        (b.escape_label(item.name, 80), b.escape_prose(item.value, 400))
        for item in custom.context[: b.MAX_FIELDS_PER_SECTION]
    )
    summary = "" if custom.summary in (custom.title or custom.summary, custom.description) else custom.summary
    context_lines = (
        b.escape_prose(summary, 500),
        " · ".join(b.inline_code(resource, 200) for resource in custom.resources[:10]),
        " · ".join(b.escape_label(keyword, 60) for keyword in custom.keywords),
        _format_time(custom.at, lang, zone),
    )
    details += [b.context(line) for line in context_lines if line]
    details += _redaction_note(custom.redacted, lang)
    return b.build_payload(text, [b.section(text)], b.COLOR_NEUTRAL, details, channel)


def unrecognized_event_message(
    event: UnrecognizedEvent, lang: str, zone: str = "", channel: str = "", now: float | None = None
) -> b.Payload:
    """Return the payload for an unrecognized event, with the start of its text in a code block.

    The parameters are those of `alarm.alarm_message`.
    """
    if event.left_out:
        text = translate(lang, "plain.left out", n=event.left_out)
        return b.build_payload(text, [b.section(text)], b.COLOR_NEUTRAL, channel=channel)
    title = b.bold(event.title, 300)
    text = translate(lang, "plain.title", title=title) if title else translate(lang, "plain")
    text = _add_late_line(text, event.at, now, lang, zone)
    details = [b.section(_code_block(event.text) if event.text.strip() else translate(lang, "plain.empty"))]
    if timestamp := _format_time(event.at, lang, zone):
        details.append(b.context(timestamp))
    details += _redaction_note(event.redacted, lang)
    return b.build_payload(text, [b.section(text)], b.COLOR_NEUTRAL, details, channel)


def _add_late_line(text: str, at: float | None, now: float | None, lang: str, zone: str) -> str:
    return "\n".join(filter(None, (text, late_line(at, now, lang, zone))))


def _code_block(text: str) -> str:
    """Return the start of `text` as a code block; `block_kit.code_block` would keep the end."""
    return _FENCE.format(b.escape_mrkdwn(text.replace("`", "ˋ"), b.MAX_SECTION_LENGTH - len(_FENCE)))


def _redaction_note(redacted: bool, lang: str) -> list[b.Block]:
    return [b.context(translate(lang, "scrubbed", mark=REDACTION_MARK))] if redacted else []


def _format_time(at: float | None, lang: str, zone: str) -> str:
    return "" if at is None else format_timestamp(at, resolve_time_zone(zone, lang))


def _format_place(account: str, region: str) -> str:
    return " · ".join(filter(None, (b.escape_label(account, 40), b.escape_label(region, 60))))
