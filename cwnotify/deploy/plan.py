"""What is wished and what is there -> the steps between. Pure: planning asks and changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from cwnotify.aws.session import AwsSession
from cwnotify.deploy import cloudformation, invoke, storage
from cwnotify.deploy.cloudformation import Stack, StackEventCallback
from cwnotify.deploy.kms_keys import KEY_POLICY_HINT, validate_kms_key
from cwnotify.deploy.spec import DeployedState, Plan, PlannedChange, PlanStep, StackLocation, StackSpec
from cwnotify.deploy.template import (
    MAX_PATTERN_LENGTH,
    MAX_STACK_RESOURCES,
    MAX_TEMPLATE_BODY_BYTES,
    AlarmRule,
    InstanceWatch,
    assign_alarms_to_rules,
    build_fleet_pattern,
    list_changed_resources,
    measure_pattern,
    parse_alarm_rules,
    parse_instance_watches,
    render_template,
)
from cwnotify.errors import AwsError, UsageError
from cwnotify.settings import REFERENCE_PREFIXES, NoWebhookError

NOTHING_TO_WATCH = (
    "there is nothing to watch: name an instance with --instance i-…, an alarm that exists with --alarm NAME, "
    "or follow all alarms of a name with --fleet --prefix train-"
)
_PARTS = "topic, function, log, role, dead-letter queue and its alarm"
# cwnotify writes to no alarm that it did not make, so only a person can remove an action that one already has.
DETACH_HINT = "remove that action in the CloudWatch console (the alarm, Edit, Notification)"
# As many as fit into a parameter of CloudFormation, 4,096 bytes, with room to spare.
_MAX_ACCOUNTS = 300
_FLEET = "one rule for every alarm named {prefix}…, a queue, and digests in a storm"


def compute_deploy_steps(wish: StackSpec, found: DeployedState, code: bytes, nonce: str) -> Plan:
    """The steps that make what is there into what is wished; none if it is so already.

    Parameters
    ----------
    code
        The function's zip.
    nonce
        Makes the keys of what is uploaded impossible to guess, so that no object is there before ours.

    Raises
    ------
    CwnotifyError
        If it cannot be done, before anything is.
    """
    place, stack = found.place, found.stack
    validate_stack(place, stack)
    text = stack.template if stack else ""
    _check_dropped(wish, found, text)
    watches = _watches(wish, parse_instance_watches(text))
    parameters = _parameters(wish, found, code, nonce)
    bucket, prefix = parameters["CodeBucket"], parameters["Prefix"]
    followed = prefix if parameters["Fleet"] == "yes" else None
    _check_alarms(wish, found, followed, [prefix + name for watch in watches for name in watch.alarm_name_suffixes])
    if not stack and not (watches or wish.alarms or wish.accounts or followed is not None):
        raise UsageError(NOTHING_TO_WATCH)
    routes = _routes(wish, found, parse_alarm_rules(text), followed)
    _check_size(watches, routes)
    template = render_template(watches, routes, _apart(found, followed))
    kept = {parameters["CodeKey"]}
    steps: list[PlanStep] = [*_code_steps(found, bucket, parameters["CodeKey"], code)]
    steps += _webhook_steps(wish, found)
    steps += _boundary_notes(wish, found, parameters["Boundary"])
    if stack is None or stack.template != template or dict(stack.parameters) != parameters:
        steps.append(_stack_step(found, template, parameters, watches, code, nonce))
    steps += _notes(wish, found, parse_alarm_rules(text), followed)
    steps += _stale_code(found, bucket, kept)
    if found.webhook and parameters["WebhookName"] != place.webhook_parameter:
        steps.append(_delete_webhook(place))
    return tuple(steps)


def compute_teardown_steps(found: DeployedState) -> Plan:
    """The steps that remove all that was made and nothing else; none if there is nothing.

    Raises
    ------
    CwnotifyError
        If somebody else is at work on the stack, or it is not ours.
    """
    place, stack = found.place, found.stack
    if stack:
        _check_ours(place, stack)
    steps = []
    if stack:
        prefix = stack.parameters.get("Prefix", "")
        own = [
            PlannedChange("-", "alarm", prefix + name)
            for watch in parse_instance_watches(stack.template)
            for name in watch.alarm_name_suffixes
        ]
        lines = (
            PlannedChange("-", "stack", place.name, _PARTS),
            *_route_lines(parse_alarm_rules(stack.template), ()),
            *own,
        )
        steps.append(PlanStep(lambda aws, tell: cloudformation.delete_stack(aws, stack, tell), lines))
    what = f"keeps its action on the topic that was removed; {DETACH_HINT}"
    steps += [_note(name, what) for name in found.alarms_on_topic]
    steps += [_delete_webhook(place)] if found.webhook else []
    return (*steps, *_stale_code(found, "", set()))


def validate_stack(place: StackLocation, stack: Stack | None) -> None:
    """Refuse a stack that cannot be changed now, or is not ours."""
    if stack is None:
        return
    _check_ours(place, stack)
    if not stack.is_usable:
        state = f"stack {place.name} cannot be changed ({stack.status})"
        raise AwsError(f"{state}", hint="remove it with: cwnotify teardown, then deploy again")


def _check_ours(place: StackLocation, stack: Stack) -> None:
    if "CodeKey" not in stack.parameters:
        raise UsageError(f"stack {place.name} was not made by cwnotify", hint="choose another name with --name")
    if stack.is_busy:
        raise AwsError(f"stack {place.name} is busy ({stack.status})", hint="wait a little, then try again")


def get_webhook_reference(stack: Stack) -> str:
    """Where a stack's function finds the webhook, as its environment says it."""
    return f"{stack.parameters.get('WebhookStore', '')}:{stack.parameters.get('WebhookName', '')}"


