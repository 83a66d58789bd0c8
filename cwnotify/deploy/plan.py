"""Compute the steps from the deployed state to the desired stack. Pure: it reads and changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from cwnotify.aws.session import AwsSession
from cwnotify.deploy import cloudformation, invoke, storage
from cwnotify.deploy.alarm_rules import (
    MAX_PATTERN_LENGTH,
    AlarmRule,
    assign_alarms_to_rules,
    build_fleet_pattern,
    measure_pattern,
)
from cwnotify.deploy.cloudformation import Stack, StackEventCallback
from cwnotify.deploy.kms_keys import KEY_POLICY_HINT, validate_kms_key
from cwnotify.deploy.spec import DeployedState, InstanceWatch, Plan, PlannedChange, PlanStep, StackLocation, StackSpec
from cwnotify.deploy.template import (
    MAX_STACK_RESOURCES,
    MAX_TEMPLATE_BODY_BYTES,
    Template,
    build_template,
    dump_template,
    has_metadata,
    list_changed_resources,
    parse_alarm_rules,
    parse_instance_watches,
)
from cwnotify.errors import AwsError, UsageError
from cwnotify.settings import REFERENCE_PREFIXES, NoWebhookError

# cwnotify does not change alarms that it did not create, so the user must remove the action.
DETACH_HINT = "remove that action in the CloudWatch console (the alarm, Edit, Notification)"
# A CloudFormation parameter holds 4,096 bytes, and each account needs 13.
_MAX_ACCOUNTS = 300
# Resources of every stack, rounded up.
_CORE_RESOURCES = 20
_CORE_DETAIL = "topic, function, log, role, dead-letter queue and its alarm"
_FLEET_DETAIL = "one rule for all alarms named {prefix}…, a queue, and digests when many alarms change at once"


def compute_deploy_steps(spec: StackSpec, state: DeployedState, code: bytes, nonce: str) -> Plan:
    """Return the steps that change the deployed state into the desired stack; none if they are equal.

    Parameters
    ----------
    code
        The function's zip.
    nonce
        Makes the keys of uploaded objects unpredictable, so that no other process can write them first.

    Raises
    ------
    CwnotifyError
        If the desired stack is not possible.
    """
    place, stack = state.place, state.stack
    validate_stack(place, stack)
    deployed: Template = stack.template if stack else {}
    _check_dropped(spec, state, deployed)
    watches = _merge_watches(spec, parse_instance_watches(deployed))
    parameters = _compute_parameters(spec, state, code, nonce)
    bucket, prefix = parameters["CodeBucket"], parameters["Prefix"]
    fleet_prefix = prefix if parameters["Fleet"] == "yes" else None
    _check_alarms(spec, state, fleet_prefix, [prefix + name for watch in watches for name in watch.alarm_name_suffixes])
    if not stack and not (watches or spec.alarms or spec.accounts or fleet_prefix is not None):
        raise UsageError(
            "there is nothing to watch",
            hint="name an instance with --instance i-…, an existing alarm with --alarm NAME, "
            "or all alarms with a prefix with --fleet --prefix train-",
        )
    rules = _compute_rules(spec, state, parse_alarm_rules(deployed), fleet_prefix)
    _check_size(watches, rules)
    template = build_template(watches, rules, _list_excluded_arns(state, fleet_prefix))
    steps: list[PlanStep] = [*_plan_code(state, bucket, parameters["CodeKey"], code)]
    steps += _plan_webhook(spec, state)
    steps += _note_missing_boundary(spec, state, parameters["Boundary"])
    if stack is None or stack.template != template or dict(stack.parameters) != parameters:
        steps.append(_plan_stack(state, template, parameters, watches, code, nonce))
    steps += _note_topic_actions(spec, state, parse_alarm_rules(deployed), fleet_prefix)
    steps += _plan_cleanup(state, bucket, {parameters["CodeKey"]})
    if state.webhook and parameters["WebhookName"] != place.webhook_parameter:
        steps.append(_delete_webhook(place))
    return tuple(steps)


def compute_teardown_steps(state: DeployedState) -> Plan:
    """Return the steps that remove what deploy created and nothing else; none if nothing exists.

    Raises
    ------
    CwnotifyError
        If an operation on the stack is in progress, or cwnotify did not create it.
    """
    place, stack = state.place, state.stack
    steps = []
    if stack:
        _check_is_ours(place, stack)
        prefix = stack.parameters.get("Prefix", "")
        alarms = [
            PlannedChange("-", "alarm", prefix + name)
            for watch in parse_instance_watches(stack.template)
            for name in watch.alarm_name_suffixes
        ]
        changes = (
            PlannedChange("-", "stack", place.name, _CORE_DETAIL),
            *_describe_rule_changes(parse_alarm_rules(stack.template), ()),
            *alarms,
        )
        steps.append(PlanStep(lambda aws, on_event: cloudformation.delete_stack(aws, stack, on_event), changes))
    detail = f"keeps its action on the removed topic; {DETACH_HINT}"
    if stack is None or has_metadata(stack.template):
        # The template of an older version does not list the stack's own alarms, which are deleted with it.
        steps += [_note(name, detail) for name in state.alarms_on_topic]
    steps += [_delete_webhook(place)] if state.webhook else []
    return (*steps, *_plan_cleanup(state, "", set()))


def validate_stack(place: StackLocation, stack: Stack | None) -> None:
    """Reject a stack that cannot be updated now, or that this cwnotify did not create.

    Raises
    ------
    CwnotifyError
        With the reason.
    """
    if stack is None:
        return
    _check_is_ours(place, stack)
    if not stack.is_usable:
        raise AwsError(
            f"stack {place.name} cannot be changed ({stack.status})",
            hint="remove it with: cwnotify teardown, then deploy again",
        )
    check_is_readable(stack)


def check_is_readable(stack: Stack) -> None:
    """Reject a stack whose template does not record what it deploys.

    Raises
    ------
    AwsError
        If an earlier version of cwnotify deployed the stack.
    """
    if not has_metadata(stack.template):
        raise AwsError(
            f"stack {stack.name} was deployed by an earlier version of cwnotify, whose template format is different",
            hint="run: cwnotify redrive, to lose no undelivered event; then: cwnotify teardown; then deploy again",
        )


def get_webhook_reference(stack: Stack) -> str:
    """Return where a stack's function reads the webhook, as in its environment variable."""
    return f"{stack.parameters.get('WebhookStore', '')}:{stack.parameters.get('WebhookName', '')}"


