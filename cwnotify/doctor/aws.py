"""AWS: who we are there, what we may do, what is watched. Each thing by trying it, and by reading only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cwnotify.alerts.locale import duration
from cwnotify.aws import cloudwatch, ec2
from cwnotify.aws.models import AlarmReading, Identity, InstanceReading, Series
from cwnotify.aws.session import Aws
from cwnotify.doctor.findings import Finding, count, fault, good, note, wrong
from cwnotify.errors import AwsError, AwsErrorKind
from cwnotify.settings import Settings

STACK = "cwnotify"
HOUR = 3600.0
# With one of these nothing else can be asked either.
_HOPELESS = (
    AwsErrorKind.CREDENTIALS,
    AwsErrorKind.EXPIRED,
    AwsErrorKind.OFFLINE,
    AwsErrorKind.CLOCK,
    AwsErrorKind.REGION,
)
# An id of the right shape that no instance has: what may be asked can be tried without one.
_NOBODY = "i-00000000000000000"
_MOST_NAMED = 5


@dataclass(frozen=True)
class Tried:
    """What came of trying an action: what it gave, or why it was refused."""

    action: str
    given: Any = None
    error: AwsError | None = None


def look_at_aws(aws: Aws, found: Settings, here: Identity) -> Iterator[Finding]:
    """All that concerns AWS; where nothing of it is set up or wanted, a single note."""
    yield judge_identity(here)
    try:
        source = aws.credentials
        region = aws.region
    except AwsError as error:
        yield judge_absence(error, wanted=bool(here.instance or found.instance or found.alarms))
        return
    yield good(
        "Region",
        f"{region}{'' if not here.region or region == here.region else f', but this instance is in {here.region}'}",
    )
    who = attempt("sts:GetCallerIdentity", lambda: aws.ask("sts", "get_caller_identity")["Arn"])
    yield judge_credentials(source, who)
    if who.error and who.error.kind in _HOPELESS:
        return
    ids = _several(found.instance) or ((here.instance,) if here.instance else ())
    tried = try_all(aws, ids, time.time())
    yield from judge_permissions(tried)
    given = {one.action: one.given for one in tried if not one.error}
    if "ec2:DescribeInstances" in given and ids:
        yield from judge_instances(ids, given["ec2:DescribeInstances"], region)
    if "cloudwatch:GetMetricData" in given and ids:
        yield from judge_datapoints(given["cloudwatch:GetMetricData"], time.time())
    if "cloudwatch:DescribeAlarms" in given:
        yield judge_alarms(given["cloudwatch:DescribeAlarms"], ids, _several(found.alarms))
    yield from look_at_stack(aws)


def try_all(aws: Aws, ids: Sequence[str], now: float) -> list[Tried]:
    """Try each thing that the watch does."""
    named = ids or (_NOBODY,)
    metrics = cloudwatch.find_metrics(aws, "cpu", named)
    asked: dict[str, Callable[[], Any]] = {
        "cloudwatch:GetMetricData": lambda: cloudwatch.read_series(aws, metrics, now - HOUR, now),
        "cloudwatch:DescribeAlarms": lambda: cloudwatch.read_alarms(aws),
        "cloudwatch:DescribeAlarmHistory": lambda: aws.ask("cloudwatch", "describe_alarm_history", MaxRecords=1),
        "cloudwatch:ListMetrics": lambda: cloudwatch.find_metrics(aws, "mem", named),
        "ec2:DescribeInstances": lambda: ec2.read_instances(aws, named),
    }
    return [attempt(action, ask) for action, ask in asked.items()]


def attempt(action: str, ask: Callable[[], Any]) -> Tried:
    """Ask, and note what came of it."""
    try:
        return Tried(action, ask())
    except AwsError as error:
        return Tried(action, error=error)


def judge_identity(here: Identity) -> Finding:
    """Which instance this machine is."""
    if not here.instance:
        hint = "if it is one: in a container, its metadata needs a hop limit of 2; or set CWNOTIFY_INSTANCE"
        return note("Instance", "this machine is no EC2 instance, or cannot read its metadata", hint)
    spot = ", a Spot instance" if here.is_spot else ""
    return good("Instance", f"this is {here.instance}, {here.type} in {here.zone}{spot}")


def judge_absence(error: AwsError, wanted: bool) -> Finding:
    """No credentials or no region: wrong only where there is something to watch."""
    if wanted:
        return fault("AWS", error)
    return note("AWS", "not set up; runs are told without it", "to watch CPU and alarms too: aws configure")


def judge_credentials(source: str, who: Tried) -> Finding:
    """Whose credentials they are; of the account only the end is told."""
    if not who.error:
        return good("Credentials", f"{masked(who.given)}, from {source}")
    if who.error.kind in _HOPELESS:
        return fault("Credentials", who.error)
    return note("Credentials", f"from {source}; whose they are is not told ({who.error.code})")


def judge_permissions(tried: Sequence[Tried]) -> Iterator[Finding]:
    """What is allowed, in one line; what is denied, in one line; what else went wrong, in one each."""
    if allowed := [one.action for one in tried if not one.error]:
        yield good("Permissions", f"allowed: {', '.join(allowed)}")
    errors = [one.error for one in tried if one.error]
    if denied := [error for error in errors if error.kind == AwsErrorKind.DENIED]:
        actions = ", ".join(error.action for error in denied)
        yield wrong("Permissions", f"AWS denies {actions}", fault("Permissions", denied[0]).todo)
    for error in errors:
        if error.kind != AwsErrorKind.DENIED:
            yield fault("Permissions", error)


def judge_instances(ids: Sequence[str], known: Sequence[InstanceReading], region: str) -> Iterator[Finding]:
    """Whether what is watched is there, and how often it is measured."""
    found = {one.id: one for one in known}
    for id in ids:
        if id not in found:
            yield wrong(
                "Monitoring", f"there is no instance {id} in {region}", "check AWS_DEFAULT_REGION and CWNOTIFY_INSTANCE"
            )
            continue
        one = found[id]
        often = "minute (detailed)" if one.detailed else "5 minutes (basic)"
        todo = (
            ""
            if one.detailed
            else f"for one each minute, which costs extra: aws ec2 monitor-instances --instance-ids {id}"
        )
        make = note if todo else lambda part, text, _: good(part, text)
        yield make("Monitoring", f"{one.id} is {one.state}; a datapoint every {often}", todo)


def judge_datapoints(series: Sequence[Series], now: float) -> Iterator[Finding]:
    """How old the newest datapoint of each instance is."""
    for one in series:
        if not one.points:
            text = f"none of {one.metric.instance}'s CPU in the last hour"
            yield note("Datapoints", text, "a stopped instance sends none; one that has just started needs ten minutes")
        else:
            at, value = one.points[-1]
            yield good("Datapoints", f"{one.metric.instance}: {value:.0f} % CPU, {duration(now - at, 'en')} old")


def judge_alarms(alarms: Sequence[AlarmReading], ids: Sequence[str], wanted: Sequence[str]) -> Finding:
    """Which alarms are watched: those of the instances, or those that are wanted by name."""
    if missing := [name for name in wanted if not any(_is_called(one, name) for one in alarms)]:
        return wrong(
            "Alarms", f"there is no alarm {', '.join(missing)} here", "check CWNOTIFY_ALARMS and AWS_DEFAULT_REGION"
        )
    mine = [
        one
        for one in alarms
        if (
            any(_is_called(one, name) for name in wanted)
            if wanted
            else any(value in ids for _, value in one.dimensions)
        )
    ]
    if not mine:
        about = (
            f"none is about {', '.join(ids)}"
            if ids
            else f"{count(len(alarms), 'alarm')} in the region; none is watched"
        )
        return note("Alarms", about, "to make some: cwnotify deploy --plan")
    shown = ", ".join(f"{one.name} ({one.state})" for one in mine[:_MOST_NAMED])
    return good("Alarms", f"{shown}{f' and {len(mine) - _MOST_NAMED} more' if len(mine) > _MOST_NAMED else ''}")


def look_at_stack(aws: Aws) -> Iterator[Finding]:
    """The stack through which alarms reach Slack without any machine of yours, and the key of its topic."""
    from cwnotify.deploy.cloudformation import find_stack
    from cwnotify.deploy.kms_keys import read_policy
    from cwnotify.deploy.redrive import undelivered

    key = ""

    def ask() -> tuple[str, int] | None:
        nonlocal key
        stack = find_stack(aws, STACK)
        if stack is None:
            return None
        key = stack.parameters.get("KmsKey", "")
        queue = stack.outputs.get("DeadLetters")
        return stack.status, undelivered(aws, queue) if queue else 0

    yield judge_stack(attempt("cloudformation:DescribeStacks", ask))
    if key:
        yield judge_key(key, attempt("kms:GetKeyPolicy", lambda: read_policy(aws, key)))


def judge_key(key: str, tried: Tried) -> Finding:
    """Whether CloudWatch may use the key of the topic; without that, no alarm reaches it."""
    from cwnotify.deploy.kms_keys import HOW_TO_ALLOW, lets_cloudwatch

    shown = masked(key)
    if tried.error and tried.error.kind != AwsErrorKind.DENIED:
        return fault("Key", tried.error)
    if tried.error:
        return note(
            "Key", f"{shown} encrypts the topic; its policy cannot be read ({tried.error.action})", HOW_TO_ALLOW
        )
    if not lets_cloudwatch(tried.given):
        return wrong("Key", f"CloudWatch may not use {shown}, so alarms cannot publish to the topic", HOW_TO_ALLOW)
    return good("Key", f"{shown} encrypts the topic, and its policy lets CloudWatch use it")


def judge_stack(tried: Tried) -> Finding:
    """Whether it is there, and has told everything. A notebook's own role need not be able to see it."""
    if tried.error:
        if tried.error.kind == AwsErrorKind.DENIED:
            return note("Stack", f"cannot be seen from here ({tried.error.action}), which a notebook need not")
        return fault("Stack", tried.error)
    if tried.given is None:
        return note(
            "Stack", "none is deployed", "to hear of alarms without any machine of yours: cwnotify deploy --plan"
        )
    status, left = tried.given
    if left:
        return wrong("Stack", f"{count(left, 'change')} of alarms could not be delivered to Slack", "cwnotify redrive")
    if not status.endswith("_COMPLETE") or "ROLLBACK" in status:
        return wrong("Stack", f"{STACK} is in {status}", "cwnotify stack, then: cwnotify deploy")
    return good("Stack", f"{STACK} is deployed ({status}), and has nothing undelivered")


def masked(arn: str) -> str:
    """An ARN of which only the last four digits of the account are told."""
    parts = arn.split(":")
    return ":".join((*parts[:4], f"********{parts[4][-4:]}", *parts[5:])) if len(parts) > 5 else arn


def _is_called(alarm: AlarmReading, name: str) -> bool:
    return alarm.name.startswith(name[:-1]) if name.endswith("*") else alarm.name == name


def _several(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))