def _check_size(watches: Sequence[InstanceWatch], routes: Sequence[AlarmRule]) -> None:
    # Two alarms for an instance, a rule and its permission for a route, beside some twenty resources of every stack.
    if 2 * (len(watches) + len(routes)) > MAX_STACK_RESOURCES - 20:
        what = f"{len(watches)} instances and {len(routes)} rules"
        raise UsageError(f"{what} are more than one stack can hold", hint="deploy a second one with --name")


def _check_dropped(wish: StackSpec, found: DeployedState, template: str) -> None:
    known = {watch.instance for watch in parse_instance_watches(template)}
    known |= {name for one in parse_alarm_rules(template) for name in one.alarms}
    known |= set(_accounts(found))
    for name in wish.dropped:
        if name not in known and name in found.alarms_on_topic:
            raise UsageError(f"--drop {name}: no rule routes that alarm, it acts on the topic itself", hint=DETACH_HINT)
        if name not in known:
            what = "neither an instance watched, an alarm attached nor an account allowed"
            raise UsageError(f"--drop {name}: it is {what}")


def _watches(wish: StackSpec, old: Iterable[InstanceWatch]) -> tuple[InstanceWatch, ...]:
    """The instances watched already, those wished for, without those dropped."""
    watches = {watch.instance: watch for watch in old}
    asked: dict[str, Any] = {"threshold": wish.threshold, "idle": wish.idle, "period": wish.period}
    if wish.datapoints:
        asked["datapoints"], asked["evaluated"] = wish.datapoints
    given = {key: value for key, value in asked.items() if value is not None}
    for instance in wish.instances:
        watches[instance] = replace(watches.get(instance, InstanceWatch(instance)), **given)
    return tuple(watch for watch in watches.values() if watch.instance not in wish.dropped)


def _routes(
    wish: StackSpec, found: DeployedState, old: Sequence[AlarmRule], followed: str | None
) -> tuple[AlarmRule, ...]:
    """The rules for all alarms attached that reach Slack in no other way."""
    names = [*(name for one in old for name in one.alarms), *wish.alarms]
    return assign_alarms_to_rules(
        old,
        (
            name
            for name in names
            if name not in wish.dropped and name not in found.alarms_on_topic and not _is_followed(name, followed)
        ),
    )


def _is_followed(name: str, prefix: str | None) -> bool:
    """Whether the rule of a fleet with this prefix, if there is one, matches the alarm."""
    return prefix is not None and name.startswith(prefix)


def _apart(found: DeployedState, followed: str | None) -> tuple[str, ...]:
    """The ARNs of alarms that act on the topic, and that the fleet's rule would send a second time."""
    names = [name for name in found.alarms_on_topic if _is_followed(name, followed)]
    arns = tuple(map(found.place.get_alarm_arn, names))
    if measure_pattern(build_fleet_pattern(followed or "", arns)) > MAX_PATTERN_LENGTH:
        what = f"{len(names)} alarms named {followed}… act on the topic too, and would be sent twice"
        raise AwsError(f"{what}", hint=f"{DETACH_HINT}: {', '.join(names[:5])}, …")
    return arns