def _check_is_ours(place: StackLocation, stack: Stack) -> None:
    if "CodeKey" not in stack.parameters:
        raise UsageError(f"stack {place.name} was not made by cwnotify", hint="choose another name with --name")
    if stack.is_busy:
        raise AwsError(f"stack {place.name} is busy ({stack.status})", hint="try again in a few minutes")


def _check_size(watches: Sequence[InstanceWatch], rules: Sequence[AlarmRule]) -> None:
    # Each instance needs two alarms. Each rule also needs a permission.
    if 2 * (len(watches) + len(rules)) > MAX_STACK_RESOURCES - _CORE_RESOURCES:
        raise UsageError(
            f"{len(watches)} instances and {len(rules)} rules are more than one stack can hold",
            hint="deploy a second stack with --name",
        )


def _check_dropped(spec: StackSpec, state: DeployedState, template: Template) -> None:
    deployed = {watch.instance for watch in parse_instance_watches(template)}
    deployed |= {name for rule in parse_alarm_rules(template) for name in rule.alarms}
    deployed |= set(_list_accounts(state))
    for name in spec.dropped:
        if name not in deployed and name in state.alarms_on_topic:
            raise UsageError(f"--drop {name}: no rule sends that alarm; it acts on the topic itself", hint=DETACH_HINT)
        if name not in deployed:
            raise UsageError(
                f"--drop {name}: neither an instance, an alarm nor an account of this stack",
                hint="list them with: cwnotify stack",
            )


