"""Add to messages about old events how late they are. Pure; the caller passes the current time."""

from __future__ import annotations

from cwnotify.alerts.locale import format_timestamp, resolve_time_zone, translate
from cwnotify.alerts.messages import block_kit as b

LATE_AFTER_SECONDS = 900.0  # younger events are not called late


def is_late(at: float | None, now: float | None) -> bool:
    """Return whether a message about an event at `at` is late at `now` (Unix seconds); False if either is None."""
    return at is not None and now is not None and now - at > LATE_AFTER_SECONDS


def late_line(at: float | None, now: float | None, lang: str, zone_name: str) -> str:
    """Return the sentence about how late the event is and when it happened; empty if it is not late."""
    if at is None or now is None or not is_late(at, now):
        return ""
    timestamp = format_timestamp(at, resolve_time_zone(zone_name, lang), show_seconds=False)
    return translate(lang, "late", time=format_rough_duration(now - at, lang), at=timestamp)


def add_delivery_delay_note(payload: b.Payload, written: float, now: float, lang: str, zone_name: str) -> b.Payload:
    """Return `payload`, with a second line about the delay if the delay was long.

    The text is written before delivery. If Slack was unavailable for hours, "in about two minutes" is no longer true.
    """
    if not is_late(written, now):
        return payload
    timestamp = format_timestamp(written, resolve_time_zone(zone_name, lang), show_seconds=False)
    line = translate(lang, "late.delivered", time=format_rough_duration(now - written, lang), at=timestamp)
    first, *others = payload.get("blocks") or [{}]
    text = first.get("text", {}).get("text", "") if first.get("type") == "section" else ""
    if text and len(text) + len(line) < b.MAX_SECTION_LENGTH:
        first = first | {"text": first["text"] | {"text": f"{text}\n{line}"}}
    blocks = {"blocks": [first, *others]} if first else {}
    return payload | blocks | {"text": f"{payload['text'][: b.MAX_TEXT_LENGTH - len(line) - 1]}\n{line}"}


def format_rough_duration(seconds: float, lang: str) -> str:
    """Return ``3 days``, ``1 hour`` or ``20 minutes``: the largest unit, rounded down."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // size)
        if count:
            return translate(lang, f"late.{unit}" if count == 1 else f"late.{unit}s", n=f"{count:,}")
    return translate(lang, "late.minutes", n=0)
