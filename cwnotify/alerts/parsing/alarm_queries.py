"""Read the query of a PromQL or log alarm from its configuration. Pure. Never raises.

PromQL: ``EvaluationCriteria.PromQLCriteria``,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_AlarmPromQLCriteria.html
Logs: ``ScheduledQueryConfiguration``,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutLogAlarm.html
AWS does not document the key of the log lines in a notification, so this module tries several.
"""

from __future__ import annotations

import re

from cwnotify.alerts.light_dataclass import frozen
from cwnotify.alerts.parsing.lenient_json import (
    JsonObject,
    as_json_object,
    as_json_objects,
    decode_json_text,
    first_number,
    first_positive_int,
    first_text,
)
from cwnotify.alerts.text_limits import REDACTION_MARGIN

_MAX_GROUPS = 50
_MAX_LINES = 50  # the limit of AWS
_MAX_LINE_LENGTH = 2_000
_LINE_KEYS = (
    "loglines",
    "actionloglines",
    "alarmloglines",
    "matchingloglines",
    "matchedloglines",
    "recentloglines",
    "sampleloglines",
    "logevents",
    "logentries",
    "logrecords",
    "logmessages",
    "logs",
)
_RATE_EXPRESSION = re.compile(r"rate\((\d{1,6}) (minute|hour|day)s?\)")
_UNIT_SECONDS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}


@frozen
class AlarmQuery:
    """An alarm's query; see `AlarmStateChange`. `aggregation` is the value that a log alarm compares."""

    text: str = ""
    log_groups: tuple[str, ...] = ()
    aggregation: str = ""
    period: float | None = None
    datapoints_to_alarm: int | None = None
    evaluation_periods: int | None = None
    pending_period: float | None = None
    recovery_period: float | None = None


def parse_alarm_query(config: JsonObject) -> AlarmQuery:
    """Return the query of an alarm's configuration; an empty one for an alarm on metrics."""
    criteria = as_json_object(config.get("evaluationcriteria"))
    promql = as_json_object(criteria.get("promqlcriteria", config.get("promqlcriteria")))
    scheduled = as_json_object(config.get("scheduledqueryconfiguration"))
    schedule = as_json_object(scheduled.get("scheduleconfiguration"))
    return AlarmQuery(
        text=first_text(promql.get("query"), scheduled.get("querystring")),
        log_groups=_parse_log_groups(scheduled.get("loggroupidentifiers", scheduled.get("loggroupnames"))),
        aggregation=first_text(scheduled.get("aggregationexpression")),
        period=_non_negative(first_number(config.get("evaluationinterval")))
        or _rate_seconds(schedule.get("scheduleexpression")),
        datapoints_to_alarm=first_positive_int(config.get("queryresultstoalarm")),
        evaluation_periods=first_positive_int(config.get("queryresultstoevaluate")),
        pending_period=_non_negative(first_number(promql.get("pendingperiod"))),
        recovery_period=_non_negative(first_number(promql.get("recoveryperiod"))),
    )


def find_log_lines(*messages: JsonObject) -> tuple[str, ...]:
    """Return the log lines of a log alarm's notification, from the first of `messages` that has any."""
    for message in messages:
        for key in _LINE_KEYS:
            value = decode_json_text(message.get(key))
            items = value if isinstance(value, list) else [value] if isinstance(value, str | dict) else []
            lines = tuple(filter(None, map(_format_line, items[:_MAX_LINES])))
            if lines:
                return lines
    return ()


def _format_line(item: object) -> str:
    """Return a log line from its text, from an event with a ``message``, or from the fields of a result row."""
    if isinstance(item, list):
        row = {first_text(cell.get("field")).lower(): cell.get("value") for cell in as_json_objects(item)}
        return _format_line(row)
    if isinstance(item, dict):
        event = as_json_object(item)
        line = first_text(event.get("@message"), event.get("message"), event.get("line"), event.get("text"))
        fields = (f"{key}={first_text(value)}" for key, value in event.items() if key != "@ptr" and first_text(value))
        return (line or " ".join(fields))[: _MAX_LINE_LENGTH + REDACTION_MARGIN]
    return first_text(item)[: _MAX_LINE_LENGTH + REDACTION_MARGIN]


def _parse_log_groups(value: object) -> tuple[str, ...]:
    """Return names of log groups, also from ``arn:aws:logs:REGION:ACCOUNT:log-group:NAME:*``."""
    values = value if isinstance(value, list) else [value]
    names = (first_text(item) for item in values[:_MAX_GROUPS])
    return tuple(
        name.partition(":log-group:")[2].removesuffix(":*") if ":log-group:" in name else name for name in names if name
    )


def _rate_seconds(value: object) -> float | None:
    match = _RATE_EXPRESSION.fullmatch(first_text(value))
    return int(match[1]) * _UNIT_SECONDS[match[2]] if match else None


def _non_negative(value: float | None) -> float | None:
    return value if value is not None and value >= 0 else None
