"""Read alarms and their actions. Nothing here writes. boto3 through `AwsSession`.

cwnotify writes to no alarm that it did not create. PutMetricAlarm "completely overwrites the previous configuration of
the alarm", so a boto3 that is older than one of the alarm's fields would drop that field:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError, AwsErrorKind

# CloudWatch returns composite and log alarms only if AlarmTypes names them:
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
_LOG_ALARM = "LogAlarm"
ALARM_TYPES = ("MetricAlarm", "CompositeAlarm", _LOG_ALARM)
# DescribeAlarms takes at most this many names, and returns at most this many alarms a page.
_MAX_RECORDS = 100
_ACTION_FIELDS = ("AlarmActions", "OKActions", "InsufficientDataActions")


@dataclass(frozen=True)
class RawAlarm:
    """An alarm as CloudWatch returned it; `alarm_type` is one of `ALARM_TYPES`, `raw_fields` contains all fields."""

    name: str
    state: str
    alarm_type: str
    raw_fields: dict[str, Any]

    def publishes_to(self, topic: str) -> bool:
        """Return whether the alarm publishes state changes to `topic`."""
        return any(topic in self.raw_fields.get(field, ()) for field in _ACTION_FIELDS)


def find_alarms_by_name(aws: AwsSession, names: Iterable[str]) -> tuple[RawAlarm, ...]:
    """Return those alarms of these names that exist."""
    unique = list(dict.fromkeys(names))
    batches = (unique[i : i + _MAX_RECORDS] for i in range(0, len(unique), _MAX_RECORDS))
    return tuple(alarm for batch in batches for alarm in describe_alarms(aws, AlarmNames=batch))


def find_alarms_on_topic(aws: AwsSession, topic: str) -> tuple[RawAlarm, ...]:
    """Return the alarms that act on `topic`."""
    return tuple(alarm for alarm in describe_alarms(aws, ActionPrefix=topic) if alarm.publishes_to(topic))


def describe_alarms(aws: AwsSession, **arguments: Any) -> Iterator[RawAlarm]:
    """Yield the alarms that DescribeAlarms returns for `arguments`."""
    for page in paginate_all_alarm_types(aws, "cloudwatch", "describe_alarms", MaxRecords=_MAX_RECORDS, **arguments):
        for alarm_type in ALARM_TYPES:
            for fields in page.get(f"{alarm_type}s", ()):
                yield RawAlarm(fields["AlarmName"], fields.get("StateValue", ""), alarm_type, fields)


def paginate_all_alarm_types(aws: AwsSession, service: str, operation: str, **arguments: Any) -> Iterator[Any]:
    """Yield the pages of an operation that takes AlarmTypes, for all alarm types that this endpoint supports.

    An endpoint or a boto3 without log alarms rejects their name. Then `aws` no longer requests them.
    """
    types = list(ALARM_TYPES) if aws.supports_log_alarms else [name for name in ALARM_TYPES if name != _LOG_ALARM]
    pages = aws.paginate(service, operation, AlarmTypes=types, **arguments)
    try:
        first = next(pages, None)
    except AwsError as error:
        if error.kind != AwsErrorKind.OTHER or _LOG_ALARM not in types:
            raise
        types.remove(_LOG_ALARM)
        pages = aws.paginate(service, operation, AlarmTypes=types, **arguments)
        first = next(pages, None)
        # The request succeeded without log alarms, so nothing else was wrong with it.
        aws.supports_log_alarms = False
    yield from chain([] if first is None else [first], pages)
