"""Alarms as CloudWatch describes them. This module only reads.

No alarm that cwnotify did not make is ever written: PutMetricAlarm "completely overwrites the previous configuration of
the alarm", and a boto3 that is older than one of its fields would drop that field.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError, AwsErrorKind

# CloudWatch returns composite and log alarms only where AlarmTypes names them.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
_LOG = "LogAlarm"
ALARM_TYPES = ("MetricAlarm", "CompositeAlarm", _LOG)
# DescribeAlarms takes at most this many names, and returns at most this many alarms a page.
_MAX_RECORDS = 100
_ACTIONS = ("AlarmActions", "OKActions", "InsufficientDataActions")


@dataclass(frozen=True)
class RawAlarm:
    """An alarm and its current state; `kind` is one of `ALARM_TYPES`, `settings` is all that CloudWatch returned."""

    name: str
    state: str
    alarm_type: str
    raw_fields: dict[str, Any]

    def publishes_to(self, topic: str) -> bool:
        """Return whether it publishes state changes to `topic`."""
        return any(topic in self.raw_fields.get(kind, ()) for kind in _ACTIONS)


def find_alarms_by_name(aws: AwsSession, names: Iterable[str]) -> tuple[RawAlarm, ...]:
    """Return those alarms of these names that exist."""
    unique = list(dict.fromkeys(names))
    batches = (unique[i : i + _MAX_RECORDS] for i in range(0, len(unique), _MAX_RECORDS))
    return tuple(alarm for batch in batches for alarm in describe_alarms(aws, AlarmNames=batch))


def find_alarms_on_topic(aws: AwsSession, topic: str) -> tuple[RawAlarm, ...]:
    """Return the alarms that act on `topic`."""
    return tuple(alarm for alarm in describe_alarms(aws, ActionPrefix=topic) if alarm.publishes_to(topic))


def describe_alarms(aws: AwsSession, **which: Any) -> Iterator[RawAlarm]:
    """Yield the alarms that DescribeAlarms returns for the arguments `which`."""
    for page in paginate_all_alarm_types(aws, "cloudwatch", "describe_alarms", MaxRecords=_MAX_RECORDS, **which):
        for kind in ALARM_TYPES:
            for alarm in page.get(f"{kind}s", ()):
                yield RawAlarm(alarm["AlarmName"], alarm.get("StateValue", ""), kind, alarm)


def paginate_all_alarm_types(aws: AwsSession, service: str, operation: str, **arguments: Any) -> Iterator[Any]:
    """Yield the pages of an operation that takes AlarmTypes, for all kinds of alarms that this endpoint knows.

    An endpoint or a boto3 without log alarms rejects their name; then they are left out, for as long as `aws` lives.
    """
    types = list(ALARM_TYPES) if aws.supports_log_alarms else [kind for kind in ALARM_TYPES if kind != _LOG]
    pages = aws.paginate(service, operation, AlarmTypes=types, **arguments)
    try:
        first = next(pages, None)
    except AwsError as error:
        if error.kind != AwsErrorKind.OTHER or _LOG not in types:
            raise
        types.remove(_LOG)
        pages = aws.paginate(service, operation, AlarmTypes=types, **arguments)
        first = next(pages, None)
        # Only now is it certain that nothing else was wrong with the request.
        aws.supports_log_alarms = False
    yield from chain([] if first is None else [first], pages)
