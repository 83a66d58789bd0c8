"""What the AWS command line prints of alarms, their history and queues -> the events in it. Pure, and total.

- ``aws sqs receive-message``: a message's body is the event;
- ``aws cloudwatch describe-alarms``: what each alarm is now, as the change that led there;
- ``aws cloudwatch describe-alarm-history``: the changes, oldest first.
"""

from __future__ import annotations

from cwnotify.alerts.parsing.lenient_json import (
    JsonObject,
    as_json_object,
    as_json_objects,
    decode_json_text,
    first_text,
    first_timestamp,
)

_ALARMS = ("metricalarms", "compositealarms", "logalarms")
_HISTORY = "alarmhistoryitems"
# The history's time of a change and the time in what was published then may differ by so many seconds.
_NEAR = 5.0


def parse_cli_listing(message: JsonObject) -> list[object] | None:
    """The events in what a command printed, each as AWS would have sent it; None if `message` is none of these."""
    if any(isinstance(message.get(key), list) for key in _ALARMS):
        return [_published(alarm) for key in _ALARMS for alarm in as_json_objects(message.get(key))]
    if isinstance(message.get(_HISTORY), list):
        return _history(as_json_objects(message[_HISTORY]))
    received = message.get("messages")
    if isinstance(received, list) and received and len(as_json_objects(received)) == len(received):
        return list(received) if all("body" in one for one in as_json_objects(received)) else None
    return None


def parse_cli_item(message: JsonObject) -> object | None:
    """As `parse_cli_listing`, for one alarm or one item of a history that is not in such a list."""
    if "historydata" in message and "alarmname" in message:
        return next(iter(_history([message])), None)
    return _published(message) if "statevalue" in message and "alarmname" in message else None


def _published(alarm: JsonObject) -> dict[str, object]:
    """An alarm's state as CloudWatch would publish it to SNS."""
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


def _history(items: list[JsonObject]) -> list[object]:
    """The changes in a history, oldest first; of what was published and what was recorded only the former."""
    changes: list[tuple[float, str, str, bool, object]] = []
    for item in items:
        data = as_json_object(decode_json_text(item.get("historydata")))
        published = data.get("publishedmessage")
        change = published if isinstance(published, str | dict) else _recorded(item, data)
        if change is not None:
            alarm = f"{first_text(item.get('alarmname'))}#{first_text(item.get('alarmcontributorid'))}"
            at = first_timestamp(item.get("timestamp")) or 0.0
            changes.append((at, alarm, _state_after(data), change is published, change))
    sent = [(at, alarm, state) for at, alarm, state, is_published, _ in changes if is_published]
    kept = [
        one
        for one in changes
        if one[3]
        or not any(alarm == one[1] and state == one[2] and abs(at - one[0]) <= _NEAR for at, alarm, state in sent)
    ]
    return [change for *_, change in sorted(kept, key=lambda one: one[0])]


def _recorded(item: JsonObject, data: JsonObject) -> dict[str, object] | None:
    """A change of state as EventBridge carries it, from an item that records it."""
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
    """The state that an item leads to, whether it records a change or what was published of it."""
    published = as_json_object(decode_json_text(data.get("publishedmessage")))
    message = as_json_object(decode_json_text(published.get("default"))) or published
    detail = as_json_object(as_json_object(message.get("alarmdata")).get("state"))
    return first_text(
        as_json_object(data.get("newstate")).get("statevalue"), message.get("newstatevalue"), detail.get("value")
    ).upper()


def _first_time(*values: object) -> object:
    return next((value for value in values if first_timestamp(value) is not None), None)
