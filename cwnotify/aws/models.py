"""What CloudWatch and EC2 return, as frozen dataclasses. Standard library only.

All times are Unix seconds (UTC), and all durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

Datapoint = tuple[float, float]


@dataclass(frozen=True)
class Metric:
    """One metric as CloudWatch identifies it; `dimensions` are (name, value) pairs."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...] = ()
    statistic: str = "Average"
    unit: str = "%"

    @property
    def instance_id(self) -> str:
        """The EC2 instance among the dimensions; empty if there is none."""
        return dict(self.dimensions).get("InstanceId", "")


@dataclass(frozen=True)
class MetricSeries:
    """A metric's datapoints, oldest first, one for each time.

    Parameters
    ----------
    period
        Seconds between datapoints as they arrive: 300 with basic monitoring, 60 with detailed. 0.0 if there are too
        few datapoints.
    is_complete
        False if CloudWatch reported that more datapoints may exist.
    """

    metric: Metric
    points: tuple[Datapoint, ...] = ()
    period: float = 0.0
    is_complete: bool = True


@dataclass(frozen=True)
class CloudWatchAlarm:
    """An alarm as DescribeAlarms returns it.

    Parameters
    ----------
    since
        When the alarm entered `state`.
    dimensions
        (name, value) pairs of the compared metric, or of all metrics in metric math.
    action_arns
        The ARNs of its actions; empty if actions are disabled.
    raw_fields
        All fields under CloudWatch's own names.
    """

    name: str
    arn: str
    state: str
    since: float
    metric_name: str = ""
    namespace: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()
    threshold: float | None = None
    comparison: str = ""
    action_arns: tuple[str, ...] = ()
    raw_fields: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True)
class Ec2Instance:
    """An instance as DescribeInstances returns it. `has_detailed_monitoring` is None if EC2 did not return it."""

    id: str
    name: str = ""
    instance_type: str = ""
    availability_zone: str = ""
    state: str = ""
    has_detailed_monitoring: bool | None = None


@dataclass(frozen=True)
class InstanceIdentity:
    """The EC2 instance that this process runs on, from its metadata service; empty fields if there is none."""

    instance_id: str = ""
    instance_type: str = ""
    availability_zone: str = ""
    region: str = ""
    account_id: str = ""
    is_spot: bool = False
