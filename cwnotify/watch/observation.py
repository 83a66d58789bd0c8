"""What AWS returned for one request. A module of its own, because the snapshot builder does not need the poller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cwnotify.aws.models import CloudWatchAlarm, Ec2Instance, InstanceIdentity, MetricSeries
from cwnotify.view.snapshot import PanelProblem, PanelRequest, PlotPoint


@dataclass(frozen=True)
class PanelObservation:
    """The latest data for one request.

    Parameters
    ----------
    instances
        The watched instances. Before EC2 describes an instance, it has only an id.
    identity
        The instance that this host is.
    needs_aws
        Whether the request needs any call to AWS.
    firing_periods
        By ARN, the (start, end) of the periods in which an alarm fired; the end is 0.0 while it fires.
    previous_states
        By ARN, the state before the current state, where the history has it.
    updated_at
        Unix seconds; see `cwnotify.watch.problems.ProblemTracker.oldest_success_at`.
    """

    request: PanelRequest
    instances: tuple[Ec2Instance, ...] = ()
    identity: InstanceIdentity = field(default_factory=InstanceIdentity)
    region: str = ""
    needs_aws: bool = False
    series: tuple[MetricSeries, ...] = ()
    alarms: tuple[CloudWatchAlarm, ...] = ()
    firing_periods: Mapping[str, tuple[PlotPoint, ...]] = field(default_factory=dict)
    previous_states: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[PanelProblem, ...] = ()
    updated_at: float = 0.0

    @classmethod
    def initial(cls, request: PanelRequest) -> PanelObservation:
        """Return the observation before the first poll."""
        instances = tuple(Ec2Instance(id) for id in request.instances)
        return cls(request, instances, needs_aws=bool(instances or request.tag or request.alarms))

    @property
    def instance_ids(self) -> tuple[str, ...]:
        """The ids of the watched instances."""
        return tuple(instance.id for instance in self.instances)

    @property
    def includes_this_host(self) -> bool:
        """Whether to show this host's own load, beside the data from AWS or instead of it."""
        return not self.instances or self.identity.instance_id in self.instance_ids

    def concerns(self, alarm: CloudWatchAlarm) -> bool:
        """Return True if the request selects `alarm`, by name or else by an instance among its dimensions."""
        if patterns := self.request.alarms:
            return any(alarm.name.startswith(p[:-1]) if p.endswith("*") else alarm.name == p for p in patterns)
        return any(name == "InstanceId" and value in self.instance_ids for name, value in alarm.dimensions)
