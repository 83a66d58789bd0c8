"""Planning, which asks nothing and changes nothing: a wish and what is there -> lines that a person can check."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from cwnotify.deploy.cloudformation import Stack
from cwnotify.deploy.plan import compute_deploy_steps, compute_teardown_steps
from cwnotify.deploy.spec import DeployedState, Plan, StackLocation, StackSpec
from cwnotify.deploy.template import InstanceWatch, assign_alarms_to_rules, parse_alarm_rules, render_template
from cwnotify.errors import AwsError, CwnotifyError, UsageError
from cwnotify.settings import Secret

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


def there(*watches: InstanceWatch, alarms: tuple[str, ...] = (), **parameters: str) -> DeployedState:
    """A stack that is deployed, with rules for `alarms`."""
    merged = {**PARAMETERS, **parameters}
    stack = Stack(
        "arn", "cwnotify", "UPDATE_COMPLETE", merged, {}, render_template(watches, assign_alarms_to_rules((), alarms))
    )
    code = {merged["CodeBucket"]: (merged["CodeKey"],)}
    return DeployedState(PLACE, stack, WEBHOOK, code, stored_sha256=SHA256, deployed_sha256=SHA256)


def planned(found: DeployedState, code: bytes = CODE, **wish: Any) -> Plan:
    return compute_deploy_steps(StackSpec(**{"webhook": WEBHOOK, **wish}), found, code, "nonce")


def lines(plan: Plan) -> list[str]:
    return [f"{one.sign} {one.kind} {one.name}" for step in plan for one in step.changes]


def test_from_nothing() -> None:
    assert lines(planned(DeployedState(PLACE), instances=(ONE,))) == [
        "+ bucket cwnotify-code-123456789012-ap-northeast-2",
        f"+ code cwnotify/cwnotify/{SHA256[:16]}-nonce.zip",
        "+ parameter /cwnotify/cwnotify/webhook",
        f"! boundary {PLACE.boundary_arn}",
        "+ stack cwnotify",
        f"+ alarm cwnotify-{ONE}-busy",
        f"+ alarm cwnotify-{ONE}-off",
    ]


@pytest.mark.parametrize("wish", [{}, {"instances": (ONE,)}, {"lang": "en"}, {"webhook": None}, {"fleet": False}])
def test_what_is_so_already_is_left_alone(wish: dict[str, Any]) -> None:
    assert planned(there(InstanceWatch(ONE, 70.0)), **wish) == ()


def test_another_instance_is_added_and_what_is_left_out_stays() -> None:
    assert lines(planned(there(InstanceWatch(ONE, 70.0)), instances=(TWO,), threshold=60.0)) == [
        f"+ alarm cwnotify-{TWO}-busy",
        f"+ alarm cwnotify-{TWO}-off",
    ]


def test_only_the_alarm_that_changes_is_told() -> None:
    assert lines(planned(there(InstanceWatch(ONE)), instances=(ONE,), idle=5.0)) == [f"~ alarm cwnotify-{ONE}-off"]


def test_an_instance_and_an_attached_alarm_are_let_go() -> None:
    found = there(InstanceWatch(ONE), InstanceWatch(TWO), alarms=("mine", "yours"))
    assert lines(planned(found, dropped=(TWO, "mine"))) == [
        "- route mine",
        f"- alarm cwnotify-{TWO}-busy",
        f"- alarm cwnotify-{TWO}-off",
    ]


def test_an_alarm_that_exists_gets_a_rule_once() -> None:
    found = replace(there(alarms=("mine",)), existing_alarms=("mine", "new"))
    assert lines(planned(found, alarms=("new",))) == ["+ route new"]
    assert planned(found, alarms=("mine",)) == ()
    assert lines(planned(replace(DeployedState(PLACE), existing_alarms=("new",)), alarms=("new",)))[-2:] == [
        "+ stack cwnotify",
        "+ route new",
    ]


def test_an_alarm_that_acts_on_the_topic_is_not_sent_twice() -> None:
    # An older cwnotify added the topic to its actions. It stays so, and no rule is made beside it.
    found = replace(there(), alarms_on_topic=("old",), existing_alarms=("old",))
    plan = planned(found, alarms=("old",))
    assert lines(plan) == ["! alarm old"]
    assert all(step.is_note for step in plan)
    assert "remove that action in the CloudWatch console" in plan[0].changes[0].detail
    # Not named now, it is not mentioned either.
    assert planned(found) == ()


def test_a_rule_goes_once_its_alarm_acts_on_the_topic_itself() -> None:
    found = replace(there(alarms=("mine", "yours")), alarms_on_topic=("mine",))
    assert lines(planned(found)) == ["- route mine", "! alarm mine"]
    assert lines(planned(found, dropped=("mine",))) == ["- route mine", "! alarm mine"]


def test_a_fleet_leaves_out_what_acts_on_the_topic() -> None:
    found = replace(there(Fleet="yes", Prefix="train-"), alarms_on_topic=("train-1", "other"))
    plan = planned(found)
    assert lines(plan) == ["~ stack cwnotify", "! alarm train-1"]
    text = render_template((), (), [PLACE.get_alarm_arn("train-1")])
    assert found.stack
    assert planned(replace(found, stack=replace(found.stack, template=text)))[0].is_note
    with pytest.raises(AwsError, match="40 alarms named train-… act on the topic too"):
        planned(replace(found, alarms_on_topic=tuple(f"train-{n}" for n in range(40))))


def test_key_and_accounts_are_added_kept_and_removed() -> None:
    plan = planned(there(), kms_key=KEY, accounts=("210987654321",))
    assert lines(plan) == [f"+ key {KEY}", "+ account 210987654321"]
    assert "cloudwatch.amazonaws.com" in plan[0].changes[0].detail
    found = there(KmsKey=KEY, Accounts="111111111111,210987654321")
    assert planned(found, lang="en") == ()
    assert lines(planned(found, kms_key="none", dropped=("210987654321",))) == [
        f"- key {KEY}",
        "- account 210987654321",
    ]
    assert lines(planned(found, kms_key="alias/mine")) == ["~ key alias/mine"]
    assert lines(planned(DeployedState(PLACE), accounts=("210987654321",)))[-1] == "+ account 210987654321"


def test_new_code_replaces_the_old() -> None:
    assert lines(planned(there(InstanceWatch(ONE)), code=b"def")) == [
        "+ code cwnotify/cwnotify/cb8379ac2098aa16-nonce.zip",
        "~ function cwnotify",
        f"- code {PARAMETERS['CodeKey']}",
    ]


def test_the_plan_names_bucket_key_and_hash_of_the_code() -> None:
    (line,) = [
        one for step in planned(DeployedState(PLACE), instances=(ONE,)) for one in step.changes if one.kind == "code"
    ]
    assert line.name.endswith("-nonce.zip")
    assert PLACE.default_bucket in line.detail
    assert f"SHA-256 {SHA256}" in line.detail


def test_a_bucket_that_exists_before_the_stack_is_named_and_nothing_in_it_is_used() -> None:
    planted = f"{PLACE.key_prefix}{SHA256[:16]}.zip"
    found = DeployedState(PLACE, keys_by_bucket={PLACE.default_bucket: (planted,)})
    told = lines(planned(found, instances=(ONE,)))
    assert told[:2] == [f"! bucket {PLACE.default_bucket}", f"+ code {PLACE.key_prefix}{SHA256[:16]}-nonce.zip"]
    assert f"- code {planted}" in told


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"stored_sha256": "0" * 64}, f"! code {PARAMETERS['CodeKey']}"),
        ({"deployed_sha256": "0" * 64}, "! function cwnotify"),
        ({"deployed_sha256": ""}, "! function cwnotify"),
        ({"stored_sha256": ""}, None),
    ],
)
def test_code_that_is_not_what_was_deployed_is_replaced(change: dict[str, str], note: str | None) -> None:
    found = replace(there(InstanceWatch(ONE)), **change)  # type: ignore[arg-type]
    assert lines(planned(found)) == [
        *([note] if note else []),
        f"+ code {PLACE.key_prefix}{SHA256[:16]}-nonce.zip",
        "~ function cwnotify",
        f"- code {PARAMETERS['CodeKey']}",
    ]


def test_a_boundary_that_exists_is_used_and_stays() -> None:
    def limit(found: DeployedState, **wish: Any) -> list[str]:
        return [one.detail for step in planned(found, **wish) for one in step.changes if "Boundary" in one.detail]

    assert (
        lines(planned(DeployedState(PLACE, existing_boundary_arn=PLACE.boundary_arn), instances=(ONE,)))[3]
        == "+ stack cwnotify"
    )
    assert limit(replace(there(), existing_boundary_arn=PLACE.boundary_arn)) == [
        f"Boundary: none → {PLACE.boundary_arn}"
    ]
    bounded = there(Boundary=PLACE.boundary_arn)
    assert planned(bounded) == ()
    assert limit(bounded, boundary="") == [f"Boundary: {PLACE.boundary_arn} → none"]
    with pytest.raises(UsageError, match="--boundary takes the ARN"):
        planned(bounded, boundary="cwnotify-boundary")


def test_a_bucket_of_ones_own_takes_the_place_of_ours() -> None:
    found = there(InstanceWatch(ONE))
    found = replace(found, keys_by_bucket={**found.keys_by_bucket, "mine": ()})
    assert lines(planned(found, bucket="mine")) == [
        f"+ code cwnotify/cwnotify/{SHA256[:16]}-nonce.zip",
        "~ stack cwnotify",
        "~ function cwnotify",
        f"- code {PARAMETERS['CodeKey']}",
        f"- bucket {PLACE.default_bucket}",
    ]


def test_a_webhook_kept_elsewhere_is_not_copied() -> None:
    plan = planned(DeployedState(PLACE), instances=(ONE,), webhook=Secret("secretsmanager:team/slack"))
    assert not any("parameter" in line for line in lines(plan))
    assert lines(planned(there(InstanceWatch(ONE)), webhook=Secret("ssm:/team/slack"))) == [
        "~ stack cwnotify",
        "- parameter /cwnotify/cwnotify/webhook",
    ]


def test_a_fleet_is_not_told_twice_of_an_alarm() -> None:
    found = replace(there(alarms=("train-1",)), existing_alarms=("train-2", "other"))
    plan = planned(found, fleet=True, prefix="train-", alarms=("train-2", "other"))
    assert lines(plan) == ["~ stack cwnotify", "~ stack cwnotify", "- route train-1", "+ route other"]


def test_the_secret_is_in_no_line() -> None:
    plan = planned(replace(there(), webhook=Secret("https://hooks.slack.com/services/T/B/older")), instances=(ONE,))
    assert "canary" not in repr(plan)
    assert "~ parameter /cwnotify/cwnotify/webhook" in lines(plan)


@pytest.mark.parametrize(
    ("found", "wish", "kind", "why"),
    [
        (DeployedState(PLACE), {}, UsageError, "nothing to watch"),
        (DeployedState(PLACE), {"instances": (ONE,), "webhook": None}, CwnotifyError, "cwnotify login"),
        (DeployedState(PLACE), {"instances": (ONE,), "webhook": Secret("ssm:name")}, UsageError, "whole path"),
        (DeployedState(PLACE), {"alarms": ("nope",)}, AwsError, "no alarm named nope"),
        (DeployedState(PLACE), {"bucket": "other", "instances": (ONE,)}, AwsError, "no bucket other"),
        (there(InstanceWatch(ONE)), {"alarms": (f"cwnotify-{ONE}-busy",)}, UsageError, "this very stack"),
        (there(InstanceWatch(ONE)), {"dropped": ("nope",)}, UsageError, "neither an instance"),
        (
            replace(there(), alarms_on_topic=("old",)),
            {"dropped": ("old",)},
            UsageError,
            "remove that action in the CloudWatch",
        ),
        (there(), {"accounts": (PLACE.account,)}, UsageError, "the stack's own account"),
        (there(), {"accounts": tuple(f"{n:012}" for n in range(301))}, UsageError, "300 accounts"),
        (there(), {"kms_key": "alias/aws/sns"}, UsageError, "customer managed key"),
        (there(), {"kms_key": KEY.replace("northeast-2", "northeast-1")}, UsageError, "needs a key in ap-northeast-2"),
        (there(), {"instances": tuple(f"i-{n:017x}" for n in range(300))}, UsageError, "more than one stack can hold"),
    ],
)
def test_what_cannot_be_done(found: DeployedState, wish: dict[str, Any], kind: type[Exception], why: str) -> None:
    with pytest.raises(kind, match=why):
        planned(found, **wish)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"status": "UPDATE_IN_PROGRESS"}, "busy"),
        ({"status": "ROLLBACK_COMPLETE"}, "cwnotify teardown"),
        ({"parameters": {}}, "not made by cwnotify"),
    ],
)
def test_a_stack_that_cannot_be_changed(change: dict[str, Any], why: str) -> None:
    found = there(InstanceWatch(ONE))
    assert found.stack
    with pytest.raises(CwnotifyError, match=why):
        planned(replace(found, stack=replace(found.stack, **change)))


def test_teardown_takes_all_and_nothing_else() -> None:
    found = replace(
        there(InstanceWatch(ONE), alarms=("mine",)),
        alarms_on_topic=("old",),
        keys_by_bucket={PLACE.default_bucket: (PARAMETERS["CodeKey"],), "own": ()},
    )
    assert lines(compute_teardown_steps(found)) == [
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


def test_teardown_of_somebody_elses_stack_is_refused() -> None:
    with pytest.raises(UsageError, match="not made by cwnotify"):
        compute_teardown_steps(DeployedState(PLACE, Stack("arn", "cwnotify", "CREATE_COMPLETE")))


@pytest.mark.parametrize(
    "account", ["", "12345678901", "1234567890123", "12345678901a", "123456789012\n", "１２３４５６７８９０１２"]
)
def test_an_account_has_twelve_digits(account: str) -> None:
    with pytest.raises(UsageError, match="twelve digits"):
        StackSpec(accounts=(account,))


def test_a_name_stays_in_its_rule() -> None:
    first = tuple(f"first-{n:03}-{'x' * 80}" for n in range(40))
    found = replace(there(alarms=first), existing_alarms=("new",))
    assert found.stack
    before = parse_alarm_rules(found.stack.template)
    assert len(before) == 3
    assert [one.alarms for one in assign_alarms_to_rules(before, first)] == [one.alarms for one in before]
    # The second rule goes, the third keeps its number, and what is new goes where there is room.
    left = [name for name in first if name not in before[1].alarms]
    after = assign_alarms_to_rules(before, [*left, "new"])
    assert [one.number for one in after] == [1, 3]
    assert set(after[0].alarms) | set(after[1].alarms) == {*left, "new"}
