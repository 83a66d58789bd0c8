"""The template: clean to cfn-lint, small, and with every right there that the way to Slack needs, and no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode.cfn_yaml import loads

from cwnotify.aws import template
from cwnotify.aws.policies import function
from cwnotify.aws.template import MOST_BODY, Watch, changed, compose, read_watches
from cwnotify.aws.wishes import Place
from cwnotify.errors import UsageError

STACK = Path(template.__file__).with_name("stack.yaml")
WATCHES = (Watch("i-0abc1234567890def"), Watch("i-0123456789abcdef0", 62.5, 5.0, 60, 3, 3))
DEAD_LETTERS = {"Fn::GetAtt": ["DeadLetters", "Arn"]}
VALUES = {"AWS::Partition": "aws", "AWS::Region": "ap-northeast-2", "AWS::AccountId": "123456789012"}


@pytest.fixture(scope="module")
def resources() -> Any:
    return loads(compose(WATCHES))["Resources"]


def written(value: Any, **more: str) -> Any:
    """A value with its functions worked out, for a fleet whose webhook is a parameter."""
    if isinstance(value, list):
        return [written(one, **more) for one in value]
    if not isinstance(value, dict):
        return value
    if "Fn::If" in value:
        return written(value["Fn::If"][1], **more)
    if "Fn::Sub" in value:
        text = str(value["Fn::Sub"])
        for name, known in {**VALUES, **more}.items():
            text = text.replace(f"${{{name}}}", known)
        return text
    if "Fn::GetAtt" in value:
        return more[value["Fn::GetAtt"][0]]
    return {key: written(one, **more) for key, one in value.items()}


@pytest.mark.parametrize("watches", [(), WATCHES])
def test_cfn_lint_finds_nothing(watches: tuple[Watch, ...], tmp_path: Path) -> None:
    path = STACK if not watches else tmp_path / "stack.yaml"
    if watches:
        path.write_text(compose(watches))
    command = [Path(sys.executable).with_name("cfn-lint"), "--include-checks", "I", "--", str(path)]
    lint = subprocess.run(command, capture_output=True, text=True)
    assert (lint.returncode, lint.stdout) == (0, "")


def test_small_enough_for_twenty_instances() -> None:
    many = [Watch(f"i-{number:017x}") for number in range(20)]
    assert len(compose(many).encode()) < MOST_BODY


def test_what_was_asked_for_is_found_again() -> None:
    assert read_watches(compose(WATCHES)) == WATCHES


def test_what_two_templates_do_not_share() -> None:
    assert changed(compose(WATCHES), compose(WATCHES)) == ()
    assert changed(compose(WATCHES[:1]), compose(WATCHES)) == ("BusyI0123456789ABCDEF0", "OffI0123456789ABCDEF0")


@pytest.mark.parametrize(
    "wrong",
    [
        {"instance": "i-nope"},
        {"idle": 60.0},
        {"threshold": 100.0},
        {"period": 90},
        {"datapoints": 4},
        {"period": 3600, "evaluated": 25},
    ],
)
def test_what_cannot_be_watched(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Watch(**{"instance": "i-0abc1234567890def", **wrong})


# The way from an alarm to Slack


def test_the_topic_may_call_the_function_and_nobody_else(resources: Any) -> None:
    permission = resources["Permission"]["Properties"]
    assert permission == {
        "FunctionName": {"Ref": "Function"},
        "Action": "lambda:InvokeFunction",
        "Principal": "sns.amazonaws.com",
        "SourceArn": {"Ref": "Topic"},
    }
    assert [name for name, one in resources.items() if one["Type"] == "AWS::Lambda::Permission"] == ["Permission"]
    subscription = resources["Subscription"]
    assert subscription["Properties"]["Endpoint"] == {"Fn::GetAtt": ["Function", "Arn"]}
    assert "Permission" in subscription["DependsOn"]


def test_only_alarms_of_this_account_may_publish(resources: Any) -> None:
    (statement,) = resources["TopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_nothing_that_could_not_be_delivered_is_lost(resources: Any) -> None:
    assert resources["Function"]["Properties"]["DeadLetterConfig"] == {"TargetArn": DEAD_LETTERS}
    assert resources["Subscription"]["Properties"]["RedrivePolicy"] == {"deadLetterTargetArn": DEAD_LETTERS}
    redrive = resources["Queue"]["Properties"]["RedrivePolicy"]
    hidden = resources["Queue"]["Properties"]["VisibilityTimeout"]
    assert redrive["deadLetterTargetArn"] == DEAD_LETTERS
    # AWS asks for six times the function's time; and Slack may be down for hours.
    assert hidden >= 6 * resources["Function"]["Properties"]["Timeout"]
    assert redrive["maxReceiveCount"] * hidden >= 12 * 3600
    assert resources["DeadLettersAlarm"]["Properties"]["Threshold"] == 0
    senders = [
        (statement["Principal"]["Service"], statement["Action"])
        for name in ("DeadLettersPolicy", "QueuePolicy")
        for statement in resources[name]["Properties"]["PolicyDocument"]["Statement"]
    ]
    assert senders == [("sns.amazonaws.com", "sqs:SendMessage"), ("events.amazonaws.com", "sqs:SendMessage")]


def test_the_role_has_exactly_the_rights_that_policy_prints(resources: Any) -> None:
    place = Place("cwnotify", "123456789012", "ap-northeast-2")
    arn = "arn:aws:{}:ap-northeast-2:123456789012:{}".format
    role = resources["Role"]["Properties"]
    assert "ManagedPolicyArns" not in role
    (policy,) = role["Policies"]
    rights = written(
        policy["PolicyDocument"],
        WebhookName=place.parameter,
        Log=arn("logs", "log-group:/aws/lambda/cwnotify:*"),
        DeadLetters=arn("sqs", "cwnotify-undelivered"),
        Queue=arn("sqs", "cwnotify-changes"),
    )
    for statement in rights["Statement"]:
        for key in ("Action", "Resource"):
            statement[key] = statement[key] if isinstance(statement[key], list) else [statement[key]]
    assert rights == function(place)


def test_the_environment_names_where_the_webhook_is_kept(resources: Any) -> None:
    variables = resources["Function"]["Properties"]["Environment"]["Variables"]
    assert variables["hookUrl"] == {"Fn::Sub": "${WebhookStore}:${WebhookName}"}


def test_the_two_alarms_of_an_instance(resources: Any) -> None:
    busy, off = (resources[f"{kind}I0ABC1234567890DEF"]["Properties"] for kind in ("Busy", "Off"))
    assert (busy["ComparisonOperator"], busy["Threshold"]) == ("GreaterThanThreshold", 50)
    assert (off["ComparisonOperator"], off["Threshold"]) == ("LessThanThreshold", 10)
    # A stopped instance sends nothing.
    assert (busy["TreatMissingData"], off["TreatMissingData"]) == ("notBreaching", "breaching")
    assert off["AlarmName"] == {"Fn::Sub": "${Prefix}i-0abc1234567890def-off"}
    for alarm in (busy, off):
        assert (alarm["Period"], alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (300, 2, 3)
        assert alarm["Dimensions"] == [{"Name": "InstanceId", "Value": "i-0abc1234567890def"}]
        # Never both ways at once, or each change would be told twice.
        assert alarm["AlarmActions"] == {"Fn::If": ["IsFleet", {"Ref": "AWS::NoValue"}, [{"Ref": "Topic"}]]}
