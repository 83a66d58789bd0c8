"""Planning, which asks nothing and changes nothing: a wish and what is there -> lines that a person can check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cwnotify.aws.formation import Stack
from cwnotify.aws.plan import plan_deploy, plan_teardown
from cwnotify.aws.template import Watch, compose
from cwnotify.aws.wishes import Found, Place, Plan, Wish
from cwnotify.errors import AwsError, CwnotifyError, UsageError
from cwnotify.settings import Secret

PLACE = Place("cwnotify", "123456789012", "ap-northeast-2")
ONE, TWO = "i-0abc1234567890def", "i-0123456789abcdef0"
WEBHOOK = Secret("https://hooks.slack.com/services/T/B/canary")
PARAMETERS = {
    "WebhookStore": "ssm",
    "WebhookName": PLACE.parameter,
    "CodeBucket": PLACE.bucket,
    "CodeKey": f"{PLACE.keys}abc.zip",
    "Prefix": "cwnotify-",
    "Fleet": "no",
    "Lang": "en",
    "TimeZone": "",
    "Channel": "",
}


def there(*watches: Watch, **parameters: str) -> Found:
    """A stack that is deployed."""
    merged = {**PARAMETERS, **parameters}
    stack = Stack("arn", "cwnotify", "UPDATE_COMPLETE", merged, {}, compose(watches))
    return Found(PLACE, stack, WEBHOOK, {merged["CodeBucket"]: (merged["CodeKey"],)})


def planned(found: Found, code: str = "abc", **wish: Any) -> Plan:
    return plan_deploy(Wish(**{"webhook": WEBHOOK, **wish}), found, code, lambda: b"zip")


def lines(plan: Plan) -> list[str]:
    return [f"{one.sign} {one.kind} {one.name}" for step in plan for one in step.changes]


def test_from_nothing() -> None:
    assert lines(planned(Found(PLACE), instances=(ONE,))) == [
        "+ bucket cwnotify-code-123456789012-ap-northeast-2",
        "+ code cwnotify/cwnotify/abc.zip",
        "+ parameter /cwnotify/cwnotify/webhook",
        "+ stack cwnotify",
        f"+ alarm cwnotify-{ONE}-busy",
        f"+ alarm cwnotify-{ONE}-off",
    ]


@pytest.mark.parametrize("wish", [{}, {"instances": (ONE,)}, {"lang": "en"}, {"webhook": None}, {"fleet": False}])
def test_what_is_so_already_is_left_alone(wish: dict[str, Any]) -> None:
    assert planned(there(Watch(ONE, 70.0)), **wish) == ()


def test_another_instance_is_added_and_what_is_left_out_stays() -> None:
    assert lines(planned(there(Watch(ONE, 70.0)), instances=(TWO,), threshold=60.0)) == [
        f"+ alarm cwnotify-{TWO}-busy",
        f"+ alarm cwnotify-{TWO}-off",
    ]


def test_only_the_alarm_that_changes_is_told() -> None:
    assert lines(planned(there(Watch(ONE)), instances=(ONE,), idle=5.0)) == [f"~ alarm cwnotify-{ONE}-off"]


def test_an_instance_and_an_attached_alarm_are_let_go() -> None:
    found = replace(there(Watch(ONE), Watch(TWO)), attached=("mine",))
    assert lines(planned(found, dropped=(TWO, "mine"))) == [
        f"- alarm cwnotify-{TWO}-busy",
        f"- alarm cwnotify-{TWO}-off",
        "~ alarm mine",
    ]


def test_new_code_replaces_the_old() -> None:
    assert lines(planned(there(Watch(ONE)), code="def")) == [
        "+ code cwnotify/cwnotify/def.zip",
        "~ function cwnotify",
        "- code cwnotify/cwnotify/abc.zip",
    ]


def test_a_bucket_of_ones_own_takes_the_place_of_ours() -> None:
    found = there(Watch(ONE))
    found = replace(found, code={**found.code, "mine": ()})
    assert lines(planned(found, bucket="mine")) == [
        "+ code cwnotify/cwnotify/abc.zip",
        "~ stack cwnotify",
        "- code cwnotify/cwnotify/abc.zip",
        f"- bucket {PLACE.bucket}",
    ]


def test_a_webhook_kept_elsewhere_is_not_copied() -> None:
    plan = planned(Found(PLACE), instances=(ONE,), webhook=Secret("secretsmanager:team/slack"))
    assert not any("parameter" in line for line in lines(plan))
    assert lines(planned(there(Watch(ONE)), webhook=Secret("ssm:/team/slack"))) == [
        "~ stack cwnotify",
        "- parameter /cwnotify/cwnotify/webhook",
    ]


def test_a_fleet_is_not_told_twice_of_an_alarm() -> None:
    found = replace(there(), attached=("train-1",), alarms=("train-2", "other"))
    plan = planned(found, fleet=True, prefix="train-", alarms=("train-2", "other"))
    assert lines(plan) == ["~ stack cwnotify", "~ stack cwnotify", "~ alarm train-1", "~ alarm other"]


def test_the_secret_is_in_no_line() -> None:
    plan = planned(replace(there(), webhook=Secret("https://hooks.slack.com/services/T/B/older")), instances=(ONE,))
    assert "canary" not in repr(plan)
    assert "~ parameter /cwnotify/cwnotify/webhook" in lines(plan)


@pytest.mark.parametrize(
    ("found", "wish", "kind", "why"),
    [
        (Found(PLACE), {}, UsageError, "nothing to watch"),
        (Found(PLACE), {"instances": (ONE,), "webhook": None}, CwnotifyError, "cwnotify login"),
        (Found(PLACE), {"instances": (ONE,), "webhook": Secret("ssm:name")}, UsageError, "whole path"),
        (Found(PLACE), {"alarms": ("nope",)}, AwsError, "no alarm named nope"),
        (Found(PLACE), {"bucket": "other", "instances": (ONE,)}, AwsError, "no bucket other"),
        (there(Watch(ONE)), {"alarms": (f"cwnotify-{ONE}-busy",)}, UsageError, "this very stack"),
        (there(Watch(ONE)), {"dropped": ("nope",)}, UsageError, "neither an instance"),
        (there(), {"instances": tuple(f"i-{n:017x}" for n in range(300))}, UsageError, "more than one stack can hold"),
    ],
)
def test_what_cannot_be_done(found: Found, wish: dict[str, Any], kind: type[Exception], why: str) -> None:
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
    found = there(Watch(ONE))
    assert found.stack
    with pytest.raises(CwnotifyError, match=why):
        planned(replace(found, stack=replace(found.stack, **change)))


def test_teardown_takes_all_and_nothing_else() -> None:
    found = replace(
        there(Watch(ONE)), attached=("mine",), code={PLACE.bucket: ("cwnotify/cwnotify/abc.zip",), "own": ()}
    )
    assert lines(plan_teardown(found)) == [
        "~ alarm mine",
        "- stack cwnotify",
        f"- alarm cwnotify-{ONE}-busy",
        f"- alarm cwnotify-{ONE}-off",
        "- parameter /cwnotify/cwnotify/webhook",
        "- code cwnotify/cwnotify/abc.zip",
        f"- bucket {PLACE.bucket}",
    ]
    assert plan_teardown(Found(PLACE)) == ()


def test_teardown_of_somebody_elses_stack_is_refused() -> None:
    with pytest.raises(UsageError, match="not made by cwnotify"):
        plan_teardown(Found(PLACE, Stack("arn", "cwnotify", "CREATE_COMPLETE")))
