"""What a panel shows at one moment, as frozen dataclasses. Standard library only: the kernel imports this too.

`cwnotify.watch` fills a `Snapshot`; the plot, the panel and ``cwnotify watch`` say what it says and nothing
else. Times are Unix seconds.
"""

from __future__ import annotations

from cwnotify.alerts.light_dataclass import frozen

PlotPoint = tuple[float, float]


@frozen
class PanelRequest:
    """What a panel asks to be shown.

    Parameters
    ----------
    instances
        EC2 instance ids; empty for the one that this is, and where it is none, this host alone.
    tag
        ``KEY=VALUE``: all instances that carry it.
    metric
        ``NAMESPACE/NAME``, or one of the ready names ``cpu``, ``gpu``, ``mem``, ``disk``.
    alarms
        Names, or prefixes that end in ``*``; empty for those whose dimension is one of the instances.
    alarm_slack
        ``auto`` (silent where the alarm already notifies the deployed stack), ``always`` or ``never``.
    span
        Seconds of the past that the plot covers.
    round
        Seconds between two looks at AWS.
    pictures
        Whether a plot is drawn, too.
    lang, zone, channel
        How Slack is spoken to when an alarm changes; see `cwnotify.alerts.messages.alarm.alarm_message`.
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
    """What is watched. `state` is EC2's word (running, stopped, …); `monitoring` is basic, detailed or empty."""

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
        As the legend calls it: ``CloudWatch, 5 min`` or ``this host, live``.
    live
        True for this host's own measurement, False for CloudWatch's datapoints.
    period
        Seconds between points, as they arrive.
    points
        (time, value) pairs, oldest first; a gap is simply longer than `period`.
    """

    label: str
    live: bool
    period: float
    points: tuple[PlotPoint, ...] = ()


@frozen
class PanelAlarm:
    """An alarm's chip.

    Parameters
    ----------
    state
        ``OK``, ``ALARM`` or ``INSUFFICIENT_DATA``.
    good
        Whether firing is good news; None where it is neither, because nothing was measured.
    note
        What firing means, in words: training ended, idle, or that it cannot be known.
    threshold
        In the metric's unit; None for alarms without a fixed one.
    periods
        (start, end) of the times within the plot in which it fired; the end is 0.0 while it fires.
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
    """A run's row and its span in the plot; `outcome` and `ended` are empty and 0.0 while it runs."""

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
    """How Slack's side is: when it last said ok, what waits, what is dead and why the last one is."""

    webhook: bool = False
    delivered: float = 0.0
    waiting: int = 0
    dead: int = 0
    reason: str = ""
    muted_until: float = 0.0


@frozen
class PanelProblem:
    """What is wrong, in one sentence with its cure; `since` is when it was last seen well, `tried` the last try."""

    text: str
    since: float = 0.0
    tried: float = 0.0


@frozen
class Snapshot:
    """All of it. `updated` is when CloudWatch (or, without it, the host) was last read with success."""

    at: float
    request: PanelRequest
    subjects: tuple[WatchedInstance, ...] = ()
    title: str = "CPU"
    unit: str = "%"
    lines: tuple[PlotLine, ...] = ()
    alarms: tuple[PanelAlarm, ...] = ()
    runs: tuple[PanelRun, ...] = ()
    health: SlackHealth = SlackHealth()
    troubles: tuple[PanelProblem, ...] = ()
    updated: float = 0.0
    stale: bool = False
