"""AWS: who we are there, what we may do, what is watched. Each thing by trying it, and by reading only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cwnotify.alerts.locale import format_duration
from cwnotify.aws import cloudwatch, ec2
from cwnotify.aws.models import CloudWatchAlarm, Ec2Instance, InstanceIdentity, MetricSeries
from cwnotify.aws.session import AwsSession
from cwnotify.doctor.findings import Finding, format_count, report_error, report_note, report_ok, report_problem
from cwnotify.errors import AwsError, AwsErrorKind
from cwnotify.settings import Settings

DEFAULT_STACK_NAME = "cwnotify"
DATAPOINT_LOOKBACK = 3600.0
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
class ActionResult:
    """What came of trying an action: what it gave, or why it was refused."""

    action: str
    response: Any = None
    error: AwsError | None = None


def diagnose_aws(aws: AwsSession, found: Settings, here: InstanceIdentity) -> Iterator[Finding]:
    """All that concerns AWS; where nothing of it is set up or wanted, a single note."""
    yield evaluate_identity(here)
    try:
        source = aws.credentials_source
        region = aws.region
    except AwsError as error:
        yield evaluate_missing_setup(error, is_required=bool(here.instance_id or found.instance or found.alarms))
        return
    yield report_ok(
        "Region",
        f"{region}{'' if not here.region or region == here.region else f', but this instance is in {here.region}'}",
    )
    who = try_action("sts:GetCallerIdentity", lambda: aws.call("sts", "get_caller_identity")["Arn"])
    yield evaluate_credentials(source, who)
    if who.error and who.error.kind in _HOPELESS:
        return
    ids = _several(found.instance) or ((here.instance_id,) if here.instance_id else ())
    tried = try_watch_actions(aws, ids, time.time())
    yield from evaluate_permissions(tried)
    given = {one.action: one.response for one in tried if not one.error}
    if "ec2:DescribeInstances" in given and ids:
        yield from evaluate_instances(ids, given["ec2:DescribeInstances"], region)
    if "cloudwatch:GetMetricData" in given and ids:
        yield from evaluate_datapoints(given["cloudwatch:GetMetricData"], time.time())
    if "cloudwatch:DescribeAlarms" in given:
        yield evaluate_alarms(given["cloudwatch:DescribeAlarms"], ids, _several(found.alarms))
    yield from diagnose_stack(aws)


def try_watch_actions(aws: AwsSession, ids: Sequence[str], now: float) -> list[ActionResult]:
    """Try each thing that the watch does."""
    named = ids or (_NOBODY,)
    metrics = cloudwatch.find_metrics(aws, "cpu", named)
    asked: dict[str, Callable[[], Any]] = {
        "cloudwatch:GetMetricData": lambda: cloudwatch.read_series(aws, metrics, now - DATAPOINT_LOOKBACK, now),
        "cloudwatch:DescribeAlarms": lambda: cloudwatch.read_alarms(aws),
        "cloudwatch:DescribeAlarmHistory": lambda: aws.call("cloudwatch", "describe_alarm_history", MaxRecords=1),
        "cloudwatch:ListMetrics": lambda: cloudwatch.find_metrics(aws, "mem", named),
        "ec2:DescribeInstances": lambda: ec2.read_instances(aws, named),
    }
    return [try_action(action, ask) for action, ask in asked.items()]


def try_action(action: str, ask: Callable[[], Any]) -> ActionResult:
    """Ask, and note what came of it."""
    try:
        return ActionResult(action, ask())
    except AwsError as error:
        return ActionResult(action, error=error)


def evaluate_identity(here: InstanceIdentity) -> Finding:
    """Which instance this machine is."""
    if not here.instance_id:
        hint = "if it is one: in a container, its metadata needs a hop limit of 2; or set CWNOTIFY_INSTANCE"
        return report_note("Instance", "this machine is no EC2 instance, or cannot read its metadata", hint)
    spot = ", a Spot instance" if here.is_spot else ""
    return report_ok("Instance", f"this is {here.instance_id}, {here.instance_type} in {here.availability_zone}{spot}")


def evaluate_missing_setup(error: AwsError, is_required: bool) -> Finding:
    """No credentials or no region: wrong only where there is something to watch."""
    if is_required:
        return report_error("AWS", error)
    return report_note("AWS", "not set up; runs are told without it", "to watch CPU and alarms too: aws configure")


def evaluate_credentials(source: str, who: ActionResult) -> Finding:
    """Whose credentials they are; of the account only the end is told."""
    if not who.error:
        return report_ok("Credentials", f"{mask_account_id(who.response)}, from {source}")
    if who.error.kind in _HOPELESS:
        return report_error("Credentials", who.error)
    return report_note("Credentials", f"from {source}; whose they are is not told ({who.error.code})")


def evaluate_permissions(tried: Sequence[ActionResult]) -> Iterator[Finding]:
    """What is allowed, in one line; what is denied, in one line; what else went wrong, in one each."""
    if allowed := [one.action for one in tried if not one.error]:
        yield report_ok("Permissions", f"allowed: {', '.join(allowed)}")
    errors = [one.error for one in tried if one.error]
    if denied := [error for error in errors if error.kind == AwsErrorKind.DENIED]:
        actions = ", ".join(error.action for error in denied)
        yield report_problem("Permissions", f"AWS denies {actions}", report_error("Permissions", denied[0]).todo)
    for error in errors:
        if error.kind != AwsErrorKind.DENIED:
            yield report_error("Permissions", error)


def evaluate_instances(ids: Sequence[str], known: Sequence[Ec2Instance], region: str) -> Iterator[Finding]:
    """Whether what is watched is there, and how often it is measured."""
    found = {one.id: one for one in known}
    for id in ids:
        if id not in found:
            yield report_problem(
                "Monitoring", f"there is no instance {id} in {region}", "check AWS_DEFAULT_REGION and CWNOTIFY_INSTANCE"
            )
            continue
        one = found[id]
        often = "minute (detailed)" if one.has_detailed_monitoring else "5 minutes (basic)"
        todo = (
            ""
            if one.has_detailed_monitoring
            else f"for one each minute, which costs extra: aws ec2 monitor-instances --instance-ids {id}"
        )
        make = report_note if todo else lambda part, text, _: report_ok(part, text)
        yield make("Monitoring", f"{one.id} is {one.state}; a datapoint every {often}", todo)


def evaluate_datapoints(series: Sequence[MetricSeries], now: float) -> Iterator[Finding]:
    """How old the newest datapoint of each instance is."""
    for one in series:
        if not one.points:
            text = f"none of {one.metric.instance_id}'s CPU in the last hour"
            yield report_note(
                "Datapoints", text, "a stopped instance sends none; one that has just started needs ten minutes"
            )
        else:
            at, value = one.points[-1]
            yield report_ok(
                "Datapoints", f"{one.metric.instance_id}: {value:.0f} % CPU, {format_duration(now - at, 'en')} old"
            )


def evaluate_alarms(alarms: Sequence[CloudWatchAlarm], ids: Sequence[str], wanted: Sequence[str]) -> Finding:
    """Which alarms are watched: those of the instances, or those that are wanted by name."""
    if missing := [name for name in wanted if not any(_is_called(one, name) for one in alarms)]:
        return report_problem(
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
            else f"{format_count(len(alarms), 'alarm')} in the region; none is watched"
        )
        return report_note("Alarms", about, "to make some: cwnotify deploy --plan")
    shown = ", ".join(f"{one.name} ({one.state})" for one in mine[:_MOST_NAMED])
    return report_ok("Alarms", f"{shown}{f' and {len(mine) - _MOST_NAMED} more' if len(mine) > _MOST_NAMED else ''}")


def diagnose_stack(aws: AwsSession) -> Iterator[Finding]:
    """The stack through which alarms reach Slack without any machine of yours, and the key of its topic."""
    from cwnotify.deploy.cloudformation import find_stack
    from cwnotify.deploy.kms_keys import fetch_key_policy
    from cwnotify.deploy.redrive import count_undelivered

    key = ""

    def ask() -> tuple[str, int] | None:
        nonlocal key
        stack = find_stack(aws, DEFAULT_STACK_NAME)
        if stack is None:
            return None
        key = stack.parameters.get("KmsKey", "")
        queue = stack.outputs.get("DeadLetters")
        return stack.status, count_undelivered(aws, queue) if queue else 0

    yield evaluate_stack(try_action("cloudformation:DescribeStacks", ask))
    if key:
        yield evaluate_topic_key(key, try_action("kms:GetKeyPolicy", lambda: fetch_key_policy(aws, key)))


def evaluate_topic_key(key: str, tried: ActionResult) -> Finding:
    """Whether CloudWatch may use the key of the topic; without that, no alarm reaches it."""
    from cwnotify.deploy.kms_keys import KEY_POLICY_HINT, allows_cloudwatch

    shown = mask_account_id(key)
    if tried.error and tried.error.kind != AwsErrorKind.DENIED:
        return report_error("Key", tried.error)
    if tried.error:
        return report_note(
            "Key", f"{shown} encrypts the topic; its policy cannot be read ({tried.error.action})", KEY_POLICY_HINT
        )
    if not allows_cloudwatch(tried.response):
        return report_problem(
            "Key", f"CloudWatch may not use {shown}, so alarms cannot publish to the topic", KEY_POLICY_HINT
        )
    return report_ok("Key", f"{shown} encrypts the topic, and its policy lets CloudWatch use it")


def evaluate_stack(tried: ActionResult) -> Finding:
    """Whether it is there, and has told everything. A notebook's own role need not be able to see it."""
    if tried.error:
        if tried.error.kind == AwsErrorKind.DENIED:
            return report_note("Stack", f"cannot be seen from here ({tried.error.action}), which a notebook need not")
        return report_error("Stack", tried.error)
    if tried.response is None:
        return report_note(
            "Stack", "none is deployed", "to hear of alarms without any machine of yours: cwnotify deploy --plan"
        )
    status, left = tried.response
    if left:
        return report_problem(
            "Stack", f"{format_count(left, 'change')} of alarms could not be delivered to Slack", "cwnotify redrive"
        )
    if not status.endswith("_COMPLETE") or "ROLLBACK" in status:
        return report_problem("Stack", f"{DEFAULT_STACK_NAME} is in {status}", "cwnotify stack, then: cwnotify deploy")
    return report_ok("Stack", f"{DEFAULT_STACK_NAME} is deployed ({status}), and has nothing undelivered")


def mask_account_id(arn: str) -> str:
    """An ARN of which only the last four digits of the account are told."""
    parts = arn.split(":")
    return ":".join((*parts[:4], f"********{parts[4][-4:]}", *parts[5:])) if len(parts) > 5 else arn


def _is_called(alarm: CloudWatchAlarm, name: str) -> bool:
    return alarm.name.startswith(name[:-1]) if name.endswith("*") else alarm.name == name


def _several(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))
