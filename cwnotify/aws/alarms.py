"""Alarms that exist already: which act on our topic, and how to let one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cwnotify.aws.client import Aws
from cwnotify.errors import AwsError

KINDS = {"MetricAlarm": "put_metric_alarm", "CompositeAlarm": "put_composite_alarm"}
# So many names AWS takes at once, and so many alarms it tells at most on a page.
_MOST = 100
# The changes that Slack hears of; that data is missing is none that needs anybody.
_ACTIONS = ("AlarmActions", "OKActions")
_EVERY_ACTION = (*_ACTIONS, "InsufficientDataActions")


@dataclass(frozen=True)
class Alarm:
    """An alarm and what it does now; `put` is the operation that would write it."""

    name: str
    state: str
    put: str
    settings: dict[str, Any]

    def acts_on(self, topic: str) -> bool:
        """Whether it publishes to `topic` as it changes."""
        return any(topic in self.settings.get(kind, ()) for kind in _EVERY_ACTION)


def find_alarms(aws: Aws, names: Iterable[str]) -> tuple[Alarm, ...]:
    """The alarms of these names, as far as there are such."""
    wanted = list(dict.fromkeys(names))
    batches = (wanted[i : i + _MOST] for i in range(0, len(wanted), _MOST))
    return tuple(alarm for batch in batches for alarm in described(aws, AlarmNames=batch))


def alarms_on(aws: Aws, topic: str) -> tuple[Alarm, ...]:
    """The alarms that act on `topic`."""
    return tuple(alarm for alarm in described(aws, ActionPrefix=topic) if alarm.acts_on(topic))


def attach(aws: Aws, name: str, topic: str) -> None:
    """Let an alarm publish its changes to `topic`; all else about it stays.

    Raises
    ------
    AwsError
        If there is no such alarm.
    """
    alarm = _one(aws, name)
    added = {kind: [*alarm.settings.get(kind, ())] for kind in _ACTIONS}
    _put(aws, alarm, {kind: actions if topic in actions else [*actions, topic] for kind, actions in added.items()})


def detach(aws: Aws, name: str, topic: str) -> None:
    """Let an alarm no longer publish to `topic`; all else about it stays."""
    alarm = _one(aws, name)
    kept = {kind: [one for one in alarm.settings.get(kind, ()) if one != topic] for kind in _EVERY_ACTION}
    _put(aws, alarm, kept)


def _one(aws: Aws, name: str) -> Alarm:
    found = find_alarms(aws, [name])
    if not found:
        raise AwsError(f"there is no alarm named {name} in {aws.region}")
    return found[0]


def _put(aws: Aws, alarm: Alarm, actions: dict[str, list[str]]) -> None:
    # What AWS tells of an alarm is more than what it takes; the model that boto3 ships knows which is which.
    shape = aws.client("cloudwatch").meta.service_model.operation_model(_operation(alarm)).input_shape
    # An empty list of dimensions beside metric math is told, but not taken.
    kept = {key: value for key, value in alarm.settings.items() if key in shape.members and value not in ("", [], None)}
    aws.ask("cloudwatch", alarm.put, **(kept | actions))


def _operation(alarm: Alarm) -> str:
    return "PutMetricAlarm" if alarm.put == "put_metric_alarm" else "PutCompositeAlarm"


def described(aws: Aws, **which: Any) -> Iterator[Alarm]:
    """The alarms that `DescribeAlarms` finds when it is asked so."""
    # Composite ones are told only to who asks for them.
    for page in aws.answers("cloudwatch", "describe_alarms", AlarmTypes=list(KINDS), MaxRecords=_MOST, **which):
        for kind, put in KINDS.items():
            for found in page.get(f"{kind}s", ()):
                yield Alarm(found["AlarmName"], found.get("StateValue", ""), put, found)