def _merge_watches(spec: StackSpec, deployed: Iterable[InstanceWatch]) -> tuple[InstanceWatch, ...]:
    """Return the deployed instances and those of the spec, without the dropped ones."""
    watches = {watch.instance: watch for watch in deployed}
    options: dict[str, Any] = {"threshold": spec.threshold, "idle": spec.idle, "period": spec.period}
    if spec.datapoints:
        options["datapoints"], options["evaluated"] = spec.datapoints
    changes = {key: value for key, value in options.items() if value is not None}
    for instance in spec.instances:
        watches[instance] = replace(watches.get(instance, InstanceWatch(instance)), **changes)
    return tuple(watch for watch in watches.values() if watch.instance not in spec.dropped)


def _compute_rules(
    spec: StackSpec, state: DeployedState, deployed: Sequence[AlarmRule], fleet_prefix: str | None
) -> tuple[AlarmRule, ...]:
    """Return the rules for all attached alarms that do not reach Slack by the topic or the fleet's rule."""
    names = [*(name for rule in deployed for name in rule.alarms), *spec.alarms]
    return assign_alarms_to_rules(
        deployed,
        (
            name
            for name in names
            if name not in spec.dropped and name not in state.alarms_on_topic and not _is_in_fleet(name, fleet_prefix)
        ),
    )


def _is_in_fleet(name: str, fleet_prefix: str | None) -> bool:
    """Return whether the fleet's rule matches the alarm; the prefix is None without a fleet."""
    return fleet_prefix is not None and name.startswith(fleet_prefix)


def _list_excluded_arns(state: DeployedState, fleet_prefix: str | None) -> tuple[str, ...]:
    """Return the ARNs of alarms that act on the topic and that the fleet's rule would send a second time."""
    names = [name for name in state.alarms_on_topic if _is_in_fleet(name, fleet_prefix)]
    arns = tuple(map(state.place.get_alarm_arn, names))
    if measure_pattern(build_fleet_pattern(fleet_prefix or "", arns)) > MAX_PATTERN_LENGTH:
        raise AwsError(
            f"{len(names)} alarms named {fleet_prefix}… act on the topic too, and would be sent twice",
            hint=f"{DETACH_HINT}: {', '.join(names[:5])}, …",
        )
    return arns


def _note_topic_actions(
    spec: StackSpec, state: DeployedState, deployed: Sequence[AlarmRule], fleet_prefix: str | None
) -> list[PlanStep]:
    """Return notes about alarms that act on the topic themselves. Deploy does not change these alarms."""
    names = {*spec.alarms, *(name for rule in deployed for name in rule.alarms)}
    notes = []
    for name in state.alarms_on_topic:
        if name in spec.dropped:
            notes.append(_note(name, f"still acts on the topic itself; {DETACH_HINT}"))
        elif name in names or _is_in_fleet(name, fleet_prefix):
            detail = "acts on the topic itself, so no rule sends it a second time"
            notes.append(_note(name, f"{detail}; to use a rule instead, {DETACH_HINT}, then deploy again"))
    return notes


def _list_accounts(state: DeployedState) -> list[str]:
    """Return the other accounts that may publish to the deployed topic."""
    accounts = state.stack.parameters.get("Accounts", "") if state.stack else ""
    return [account for account in accounts.split(",") if account]


def _join_accounts(spec: StackSpec, state: DeployedState) -> str:
    if state.place.account in spec.accounts:
        raise UsageError(
            f"--allow-account {state.place.account}: this is the stack's own account, which can already publish",
            hint="leave the option out",
        )
    accounts = sorted({*_list_accounts(state), *spec.accounts} - {*spec.dropped})
    if len(accounts) > _MAX_ACCOUNTS:
        raise UsageError(
            f"--allow-account: a stack can hold {_MAX_ACCOUNTS} accounts, but {len(accounts)} were given",
            hint="deploy a second stack with --name",
        )
    return ",".join(accounts)


def _choose_kms_key(spec: StackSpec, place: StackLocation) -> str | None:
    key = "" if spec.kms_key == "none" else spec.kms_key
    if key:
        validate_kms_key(key, place.partition, place.region)
    return key


def _choose_code_key(state: DeployedState, bucket: str, code: bytes, nonce: str) -> str:
    """Return the deployed key if both its object and the function are exactly `code`, otherwise a new key."""
    sha256 = hashlib.sha256(code).hexdigest()
    parameters = state.stack.parameters if state.stack else {}
    if parameters.get("CodeBucket") == bucket and state.stored_sha256 == state.deployed_sha256 == sha256:
        return parameters["CodeKey"]
    return f"{state.place.key_prefix}{sha256[:16]}-{nonce}.zip"


