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

from cwnotify.aws.session import Aws
from cwnotify.errors import AwsError, AwsErrorKind

# CloudWatch returns composite and log alarms only where AlarmTypes names them.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
_LOG = "LogAlarm"
KINDS = ("MetricAlarm", "CompositeAlarm", _LOG)
# DescribeAlarms takes at most this many names, and returns at most this many alarms a page.
_MAX_RECORDS = 100
_ACTIONS = ("AlarmActions", "OKActions", "InsufficientDataActions")


@dataclass(frozen=True)
class Alarm:
    """An alarm and its current state; `kind` is one of `KINDS`, `settings` is all that CloudWatch returned."""

    name: str
    state: str
    kind: str
    settings: dict[str, Any]

    def acts_on(self, topic: str) -> bool:
        """Return whether it publishes state changes to `topic`."""
        return any(topic in self.settings.get(kind, ()) for kind in _ACTIONS)


def find_alarms(aws: Aws, names: Iterable[str]) -> tuple[Alarm, ...]:
    """Return those alarms of these names that exist."""
    unique = list(dict.fromkeys(names))
    batches = (unique[i : i + _MAX_RECORDS] for i in range(0, len(unique), _MAX_RECORDS))
    return tuple(alarm for batch in batches for alarm in described(aws, AlarmNames=batch))


def alarms_on(aws: Aws, topic: str) -> tuple[Alarm, ...]:
    """Return the alarms that act on `topic`."""
    return tuple(alarm for alarm in described(aws, ActionPrefix=topic) if alarm.acts_on(topic))


def described(aws: Aws, **which: Any) -> Iterator[Alarm]:
    """Yield the alarms that DescribeAlarms returns for the arguments `which`."""
    for page in every_kind(aws, "cloudwatch", "describe_alarms", MaxRecords=_MAX_RECORDS, **which):
        for kind in KINDS:
            for alarm in page.get(f"{kind}s", ()):
                yield Alarm(alarm["AlarmName"], alarm.get("StateValue", ""), kind, alarm)


def every_kind(aws: Aws, service: str, operation: str, **arguments: Any) -> Iterator[Any]:
    """Yield the pages of an operation that takes AlarmTypes, for all kinds of alarms that this endpoint knows.

    An endpoint or a boto3 without log alarms rejects their name; then they are left out, for as long as `aws` lives.
    """
    types = list(KINDS) if aws.knows_log_alarms else [kind for kind in KINDS if kind != _LOG]
    pages = aws.answers(service, operation, AlarmTypes=types, **arguments)
    try:
        first = next(pages, None)
    except AwsError as error:
        if error.kind != AwsErrorKind.OTHER or _LOG not in types:
            raise
        types.remove(_LOG)
        pages = aws.answers(service, operation, AlarmTypes=types, **arguments)
        first = next(pages, None)
        # Only now is it certain that nothing else was wrong with the request.
        aws.knows_log_alarms = False
    yield from chain([] if first is None else [first], pages)
