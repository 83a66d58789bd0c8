"""Read events from what the AWS CLI prints. Pure. Never raises.

- ``aws sqs receive-message``: the event is a message's body.
- ``aws cloudwatch describe-alarms``: each alarm's state, as the change that led to it.
- ``aws cloudwatch describe-alarm-history``: the changes, oldest first.
"""

from __future__ import annotations

from cwnotify.alerts.light_dataclass import frozen
from cwnotify.alerts.parsing.lenient_json import (
    JsonObject,
    as_json_object,
    as_json_objects,
    decode_json_text,
    first_text,
    first_timestamp,
)

_ALARM_LISTS = ("metricalarms", "compositealarms", "logalarms")
_HISTORY_LIST = "alarmhistoryitems"
# A history item and the message that was published for it may differ by this much.
_MAX_TIME_DIFFERENCE = 5.0  # seconds


@frozen
class _Change:
    """A change in a history."""

    at: float
    alarm: str
    state: str
    is_published: bool
    event: object

    def is_among(self, changes: list[_Change]) -> bool:
        """Return whether one of `changes` is the same change of the same alarm."""
        return any(
            (change.alarm, change.state) == (self.alarm, self.state)
            and abs(change.at - self.at) <= _MAX_TIME_DIFFERENCE
            for change in changes
        )


def parse_cli_listing(message: JsonObject) -> list[object] | None:
    """Return the events in a command's output, each as AWS sends it; None if `message` is not such output."""
    if any(isinstance(message.get(key), list) for key in _ALARM_LISTS):
        return [_to_sns_message(alarm) for key in _ALARM_LISTS for alarm in as_json_objects(message.get(key))]
    if isinstance(message.get(_HISTORY_LIST), list):
        return _parse_history(as_json_objects(message[_HISTORY_LIST]))
    received = message.get("messages")
    if isinstance(received, list) and received and len(as_json_objects(received)) == len(received):
        return list(received) if all("body" in item for item in as_json_objects(received)) else None
    return None


def parse_cli_item(message: JsonObject) -> object | None:
    """Return the event of one alarm or history item outside of a list; None if `message` is neither."""
    if "historydata" in message and "alarmname" in message:
        return next(iter(_parse_history([message])), None)
    return _to_sns_message(message) if "statevalue" in message and "alarmname" in message else None


def _to_sns_message(alarm: JsonObject) -> dict[str, object]:
    """Return an alarm's state as CloudWatch publishes it to SNS."""
    return {
        "AlarmName": alarm.get("alarmname"),
        "AlarmArn": alarm.get("alarmarn"),
        "AlarmDescription": alarm.get("alarmdescription"),
        "AlarmRule": alarm.get("alarmrule"),
        "NewStateValue": alarm.get("statevalue"),
        "NewStateReason": alarm.get("statereason"),
        "NewStateReasonData": alarm.get("statereasondata"),
        "StateChangeTime": _first_time(alarm.get("statetransitionedtimestamp"), alarm.get("stateupdatedtimestamp")),
        "EvaluationState": alarm.get("evaluationstate"),
        "Trigger": dict(alarm),
    }


def _parse_history(items: list[JsonObject]) -> list[object]:
    """Return the changes in a history, oldest first. A published message replaces the record of the same change."""
    changes: list[_Change] = []
    for item in items:
        data = as_json_object(decode_json_text(item.get("historydata")))
        published = data.get("publishedmessage")
        change = published if isinstance(published, str | dict) else _to_eventbridge_detail(item, data)
        if change is not None:
            alarm = f"{first_text(item.get('alarmname'))}#{first_text(item.get('alarmcontributorid'))}"
            at = first_timestamp(item.get("timestamp")) or 0.0
            changes.append(_Change(at, alarm, _state_after(data), change is published, change))
    published_changes = [change for change in changes if change.is_published]
    unique = [change for change in changes if change.is_published or not change.is_among(published_changes)]
    return [change.event for change in sorted(unique, key=lambda change: change.at)]


def _to_eventbridge_detail(item: JsonObject, data: JsonObject) -> dict[str, object] | None:
    """Return a state change as EventBridge sends it; None if the item does not record one."""
    new, old = as_json_object(data.get("newstate")), as_json_object(data.get("oldstate"))
    if not first_text(new.get("statevalue")):
        return None
    contributor = {"id": item.get("alarmcontributorid"), "attributes": item.get("alarmcontributorattributes")}
    return {
        "alarmName": item.get("alarmname"),
        "alarmContributor": contributor if contributor["id"] else None,
        "state": {
            "value": new.get("statevalue"),
            "reason": new.get("statereason"),
            "reasonData": new.get("statereasondata"),
            "timestamp": item.get("timestamp"),
        },
        "previousState": {"value": old.get("statevalue"), "reason": old.get("statereason")},
    }


def _state_after(data: JsonObject) -> str:
    """Return the state that an item leads to, whether it records the change or the published message."""
    published = as_json_object(decode_json_text(data.get("publishedmessage")))
    message = as_json_object(decode_json_text(published.get("default"))) or published
    detail = as_json_object(as_json_object(message.get("alarmdata")).get("state"))
    return first_text(
        as_json_object(data.get("newstate")).get("statevalue"), message.get("newstatevalue"), detail.get("value")
    ).upper()


def _first_time(*values: object) -> object:
    return next((value for value in values if first_timestamp(value) is not None), None)