def _compute_parameters(spec: StackSpec, state: DeployedState, code: bytes, nonce: str) -> dict[str, str]:
    place, deployed = state.place, state.stack.parameters if state.stack else {}

    def choose(value: str | None, key: str, default: str) -> str:
        return value if value is not None else deployed.get(key, default)

    fleet = None if spec.fleet is None else ("yes" if spec.fleet else "no")
    store, _, name = _choose_webhook_reference(spec, state).partition(":")
    bucket = choose(spec.bucket, "CodeBucket", place.default_bucket)
    boundary = spec.boundary if spec.boundary is not None else state.existing_boundary_arn or None
    return {
        "WebhookStore": store,
        "WebhookName": name,
        "CodeBucket": bucket,
        "CodeKey": _choose_code_key(state, bucket, code, nonce),
        "Prefix": choose(spec.prefix, "Prefix", f"{place.name}-"),
        "Fleet": choose(fleet, "Fleet", "no"),
        "Lang": choose(spec.lang, "Lang", "en"),
        "TimeZone": choose(spec.zone, "TimeZone", ""),
        "Channel": choose(spec.channel, "Channel", ""),
        "KmsKey": choose(_choose_kms_key(spec, place), "KmsKey", ""),
        "Accounts": _join_accounts(spec, state),
        "Boundary": choose(boundary, "Boundary", ""),
    }


def _choose_webhook_reference(spec: StackSpec, state: DeployedState) -> str:
    """Return the reference from which the function reads the webhook."""
    own_reference = f"ssm:{state.place.webhook_parameter}"
    if spec.webhook:
        webhook = spec.webhook.reveal()
        if webhook.startswith("ssm:") and not webhook.startswith("ssm:/"):
            raise UsageError(
                "a reference to Parameter Store needs the whole path", hint="begin it with a slash: ssm:/name"
            )
        return webhook if webhook.startswith(REFERENCE_PREFIXES) else own_reference
    if state.stack:
        return get_webhook_reference(state.stack)
    if state.webhook:
        return own_reference
    raise NoWebhookError


def _check_alarms(spec: StackSpec, state: DeployedState, fleet_prefix: str | None, own_alarms: list[str]) -> None:
    for name in spec.alarms:
        if name in own_alarms:
            raise UsageError(
                f"--alarm {name}: this alarm belongs to the stack and already reaches Slack",
                hint="leave the option out",
            )
        if name not in state.existing_alarms and not _is_in_fleet(name, fleet_prefix):
            raise AwsError(
                f"there is no alarm named {name} in {state.place.region}", hint="check the name and AWS_DEFAULT_REGION"
            )


def _plan_code(state: DeployedState, bucket: str, key: str, code: bytes) -> list[PlanStep]:
    steps = []
    stack = state.stack
    deployed_bucket = stack.parameters["CodeBucket"] if stack else ""
    if bucket not in state.keys_by_bucket:
        if bucket != state.place.default_bucket:
            raise AwsError(f"this account has no bucket {bucket}", hint="leave --bucket out to create one")
        change = PlannedChange("+", "bucket", bucket, "for the function's code")
        steps.append(_step(change, partial(storage.create_bucket, bucket=bucket)))
    elif bucket == state.place.default_bucket != deployed_bucket:
        detail = "already exists in this account; objects that are in it now are not deployed"
        steps.append(_note(bucket, detail, kind="bucket"))
    if stack is None or key != stack.parameters["CodeKey"]:
        steps += _note_replaced_code(state, code)
        sha256 = hashlib.sha256(code).hexdigest()
        put = partial(storage.put_object, bucket=bucket, key=key, body=code)
        change = PlannedChange("+", "code", key, f"{len(code) / 1000:.0f} kB, in {bucket}, SHA-256 {sha256}")
        steps.append(_step(change, put))
    return steps


