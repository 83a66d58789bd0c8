"""Any event -> the message that tells of it. Pure."""

from __future__ import annotations

from cwnotify.alerts.events.alarms import (
    AlarmStateChange,
    CustomNotification,
    FunctionFailure,
    InstanceNotice,
    UnrecognizedEvent,
)
from cwnotify.alerts.messages.alarm import alarm_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cwnotify.alerts.events.runs import AlertEvent
    from cwnotify.alerts.messages.block_kit import Payload


def render_alert(event: AlertEvent, lang: str, zone: str = "", channel: str = "", now: float | None = None) -> Payload:
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
    if isinstance(event, AlarmStateChange):
        return alarm_message(event, lang, zone, channel, now=now)
    # All else is seldom, and the Lambda function, which compiles what it imports, starts the sooner without.
    from cwnotify.alerts.messages.notice import (
        custom_notification_message,
        function_failure_message,
        instance_notice_message,
        unrecognized_event_message,
    )

    match event:
        case InstanceNotice():
            return instance_notice_message(event, lang, zone, channel, now)
        case FunctionFailure():
            return function_failure_message(event, lang, zone, channel, now)
        case CustomNotification():
            return custom_notification_message(event, lang, zone, channel, now)
        case UnrecognizedEvent():
            return unrecognized_event_message(event, lang, zone, channel, now)
    from cwnotify.alerts.messages.run import run_message

    return run_message(event)
