"""Turn anything that AWS sends into the messages that Slack shows. Pure."""

from __future__ import annotations

from cwnotify.alerts.events.alarms import deduplicate_events
from cwnotify.alerts.messages.render import render_alert
from cwnotify.alerts.parsing.envelopes import parse_aws_events

TYPE_CHECKING = False  # the import of `typing` takes 5 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cwnotify.alerts.events.alarms import AwsEvent
    from cwnotify.alerts.messages.block_kit import Payload

# Slack accepts short bursts. More messages at once become a digest.
MAX_MESSAGES_WITHOUT_DIGEST = 5


def render_payloads(
    event: object, lang: str, zone: str = "", channel: str = "", now: float | None = None
) -> list[Payload]:
    """Return what the Lambda function sends for `event`. With `now` (Unix seconds), late events are marked as late."""
    return [payload for payload, _ in render_events(parse_aws_events(event), lang, zone, channel, now)]


def render_events(
    events: Sequence[AwsEvent], lang: str, zone: str, channel: str, now: float | None
) -> list[tuple[Payload, Sequence[AwsEvent]]]:
    """Return each message for `events`, and the events that it reports. Copies of an event share a message."""
    unique = deduplicate_events(events)
    if len(unique) <= MAX_MESSAGES_WITHOUT_DIGEST:
        return [(render_alert(event, lang, zone, channel, now), (event,)) for event in unique]
    # AWS compiles imported modules at every cold start, and digests are rare.
    from cwnotify.alerts.messages.digest import digest_pages

    times = [event.at for event in unique if event.at is not None]
    span = max(times) - min(times) if times else 0.0
    return [(page.payload, page.events) for page in digest_pages(unique, span, lang, zone, channel, now)]