def _note_replaced_code(state: DeployedState, code: bytes) -> list[PlanStep]:
    """Return notes if the key for exactly this code holds other bytes, or the function runs other code."""
    sha256, stack = hashlib.sha256(code).hexdigest(), state.stack
    if stack is None or not stack.parameters["CodeKey"].startswith(f"{state.place.key_prefix}{sha256[:16]}-"):
        return []
    notes = []
    if state.stored_sha256 not in ("", sha256):
        detail = f"holds other code (SHA-256 {state.stored_sha256}) than cwnotify uploaded; it is not used"
        notes.append(_note(stack.parameters["CodeKey"], detail, kind="code"))
    if state.deployed_sha256 != sha256:
        other = f"SHA-256 {state.deployed_sha256}" if state.deployed_sha256 else "cannot be read"
        notes.append(
            _note(
                state.place.name, f"runs other code ({other}) than cwnotify deployed; it is replaced", kind="function"
            )
        )
    return notes


def _note_missing_boundary(spec: StackSpec, state: DeployedState, boundary: str) -> list[PlanStep]:
    if state.stack or boundary or spec.boundary is not None:
        return []
    detail = "does not exist, so only an administrator may create the role; see: cwnotify policy --help"
    return [_note(state.place.boundary_arn, detail, kind="boundary")]


def _plan_webhook(spec: StackSpec, state: DeployedState) -> list[PlanStep]:
    webhook = spec.webhook
    if webhook is None or webhook == state.webhook or webhook.reveal().startswith(REFERENCE_PREFIXES):
        return []
    name = state.place.webhook_parameter
    change = PlannedChange("+", "parameter", name, "the Slack webhook, encrypted")
    if state.webhook:
        change = PlannedChange("~", "parameter", name, "the new Slack webhook, encrypted")
    return [_step(change, partial(storage.write_webhook_parameter, name=name, webhook=webhook))]


def _plan_stack(
    state: DeployedState,
    template: Template,
    parameters: Mapping[str, str],
    watches: tuple[InstanceWatch, ...],
    code: bytes,
    nonce: str,
) -> PlanStep:
    place, stack = state.place, state.stack

    def execute(aws: AwsSession, on_event: StackEventCallback) -> None:
        body = dump_template(template)
        source, key = {"TemplateBody": body}, ""
        if len(body.encode()) > MAX_TEMPLATE_BODY_BYTES:
            bucket, key = parameters["CodeBucket"], f"{place.key_prefix}{nonce}.json"
            storage.put_object(aws, bucket, key, body.encode())
            source = {"TemplateURL": storage.get_object_url(aws, bucket, key)}
        cloudformation.deploy_stack(aws, place.name, source, parameters, stack is None, on_event)
        # CloudFormation and Lambda read the bucket later and check no hash.
        invoke.ensure_deployed_code(aws, place.name, code, parameters["CodeBucket"])
        if key:
            storage.delete_objects(aws, bucket, (key,))
            cloudformation.verify_template(aws, place.name, template)

    before: Template = stack.template if stack else {}
    changes = _describe_update(stack, template, parameters, place) if stack else _describe_creation(parameters, place)
    changes += _describe_topic_changes(stack.parameters if stack else {}, parameters)
    changes += _describe_rule_changes(parse_alarm_rules(before), parse_alarm_rules(template))
    changes += _describe_watch_changes(parse_instance_watches(before), watches, parameters["Prefix"])
    return PlanStep(execute, tuple(changes))


def _describe_creation(parameters: Mapping[str, str], place: StackLocation) -> list[PlannedChange]:
    changes = [PlannedChange("+", "stack", place.name, _CORE_DETAIL)]
    if parameters["Fleet"] == "yes":
        prefix = parameters["Prefix"]
        changes.append(PlannedChange("+", "fleet", prefix, _FLEET_DETAIL.format(prefix=prefix)))
    return changes


