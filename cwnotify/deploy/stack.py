"""The stack that sends alarms to Slack: read its state, plan, apply, summarize. boto3 through `AwsSession`."""

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
from cwnotify.deploy.plan import (
    check_is_readable,
    compute_deploy_steps,
    compute_teardown_steps,
    get_webhook_reference,
)
from cwnotify.deploy.redrive import count_undelivered
from cwnotify.deploy.spec import DeployedState, Plan, PlannedChange, StackLocation, StackSpec
from cwnotify.deploy.template import parse_alarm_rules, parse_instance_watches
from cwnotify.errors import AwsError
from cwnotify.host.instance_metadata import fetch_instance_id
from cwnotify.settings import Settings


@dataclass(frozen=True)
class StackSummary:
    """What ``cwnotify stack`` shows.

    Parameters
    ----------
    alarms
        Name and state of each of the stack's own alarms.
    attached
        The same of the existing alarms that a rule sends.
    on_topic
        The same of other alarms that act on the stack's topic themselves.
    kms_key
        The key that encrypts the topic; empty for none.
    accounts
        Other accounts whose alarms may publish to the topic.
    undelivered
        Messages in the dead-letter queue.
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
    aws: AwsSession, settings: Settings, tags: Iterable[tuple[str, str]], options: Mapping[str, Any]
) -> StackSpec:
    """Return the desired stack: the user's options, completed from the settings and this machine.

    Parameters
    ----------
    tags
        Key and value of the tags that select more instances to watch.
    options
        `StackSpec`'s fields; None where the user gave none.

    Raises
    ------
    AwsError
        If no instance has these tags.
    UsageError
        If an option is invalid.
    """
    instances = list(options["instances"])
    if tags:
        tagged = find_tagged_instances(aws, tags)
        if not tagged:
            text = ", ".join(f"{key}={value}" for key, value in tags)
            raise AwsError(f"no instance in {aws.region} is tagged {text}", hint="check the tag and AWS_DEFAULT_REGION")
        instances += tagged
    if not (instances or options["alarms"] or options["accounts"] or options["dropped"] or options["fleet"]):
        instance = settings.instance or fetch_instance_id()
        instances += [instance] if instance else []
    # The settings apply to a new stack only; of a deployed one, only what an option names changes.
    if find_stack(aws, options["name"]) is None:
        defaults = {"lang": settings.lang, "zone": settings.zone or None, "channel": settings.channel or None}
        options = {**options, **{key: value for key, value in defaults.items() if options[key] is None}}
    return StackSpec(**{**options, "instances": tuple(dict.fromkeys(instances)), "webhook": settings.webhook})


def read_deployed_state(aws: AwsSession, spec: StackSpec) -> DeployedState:
    """Read what a plan depends on. Changes nothing."""
    place = _locate_stack(aws, spec.name)
    stack = find_stack(aws, spec.name)
    names = (spec.bucket, stack.parameters.get("CodeBucket") if stack else None, place.default_bucket)
    buckets = [bucket for bucket in dict.fromkeys(names) if bucket and storage.has_bucket(aws, bucket)]
    own_alarms = _list_own_alarms(stack)
    return DeployedState(
        place=place,
        stack=stack,
        webhook=read_ssm_webhook(aws, place.webhook_parameter),
        keys_by_bucket={bucket: storage.list_object_keys(aws, bucket, place.key_prefix) for bucket in buckets},
        alarms_on_topic=tuple(
            alarm.name for alarm in find_alarms_on_topic(aws, place.topic_arn) if alarm.name not in own_alarms
        ),
        existing_alarms=tuple(alarm.name for alarm in find_alarms_by_name(aws, spec.alarms)),
    )


def prepare_deploy_plan(aws: AwsSession, spec: StackSpec) -> Plan:
    """Return what ``cwnotify deploy`` would do. Changes nothing."""
    check_instances_exist(aws, spec.instances)
    state = read_deployed_state(aws, spec)
    if spec.boundary is None:
        state = replace(state, existing_boundary_arn=find_boundary_policy(aws, state.place.boundary_arn))
    if state.stack and "CodeKey" in state.stack.parameters:
        bucket, key = state.stack.parameters["CodeBucket"], state.stack.parameters["CodeKey"]
        stored = storage.read_object_sha256(aws, bucket, key) if bucket in state.keys_by_bucket else ""
        state = replace(state, stored_sha256=stored, deployed_sha256=fetch_deployed_sha256(aws, spec.name))
    return compute_deploy_steps(spec, state, make_zip(), secrets.token_hex(8))


def find_boundary_policy(aws: AwsSession, arn: str) -> str:
    """Return `arn` if that policy exists, otherwise an empty text."""
    return arn if aws.call_or_none("iam", "get_policy", ("NoSuchEntity",), PolicyArn=arn) else ""


def prepare_teardown_plan(aws: AwsSession, name: str) -> Plan:
    """Return what ``cwnotify teardown`` would do. Changes nothing."""
    return compute_teardown_steps(read_deployed_state(aws, StackSpec(name)))


def apply_plan(
    aws: AwsSession, steps: Plan, on_change: Callable[[PlannedChange], None], on_event: Callable[[StackEvent], None]
) -> None:
    """Execute the steps of a plan, one after the other.

    Parameters
    ----------
    on_change
        Called for each change of a step when the step begins.
    on_event
        Called for each event of CloudFormation.
    """
    for step in steps:
        for change in step.changes:
            on_change(change)
        step.execute(aws, on_event)


def read_stack_summary(aws: AwsSession, name: str) -> StackSummary:
    """Return what is deployed.

    Raises
    ------
    AwsError
        If no stack is deployed, or an earlier version deployed it.
    """
    place, stack = _locate_stack(aws, name), get_deployed_stack(aws, name)
    check_is_readable(stack)
    own_alarms = _list_own_alarms(stack)
    attached = tuple(name for rule in parse_alarm_rules(stack.template) for name in rule.alarms)
    states = {alarm.name: alarm.state for alarm in find_alarms_by_name(aws, (*own_alarms, *attached))}
    queue = stack.outputs.get("DeadLetters")
    parameters = stack.parameters
    return StackSummary(
        place=place,
        status=stack.status,
        webhook=get_webhook_reference(stack),
        lang=parameters.get("Lang", ""),
        fleet=parameters.get("Prefix", "") if parameters.get("Fleet") == "yes" else "",
        alarms=tuple((alarm, states.get(alarm, "missing")) for alarm in own_alarms),
        attached=tuple((alarm, states.get(alarm, "missing")) for alarm in attached),
        on_topic=tuple(
            (alarm.name, alarm.state)
            for alarm in find_alarms_on_topic(aws, place.topic_arn)
            if alarm.name not in own_alarms
        ),
        kms_key=parameters.get("KmsKey", ""),
        accounts=tuple(filter(None, parameters.get("Accounts", "").split(","))),
        undelivered=count_undelivered(aws, queue) if queue else 0,
    )


def get_deployed_stack(aws: AwsSession, name: str) -> Stack:
    """Return the stack with this name.

    Raises
    ------
    AwsError
        If cwnotify deployed no such stack.
    """
    stack = find_stack(aws, name)
    if stack is None or "CodeKey" not in stack.parameters:
        raise AwsError(f"no stack {name} is deployed in {aws.region}", hint="make it with: cwnotify deploy")
    return stack


def check_instances_exist(aws: AwsSession, ids: Iterable[str]) -> None:
    """Reject instances that do not exist. Their alarms would fire immediately.

    Raises
    ------
    AwsError
        With the IDs that AWS does not know in this region.
    """
    ids = list(ids)
    if not ids:
        return
    existing = _list_living_instances(aws, {"instance-id": ids})
    if missing := [id for id in ids if id not in existing]:
        raise AwsError(f"there is no instance {', '.join(missing)} in {aws.region}", hint="check AWS_DEFAULT_REGION")


def find_tagged_instances(aws: AwsSession, tags: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the instances that have all these tags and are not terminated."""
    return _list_living_instances(aws, {f"tag:{key}": [value] for key, value in tags})


def _list_living_instances(aws: AwsSession, filters: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(instance["InstanceId"] for instance in describe_instances(aws, filters) if is_instance_alive(instance))


def _list_own_alarms(stack: Stack | None) -> tuple[str, ...]:
    """Return the names of the stack's own alarms."""
    if stack is None:
        return ()
    names = [name for watch in parse_instance_watches(stack.template) for name in watch.alarm_name_suffixes]
    return tuple(stack.parameters.get("Prefix", "") + name for name in (*names, "undelivered"))


def _locate_stack(aws: AwsSession, name: str) -> StackLocation:
    return StackLocation(name, aws.account_id, aws.region, aws.partition)
