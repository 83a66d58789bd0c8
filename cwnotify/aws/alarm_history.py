"""An alarm's changes, out of its history and out of what it is now.

The history is written beside the alarm: it may lag behind it, know its last change by another millisecond, fail, or be
closed to a reader of the alarm. What an alarm is now is certain; the history has what came between two polls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from cwnotify.alerts.events.alarms import AlarmStateChange
from cwnotify.alerts.parsing.envelopes import parse_aws_events
from cwnotify.alerts.parsing.lenient_json import as_json_object, decode_json_text, first_text
from cwnotify.aws.alarm_actions import paginate_all_alarm_types
from cwnotify.aws.models import CloudWatchAlarm
from cwnotify.aws.session import AwsSession

# So many seconds apart, the history's time of a change and the alarm's own can be those of one change.
_NEAR = 5.0
# An alarm that changes every ten seconds makes as many in three hours; older ones nobody needs.
_MOST = 1000


@dataclass(frozen=True)
class HistoryItem:
    """One change as the history has it; `state` is what EventBridge calls so.

    `began` is when the state before it began, if the history shows that nothing came in between.
    """

    at: float
    before: str
    after: str
    state_details: Mapping[str, object]
    previous_state_since: float | None = None


def collect_alarm_changes(
    alarm: CloudWatchAlarm, items: Iterable[HistoryItem], before: str, since: float
) -> tuple[AlarmStateChange, ...]:
    """All changes of an alarm later than `since`, oldest first; the last of them is the one to its state now.

    Parameters
    ----------
    items
        Its history as `read_alarm_history` returns it; without it, only the last change is known.
    before
        Its state at `since`; empty if that is not known.
    since
        Unix seconds.
    """
    if alarm.since <= since:
        # Another state, and not later: made anew under the same name, or by a clock that was set back.
        return (_told(alarm, _now(alarm, before)),) if before not in ("", alarm.state) else ()
    return tuple(_told(alarm, item) for item in reconcile_history(items, alarm, before, since))


def collect_missed_changes(
    alarm: CloudWatchAlarm, items: Iterable[HistoryItem], before: str, since: float, after: str, until: float
) -> tuple[AlarmStateChange, ...]:
    """The changes between two states of an alarm that are known, which are left out."""
    then = replace(alarm, state=after, since=until)
    return tuple(_told(alarm, item) for item in reconcile_history(items, then, before, since)[:-1])


def read_alarm_history(aws: AwsSession, name: str, since: float) -> list[HistoryItem]:
    """Read an alarm's history from just before `since` (Unix seconds), oldest first.

    Raises
    ------
    AwsError
        If AWS does not give it.
    """
    start = datetime.fromtimestamp(max(since - _NEAR, 0.0), UTC)
    told = iterate_newest_history(aws, name, "StateUpdate", StartDate=start)
    # Turned round, so that items of one and the same time stand as they came to be.
    return [item for item in map(parse_history_item, reversed(list(islice(told, _MOST)))) if item is not None]


def reconcile_history(
    found: Iterable[HistoryItem], alarm: CloudWatchAlarm, before: str, since: float
) -> list[HistoryItem]:
    """The history's items from just before `since` on -> those that led from `before` to what the alarm is now."""
    items = sorted({(one.at, one.after): one for one in found}.values(), key=lambda one: one.at)
    items = [one for one in items if one.before != one.after]
    # The one that led to `before` may be written down as a little later than it was; only as the first, though, for
    # what comes after another change is a return to `before`.
    first = next((i for i, one in enumerate(items) if one.at > since), len(items))
    known = _nearest(items[: first + 1], before, since)
    items = items[first if known is None else known + 1 :]
    last = _nearest(items, alarm.state, alarm.since)
    if last is None:
        items = _with_beginnings([one for one in items if one.at < alarm.since], before, since)
        return [*items, _now(alarm, items[-1].after if items else before)]
    # What is later than the alarm that was read is the next look's.
    end = items[last]
    return _with_beginnings(
        [*items[:last], HistoryItem(alarm.since, end.before, end.after, end.state_details)], before, since
    )


def _with_beginnings(items: list[HistoryItem], before: str, since: float) -> list[HistoryItem]:
    """The items, each with the time at which the state before it began."""
    earlier = [(before, since), *((one.after, one.at) for one in items)]
    return [
        replace(one, previous_state_since=at) if state == one.before else one
        for one, (state, at) in zip(items, earlier[:-1], strict=True)
    ]


def iterate_newest_history(aws: AwsSession, name: str, kind: str, **which: Any) -> Iterator[Mapping[str, Any]]:
    """An alarm's history as DescribeAlarmHistory tells it, the newest item first."""
    arguments = {"AlarmName": name, "HistoryItemType": kind, "ScanBy": "TimestampDescending", **which}
    for page in paginate_all_alarm_types(aws, "cloudwatch", "describe_alarm_history", **arguments):
        yield from page.get("AlarmHistoryItems", ())


def to_eventbridge_event(item: HistoryItem, settings: Mapping[str, Any]) -> dict[str, object]:
    """What EventBridge was told of a change, as far as the history and the alarm's settings of today have it."""
    return {
        "detail-type": "CloudWatch Alarm State Change",
        "resources": [settings.get("AlarmArn")],
        "detail": {
            "alarmName": settings.get("AlarmName"),
            "state": {"value": item.after, "timestamp": _written(item.at), **item.state_details},
            "previousState": {
                "value": item.before,
                "timestamp": None if item.previous_state_since is None else _written(item.previous_state_since),
            },
            "configuration": {"description": settings.get("AlarmDescription"), **settings},
        },
    }


def parse_history_item(told: Mapping[str, Any]) -> HistoryItem | None:
    """An item of DescribeAlarmHistory; None if it is no change of state that could be read."""
    change, at = as_json_object(decode_json_text(told.get("HistoryData"))), told.get("Timestamp")
    new, old = as_json_object(change.get("newstate")), as_json_object(change.get("oldstate"))
    after = first_text(new.get("statevalue"))
    if not after or not isinstance(at, datetime):
        return None
    state = {"reason": new.get("statereason"), "reasonData": new.get("statereasondata")}
    return HistoryItem(at.timestamp(), first_text(old.get("statevalue")), after, state)


def _nearest(items: list[HistoryItem], state: str, at: float) -> int | None:
    """Which of the items can be the change to `state` at that time, if any."""
    near = [i for i, one in enumerate(items) if one.after == state and abs(one.at - at) <= _NEAR]
    return min(near, key=lambda i: (abs(items[i].at - at), -i), default=None)


def _now(alarm: CloudWatchAlarm, before: str) -> HistoryItem:
    """The last change as the alarm itself tells it; from which state, only where that makes sense."""
    settings = dict(alarm.raw_fields)
    state = {"reason": settings.get("StateReason"), "reasonData": settings.get("StateReasonData")}
    return HistoryItem(alarm.since, "" if before == alarm.state else before, alarm.state, state)


def _told(alarm: CloudWatchAlarm, item: HistoryItem) -> AlarmStateChange:
    settings = {"AlarmName": alarm.name, "AlarmArn": alarm.arn, **dict(alarm.raw_fields)}
    (event,) = parse_aws_events(to_eventbridge_event(item, settings))
    if not isinstance(event, AlarmStateChange):
        raise TypeError(f"an alarm's change was read as {type(event).__name__}")
    return event


def _written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
