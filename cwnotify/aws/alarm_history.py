"""An alarm's state changes, from its history and its current state. boto3 through `AwsSession`.

CloudWatch writes the history beside the alarm. It may lag behind the alarm, differ from it by milliseconds, fail, or be
denied to a reader of the alarm. The current state is certain; the history adds the changes between two polls.
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

# Up to this many seconds apart, a time in the history and the alarm's own time may mean the same change.
TIME_TOLERANCE = 5.0
# An alarm that changes every ten seconds makes this many items in three hours. Older ones are not needed.
_MAX_ITEMS = 1000


@dataclass(frozen=True)
class HistoryItem:
    """One change in the history.

    Parameters
    ----------
    at
        Time of the change (Unix seconds).
    before, after
        The states.
    state_details
        Reason and data of the new state, as EventBridge's ``state`` contains them.
    previous_state_since
        When the state before it began (Unix seconds); None if the history may have a gap there.
    """

    at: float
    before: str
    after: str
    state_details: Mapping[str, object]
    previous_state_since: float | None = None


def collect_alarm_changes(
    alarm: CloudWatchAlarm, items: Iterable[HistoryItem], before: str, since: float
) -> tuple[AlarmStateChange, ...]:
    """Return all changes of an alarm after `since`, oldest first. The last one leads to the alarm's current state.

    Parameters
    ----------
    items
        The history from `read_alarm_history`. If it is empty, only the last change is returned.
    before
        The state at `since`; empty if it is unknown.
    since
        Unix seconds.
    """
    if alarm.since <= since:
        # The state differs but is not newer: the alarm was created again, or a clock was set back.
        return (_to_event(alarm, _to_item(alarm, before)),) if before not in ("", alarm.state) else ()
    return tuple(_to_event(alarm, item) for item in reconcile_history(items, alarm, before, since))


def collect_missed_changes(
    alarm: CloudWatchAlarm, items: Iterable[HistoryItem], before: str, since: float, after: str, until: float
) -> tuple[AlarmStateChange, ...]:
    """Return the changes between two observed states of an alarm, without the change to the second."""
    later = replace(alarm, state=after, since=until)
    return tuple(_to_event(alarm, item) for item in reconcile_history(items, later, before, since)[:-1])


def read_alarm_history(aws: AwsSession, name: str, since: float) -> list[HistoryItem]:
    """Read an alarm's history from shortly before `since` (Unix seconds), oldest first.

    Raises
    ------
    AwsError
        If the request failed.
    """
    start = datetime.fromtimestamp(max(since - TIME_TOLERANCE, 0.0), UTC)
    newest = islice(iterate_newest_history(aws, name, "StateUpdate", StartDate=start), _MAX_ITEMS)
    # Reversing, unlike sorting, keeps the order of items with the same time.
    return [item for item in map(parse_history_item, reversed(list(newest))) if item is not None]


def reconcile_history(
    items: Iterable[HistoryItem], alarm: CloudWatchAlarm, before: str, since: float
) -> list[HistoryItem]:
    """Return those items that led from `before` to the alarm's current state; `items` begin shortly before `since`."""
    unique = {(item.at, item.after): item for item in items}
    changes = [item for item in sorted(unique.values(), key=lambda item: item.at) if item.before != item.after]
    # The change to `before` may be recorded a little later than `since`, but only as the first later item: after
    # another change it is a return to `before`.
    first = next((i for i, item in enumerate(changes) if item.at > since), len(changes))
    observed = _find_nearest(changes[: first + 1], before, since)
    changes = changes[first if observed is None else observed + 1 :]
    last = _find_nearest(changes, alarm.state, alarm.since)
    if last is None:
        changes = _add_previous_times([item for item in changes if item.at < alarm.since], before, since)
        return [*changes, _to_item(alarm, changes[-1].after if changes else before)]
    # Later items belong to the next poll.
    end = replace(changes[last], at=alarm.since, previous_state_since=None)
    return _add_previous_times([*changes[:last], end], before, since)


def _add_previous_times(items: list[HistoryItem], before: str, since: float) -> list[HistoryItem]:
    """Return the items, each with the time at which the state before it began."""
    earlier = [(before, since), *((item.after, item.at) for item in items)]
    return [
        replace(item, previous_state_since=at) if state == item.before else item
        for item, (state, at) in zip(items, earlier[:-1], strict=True)
    ]


def iterate_newest_history(aws: AwsSession, name: str, kind: str, **arguments: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the items that DescribeAlarmHistory returns for an alarm, newest first."""
    arguments = {"AlarmName": name, "HistoryItemType": kind, "ScanBy": "TimestampDescending", **arguments}
    for page in paginate_all_alarm_types(aws, "cloudwatch", "describe_alarm_history", **arguments):
        yield from page.get("AlarmHistoryItems", ())


def to_eventbridge_event(item: HistoryItem, settings: Mapping[str, Any]) -> dict[str, object]:
    """Return the event that EventBridge received, as far as the history and the alarm's current settings contain it."""
    previous_since = item.previous_state_since
    return {
        "detail-type": "CloudWatch Alarm State Change",
        "resources": [settings.get("AlarmArn")],
        "detail": {
            "alarmName": settings.get("AlarmName"),
            "state": {"value": item.after, "timestamp": _format_time(item.at), **item.state_details},
            "previousState": {
                "value": item.before,
                "timestamp": None if previous_since is None else _format_time(previous_since),
            },
            "configuration": {"description": settings.get("AlarmDescription"), **settings},
        },
    }


def parse_history_item(fields: Mapping[str, Any]) -> HistoryItem | None:
    """Parse an item of DescribeAlarmHistory; return None if it is not a readable state change."""
    change, at = as_json_object(decode_json_text(fields.get("HistoryData"))), fields.get("Timestamp")
    new, old = as_json_object(change.get("newstate")), as_json_object(change.get("oldstate"))
    after = first_text(new.get("statevalue"))
    if not after or not isinstance(at, datetime):
        return None
    details = {"reason": new.get("statereason"), "reasonData": new.get("statereasondata")}
    return HistoryItem(at.timestamp(), first_text(old.get("statevalue")), after, details)


def _find_nearest(items: list[HistoryItem], state: str, at: float) -> int | None:
    """Return the index of the item that can be the change to `state` at that time, or None."""
    near = [i for i, item in enumerate(items) if item.after == state and abs(item.at - at) <= TIME_TOLERANCE]
    return min(near, key=lambda i: (abs(items[i].at - at), -i), default=None)


def _to_item(alarm: CloudWatchAlarm, before: str) -> HistoryItem:
    """Return the alarm's last change from its own fields. The state before is empty if it equals the new one."""
    settings = dict(alarm.raw_fields)
    details = {"reason": settings.get("StateReason"), "reasonData": settings.get("StateReasonData")}
    return HistoryItem(alarm.since, "" if before == alarm.state else before, alarm.state, details)


def _to_event(alarm: CloudWatchAlarm, item: HistoryItem) -> AlarmStateChange:
    settings = {"AlarmName": alarm.name, "AlarmArn": alarm.arn, **dict(alarm.raw_fields)}
    (event,) = parse_aws_events(to_eventbridge_event(item, settings))
    if not isinstance(event, AlarmStateChange):
        raise TypeError(f"an alarm's change was parsed as {type(event).__name__}")
    return event


def _format_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
