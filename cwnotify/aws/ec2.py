"""What EC2 tells of instances, as frozen dataclasses. Asks through `AwsSession`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cwnotify.aws.models import Ec2Instance
from cwnotify.aws.session import AwsSession

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
_MOST_VALUES = 200
_GONE = ("shutting-down", "terminated")


def read_instances(aws: AwsSession, ids: Sequence[str] = (), tag: str = "") -> tuple[Ec2Instance, ...]:
    """The instances of these ids, in their order, and after them those that bear a tag.

    Parameters
    ----------
    ids
        Those that AWS does not know are left out.
    tag
        ``KEY=VALUE``; finds no instance that has been terminated.

    Raises
    ------
    AwsError
        If EC2 refuses.
    """
    known: dict[str, Ec2Instance] = {}
    for i in range(0, len(ids), _MOST_VALUES):
        # By filter, for of ids that are named outright one unknown makes AWS refuse all.
        some = map(_reading, describe_instances(aws, {"instance-id": ids[i : i + _MOST_VALUES]}))
        known |= {one.id: one for one in some}
    key, _, value = tag.partition("=")
    tagged = (
        (_reading(one) for one in describe_instances(aws, {f"tag:{key}": [value]}) if is_instance_alive(one))
        if tag
        else ()
    )
    return tuple(({id: known[id] for id in ids if id in known} | {one.id: one for one in tagged}).values())


def describe_instances(aws: AwsSession, filters: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    """All that EC2 says of the instances that pass these filters."""
    which = [{"Name": name, "Values": list(values)} for name, values in filters.items()]
    for reservation in aws.paginate_items("ec2", "describe_instances", "Reservations", Filters=which):
        yield from reservation.get("Instances", ())


def is_instance_alive(told: Mapping[str, Any]) -> bool:
    """Whether an instance has not been terminated."""
    return told["State"]["Name"] not in _GONE


def _reading(told: Mapping[str, Any]) -> Ec2Instance:
    tags = {tag["Key"]: tag["Value"] for tag in told.get("Tags", ())}
    # Turning it on or off takes a while; what it goes to is what counts.
    monitoring = str(told.get("Monitoring", {}).get("State", ""))
    return Ec2Instance(
        id=str(told["InstanceId"]),
        name=tags.get("Name", ""),
        instance_type=str(told.get("InstanceType", "")),
        availability_zone=str(told.get("Placement", {}).get("AvailabilityZone", "")),
        state=str(told.get("State", {}).get("Name", "")),
        has_detailed_monitoring=monitoring in ("enabled", "pending") if monitoring else None,
    )
