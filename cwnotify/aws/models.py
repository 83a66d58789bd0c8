"""What CloudWatch and EC2 tell, as frozen dataclasses. Standard library only.

All times are Unix seconds (UTC) and all lengths of time are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

Datapoint = tuple[float, float]


@dataclass(frozen=True)
class Metric:
    """One metric, as CloudWatch tells it from all others; `dimensions` are (name, value) pairs."""

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
        Seconds between datapoints as they arrive, which tells basic (300) from detailed monitoring (60); 0.0 where
        there are too few to tell.
    complete
        False where CloudWatch itself said that there may be more.
    """

    metric: Metric
    points: tuple[Datapoint, ...] = ()
    period: float = 0.0
    is_complete: bool = True


@dataclass(frozen=True)
class CloudWatchAlarm:
    """An alarm as DescribeAlarms tells it.

    Parameters
    ----------
    since
        When `state` became what it is.
    dimensions
        (name, value) pairs; those of the metric that is compared, or of all that take part in metric math.
    actions
        The ARNs that it acts on as it changes; empty where its actions are disabled.
    settings
        All that CloudWatch said of it, under CloudWatch's own names.
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
    """An instance as DescribeInstances tells it; `detailed` is whether detailed monitoring is on."""

    id: str
    name: str = ""
    instance_type: str = ""
    availability_zone: str = ""
    state: str = ""
    has_detailed_monitoring: bool | None = None


@dataclass(frozen=True)
class InstanceIdentity:
    """Which instance this machine is, from its metadata service; all empty where it is none."""

    instance_id: str = ""
    instance_type: str = ""
    availability_zone: str = ""
    region: str = ""
    account_id: str = ""
    is_spot: bool = False