def _notes(wish: StackSpec, found: DeployedState, old: Sequence[AlarmRule], followed: str | None) -> list[PlanStep]:
    """What to know of alarms that act on the topic: they reach Slack without us, and we do not change that."""
    named = {*wish.alarms, *(name for one in old for name in one.alarms)}
    notes = []
    for name in found.alarms_on_topic:
        if name in wish.dropped:
            notes.append(_note(name, f"still acts on the topic itself; {DETACH_HINT}"))
        elif name in named or _is_followed(name, followed):
            what = "acts on the topic itself, so no rule sends it a second time"
            notes.append(_note(name, f"{what}; to have a rule instead, {DETACH_HINT}, then deploy again"))
    return notes


def _accounts(found: DeployedState) -> list[str]:
    """The other accounts that are allowed now."""
    listed = found.stack.parameters.get("Accounts", "") if found.stack else ""
    return [account for account in listed.split(",") if account]


def _wished_accounts(wish: StackSpec, found: DeployedState) -> str:
    if found.place.account in wish.accounts:
        raise UsageError(f"--allow-account {found.place.account}: that is the stack's own account, allowed already")
    accounts = sorted({*_accounts(found), *wish.accounts} - {*wish.dropped})
    if len(accounts) > _MAX_ACCOUNTS:
        raise UsageError(f"--allow-account: a stack holds {_MAX_ACCOUNTS} accounts, not {len(accounts)}")
    return ",".join(accounts)


def _wished_key(wish: StackSpec, place: StackLocation) -> str | None:
    key = "" if wish.kms_key == "none" else wish.kms_key
    if key:
        validate_kms_key(key, place.partition, place.region)
    return key


def _code_key(found: DeployedState, bucket: str, code: bytes, nonce: str) -> str:
    """The key of the code: the stack's own if its object and the function are exactly `code`, or a new one."""
    sha256 = hashlib.sha256(code).hexdigest()
    parameters = found.stack.parameters if found.stack else {}
    if parameters.get("CodeBucket") == bucket and found.stored_sha256 == found.deployed_sha256 == sha256:
        return parameters["CodeKey"]
    return f"{found.place.key_prefix}{sha256[:16]}-{nonce}.zip"


def _parameters(wish: StackSpec, found: DeployedState, code: bytes, nonce: str) -> dict[str, str]:
    place, old = found.place, found.stack.parameters if found.stack else {}

    def chosen(value: str | None, key: str, default: str) -> str:
        return value if value is not None else old.get(key, default)

    fleet = None if wish.fleet is None else ("yes" if wish.fleet else "no")
    store, _, name = _reference(wish, found).partition(":")
    bucket = chosen(wish.bucket, "CodeBucket", place.default_bucket)
    return {
        "WebhookStore": store,
        "WebhookName": name,
        "CodeBucket": bucket,
        "CodeKey": _code_key(found, bucket, code, nonce),
        "Prefix": chosen(wish.prefix, "Prefix", f"{place.name}-"),
        "Fleet": chosen(fleet, "Fleet", "no"),
        "Lang": chosen(wish.lang, "Lang", "en"),
        "TimeZone": chosen(wish.zone, "TimeZone", ""),
        "Channel": chosen(wish.channel, "Channel", ""),
        "KmsKey": chosen(_wished_key(wish, place), "KmsKey", ""),
        "Accounts": _wished_accounts(wish, found),
        "Boundary": chosen(
            wish.boundary if wish.boundary is not None else found.existing_boundary_arn or None, "Boundary", ""
        ),
    }


def _reference(wish: StackSpec, found: DeployedState) -> str:
    """Where the function finds the webhook."""
    ours = f"ssm:{found.place.webhook_parameter}"
    if wish.webhook:
        given = wish.webhook.reveal()
        if given.startswith("ssm:") and not given.startswith("ssm:/"):
            raise UsageError("a webhook in Parameter Store is named by its whole path: ssm:/name")
        return given if given.startswith(REFERENCE_PREFIXES) else ours
    if found.stack:
        return get_webhook_reference(found.stack)
    if found.webhook:
        return ours
    raise NoWebhookError


def _check_alarms(wish: StackSpec, found: DeployedState, followed: str | None, own: list[str]) -> None:
    for name in wish.alarms:
        if name in own:
            raise UsageError(f"--alarm {name}: that is an alarm of this very stack")
        if name not in found.existing_alarms and not _is_followed(name, followed):
            raise AwsError(f"there is no alarm named {name} in {found.place.region}")


