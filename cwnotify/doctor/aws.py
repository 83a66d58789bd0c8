"""Check AWS: the credentials, the permissions, and what is watched. It tries each request, and only reads."""

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
DATAPOINT_LOOKBACK = 3600.0  # seconds
# After one of these errors every other request fails too.
_FATAL_KINDS = (
    AwsErrorKind.CREDENTIALS,
    AwsErrorKind.EXPIRED,
    AwsErrorKind.OFFLINE,
    AwsErrorKind.CLOCK,
    AwsErrorKind.REGION,
)
# A well-formed ID that no instance has, to try permissions without an instance.
_UNUSED_INSTANCE_ID = "i-00000000000000000"
_MAX_LISTED_ALARMS = 5


@dataclass(frozen=True)
class ActionResult:
    """The result of trying an action: its response, or the error."""

    action: str
    response: Any = None
    error: AwsError | None = None


def diagnose_aws(aws: AwsSession, settings: Settings, identity: InstanceIdentity) -> Iterator[Finding]:
    """Yield all findings about AWS. If AWS is neither configured nor needed, yield a note."""
    yield evaluate_identity(identity)
    try:
        source = aws.credentials_source
        region = aws.region
    except AwsError as error:
        is_required = bool(identity.instance_id or settings.instance or settings.alarms)
        yield evaluate_missing_setup(error, is_required)
        return
    is_own_region = identity.region in ("", region)
    yield report_ok("Region", region if is_own_region else f"{region}, but this instance is in {identity.region}")
    caller = try_action("sts:GetCallerIdentity", lambda: aws.call("sts", "get_caller_identity")["Arn"])
    yield evaluate_credentials(source, caller)
    if caller.error and caller.error.kind in _FATAL_KINDS:
        return
    ids = _split_names(settings.instance) or ((identity.instance_id,) if identity.instance_id else ())
    results = try_watch_actions(aws, ids, time.time())
    yield from evaluate_permissions(results)
    responses = {result.action: result.response for result in results if not result.error}
    if "ec2:DescribeInstances" in responses and ids:
        yield from evaluate_instances(ids, responses["ec2:DescribeInstances"], region)
    if "cloudwatch:GetMetricData" in responses and ids:
        yield from evaluate_datapoints(responses["cloudwatch:GetMetricData"], time.time())
    if "cloudwatch:DescribeAlarms" in responses:
        yield evaluate_alarms(responses["cloudwatch:DescribeAlarms"], ids, _split_names(settings.alarms))
    yield from diagnose_stack(aws)


def try_watch_actions(aws: AwsSession, ids: Sequence[str], now: float) -> list[ActionResult]:
    """Try each action that watching needs."""
    ids = ids or (_UNUSED_INSTANCE_ID,)
    metrics = cloudwatch.find_metrics(aws, "cpu", ids)
    requests: dict[str, Callable[[], Any]] = {
        "cloudwatch:GetMetricData": lambda: cloudwatch.read_series(aws, metrics, now - DATAPOINT_LOOKBACK, now),
        "cloudwatch:DescribeAlarms": lambda: cloudwatch.read_alarms(aws),
        "cloudwatch:DescribeAlarmHistory": lambda: aws.call("cloudwatch", "describe_alarm_history", MaxRecords=1),
        "cloudwatch:ListMetrics": lambda: cloudwatch.find_metrics(aws, "mem", ids),
        "ec2:DescribeInstances": lambda: ec2.read_instances(aws, ids),
    }
    return [try_action(action, request) for action, request in requests.items()]


def try_action(action: str, request: Callable[[], Any]) -> ActionResult:
    """Send a request and return its result."""
    try:
        return ActionResult(action, request())
    except AwsError as error:
        return ActionResult(action, error=error)


