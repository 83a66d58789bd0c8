"""Any event -> the message that tells of it. Pure."""

from __future__ import annotations

from cwnotify.alerts.events.alarms import AlarmChanged, CustomNotification, FunctionFailed, InstanceNotice, Plain
from cwnotify.alerts.messages.alarm import alarm_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cwnotify.alerts.events.runs import Event
    from cwnotify.alerts.messages.block_kit import Payload


def render(event: Event, lang: str, zone: str = "", channel: str = "", now: float | None = None) -> Payload:
    """Return the payload for `event`; a run brings its own language, zone and channel.

    Parameters
    ----------
    zone
        IANA name of the reader's zone; empty for the language's default.
    channel
        Only legacy webhooks support it.
    now
        When the message is made (Unix seconds); with it, an old event says how late it is.
    """
    if isinstance(event, AlarmChanged):
        return alarm_message(event, lang, zone, channel, now=now)
    # All else is seldom, and the Lambda function, which compiles what it imports, starts the sooner without.
    from cwnotify.alerts.messages.notice import custom_message, failure_message, notice_message, plain_message

    match event:
        case InstanceNotice():
            return notice_message(event, lang, zone, channel, now)
        case FunctionFailed():
            return failure_message(event, lang, zone, channel, now)
        case CustomNotification():
            return custom_message(event, lang, zone, channel, now)
        case Plain():
            return plain_message(event, lang, zone, channel, now)
    from cwnotify.alerts.messages.run import run_message

    return run_message(event)