def _code_steps(found: DeployedState, bucket: str, key: str, code: bytes) -> list[PlanStep]:
    steps = []
    stack = found.stack
    used = stack.parameters["CodeBucket"] if stack else ""
    if bucket not in found.keys_by_bucket:
        if bucket != found.place.default_bucket:
            raise AwsError(f"this account has no bucket {bucket}", hint="leave --bucket out to have one made")
        line = PlannedChange("+", "bucket", bucket, "for the function's code")
        steps.append(_quiet(line, partial(storage.create_bucket, bucket=bucket)))
    elif bucket == found.place.default_bucket != used:
        what = "exists already, in this account; nothing that is in it now is deployed"
        steps.append(_note(bucket, what, kind="bucket"))
    if stack is None or key != stack.parameters["CodeKey"]:
        steps += _replaced_notes(found, code)
        sha256 = hashlib.sha256(code).hexdigest()
        put = partial(storage.put_object, bucket=bucket, key=key, body=code)
        line = PlannedChange("+", "code", key, f"{len(code) / 1000:.0f} kB, in {bucket}, SHA-256 {sha256}")
        steps.append(_quiet(line, put))
    return steps


def _replaced_notes(found: DeployedState, code: bytes) -> list[PlanStep]:
    """Notes if a key named after this very code holds other bytes, or its function runs other code."""
    sha256, stack = hashlib.sha256(code).hexdigest(), found.stack
    if stack is None or not stack.parameters["CodeKey"].startswith(f"{found.place.key_prefix}{sha256[:16]}-"):
        return []
    notes = []
    if found.stored_sha256 not in ("", sha256):
        what = f"holds other code (SHA-256 {found.stored_sha256}) than cwnotify put there; it is not used"
        notes.append(_note(stack.parameters["CodeKey"], what, kind="code"))
    if found.deployed_sha256 != sha256:
        other = f"SHA-256 {found.deployed_sha256}" if found.deployed_sha256 else "none that could be read"
        notes.append(_note(found.place.name, f"runs other code ({other}) than was deployed; replaced", kind="function"))
    return notes


def _boundary_notes(wish: StackSpec, found: DeployedState, boundary: str) -> list[PlanStep]:
    if found.stack or boundary or wish.boundary is not None:
        return []
    what = "does not exist, so only an administrator may create the role; see: cwnotify policy --help"
    return [_note(found.place.boundary_arn, what, kind="boundary")]


def _webhook_steps(wish: StackSpec, found: DeployedState) -> list[PlanStep]:
    if wish.webhook is None or wish.webhook == found.webhook or wish.webhook.reveal().startswith(REFERENCE_PREFIXES):
        return []
    name = found.place.webhook_parameter
    line = PlannedChange("+", "parameter", name, "the Slack webhook, encrypted")
    if found.webhook:
        line = PlannedChange("~", "parameter", name, "another Slack webhook, encrypted")
    return [_quiet(line, partial(storage.write_webhook_parameter, name=name, webhook=wish.webhook))]


def _stack_step(
    found: DeployedState,
    template: str,
    parameters: Mapping[str, str],
    watches: tuple[InstanceWatch, ...],
    code: bytes,
    nonce: str,
) -> PlanStep:
    place, stack = found.place, found.stack

    def do(aws: AwsSession, tell: StackEventCallback) -> None:
        where, key = {"TemplateBody": template}, ""
        if len(template.encode()) > MAX_TEMPLATE_BODY_BYTES:
            bucket, key = parameters["CodeBucket"], f"{place.key_prefix}{nonce}.yaml"
            storage.put_object(aws, bucket, key, template.encode())
            where = {"TemplateURL": storage.get_object_url(aws, bucket, key)}
        cloudformation.deploy_stack(aws, place.name, where, parameters, stack is None, tell)
        # CloudFormation and Lambda read the bucket after we wrote it, and check no hash.
        invoke.ensure_deployed_code(aws, place.name, code, parameters["CodeBucket"])
        if key:
            storage.delete_objects(aws, bucket, (key,))
            cloudformation.verify_template(aws, place.name, template)

    lines = _updated(stack, template, parameters, place) if stack else _made(parameters, place)
    text, old = (stack.template, stack.parameters) if stack else ("", {})
    lines += _setting_lines(old, parameters)
    lines += _route_lines(parse_alarm_rules(text), parse_alarm_rules(template))
    before = {watch.instance: watch for watch in parse_instance_watches(text)}
    return PlanStep(do, (*lines, *_watch_lines(before, watches, parameters["Prefix"])))


