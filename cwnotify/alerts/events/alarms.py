"""Facts that AWS reports: alarm changes, instance notices, failed functions and other events. Standard library only.

The Lambda function imports this module, so its classes use `light_dataclass` instead of `dataclasses`.
All times are Unix seconds (UTC). A field that AWS did not send has its default.
"""

from __future__ import annotations

import re

from cwnotify.alerts.light_dataclass import frozen

# Not from python310: the kernel imports this module, and where StrEnum exists it needs one file less.
try:
    from enum import StrEnum
except ImportError:
    from cwnotify.alerts.python310 import StrEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# "6 out of 6 time series evaluated to ALARM", "100+ time series evaluated to ALARM", "7 time series evaluated to OK".
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
_SUMMARY = r"^\s*\d{1,6}\+?(?: out of \d{1,6})? (?:time series|contributors?) evaluated to (?:ALARM|OK)\b"


class AlarmState(StrEnum):
    """The states of a CloudWatch alarm."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


@frozen
class Dimension:
    """A name and value that distinguish a metric from others with the same name."""

    name: str
    value: str


@frozen
class WatchedMetric:
    """A metric that an alarm watches, or an expression over such metrics.

    Parameters
    ----------
    id
        The name that expressions use for it.
    name, namespace, dimensions, statistic
        The metric and its statistic (``Average``, ``Sum``, ``p99``); empty for an expression.
    period
        Seconds.
    expression, label
        Metric math, an anomaly band or a Metrics Insights query, and its label.
    compared
        True if the alarm compares this value; False if it is only an input of an expression.
    account
        The account that owns the metric, if it is not the alarm's account.
    """

    id: str = ""
    name: str = ""
    namespace: str = ""
    dimensions: tuple[Dimension, ...] = ()
    statistic: str = ""
    period: float | None = None
    unit: str = ""
    expression: str = ""
    label: str = ""
    compared: bool = True
    account: str = ""


@frozen
class Tag:
    """One tag of an alarm."""

    key: str
    value: str = ""


@frozen
class ChildAlarm:
    """An alarm whose change triggered a composite alarm."""

    name: str
    state: str = ""
    at: float | None = None


@frozen
class AlarmStateChange:
    """An alarm changed its state.

    Parameters
    ----------
    after, before
        One of `AlarmState`, or the text that AWS sent if it is none of them.
    at
        When the alarm changed.
    reason
        CloudWatch's own explanation.
    value
        The newest datapoint.
    threshold, comparison
        The threshold, and ``GreaterThanThreshold`` or a similar operator; `threshold` is None for an anomaly band.
    lower, upper
        The limits of the anomaly band when `value` was measured.
    datapoints_to_alarm, evaluation_periods
        M of N.
    treat_missing_data
        ``breaching``, ``notBreaching``, ``ignore`` or ``missing``.
    metric, namespace, dimensions, statistic, period, unit
        The compared metric; for an expression, `metric` is its label. `period` is in seconds.
    instance
        The EC2 instance among the dimensions.
    metrics
        For metric math and anomaly detection: all metrics and expressions of the alarm.
    region
        The region's code (``ap-northeast-2``), or the name that AWS sent.
    partition
        ``aws``, ``aws-cn`` or ``aws-us-gov``.
    rule, children
        For a composite alarm: its rule, and the alarms that triggered it.
    contributor, contributor_id
        The time series that changed, if the alarm watches many.
    held_back
        Why the alarm's actions were suppressed.
    muted_by, muted_until
        The active mute rule, and when it ends.
    before_since
        When the alarm entered the state `before`.
    recent
        The evaluated datapoints, oldest first.
    no_data
        Whether the state changed because no datapoint was measured.
    suppression_ended
        What suppressed the alarm's actions until this change.
    tags
        The alarm's tags, if AWS sent them.
    query, log_groups, log_lines
        PromQL or Logs Insights text; for a log alarm, its log groups and the matching lines.
    pending_period, recovery_period
        Seconds that a PromQL alarm waits before it fires and before it returns to OK.
    evaluation_state
        ``PARTIAL_DATA``, ``EVALUATION_FAILURE`` or ``EVALUATION_ERROR``; empty for a normal evaluation.
    contributors_follow
        Whether this is only a count of time series, and EventBridge sends a separate event for each of them.
    redacted
        Whether text that looked like a secret was removed.
    """

    name: str
    after: str = ""
    before: str = ""
    at: float | None = None
    description: str = ""
    reason: str = ""
    arn: str = ""
    account: str = ""
    region: str = ""
    partition: str = "aws"
    value: float | None = None
    threshold: float | None = None
    comparison: str = ""
    lower: float | None = None
    upper: float | None = None
    datapoints_to_alarm: int | None = None
    evaluation_periods: int | None = None
    treat_missing_data: str = ""
    metric: str = ""
    namespace: str = ""
    dimensions: tuple[Dimension, ...] = ()
    statistic: str = ""
    period: float | None = None
    unit: str = ""
    instance: str = ""
    metrics: tuple[WatchedMetric, ...] = ()
    rule: str = ""
    children: tuple[ChildAlarm, ...] = ()
    contributor: tuple[Dimension, ...] = ()
    contributor_id: str = ""
    held_back: str = ""
    muted_by: str = ""
    muted_until: float | None = None
    before_since: float | None = None
    recent: tuple[float, ...] = ()
    no_data: bool = False
    suppression_ended: str = ""
    tags: tuple[Tag, ...] = ()
    query: str = ""
    log_groups: tuple[str, ...] = ()
    log_lines: tuple[str, ...] = ()
    pending_period: float | None = None
    recovery_period: float | None = None
    evaluation_state: str = ""
    contributors_follow: bool = False
    redacted: bool = False

    @property
    def alarm_key(self) -> str:
        """An identifier shared by all changes of one alarm, including those of its contributors."""
        return self.arn or f"{self.account}:{self.region}:{self.name}"

    @property
    def key(self) -> str:
        """An identifier shared by all changes of one alarm, or of one time series if the alarm watches many."""
        return f"{self.alarm_key}#{self.contributor_id}" if self.contributor_id else self.alarm_key

    @property
    def is_summary(self) -> bool:
        """Whether this only counts the time series of an alarm that watches many, without naming any of them."""
        return not self.contributor_id and not self.contributor and re.match(_SUMMARY, self.reason) is not None

    @property
    def id(self) -> str:
        """An identifier shared by all copies of one change, from whatever source, and by no other change."""
        # The reason replaces a missing time: it contains the datapoints and their times.
        return f"{self.key}|{self.after}|{self.reason if self.at is None else f'{self.at:.3f}'}"


class NoticeKind(StrEnum):
    """What EventBridge reports about an instance."""

    INTERRUPTION = "interruption"
    REBALANCE = "rebalance"
    STATE = "state"


@frozen
class InstanceNotice:
    """An instance will be interrupted, may be interrupted, or changed its state.

    Parameters
    ----------
    word
        The new state (``stopped``), or the action of an interruption (``terminate``, ``stop``, ``hibernate``).
    """

    kind: NoticeKind
    instance: str
    word: str = ""
    at: float | None = None
    account: str = ""
    region: str = ""
    partition: str = "aws"

    @property
    def id(self) -> str:
        """An identifier shared by all copies of one notice."""
        return f"{self.instance}|{self.kind}|{self.word}|{self.at}"


@frozen
class FunctionFailure:
    """Another Lambda function failed, and AWS sent the event to its on-failure destination or dead-letter queue.

    Parameters
    ----------
    function
        The function's name; empty if a dead-letter queue does not name it.
    condition
        Why AWS stopped retrying, such as ``RetriesExhausted`` or ``EventAgeExceeded``.
    invocations
        The number of invocations.
    trace
        The stack trace of the error.
    payload
        The event that the function did not process.
    """

    function: str = ""
    condition: str = ""
    error_type: str = ""
    error: str = ""
    invocations: int | None = None
    trace: str = ""
    payload: str = ""
    id: str = ""
    at: float | None = None
    account: str = ""
    region: str = ""
    partition: str = "aws"
    redacted: bool = False


@frozen
class CustomNotification:
    """A notification in the schema of Amazon Q Developer in chat applications (formerly AWS Chatbot).

    https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html

    Parameters
    ----------
    title, description, next_steps
        Slack's mrkdwn.
    summary
        Shown as the title if there is none.
    context
        Additional names and values.
    """

    title: str = ""
    description: str = ""
    next_steps: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    summary: str = ""
    resources: tuple[str, ...] = ()
    context: tuple[Dimension, ...] = ()
    id: str = ""
    at: float | None = None
    redacted: bool = False


@frozen
class UnrecognizedEvent:
    """An event that is none of the above, shown unchanged.

    Parameters
    ----------
    title
        The event's own title: an SNS subject or an EventBridge detail type.
    id
        The message's id, or its text if it has none.
    redacted
        Whether text that looked like a secret was removed.
    left_out
        If it replaces the rest of a list that was too long to read: the number of those entries.
    """

    text: str
    title: str = ""
    id: str = ""
    at: float | None = None
    redacted: bool = False
    left_out: int = 0


AwsEvent = AlarmStateChange | InstanceNotice | FunctionFailure | CustomNotification | UnrecognizedEvent


def deduplicate_events(events: Iterable[AwsEvent]) -> tuple[AwsEvent, ...]:
    """Return the events in order, without copies. SNS and SQS may deliver an event twice.

    Also drop an alarm's count of time series if events for single time series report the same state.
    """
    unique: dict[tuple[type, str], AwsEvent] = {}
    for event in events:
        unique.setdefault((type(event), event.id), event)
    alarms = [event for event in unique.values() if isinstance(event, AlarmStateChange)]
    detailed = {(event.alarm_key, event.after) for event in alarms if event.contributor_id or event.contributor}
    return tuple(
        event
        for event in unique.values()
        if not (isinstance(event, AlarmStateChange) and event.is_summary and (event.alarm_key, event.after) in detailed)
    )
