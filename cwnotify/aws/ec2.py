"""Read EC2 instances into frozen dataclasses. boto3 through `AwsSession`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cwnotify.aws.models import Ec2Instance
from cwnotify.aws.session import AwsSession

# Values in one filter: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
_MAX_FILTER_VALUES = 200
_TERMINATED_STATES = ("shutting-down", "terminated")


def read_instances(aws: AwsSession, ids: Sequence[str] = (), tag: str = "") -> tuple[Ec2Instance, ...]:
    """Return the instances with these IDs, in their order, and after them those with a tag.

    Parameters
    ----------
    ids
        IDs that AWS does not know are left out.
    tag
        ``KEY=VALUE``. It finds no terminated instances.

    Raises
    ------
    AwsError
        If EC2 rejects the request.
    """
    by_id: dict[str, Ec2Instance] = {}
    for i in range(0, len(ids), _MAX_FILTER_VALUES):
        # A filter ignores an unknown ID, which would fail the request if it were named outright.
        batch = describe_instances(aws, {"instance-id": ids[i : i + _MAX_FILTER_VALUES]})
        by_id |= {instance.id: instance for instance in map(_to_instance, batch)}
    instances = {id: by_id[id] for id in ids if id in by_id}
    if tag:
        key, _, value = tag.partition("=")
        tagged = filter(is_instance_alive, describe_instances(aws, {f"tag:{key}": [value]}))
        instances |= {instance.id: instance for instance in map(_to_instance, tagged)}
    return tuple(instances.values())


def describe_instances(aws: AwsSession, filters: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    """Yield EC2's fields of each instance that passes these filters."""
    arguments = [{"Name": name, "Values": list(values)} for name, values in filters.items()]
    for reservation in aws.paginate_items("ec2", "describe_instances", "Reservations", Filters=arguments):
        yield from reservation.get("Instances", ())


def is_instance_alive(fields: Mapping[str, Any]) -> bool:
    """Return whether an instance is neither terminated nor being terminated."""
    return fields["State"]["Name"] not in _TERMINATED_STATES


def _to_instance(fields: Mapping[str, Any]) -> Ec2Instance:
    tags = {tag["Key"]: tag["Value"] for tag in fields.get("Tags", ())}
    monitoring = str(fields.get("Monitoring", {}).get("State", ""))
    return Ec2Instance(
        id=str(fields["InstanceId"]),
        name=tags.get("Name", ""),
        instance_type=str(fields.get("InstanceType", "")),
        availability_zone=str(fields.get("Placement", {}).get("AvailabilityZone", "")),
        state=str(fields.get("State", {}).get("Name", "")),
        # "pending" means that it is being enabled.
        has_detailed_monitoring=monitoring in ("enabled", "pending") if monitoring else None,
    )
