"""What one panel's watch sees at the moment, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cwnotify.aws.models import CloudWatchAlarm, Ec2Instance, InstanceIdentity, MetricSeries
from cwnotify.view.snapshot import PanelProblem, PanelRequest, PlotPoint


@dataclass(frozen=True)
class PanelObservation:
    """All that AWS told for one request.

    Parameters
    ----------
    instances
        Those that are watched; of one that EC2 told nothing about only the id is known.
    identity
        Which instance this host is.
    asks_aws
        Whether there is anything to ask AWS for.
    firing
        (start, end) of the times in which an alarm fired, by its ARN; the end is 0.0 while it fires.
    before
        The state from which an alarm came to its state now, by its ARN, where the history tells.
    updated
        Unix seconds; see `cwnotify.watch.problems.ProblemTracker.updated`.
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
        """What is known before anything was read."""
        named = tuple(Ec2Instance(id) for id in request.instances)
        return cls(request, named, needs_aws=bool(named or request.tag or request.alarms))

    @property
    def includes_this_host(self) -> bool:
        """Whether this host's own load belongs beside what AWS tells, or in its place."""
        return not self.instances or self.identity.instance_id in {one.id for one in self.instances}
