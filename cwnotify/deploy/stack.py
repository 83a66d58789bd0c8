"""The alarm -> Slack stack: look (reads only), plan, apply, tear down, show. boto3 by way of `cwnotify.aws.session`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cwnotify.aws.alarm_actions import alarms_on, find_alarms
from cwnotify.aws.ec2 import describe, is_alive
from cwnotify.aws.secrets import read_webhook
from cwnotify.aws.session import Aws
from cwnotify.deploy import storage
from cwnotify.deploy.bundle import make_zip
from cwnotify.deploy.cloudformation import Progress, Stack, find_stack
from cwnotify.deploy.invoke import deployed_sha256
from cwnotify.deploy.plan import plan_deploy, plan_teardown, webhook_reference
from cwnotify.deploy.redrive import undelivered
from cwnotify.deploy.spec import Change, Found, Place, Plan, Wish
from cwnotify.deploy.template import read_routes, read_watches
from cwnotify.errors import AwsError
from cwnotify.host.instance_metadata import this_instance
from cwnotify.settings import Settings


@dataclass(frozen=True)
class Shown:
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

    place: Place
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


def wish(aws: Aws, found: Settings, tags: Iterable[tuple[str, str]], asked: Mapping[str, Any]) -> Wish:
    """What is wished for, once the settings and this machine are asked too.

    Parameters
    ----------
    tags
        Key and value that the instances to be watched bear.
    asked
        `Wish`'s fields; None where nothing was asked.
    """
    instances = list(asked["instances"])
    if tags:
        tagged = tagged_instances(aws, tags)
        if not tagged:
            named = ", ".join(f"{key}={value}" for key, value in tags)
            raise AwsError(f"no instance in {aws.region} is tagged {named}")
        instances += tagged
    if not (instances or asked["alarms"] or asked["accounts"] or asked["dropped"] or asked["fleet"]):
        here = found.instance or this_instance()
        instances += [here] if here else []
    is_new = find_stack(aws, asked["name"]) is None
    # The settings speak for a new stack; on one that is there, only what is asked for changes.
    if is_new:
        defaults = {"lang": found.lang, "zone": found.zone or None, "channel": found.channel or None}
        asked = {**asked, **{key: value for key, value in defaults.items() if asked[key] is None}}
    return Wish(**{**asked, "instances": tuple(dict.fromkeys(instances)), "webhook": found.webhook})


def look(aws: Aws, wish: Wish) -> Found:
    """Read all that a plan depends on; changes nothing."""
    place = _place(aws, wish.name)
    stack = find_stack(aws, wish.name)
    named = (wish.bucket, stack.parameters.get("CodeBucket") if stack else None, place.bucket)
    buckets = [bucket for bucket in dict.fromkeys(named) if bucket and storage.has_bucket(aws, bucket)]
    return Found(
        place=place,
        stack=stack,
        webhook=read_webhook(aws, place.parameter),
        code={bucket: storage.keys(aws, bucket, place.keys) for bucket in buckets},
        on_topic=tuple(alarm.name for alarm in alarms_on(aws, place.topic) if alarm.name not in _own(stack)),
        alarms=tuple(alarm.name for alarm in find_alarms(aws, wish.alarms)),
    )


def plan(aws: Aws, wish: Wish) -> Plan:
    """What ``cwnotify deploy`` would do; changes nothing."""
    check_instances(aws, wish.instances)
    found = look(aws, wish)
    if wish.boundary is None:
        found = replace(found, boundary=find_boundary(aws, found.place.boundary))
    if found.stack and "CodeKey" in found.stack.parameters:
        bucket, key = found.stack.parameters["CodeBucket"], found.stack.parameters["CodeKey"]
        stored = storage.stored_sha256(aws, bucket, key) if bucket in found.code else ""
        found = replace(found, stored_sha256=stored, deployed_sha256=deployed_sha256(aws, wish.name))
    return plan_deploy(wish, found, make_zip(), secrets.token_hex(8))


def find_boundary(aws: Aws, arn: str) -> str:
    """`arn` if there is such a policy; empty if there is none."""
    return arn if aws.find("iam", "get_policy", ("NoSuchEntity",), PolicyArn=arn) else ""


def plan_removal(aws: Aws, name: str) -> Plan:
    """What ``cwnotify teardown`` would do; changes nothing."""
    return plan_teardown(look(aws, Wish(name)))


def apply(aws: Aws, steps: Plan, begun: Callable[[Change], None], tell: Callable[[Progress], None]) -> None:
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
        step.do(aws, tell)


def show(aws: Aws, name: str) -> Shown:
    """What is deployed.

    Raises
    ------
    AwsError
        If nothing is.
    """
    place, stack = _place(aws, name), deployed(aws, name)
    own = _own(stack)
    routed = tuple(name for route in read_routes(stack.template) for name in route.alarms)
    states = {alarm.name: alarm.state for alarm in find_alarms(aws, (*own, *routed))}
    queue = stack.outputs.get("DeadLetters")
    parameters = stack.parameters
    return Shown(
        place=place,
        status=stack.status,
        webhook=webhook_reference(stack),
        lang=parameters.get("Lang", ""),
        fleet=parameters.get("Prefix", "") if parameters.get("Fleet") == "yes" else "",
        alarms=tuple((alarm, states.get(alarm, "missing")) for alarm in own),
        attached=tuple((alarm, states.get(alarm, "missing")) for alarm in routed),
        on_topic=tuple((one.name, one.state) for one in alarms_on(aws, place.topic) if one.name not in own),
        kms_key=parameters.get("KmsKey", ""),
        accounts=tuple(filter(None, parameters.get("Accounts", "").split(","))),
        undelivered=undelivered(aws, queue) if queue else 0,
    )


def deployed(aws: Aws, name: str) -> Stack:
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


def check_instances(aws: Aws, ids: Iterable[str]) -> None:
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


def tagged_instances(aws: Aws, tags: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The instances that bear all these tags and have not been terminated."""
    return _living(aws, {f"tag:{key}": [value] for key, value in tags})


def _living(aws: Aws, filters: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(one["InstanceId"] for one in describe(aws, filters) if is_alive(one))


def _own(stack: Stack | None) -> tuple[str, ...]:
    """The names of the stack's own alarms."""
    if stack is None:
        return ()
    names = [name for watch in read_watches(stack.template) for name in watch.names]
    return tuple(stack.parameters.get("Prefix", "") + name for name in (*names, "undelivered"))


def _place(aws: Aws, name: str) -> Place:
    return Place(name, aws.account, aws.region, aws.partition)
