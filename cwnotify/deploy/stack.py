"""The alarm -> Slack stack: look (reads only), plan, apply, tear down, show. boto3 by way of `cwnotify.aws.session`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cwnotify.aws.alarm_actions import find_alarms_by_name, find_alarms_on_topic
from cwnotify.aws.ec2 import describe_instances, is_instance_alive
from cwnotify.aws.secrets import read_ssm_webhook
from cwnotify.aws.session import AwsSession
from cwnotify.deploy import storage
from cwnotify.deploy.bundle import make_zip
from cwnotify.deploy.cloudformation import Stack, StackEvent, find_stack
from cwnotify.deploy.invoke import fetch_deployed_sha256
from cwnotify.deploy.plan import compute_deploy_steps, compute_teardown_steps, get_webhook_reference
from cwnotify.deploy.redrive import count_undelivered
from cwnotify.deploy.spec import DeployedState, Plan, PlannedChange, StackLocation, StackSpec
from cwnotify.deploy.template import parse_alarm_rules, parse_instance_watches
from cwnotify.errors import AwsError
from cwnotify.host.instance_metadata import fetch_instance_id
from cwnotify.settings import Settings


@dataclass(frozen=True)
class StackSummary:
    """What ``cwnotify stack`` tells.

    Parameters
    ----------
    alarms
        Name and state of the stack's own.
    attached
        The same of those that existed before, and that a rule routes.
    on_topic
        The same of those that act on the stack's topic by themselves.
    kms_key
        The key that encrypts the topic; empty for none.
    accounts
        Other accounts whose alarms may publish to the topic.
    undelivered
        How many messages lie in the dead-letter queue.
    """

    place: StackLocation
    status: str
    webhook: str
    lang: str
    fleet: str
    alarms: tuple[tuple[str, str], ...]
    attached: tuple[tuple[str, str], ...]
    on_topic: tuple[tuple[str, str], ...]
    kms_key: str
    accounts: tuple[str, ...]
    undelivered: int


def build_stack_spec(
    aws: AwsSession, found: Settings, tags: Iterable[tuple[str, str]], asked: Mapping[str, Any]
) -> StackSpec:
    """What is wished for, once the settings and this machine are asked too.

    Parameters
    ----------
    tags
        Key and value that the instances to be watched bear.
    asked
        `StackSpec`'s fields; None where nothing was asked.
    """
    instances = list(asked["instances"])
    if tags:
        tagged = find_tagged_instances(aws, tags)
        if not tagged:
            named = ", ".join(f"{key}={value}" for key, value in tags)
            raise AwsError(f"no instance in {aws.region} is tagged {named}")
        instances += tagged
    if not (instances or asked["alarms"] or asked["accounts"] or asked["dropped"] or asked["fleet"]):
        here = found.instance or fetch_instance_id()
        instances += [here] if here else []
    is_new = find_stack(aws, asked["name"]) is None
    # The settings speak for a new stack; on one that is there, only what is asked for changes.
    if is_new:
        defaults = {"lang": found.lang, "zone": found.zone or None, "channel": found.channel or None}
        asked = {**asked, **{key: value for key, value in defaults.items() if asked[key] is None}}
    return StackSpec(**{**asked, "instances": tuple(dict.fromkeys(instances)), "webhook": found.webhook})


def read_deployed_state(aws: AwsSession, wish: StackSpec) -> DeployedState:
    """Read all that a plan depends on; changes nothing."""
    place = _place(aws, wish.name)
    stack = find_stack(aws, wish.name)
    named = (wish.bucket, stack.parameters.get("CodeBucket") if stack else None, place.default_bucket)
    buckets = [bucket for bucket in dict.fromkeys(named) if bucket and storage.has_bucket(aws, bucket)]
    return DeployedState(
        place=place,
        stack=stack,
        webhook=read_ssm_webhook(aws, place.webhook_parameter),
        keys_by_bucket={bucket: storage.list_object_keys(aws, bucket, place.key_prefix) for bucket in buckets},
        alarms_on_topic=tuple(
            alarm.name for alarm in find_alarms_on_topic(aws, place.topic_arn) if alarm.name not in _own(stack)
        ),
        existing_alarms=tuple(alarm.name for alarm in find_alarms_by_name(aws, wish.alarms)),
    )


def prepare_deploy_plan(aws: AwsSession, wish: StackSpec) -> Plan:
    """What ``cwnotify deploy`` would do; changes nothing."""
    check_instances_exist(aws, wish.instances)
    found = read_deployed_state(aws, wish)
    if wish.boundary is None:
        found = replace(found, existing_boundary_arn=find_boundary_policy(aws, found.place.boundary_arn))
    if found.stack and "CodeKey" in found.stack.parameters:
        bucket, key = found.stack.parameters["CodeBucket"], found.stack.parameters["CodeKey"]
        stored = storage.read_object_sha256(aws, bucket, key) if bucket in found.keys_by_bucket else ""
        found = replace(found, stored_sha256=stored, deployed_sha256=fetch_deployed_sha256(aws, wish.name))
    return compute_deploy_steps(wish, found, make_zip(), secrets.token_hex(8))


def find_boundary_policy(aws: AwsSession, arn: str) -> str:
    """`arn` if there is such a policy; empty if there is none."""
    return arn if aws.call_or_none("iam", "get_policy", ("NoSuchEntity",), PolicyArn=arn) else ""


def prepare_teardown_plan(aws: AwsSession, name: str) -> Plan:
    """What ``cwnotify teardown`` would do; changes nothing."""
    return compute_teardown_steps(read_deployed_state(aws, StackSpec(name)))


def apply_plan(
    aws: AwsSession, steps: Plan, begun: Callable[[PlannedChange], None], tell: Callable[[StackEvent], None]
) -> None:
    """Take the steps of a plan, one after the other.

    Parameters
    ----------
    begun
        Called for each line of a step as the step begins.
    tell
        Called for everything that CloudFormation does.
    """
    for step in steps:
        for change in step.changes:
            begun(change)
        step.execute(aws, tell)


def read_stack_summary(aws: AwsSession, name: str) -> StackSummary:
    """What is deployed.

    Raises
    ------
    AwsError
        If nothing is.
    """
    place, stack = _place(aws, name), get_deployed_stack(aws, name)
    own = _own(stack)
    routed = tuple(name for route in parse_alarm_rules(stack.template) for name in route.alarms)
    states = {alarm.name: alarm.state for alarm in find_alarms_by_name(aws, (*own, *routed))}
    queue = stack.outputs.get("DeadLetters")
    parameters = stack.parameters
    return StackSummary(
        place=place,
        status=stack.status,
        webhook=get_webhook_reference(stack),
        lang=parameters.get("Lang", ""),
        fleet=parameters.get("Prefix", "") if parameters.get("Fleet") == "yes" else "",
        alarms=tuple((alarm, states.get(alarm, "missing")) for alarm in own),
        attached=tuple((alarm, states.get(alarm, "missing")) for alarm in routed),
        on_topic=tuple(
            (one.name, one.state) for one in find_alarms_on_topic(aws, place.topic_arn) if one.name not in own
        ),
        kms_key=parameters.get("KmsKey", ""),
        accounts=tuple(filter(None, parameters.get("Accounts", "").split(","))),
        undelivered=count_undelivered(aws, queue) if queue else 0,
    )


def get_deployed_stack(aws: AwsSession, name: str) -> Stack:
    """The stack of this name.

    Raises
    ------
    AwsError
        If there is none.
    """
    stack = find_stack(aws, name)
    if stack is None or "CodeKey" not in stack.parameters:
        raise AwsError(f"no stack {name} is deployed in {aws.region}", hint="make it with: cwnotify deploy")
    return stack


def check_instances_exist(aws: AwsSession, ids: Iterable[str]) -> None:
    """Refuse instances that are not there, whose alarms would cry at once.

    Raises
    ------
    AwsError
        With the ids that AWS does not know here.
    """
    wanted = list(ids)
    if not wanted:
        return
    known = _living(aws, {"instance-id": wanted})
    if strangers := [id for id in wanted if id not in known]:
        raise AwsError(f"there is no instance {', '.join(strangers)} in {aws.region}", hint="is that the right region?")


def find_tagged_instances(aws: AwsSession, tags: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The instances that bear all these tags and have not been terminated."""
    return _living(aws, {f"tag:{key}": [value] for key, value in tags})


def _living(aws: AwsSession, filters: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(one["InstanceId"] for one in describe_instances(aws, filters) if is_instance_alive(one))


def _own(stack: Stack | None) -> tuple[str, ...]:
    """The names of the stack's own alarms."""
    if stack is None:
        return ()
    names = [name for watch in parse_instance_watches(stack.template) for name in watch.alarm_name_suffixes]
    return tuple(stack.parameters.get("Prefix", "") + name for name in (*names, "undelivered"))


def _place(aws: AwsSession, name: str) -> StackLocation:
    return StackLocation(name, aws.account_id, aws.region, aws.partition)
