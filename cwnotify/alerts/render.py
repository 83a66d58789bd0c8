"""Any event -> the message that tells of it. Pure."""

from __future__ import annotations

from cwnotify.alerts.alarm_events import AlarmChanged, CustomNotification, FunctionFailed, InstanceNotice, Plain
from cwnotify.alerts.alarms import alarm_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cwnotify.alerts.blocks import Payload
    from cwnotify.alerts.events import Event


def render(event: Event, lang: str, zone: str = "", channel: str = "") -> Payload:
    """The payload for `event`; a run brings its own language, zone and channel.

    Parameters
    ----------
    zone
        IANA name of the reader's zone; empty for the language's default.
    channel
        Only legacy webhooks heed it.
    """
    if isinstance(event, AlarmChanged):
        return alarm_message(event, lang, zone, channel)
    # All else is seldom, and the Lambda function, which compiles what it imports, starts the sooner without.
    from cwnotify.alerts.notices import custom_message, failure_message, notice_message, plain_message

    match event:
        case InstanceNotice():
            return notice_message(event, lang, zone, channel)
        case FunctionFailed():
            return failure_message(event, lang, zone, channel)
        case CustomNotification():
            return custom_message(event, lang, zone, channel)
        case Plain():
            return plain_message(event, lang, zone, channel)
    from cwnotify.alerts.runs import run_message

    return run_message(event)