def evaluate_identity(identity: InstanceIdentity) -> Finding:
    """Report which instance this machine is."""
    if not identity.instance_id:
        todo = "if it is one: in a container, its metadata needs a hop limit of 2; or set CWNOTIFY_INSTANCE"
        return report_note("Instance", "this machine is no EC2 instance, or cannot read its metadata", todo)
    spot = ", a Spot instance" if identity.is_spot else ""
    place = f"{identity.instance_type} in {identity.availability_zone}"
    return report_ok("Instance", f"this is {identity.instance_id}, {place}{spot}")


def evaluate_missing_setup(error: AwsError, is_required: bool) -> Finding:
    """Report missing credentials or region, which are a problem only if there is something to watch."""
    if is_required:
        return report_error("AWS", error)
    return report_note("AWS", "not set up; runs are reported without it", "to watch CPU and alarms too: aws configure")


def evaluate_credentials(source: str, caller: ActionResult) -> Finding:
    """Report whose credentials these are, with the account's last digits only."""
    if not caller.error:
        return report_ok("Credentials", f"{mask_account_id(caller.response)}, from {source}")
    if caller.error.kind in _FATAL_KINDS:
        return report_error("Credentials", caller.error)
    return report_note("Credentials", f"from {source}; their owner is unknown ({caller.error.code})")


def evaluate_permissions(results: Sequence[ActionResult]) -> Iterator[Finding]:
    """Yield the allowed actions in one finding, the denied ones in one, and each other error."""
    if allowed := [result.action for result in results if not result.error]:
        yield report_ok("Permissions", f"allowed: {', '.join(allowed)}")
    errors = [result.error for result in results if result.error]
    if denied := [error for error in errors if error.kind == AwsErrorKind.DENIED]:
        actions = ", ".join(error.action for error in denied)
        yield report_problem("Permissions", f"AWS denies {actions}", denied[0].hint)
    for error in errors:
        if error.kind != AwsErrorKind.DENIED:
            yield report_error("Permissions", error)


def evaluate_instances(ids: Sequence[str], existing: Sequence[Ec2Instance], region: str) -> Iterator[Finding]:
    """Yield whether each watched instance exists, and how often it is measured."""
    by_id = {instance.id: instance for instance in existing}
    for id in ids:
        instance = by_id.get(id)
        if instance is None:
            todo = "check AWS_DEFAULT_REGION and CWNOTIFY_INSTANCE"
            yield report_problem("Monitoring", f"there is no instance {id} in {region}", todo)
        elif instance.has_detailed_monitoring:
            yield report_ok("Monitoring", f"{id} is {instance.state}; a datapoint every minute (detailed)")
        else:
            text = f"{id} is {instance.state}; a datapoint every 5 minutes (basic)"
            todo = f"for one each minute, which costs extra: aws ec2 monitor-instances --instance-ids {id}"
            yield report_note("Monitoring", text, todo)


def evaluate_datapoints(series: Sequence[MetricSeries], now: float) -> Iterator[Finding]:
    """Yield the age of the newest datapoint of each instance."""
    for entry in series:
        id = entry.metric.instance_id
        if entry.points:
            at, value = entry.points[-1]
            yield report_ok("Datapoints", f"{id}: {value:.0f} % CPU, {format_duration(now - at, 'en')} old")
        else:
            todo = "a stopped instance sends none; one that has just started needs ten minutes"
            yield report_note("Datapoints", f"none of {id}'s CPU in the last hour", todo)


def evaluate_alarms(alarms: Sequence[CloudWatchAlarm], ids: Sequence[str], names: Sequence[str]) -> Finding:
    """Report which alarms are watched: those with these names, or else those of the instances."""
    if missing := [name for name in names if not any(_has_name(alarm, name) for alarm in alarms)]:
        return report_problem(
            "Alarms", f"there is no alarm {', '.join(missing)} here", "check CWNOTIFY_ALARMS and AWS_DEFAULT_REGION"
        )
    if names:
        watched = [alarm for alarm in alarms if any(_has_name(alarm, name) for name in names)]
    else:
        watched = [alarm for alarm in alarms if any(value in ids for _, value in alarm.dimensions)]
    if not watched:
        all_alarms = f"{format_count(len(alarms), 'alarm')} in the region; none is watched"
        text = f"none is about {', '.join(ids)}" if ids else all_alarms
        return report_note("Alarms", text, "to make some: cwnotify deploy --plan")
    text = ", ".join(f"{alarm.name} ({alarm.state})" for alarm in watched[:_MAX_LISTED_ALARMS])
    more = len(watched) - _MAX_LISTED_ALARMS
    return report_ok("Alarms", f"{text} and {more} more" if more > 0 else text)


