"""Facts that AWS reports: alarm changes, instance notices, failed functions and other events. Standard library only.

The Lambda function imports this module, so its classes use `light_dataclass` instead of `dataclasses`.
All times are Unix seconds (UTC); whatever is not known is left at its default.
"""

from __future__ import annotations

import re

from cwnotify.alerts.light_dataclass import frozen

# The kernel imports this module, too: one file less for it.
try:
    from enum import StrEnum
except ImportError:
    from cwnotify.alerts.python310 import StrEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# "6 out of 6 time series evaluated to ALARM", "100+ time series evaluated to ALARM", "7 time series evaluated to OK":
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
_SUMMARY = r"^\s*\d{1,6}\+?(?: out of \d{1,6})? (?:time series|contributors?) evaluated to (?:ALARM|OK)\b"


class AlarmState(StrEnum):
    """The states that CloudWatch knows."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


@frozen
class Dimension:
    """One name and value that tell a metric from others of its name."""

    name: str
    value: str


@frozen
class WatchedMetric:
    """A metric that an alarm watches, or an expression over such metrics.

    Parameters
    ----------
    id
        What expressions call it.
    name, namespace, dimensions, statistic
        The metric, and ``Average``, ``Sum``, ``p99``... of it; empty for an expression.
    period
        Seconds.
    expression, label
        Metric math, an anomaly band or a Metrics Insights query, and what it is called.
    compared
        Whether it is this that the alarm compares, not merely a part of it.
    account
        The account that owns the metric, where it is not the alarm's own.
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
    """An alarm whose change changed a composite one."""

    name: str
    state: str = ""
    at: float | None = None


@frozen
class AlarmStateChange:
    """An alarm went from one state to another.

    Parameters
    ----------
    before, after
        One of `AlarmState`, or the very word that AWS sent should it be none of them.
    reason
        CloudWatch's own sentence.
    value
        The newest datapoint.
    threshold, comparison
        ``GreaterThanThreshold`` and the like; `threshold` is None for an anomaly band.
    lower, upper
        The anomaly band's edges at `value`.
    datapoints_to_alarm, evaluation_periods
        M of N.
    treat_missing_data
        ``breaching``, ``notBreaching``, ``ignore`` or ``missing``.
    metric, namespace, dimensions, statistic, period, unit
        What is compared; for an expression `metric` is its label. `period` is in seconds.
    instance
        The EC2 instance among the dimensions.
    metrics
        For metric math and anomaly detection: all that takes part.
    region
        Its code (``ap-northeast-2``), else what AWS called it.
    partition
        ``aws``, ``aws-cn`` or ``aws-us-gov``.
    rule, children
        For a composite alarm.
    contributor, contributor_id
        The one time series among many that this change is about.
    held_back
        Why the alarm's actions were suppressed.
    muted_by, muted_until
        The mute rule in force.
    before_since
        When the alarm entered the state `before`.
    recent
        The evaluated datapoints, oldest first.
    no_data
        Whether the state changed because no datapoint was measured.
    suppression_ended
        What suppressed the alarm's actions until this change.
    tags
        The alarm's tags, where AWS sends them.
    query, log_groups, log_lines
        PromQL or Logs Insights text; for a log alarm, its log groups and the matching lines.
    pending_period, recovery_period
        Seconds that a PromQL alarm waits before it fires and before it returns to OK.
    evaluation_state
        ``PARTIAL_DATA``, ``EVALUATION_FAILURE`` or ``EVALUATION_ERROR``; empty for a normal evaluation.
    contributors_follow
        Whether this only counts an alarm's time series, and EventBridge sends an event of its own for each of them.
    redacted
        Whether a text held what looked like a secret.
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
        """The same for all changes of one alarm and of its contributors."""
        return self.arn or f"{self.account}:{self.region}:{self.name}"

    @property
    def key(self) -> str:
        """The same for all changes of one alarm (of one time series, where an alarm follows many)."""
        return f"{self.alarm_key}#{self.contributor_id}" if self.contributor_id else self.alarm_key

    @property
    def is_summary(self) -> bool:
        """Whether this only counts the time series of an alarm that follows many, and names none of them."""
        return not self.contributor_id and not self.contributor and re.match(_SUMMARY, self.reason) is not None

    @property
    def id(self) -> str:
        """The same for each copy of one change, whichever way it came; differs between changes."""
        # Without a time the reason has to do: it holds the datapoints and when they were measured.
        return f"{self.key}|{self.after}|{self.reason if self.at is None else f'{self.at:.3f}'}"


class NoticeKind(StrEnum):
    """What EventBridge says of an instance."""

    INTERRUPTION = "interruption"
    REBALANCE = "rebalance"
    STATE = "state"


@frozen
class InstanceNotice:
    """An instance will go away, is at risk of it, or changed its state.

    Parameters
    ----------
    word
        The new state (``stopped``), or what an interruption will do (``terminate``, ``stop``, ``hibernate``).
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
        """The same for each copy of one notice."""
        return f"{self.instance}|{self.kind}|{self.word}|{self.at}"


@frozen
class FunctionFailure:
    """Another Lambda function failed, and its on-failure destination or dead-letter queue keeps the event.

    Parameters
    ----------
    function
        Its name; empty where a dead-letter queue does not name it.
    condition
        Why AWS gave up: ``RetriesExhausted``, ``EventAgeExceeded`` and the like.
    invocations
        How often it was invoked.
    trace
        Where the error was raised.
    payload
        The event that it failed on.
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
        Markdown, as Slack writes it.
    summary
        What stands for all of it where there is no title.
    context
        Names and values besides.
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
    """Anything that is no alarm, to be shown as it is.

    Parameters
    ----------
    title
        What it calls itself: an SNS subject, an EventBridge detail type.
    id
        The message's own id, else its text.
    redacted
        Whether it held what looked like a secret.
    left_out
        How many entries of a list it stands for, which were too many to read.
    """

    text: str
    title: str = ""
    id: str = ""
    at: float | None = None
    redacted: bool = False
    left_out: int = 0


AwsEvent = AlarmStateChange | InstanceNotice | FunctionFailure | CustomNotification | UnrecognizedEvent


def deduplicate_events(events: Iterable[AwsEvent]) -> tuple[AwsEvent, ...]:
    """The events without the copies of earlier ones, in their order; SNS and SQS may deliver twice.

    An alarm's summary of its time series is left out beside events of those that changed to the same state.
    """
    first: dict[tuple[type, str], AwsEvent] = {}
    for event in events:
        first.setdefault((type(event), event.id), event)
    alarms = [event for event in first.values() if isinstance(event, AlarmStateChange)]
    named = {(event.alarm_key, event.after) for event in alarms if event.contributor_id or event.contributor}
    return tuple(
        event
        for event in first.values()
        if not (isinstance(event, AlarmStateChange) and event.is_summary and (event.alarm_key, event.after) in named)
    )
