"""The content of a panel at one moment, as frozen dataclasses. Standard library only: the kernel imports this too.

`cwnotify.sidecar` builds a `Snapshot`. The plot, the panel and ``cwnotify watch`` show only what it contains. Times are
Unix seconds.
"""

from __future__ import annotations

from cwnotify.alerts.light_dataclass import frozen

PlotPoint = tuple[float, float]


@frozen
class PanelRequest:
    """What a panel shows.

    Parameters
    ----------
    instances
        EC2 instance IDs. If empty, the instance that this code runs on; outside EC2, only this host.
    tag
        ``KEY=VALUE``: all instances with this tag.
    metric
        ``NAMESPACE/NAME``, or one of ``cpu``, ``gpu``, ``mem`` and ``disk``.
    alarms
        Alarm names, or prefixes that end in ``*``. If empty, the alarms of the instances.
    alarm_slack
        ``auto`` (send nothing for alarms that already notify the deployed stack), ``always`` or ``never``.
    span
        The time range of the plot, in seconds.
    round
        The polling interval for AWS, in seconds.
    pictures
        Whether to draw a plot.
    lang, zone, channel
        How to write to Slack when an alarm changes; see `cwnotify.alerts.messages.alarm.alarm_message`.
    """

    instances: tuple[str, ...] = ()
    tag: str = ""
    metric: str = "cpu"
    alarms: tuple[str, ...] = ()
    alarm_slack: str = "auto"
    span: float = 3 * 3600.0
    round: float = 30.0
    pictures: bool = True
    lang: str = "en"
    zone: str = ""
    channel: str = ""


@frozen
class WatchedInstance:
    """An EC2 instance.

    Parameters
    ----------
    instance
        The instance ID.
    name
        The value of its tag ``Name``.
    zone
        The availability zone.
    state
        EC2's state name, such as running or stopped.
    monitoring
        ``basic``, ``detailed`` or empty.
    """

    instance: str = ""
    name: str = ""
    instance_type: str = ""
    zone: str = ""
    region: str = ""
    state: str = ""
    monitoring: str = ""


@frozen
class PlotLine:
    """One line of the plot.

    Parameters
    ----------
    label
        The text in the legend: ``CloudWatch, 5 min`` or ``this host, live``.
    live
        True for this host's own measurement, False for CloudWatch's datapoints.
    period
        The usual number of seconds between points.
    points
        (time, value) pairs, oldest first. Points further apart than `period` have a gap between them.
    """

    label: str
    live: bool
    period: float
    points: tuple[PlotPoint, ...] = ()


@frozen
class PanelAlarm:
    """An alarm.

    Parameters
    ----------
    state
        ``OK``, ``ALARM`` or ``INSUFFICIENT_DATA``.
    since
        When the alarm entered this state; 0.0 if unknown.
    good
        Whether firing is good news. None if it fires because nothing was measured, so the meaning is unknown.
    threshold
        In the metric's unit; None for alarms without a fixed one.
    url
        The alarm's page in the CloudWatch console.
    periods
        (start, end) of each time within the plot in which the alarm fired. The end is 0.0 while it fires.
    note
        What the firing means: training ended, idle, or unknown.
    """

    name: str
    state: str
    since: float
    good: bool | None = None
    threshold: float | None = None
    url: str = ""
    periods: tuple[PlotPoint, ...] = ()
    note: str = ""


@frozen
class PanelRun:
    """A run.

    Parameters
    ----------
    ended
        0.0 while the run goes on.
    outcome
        ``finished``, ``failed``, ``interrupted`` or ``lost``; empty while the run goes on.
    detail
        The error, or another fact about the outcome.
    place
        Where it runs, such as ``In [3]``.
    cpu
        CPU in percent over the run.
    notified
        When Slack accepted the alert; 0.0 if it has not.
    """

    name: str
    started: float
    ended: float = 0.0
    outcome: str = ""
    detail: str = ""
    place: str = ""
    cpu: tuple[float, ...] = ()
    notified: float = 0.0


@frozen
class SlackHealth:
    """The state of deliveries to Slack.

    Parameters
    ----------
    webhook
        Whether a webhook is set.
    delivered
        When Slack last accepted a message; 0.0 for never.
    waiting, dead
        How many messages wait, and how many could not be delivered.
    reason
        Why the last dead message could not be delivered.
    muted_until
        When alarms are sent again.
    """

    webhook: bool = False
    delivered: float = 0.0
    waiting: int = 0
    dead: int = 0
    reason: str = ""
    muted_until: float = 0.0


@frozen
class PanelProblem:
    """A problem and its remedy, in one sentence.

    Parameters
    ----------
    since
        The last success; 0.0 for none.
    tried
        The last attempt; 0.0 for none.
    """

    text: str
    since: float = 0.0
    tried: float = 0.0


@frozen
class Snapshot:
    """The content of a panel.

    Parameters
    ----------
    at
        When the snapshot was built.
    subjects
        The watched instances; empty if only this host is watched.
    title, unit
        Of the metric.
    problems
        The current problems.
    updated
        When CloudWatch (without it, this host) was last read successfully; 0.0 for never.
    stale
        Whether `updated` is too long ago.
    """

    at: float
    request: PanelRequest
    subjects: tuple[WatchedInstance, ...] = ()
    title: str = "CPU"
    unit: str = "%"
    lines: tuple[PlotLine, ...] = ()
    alarms: tuple[PanelAlarm, ...] = ()
    runs: tuple[PanelRun, ...] = ()
    health: SlackHealth = SlackHealth()
    problems: tuple[PanelProblem, ...] = ()
    updated: float = 0.0
    stale: bool = False
