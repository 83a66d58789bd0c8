"""Convert any event to a message. Pure."""

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
    """Return the payload for `event`. A run uses the language, zone and channel of its own options.

    Parameters
    ----------
    zone
        IANA name of the reader's zone; empty for the language's default.
    channel
        Only legacy webhooks support it.
    now
        The current time (Unix seconds). If set, a message about an old event says how late it is.
    """
    if isinstance(event, AlarmStateChange):
        return alarm_message(event, lang, zone, channel, now=now)
    # Imported only for the rarer events, because each import delays the start of the Lambda function.
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