def _made(parameters: Mapping[str, str], place: StackLocation) -> list[PlannedChange]:
    lines = [PlannedChange("+", "stack", place.name, _PARTS)]
    if parameters["Fleet"] == "yes":
        lines.append(PlannedChange("+", "fleet", parameters["Prefix"], _FLEET.format(prefix=parameters["Prefix"])))
    return lines


def _setting_lines(old: Mapping[str, str], new: Mapping[str, str]) -> list[PlannedChange]:
    """The topic's key and the other accounts, where they change."""
    lines = []
    before, after = old.get("KmsKey", ""), new["KmsKey"]
    if before != after:
        sign = "+" if not before else "~" if after else "-"
        what = f"encrypts the topic; {KEY_POLICY_HINT}" if after else "no longer encrypts the topic"
        lines.append(PlannedChange(sign, "key", after or before, what))
    earlier, later = (set(filter(None, one.get("Accounts", "").split(","))) for one in (old, new))
    lines += [PlannedChange("-", "account", one, "its alarms may no longer publish") for one in sorted(earlier - later)]
    lines += [
        PlannedChange("+", "account", one, "its alarms may publish to the topic") for one in sorted(later - earlier)
    ]
    return lines


def _route_lines(old: Iterable[AlarmRule], new: Iterable[AlarmRule]) -> list[PlannedChange]:
    before, after = ({name: None for one in routes for name in one.alarms} for routes in (old, new))
    gone = [
        PlannedChange("-", "route", name, "the alarm itself stays as it is") for name in before if name not in after
    ]
    what = "ALARM and OK go to Slack; the alarm itself stays as it is"
    return gone + [PlannedChange("+", "route", name, what) for name in after if name not in before]


def _updated(stack: Stack, template: str, parameters: Mapping[str, str], place: StackLocation) -> list[PlannedChange]:
    lines = []
    for key, value in parameters.items():
        before = stack.parameters.get(key, "")
        if key == "CodeKey" and before != value:
            lines.append(PlannedChange("~", "function", place.name, "new code"))
        elif before != value and key not in ("KmsKey", "Accounts"):
            lines.append(PlannedChange("~", "stack", place.name, f"{key}: {before or 'none'} → {value or 'none'}"))
    listed = ("BusyI", "OffI", "Alarms", "AllowAlarms")
    core = [name for name in list_changed_resources(stack.template, template) if not name.startswith(listed)]
    if core:
        lines.append(PlannedChange("~", "stack", place.name, f"{', '.join(core)} as in this version of cwnotify"))
    return lines


def _watch_lines(
    old: Mapping[str, InstanceWatch], watches: tuple[InstanceWatch, ...], prefix: str
) -> list[PlannedChange]:
    new = {watch.instance: watch for watch in watches}
    lines = []
    for instance in {**old, **new}:
        watch = new.get(instance) or old[instance]
        sign = "-" if instance not in new else "~" if instance in old else "+"
        before = old[instance].alarm_conditions if instance in old else ("", "")
        after = watch.alarm_conditions if instance in new else ("", "")
        lines += [
            PlannedChange(sign, "alarm", prefix + name, now)
            for name, was, now in zip(watch.alarm_name_suffixes, before, after, strict=True)
            if was != now
        ]
    return lines


def _stale_code(found: DeployedState, bucket: str, kept: set[str]) -> list[PlanStep]:
    """Removes our keys but those `kept` in `bucket`, and the bucket of our own where it is another one."""
    steps = []
    for name, keys in found.keys_by_bucket.items():
        stale = tuple(key for key in keys if name != bucket or key not in kept)
        lines = [PlannedChange("-", "code", key, f"in {name}") for key in stale]
        if stale:
            steps.append(_quiet_all(lines, partial(storage.delete_objects, bucket=name, keys=stale)))
        if name == found.place.default_bucket != bucket:
            steps.append(_quiet(PlannedChange("-", "bucket", name), partial(storage.delete_bucket, bucket=name)))
    return steps


def _note(name: str, what: str, kind: str = "alarm") -> PlanStep:
    return _quiet(PlannedChange("!", kind, name, what), lambda aws: None)


def _delete_webhook(place: StackLocation) -> PlanStep:
    line = PlannedChange("-", "parameter", place.webhook_parameter, "the Slack webhook")
    return _quiet(line, partial(storage.delete_webhook_parameter, name=place.webhook_parameter))


def _quiet(line: PlannedChange, do: Callable[..., None]) -> PlanStep:
    return _quiet_all([line], do)


def _quiet_all(lines: Iterable[PlannedChange], do: Callable[..., None]) -> PlanStep:
    return PlanStep(lambda aws, tell: do(aws), tuple(lines))
