"""Planning is pure: the desired stack and the deployed state give lines that a person can check."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from cwnotify.deploy.alarm_rules import assign_alarms_to_rules
from cwnotify.deploy.cloudformation import Stack
from cwnotify.deploy.plan import compute_deploy_steps, compute_teardown_steps
from cwnotify.deploy.spec import DeployedState, InstanceWatch, Plan, StackLocation, StackSpec
from cwnotify.deploy.template import build_template, dump_template
from cwnotify.errors import AwsError, CwnotifyError, UsageError
from cwnotify.settings import NoWebhookError, Secret

PLACE = StackLocation("cwnotify", "123456789012", "ap-northeast-2")
ONE, TWO = "i-0abc1234567890def", "i-0123456789abcdef0"
CODE = b"zip"
SHA256 = hashlib.sha256(CODE).hexdigest()
WEBHOOK = Secret("https://hooks.slack.com/services/T/B/canary")
PARAMETERS = {
    "WebhookStore": "ssm",
    "WebhookName": PLACE.webhook_parameter,
    "CodeBucket": PLACE.default_bucket,
    "CodeKey": f"{PLACE.key_prefix}{SHA256[:16]}-first.zip",
    "Prefix": "cwnotify-",
    "Fleet": "no",
    "Lang": "en",
    "TimeZone": "",
    "Channel": "",
    "KmsKey": "",
    "Accounts": "",
    "Boundary": "",
}
KEY = "arn:aws:kms:ap-northeast-2:123456789012:key/12345678-90ab-cdef-1234-567890abcdef"


def deployed(*watches: InstanceWatch, alarms: tuple[str, ...] = (), **parameters: str) -> DeployedState:
    """Return a deployed stack with rules for `alarms`, its template read back from text."""
    merged = {**PARAMETERS, **parameters}
    template = json.loads(dump_template(build_template(watches, assign_alarms_to_rules((), alarms))))
    stack = Stack("arn", "cwnotify", "UPDATE_COMPLETE", merged, {}, template)
    keys = {merged["CodeBucket"]: (merged["CodeKey"],)}
    return DeployedState(PLACE, stack, WEBHOOK, keys, stored_sha256=SHA256, deployed_sha256=SHA256)


def plan_deploy(state: DeployedState, code: bytes = CODE, **spec: Any) -> Plan:
    return compute_deploy_steps(StackSpec(**{"webhook": WEBHOOK, **spec}), state, code, "nonce")


def lines(plan: Plan) -> list[str]:
    return [f"{change.sign} {change.kind} {change.name}" for step in plan for change in step.changes]


def test_first_deploy_creates_everything() -> None:
    assert lines(plan_deploy(DeployedState(PLACE), instances=(ONE,))) == [
        "+ bucket cwnotify-code-123456789012-ap-northeast-2",
        f"+ code cwnotify/cwnotify/{SHA256[:16]}-nonce.zip",
        "+ parameter /cwnotify/cwnotify/webhook",
        f"! boundary {PLACE.boundary_arn}",
        "+ stack cwnotify",
        f"+ alarm cwnotify-{ONE}-busy",
        f"+ alarm cwnotify-{ONE}-off",
    ]


@pytest.mark.parametrize("spec", [{}, {"instances": (ONE,)}, {"lang": "en"}, {"webhook": None}, {"fleet": False}])
def test_unchanged_stack_needs_no_steps(spec: dict[str, Any]) -> None:
    assert plan_deploy(deployed(InstanceWatch(ONE, 70.0)), **spec) == ()


def test_new_instance_leaves_the_others_unchanged() -> None:
    assert lines(plan_deploy(deployed(InstanceWatch(ONE, 70.0)), instances=(TWO,), threshold=60.0)) == [
        f"+ alarm cwnotify-{TWO}-busy",
        f"+ alarm cwnotify-{TWO}-off",
    ]


def test_plan_lists_only_the_alarm_that_changes() -> None:
    assert lines(plan_deploy(deployed(InstanceWatch(ONE)), instances=(ONE,), idle=5.0)) == [
        f"~ alarm cwnotify-{ONE}-off"
    ]


def test_dropped_instance_and_alarm_are_removed() -> None:
    state = deployed(InstanceWatch(ONE), InstanceWatch(TWO), alarms=("mine", "yours"))
    assert lines(plan_deploy(state, dropped=(TWO, "mine"))) == [
        "- route mine",
        f"- alarm cwnotify-{TWO}-busy",
        f"- alarm cwnotify-{TWO}-off",
    ]


def test_existing_alarm_gets_one_rule() -> None:
    state = replace(deployed(alarms=("mine",)), existing_alarms=("mine", "new"))
    assert lines(plan_deploy(state, alarms=("new",))) == ["+ route new"]
    assert plan_deploy(state, alarms=("mine",)) == ()
    assert lines(plan_deploy(replace(DeployedState(PLACE), existing_alarms=("new",)), alarms=("new",)))[-2:] == [
        "+ stack cwnotify",
        "+ route new",
    ]


def test_alarm_on_topic_gets_no_rule() -> None:
    # A user may have added the topic to its actions. Deploy leaves that and adds no rule.
    state = replace(deployed(), alarms_on_topic=("old",), existing_alarms=("old",))
    plan = plan_deploy(state, alarms=("old",))
    assert lines(plan) == ["! alarm old"]
    assert all(step.is_note for step in plan)
    assert "remove that action in the CloudWatch console" in plan[0].changes[0].detail
    # Without --alarm there is no note.
    assert plan_deploy(state) == ()


def test_rule_is_removed_once_its_alarm_acts_on_the_topic() -> None:
    state = replace(deployed(alarms=("mine", "yours")), alarms_on_topic=("mine",))
    assert lines(plan_deploy(state)) == ["- route mine", "! alarm mine"]
    assert lines(plan_deploy(state, dropped=("mine",))) == ["- route mine", "! alarm mine"]


def test_fleet_excludes_alarms_on_topic() -> None:
    state = replace(deployed(Fleet="yes", Prefix="train-"), alarms_on_topic=("train-1", "other"))
    plan = plan_deploy(state)
    assert lines(plan) == ["~ stack cwnotify", "! alarm train-1"]
    template = build_template((), (), [PLACE.get_alarm_arn("train-1")])
    assert state.stack
    assert plan_deploy(replace(state, stack=replace(state.stack, template=template)))[0].is_note
    with pytest.raises(AwsError, match="40 alarms named train-… act on the topic too"):
        plan_deploy(replace(state, alarms_on_topic=tuple(f"train-{n}" for n in range(40))))


def test_key_and_accounts_are_added_kept_and_removed() -> None:
    plan = plan_deploy(deployed(), kms_key=KEY, accounts=("210987654321",))
    assert lines(plan) == [f"+ key {KEY}", "+ account 210987654321"]
    assert "cloudwatch.amazonaws.com" in plan[0].changes[0].detail
    state = deployed(KmsKey=KEY, Accounts="111111111111,210987654321")
    assert plan_deploy(state, lang="en") == ()
    assert lines(plan_deploy(state, kms_key="none", dropped=("210987654321",))) == [
        f"- key {KEY}",
        "- account 210987654321",
    ]
    assert lines(plan_deploy(state, kms_key="alias/mine")) == ["~ key alias/mine"]
    assert lines(plan_deploy(DeployedState(PLACE), accounts=("210987654321",)))[-1] == "+ account 210987654321"


def test_new_code_replaces_the_old() -> None:
    assert lines(plan_deploy(deployed(InstanceWatch(ONE)), code=b"def")) == [
        "+ code cwnotify/cwnotify/cb8379ac2098aa16-nonce.zip",
        "~ function cwnotify",
        f"- code {PARAMETERS['CodeKey']}",
    ]


def test_plan_names_bucket_key_and_hash_of_the_code() -> None:
    plan = plan_deploy(DeployedState(PLACE), instances=(ONE,))
    (change,) = [change for step in plan for change in step.changes if change.kind == "code"]
    assert change.name.endswith("-nonce.zip")
    assert PLACE.default_bucket in change.detail
    assert f"SHA-256 {SHA256}" in change.detail


def test_existing_bucket_is_noted_and_its_objects_are_not_used() -> None:
    planted = f"{PLACE.key_prefix}{SHA256[:16]}.zip"
    state = DeployedState(PLACE, keys_by_bucket={PLACE.default_bucket: (planted,)})
    plan = lines(plan_deploy(state, instances=(ONE,)))
    assert plan[:2] == [f"! bucket {PLACE.default_bucket}", f"+ code {PLACE.key_prefix}{SHA256[:16]}-nonce.zip"]
    assert f"- code {planted}" in plan


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"stored_sha256": "0" * 64}, f"! code {PARAMETERS['CodeKey']}"),
        ({"deployed_sha256": "0" * 64}, "! function cwnotify"),
        ({"deployed_sha256": ""}, "! function cwnotify"),
        ({"stored_sha256": ""}, None),
    ],
)
def test_foreign_code_is_replaced(change: dict[str, Any], note: str | None) -> None:
    state = replace(deployed(InstanceWatch(ONE)), **change)
    assert lines(plan_deploy(state)) == [
        *([note] if note else []),
        f"+ code {PLACE.key_prefix}{SHA256[:16]}-nonce.zip",
        "~ function cwnotify",
        f"- code {PARAMETERS['CodeKey']}",
    ]


def test_existing_boundary_is_used_and_kept() -> None:
    def boundary_details(state: DeployedState, **spec: Any) -> list[str]:
        plan = plan_deploy(state, **spec)
        return [change.detail for step in plan for change in step.changes if "Boundary" in change.detail]

    new = DeployedState(PLACE, existing_boundary_arn=PLACE.boundary_arn)
    assert lines(plan_deploy(new, instances=(ONE,)))[3] == "+ stack cwnotify"
    assert boundary_details(replace(deployed(), existing_boundary_arn=PLACE.boundary_arn)) == [
        f"Boundary: none → {PLACE.boundary_arn}"
    ]
    bounded = deployed(Boundary=PLACE.boundary_arn)
    assert plan_deploy(bounded) == ()
    assert boundary_details(bounded, boundary="") == [f"Boundary: {PLACE.boundary_arn} → none"]
    with pytest.raises(UsageError, match="is not the ARN of an IAM policy"):
        plan_deploy(bounded, boundary="cwnotify-boundary")


def test_users_bucket_replaces_ours() -> None:
    state = deployed(InstanceWatch(ONE))
    state = replace(state, keys_by_bucket={**state.keys_by_bucket, "mine": ()})
    assert lines(plan_deploy(state, bucket="mine")) == [
        f"+ code cwnotify/cwnotify/{SHA256[:16]}-nonce.zip",
        "~ stack cwnotify",
        "~ function cwnotify",
        f"- code {PARAMETERS['CodeKey']}",
        f"- bucket {PLACE.default_bucket}",
    ]


def test_webhook_reference_is_not_copied() -> None:
    plan = plan_deploy(DeployedState(PLACE), instances=(ONE,), webhook=Secret("secretsmanager:team/slack"))
    assert not any("parameter" in line for line in lines(plan))
    assert lines(plan_deploy(deployed(InstanceWatch(ONE)), webhook=Secret("ssm:/team/slack"))) == [
        "~ stack cwnotify",
        "- parameter /cwnotify/cwnotify/webhook",
    ]


def test_fleet_removes_rules_of_alarms_that_it_matches() -> None:
    state = replace(deployed(alarms=("train-1",)), existing_alarms=("train-2", "other"))
    plan = plan_deploy(state, fleet=True, prefix="train-", alarms=("train-2", "other"))
    assert lines(plan) == ["~ stack cwnotify", "~ stack cwnotify", "- route train-1", "+ route other"]


def test_plan_does_not_contain_the_webhook() -> None:
    state = replace(deployed(), webhook=Secret("https://hooks.slack.com/services/T/B/older"))
    plan = plan_deploy(state, instances=(ONE,))
    assert "canary" not in repr(plan)
    assert "~ parameter /cwnotify/cwnotify/webhook" in lines(plan)


@pytest.mark.parametrize(
    ("state", "spec", "kind", "reason"),
    [
        (DeployedState(PLACE), {}, UsageError, "nothing to watch"),
        (DeployedState(PLACE), {"instances": (ONE,), "webhook": None}, NoWebhookError, "cwnotify login"),
        (DeployedState(PLACE), {"instances": (ONE,), "webhook": Secret("ssm:name")}, UsageError, "whole path"),
        (DeployedState(PLACE), {"alarms": ("nope",)}, AwsError, "no alarm named nope"),
        (DeployedState(PLACE), {"bucket": "other", "instances": (ONE,)}, AwsError, "no bucket other"),
        (deployed(InstanceWatch(ONE)), {"alarms": (f"cwnotify-{ONE}-busy",)}, UsageError, "belongs to the stack"),
        (deployed(InstanceWatch(ONE)), {"dropped": ("nope",)}, UsageError, "neither an instance"),
        (
            replace(deployed(), alarms_on_topic=("old",)),
            {"dropped": ("old",)},
            UsageError,
            "remove that action in the CloudWatch",
        ),
        (deployed(), {"accounts": (PLACE.account,)}, UsageError, "the stack's own account"),
        (deployed(), {"accounts": tuple(f"{n:012}" for n in range(301))}, UsageError, "300 accounts"),
        (deployed(), {"kms_key": "alias/aws/sns"}, UsageError, "customer managed key"),
        (deployed(), {"kms_key": KEY.replace("northeast-2", "northeast-1")}, UsageError, "key in ap-northeast-2"),
        (deployed(), {"instances": tuple(f"i-{n:017x}" for n in range(300))}, UsageError, "more than one stack"),
    ],
)
def test_impossible_spec_is_rejected(
    state: DeployedState, spec: dict[str, Any], kind: type[CwnotifyError], reason: str
) -> None:
    with pytest.raises(kind, match=reason) as raised:
        plan_deploy(state, **spec)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "UPDATE_IN_PROGRESS"}, "busy"),
        ({"status": "ROLLBACK_COMPLETE"}, "cwnotify teardown"),
        ({"parameters": {}}, "not made by cwnotify"),
        ({"template": {}}, "earlier version of cwnotify.*cwnotify teardown"),
    ],
)
def test_unusable_stack_is_rejected(change: dict[str, Any], reason: str) -> None:
    state = deployed(InstanceWatch(ONE))
    assert state.stack
    with pytest.raises(CwnotifyError, match=reason):
        plan_deploy(replace(state, stack=replace(state.stack, **change)))


def test_teardown_removes_everything_and_nothing_else() -> None:
    state = replace(
        deployed(InstanceWatch(ONE), alarms=("mine",)),
        alarms_on_topic=("old",),
        keys_by_bucket={PLACE.default_bucket: (PARAMETERS["CodeKey"],), "own": ()},
    )
    assert lines(compute_teardown_steps(state)) == [
        "- stack cwnotify",
        "- route mine",
        f"- alarm cwnotify-{ONE}-busy",
        f"- alarm cwnotify-{ONE}-off",
        "! alarm old",
        "- parameter /cwnotify/cwnotify/webhook",
        f"- code {PARAMETERS['CodeKey']}",
        f"- bucket {PLACE.default_bucket}",
    ]
    assert compute_teardown_steps(DeployedState(PLACE)) == ()


def test_teardown_removes_a_stack_of_an_earlier_version() -> None:
    state = deployed(InstanceWatch(ONE))
    assert state.stack
    plan = compute_teardown_steps(replace(state, stack=replace(state.stack, template={})))
    assert lines(plan)[0] == "- stack cwnotify"


def test_teardown_rejects_a_foreign_stack() -> None:
    with pytest.raises(UsageError, match="not made by cwnotify"):
        compute_teardown_steps(DeployedState(PLACE, Stack("arn", "cwnotify", "CREATE_COMPLETE")))


@pytest.mark.parametrize(
    "account", ["", "12345678901", "1234567890123", "12345678901a", "123456789012\n", "１２３４５６７８９０１２"]
)
def test_account_without_twelve_digits_is_rejected(account: str) -> None:
    with pytest.raises(UsageError, match="twelve digits"):
        StackSpec(accounts=(account,))
