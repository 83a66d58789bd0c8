"""Instances as read from EC2."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from moto import mock_aws

from cwnotify.aws.ec2 import read_instances
from cwnotify.aws.models import Ec2Instance
from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError, AwsErrorKind
from tests.support.aws_wire import Fault
from tests.support.cloudwatch import CloudWatch


def test_instances_keep_the_requested_order_without_unknown_ones(cloud: CloudWatch, watching: AwsSession) -> None:
    cloud.put_instance("i-1", "running", detailed=True, Name="train-3")
    cloud.put_instance("i-2", "terminated")

    assert read_instances(watching, ["i-2", "i-nope", "i-1"]) == (
        Ec2Instance("i-2", "", "g5.xlarge", "ap-northeast-2a", "terminated", False),
        Ec2Instance("i-1", "train-3", "g5.xlarge", "ap-northeast-2a", "running", True),
    )


def test_tag_finds_no_terminated_instances(cloud: CloudWatch, watching: AwsSession) -> None:
    for id, state in (("i-1", "running"), ("i-2", "stopped"), ("i-3", "terminated"), ("i-4", "shutting-down")):
        cloud.put_instance(id, state, team="a=b")
    cloud.put_instance("i-5", "running", team="c")

    assert [instance.id for instance in read_instances(watching, tag="team=a=b")] == ["i-1", "i-2"]
    assert [instance.id for instance in read_instances(watching, ["i-5", "i-2"], "team=a=b")] == ["i-5", "i-2", "i-1"]


def test_many_instances_are_requested_in_batches_of_200(cloud: CloudWatch, watching: AwsSession) -> None:
    ids = [f"i-{number}" for number in range(450)]
    for id in ids:
        cloud.put_instance(id)

    assert [instance.id for instance in read_instances(watching, ids)] == ids
    assert cloud.calls == watching.call_counts == {"ec2:DescribeInstances": 3}


def test_no_ids_need_no_call(cloud: CloudWatch, watching: AwsSession) -> None:
    assert read_instances(watching) == ()
    assert not cloud.calls


def test_denied_request_names_the_missing_action(cloud: CloudWatch, watching: AwsSession) -> None:
    cloud.fault = Fault("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)
    with pytest.raises(AwsError) as raised:
        read_instances(watching, ["i-1"])

    assert (raised.value.kind, raised.value.action) == (AwsErrorKind.DENIED, "ec2:DescribeInstances")


def test_moto_gives_the_same_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-northeast-2")
    with mock_aws():
        ec2: Any = boto3.client("ec2", region_name="ap-northeast-2")
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "train"}, {"Key": "job", "Value": "x"}]}]
        created = ec2.run_instances(ImageId="ami-12c6146b", MinCount=2, MaxCount=2, TagSpecifications=tags)["Instances"]
        first, second = (instance["InstanceId"] for instance in created)
        ec2.terminate_instances(InstanceIds=[second])
        by_id = read_instances(AwsSession.with_short_timeouts(), [second, "i-0123456789abcdef0", first])
        by_tag = read_instances(AwsSession.with_short_timeouts(), tag="job=x")

    assert [(instance.id, instance.state) for instance in by_id] == [(second, "terminated"), (first, "running")]
    tagged = [(instance.id, instance.name, instance.availability_zone[:-1]) for instance in by_tag]
    assert tagged == [(first, "train", "ap-northeast-2")]
