"""What one panel's watch sees at the moment, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cwnotify.aws.models import AlarmReading, Identity, InstanceReading, Series
from cwnotify.view.snapshot import Point, Request, Trouble


@dataclass(frozen=True)
class Sight:
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
        Unix seconds; see `cwnotify.watch.problems.Troubles.updated`.
    """

    request: Request
    instances: tuple[InstanceReading, ...] = ()
    identity: Identity = field(default_factory=Identity)
    region: str = ""
    asks_aws: bool = False
    series: tuple[Series, ...] = ()
    alarms: tuple[AlarmReading, ...] = ()
    firing: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    troubles: tuple[Trouble, ...] = ()
    updated: float = 0.0

    @classmethod
    def first(cls, request: Request) -> Sight:
        """What is known before anything was read."""
        named = tuple(InstanceReading(id) for id in request.instances)
        return cls(request, named, asks_aws=bool(named or request.tag or request.alarms))

    @property
    def shows_this_host(self) -> bool:
        """Whether this host's own load belongs beside what AWS tells, or in its place."""
        return not self.instances or self.identity.instance in {one.id for one in self.instances}