def diagnose_stack(aws: AwsSession) -> Iterator[Finding]:
    """Yield findings about the stack that sends alarms to Slack, and about the key of its topic."""
    from cwnotify.deploy.cloudformation import find_stack
    from cwnotify.deploy.kms_keys import fetch_key_policy
    from cwnotify.deploy.redrive import count_undelivered

    key = ""

    def read_stack() -> tuple[str, int] | None:
        nonlocal key
        stack = find_stack(aws, DEFAULT_STACK_NAME)
        if stack is None:
            return None
        key = stack.parameters.get("KmsKey", "")
        queue = stack.outputs.get("DeadLetters")
        return stack.status, count_undelivered(aws, queue) if queue else 0

    yield evaluate_stack(try_action("cloudformation:DescribeStacks", read_stack))
    if key:
        yield evaluate_topic_key(key, try_action("kms:GetKeyPolicy", lambda: fetch_key_policy(aws, key)))


def evaluate_topic_key(key: str, result: ActionResult) -> Finding:
    """Report whether CloudWatch may use the topic's key. Otherwise no alarm can publish to the topic."""
    from cwnotify.deploy.kms_keys import KEY_POLICY_HINT, allows_cloudwatch

    masked = mask_account_id(key)
    if result.error and result.error.kind != AwsErrorKind.DENIED:
        return report_error("Key", result.error)
    if result.error:
        return report_note(
            "Key", f"{masked} encrypts the topic; its policy cannot be read ({result.error.action})", KEY_POLICY_HINT
        )
    if not allows_cloudwatch(result.response):
        return report_problem(
            "Key", f"CloudWatch may not use {masked}, so alarms cannot publish to the topic", KEY_POLICY_HINT
        )
    return report_ok("Key", f"{masked} encrypts the topic, and its policy lets CloudWatch use it")


def evaluate_stack(result: ActionResult) -> Finding:
    """Report whether the stack exists and has delivered everything. A notebook's role need not be allowed to see it."""
    if result.error:
        if result.error.kind == AwsErrorKind.DENIED:
            return report_note("Stack", f"cannot be read from here ({result.error.action}), and a notebook need not")
        return report_error("Stack", result.error)
    if result.response is None:
        return report_note(
            "Stack", "none is deployed", "to get alarms in Slack without a running notebook: cwnotify deploy --plan"
        )
    status, undelivered = result.response
    if undelivered:
        return report_problem(
            "Stack",
            f"{format_count(undelivered, 'change')} of alarms could not be delivered to Slack",
            "cwnotify redrive",
        )
    if not status.endswith("_COMPLETE") or "ROLLBACK" in status:
        return report_problem("Stack", f"{DEFAULT_STACK_NAME} is in {status}", "cwnotify stack, then: cwnotify deploy")
    return report_ok("Stack", f"{DEFAULT_STACK_NAME} is deployed ({status}), and has nothing undelivered")


def mask_account_id(arn: str) -> str:
    """Return an ARN with all but the last four digits of its account masked."""
    parts = arn.split(":")
    return ":".join((*parts[:4], f"********{parts[4][-4:]}", *parts[5:])) if len(parts) > 5 else arn


def _has_name(alarm: CloudWatchAlarm, name: str) -> bool:
    return alarm.name.startswith(name[:-1]) if name.endswith("*") else alarm.name == name


def _split_names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))