def _describe_update(
    stack: Stack, template: Template, parameters: Mapping[str, str], place: StackLocation
) -> list[PlannedChange]:
    changes = []
    for key, value in parameters.items():
        before = stack.parameters.get(key, "")
        if key == "CodeKey" and before != value:
            changes.append(PlannedChange("~", "function", place.name, "new code"))
        elif before != value and key not in ("KmsKey", "Accounts"):
            changes.append(PlannedChange("~", "stack", place.name, f"{key}: {before or 'none'} → {value or 'none'}"))
    # Alarms and rules have their own lines.
    described = ("BusyI", "OffI", "Alarms", "AllowAlarms")
    core = [name for name in list_changed_resources(stack.template, template) if not name.startswith(described)]
    if core:
        changes.append(
            PlannedChange("~", "stack", place.name, f"{', '.join(core)} updated to this version of cwnotify")
        )
    return changes


def _describe_topic_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[PlannedChange]:
    """Return the changes to the topic's key and to the accounts that may publish."""
    changes = []
    old_key, new_key = before.get("KmsKey", ""), after["KmsKey"]
    if old_key != new_key:
        sign = "+" if not old_key else "~" if new_key else "-"
        detail = f"encrypts the topic; {KEY_POLICY_HINT}" if new_key else "no longer encrypts the topic"
        changes.append(PlannedChange(sign, "key", new_key or old_key, detail))
    old, new = (set(filter(None, parameters.get("Accounts", "").split(","))) for parameters in (before, after))
    changes += [
        PlannedChange("-", "account", account, "its alarms may no longer publish") for account in sorted(old - new)
    ]
    changes += [
        PlannedChange("+", "account", account, "its alarms may publish to the topic") for account in sorted(new - old)
    ]
    return changes


def _describe_rule_changes(before: Iterable[AlarmRule], after: Iterable[AlarmRule]) -> list[PlannedChange]:
    old, new = ({name: None for rule in rules for name in rule.alarms} for rules in (before, after))
    removed = [PlannedChange("-", "route", name, "the alarm itself is not changed") for name in old if name not in new]
    detail = "ALARM and OK go to Slack; the alarm itself is not changed"
    return removed + [PlannedChange("+", "route", name, detail) for name in new if name not in old]


def _describe_watch_changes(
    before: Iterable[InstanceWatch], after: Iterable[InstanceWatch], prefix: str
) -> list[PlannedChange]:
    old, new = ({watch.instance: watch for watch in watches} for watches in (before, after))
    changes = []
    for instance in {**old, **new}:
        watch = new.get(instance) or old[instance]
        sign = "-" if instance not in new else "~" if instance in old else "+"
        old_conditions = old[instance].alarm_conditions if instance in old else ("", "")
        new_conditions = watch.alarm_conditions if instance in new else ("", "")
        changes += [
            PlannedChange(sign, "alarm", prefix + name, new_condition)
            for name, old_condition, new_condition in zip(
                watch.alarm_name_suffixes, old_conditions, new_conditions, strict=True
            )
            if old_condition != new_condition
        ]
    return changes


def _plan_cleanup(state: DeployedState, bucket: str, keys_in_use: set[str]) -> list[PlanStep]:
    """Return steps that remove unused objects of ours, and our own bucket if the code is in another one."""
    steps = []
    for name, keys in state.keys_by_bucket.items():
        stale = tuple(key for key in keys if name != bucket or key not in keys_in_use)
        changes = [PlannedChange("-", "code", key, f"in {name}") for key in stale]
        if stale:
            steps.append(_steps_as_one(changes, partial(storage.delete_objects, bucket=name, keys=stale)))
        if name == state.place.default_bucket != bucket:
            steps.append(_step(PlannedChange("-", "bucket", name), partial(storage.delete_bucket, bucket=name)))
    return steps


def _note(name: str, detail: str, kind: str = "alarm") -> PlanStep:
    return _step(PlannedChange("!", kind, name, detail), lambda aws: None)


def _delete_webhook(place: StackLocation) -> PlanStep:
    change = PlannedChange("-", "parameter", place.webhook_parameter, "the Slack webhook")
    return _step(change, partial(storage.delete_webhook_parameter, name=place.webhook_parameter))


def _step(change: PlannedChange, execute: Callable[..., None]) -> PlanStep:
    return _steps_as_one([change], execute)


def _steps_as_one(changes: Iterable[PlannedChange], execute: Callable[..., None]) -> PlanStep:
    return PlanStep(lambda aws, on_event: execute(aws), tuple(changes))
