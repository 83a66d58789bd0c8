"""The template: clean to cfn-lint, small, and with every right there that the way to Slack needs, and no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode.cfn_yaml import loads
from hypothesis import given
from hypothesis import strategies as st

from cwnotify import lambda_function
from cwnotify.deploy import template
from cwnotify.deploy.iam_policies import build_function_policy
from cwnotify.deploy.spec import StackLocation
from cwnotify.deploy.template import (
    MAX_PATTERN_LENGTH,
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
from cwnotify.errors import UsageError

STACK = Path(template.__file__).with_name("stack.yaml")
WATCHES = (InstanceWatch("i-0abc1234567890def"), InstanceWatch("i-0123456789abcdef0", 62.5, 5.0, 60, 3, 3))
DEAD_LETTERS = {"Fn::GetAtt": ["DeadLetters", "Arn"]}
VALUES = {"AWS::Partition": "aws", "AWS::Region": "ap-northeast-2", "AWS::AccountId": "123456789012"}


ROUTES = (AlarmRule(1, ("mine", '경보 😀 "x" \\ # @a: [b], c')), AlarmRule(3, ("yours",)))
OLD = "arn:aws:cloudwatch:ap-northeast-2:123456789012:alarm:train-옛"
ARN = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:"
FROM_RULES = ["rule/${AWS::StackName}", "rule/${AWS::StackName}-alarms-*"]


@pytest.fixture(scope="module")
def resources() -> Any:
    return loads(render_template(WATCHES, ROUTES, [OLD]))["Resources"]


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
def test_cfn_lint_finds_nothing(watches: tuple[InstanceWatch, ...], tmp_path: Path) -> None:
    path = STACK if not watches else tmp_path / "stack.yaml"
    if watches:
        path.write_text(render_template(watches, ROUTES, [OLD]))
    command = [Path(sys.executable).with_name("cfn-lint"), "--include-checks", "I", "--", str(path)]
    lint = subprocess.run(command, capture_output=True, text=True)
    assert (lint.returncode, lint.stdout) == (0, "")


def test_small_enough_for_twenty_instances() -> None:
    many = [InstanceWatch(f"i-{number:017x}") for number in range(20)]
    assert len(render_template(many).encode()) < MAX_TEMPLATE_BODY_BYTES


def test_what_was_asked_for_is_found_again() -> None:
    assert parse_instance_watches(render_template(WATCHES)) == WATCHES


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255), unique=True, max_size=30))
def test_any_names_are_found_again_and_make_patterns_that_fit(names: list[str]) -> None:
    routes = assign_alarms_to_rules((), names)
    text = render_template((), routes, ["arn"])
    assert text.isascii()
    assert parse_alarm_rules(text) == routes
    assert [name for one in routes for name in one.alarms] != [] or not names
    assert {name for one in routes for name in one.alarms} == set(names)
    resources = loads(text)["Resources"]
    for one in routes:
        assert resources[f"Alarms{one.number}"]["Properties"]["EventPattern"] == one.event_pattern
        assert measure_pattern(one.event_pattern) <= MAX_PATTERN_LENGTH


def test_more_names_than_rules_can_hold() -> None:
    with pytest.raises(UsageError, match="use --fleet"):
        assign_alarms_to_rules((), [f"{n}-{'x' * 240}" for n in range(800)])


def test_what_aws_keeps_is_what_was_sent() -> None:
    # GetTemplate returns a question mark for whatever is not ASCII; the text would always seem to have changed.
    assert render_template(WATCHES, ROUTES, [OLD]).isascii()
    alarm = loads(render_template(WATCHES))["Resources"]["OffI0ABC1234567890DEF"]["Properties"]["AlarmDescription"][
        "Fn::If"
    ][1]
    assert alarm.startswith("i-0abc1234567890def 인스턴스의 학습이 끝났습니다")


def test_what_two_templates_do_not_share() -> None:
    assert list_changed_resources(render_template(WATCHES), render_template(WATCHES)) == ()
    assert list_changed_resources(render_template(WATCHES[:1]), render_template(WATCHES)) == (
        "BusyI0123456789ABCDEF0",
        "OffI0123456789ABCDEF0",
    )


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
        InstanceWatch(**{"instance": "i-0abc1234567890def", **wrong})


# The way from an alarm to Slack


def test_the_topic_may_call_the_function_and_nobody_else(resources: Any) -> None:
    permission = resources["Permission"]["Properties"]
    assert permission == {
        "FunctionName": {"Ref": "Function"},
        "Action": "lambda:InvokeFunction",
        "Principal": "sns.amazonaws.com",
        "SourceArn": {"Ref": "Topic"},
    }
    allowed = [name for name, one in resources.items() if one["Type"] == "AWS::Lambda::Permission"]
    assert allowed == ["Permission", "AllowAlarms1", "AllowAlarms3"]
    subscription = resources["Subscription"]
    assert subscription["Properties"]["Endpoint"] == {"Fn::GetAtt": ["Function", "Arn"]}
    assert "Permission" in subscription["DependsOn"]


def test_only_alarms_of_this_account_may_publish(resources: Any) -> None:
    statement, others = resources["TopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    condition, other, otherwise = others["Fn::If"]
    assert (condition, otherwise) == ("HasAccounts", {"Ref": "AWS::NoValue"})
    listed = {"Fn::Split": [",", {"Ref": "Accounts"}]}
    for one, whose in ((statement, {"Ref": "AWS::AccountId"}), (other, listed)):
        assert one["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
        assert (one["Effect"], one["Action"], one["Resource"]) == ("Allow", "sns:Publish", {"Ref": "Topic"})
        assert one["Condition"] == {"StringEquals": {"aws:SourceAccount": whose}}


def test_a_key_encrypts_the_topic(resources: Any) -> None:
    key = {"Fn::If": ["IsEncrypted", {"Ref": "KmsKey"}, {"Ref": "AWS::NoValue"}]}
    assert resources["Topic"]["Properties"]["KmsMasterKeyId"] == key


def test_a_rule_may_call_the_function_and_keeps_what_it_cannot_deliver(resources: Any) -> None:
    for number, names in ((1, ROUTES[0].alarms), (3, ROUTES[1].alarms)):
        name = f"${{AWS::StackName}}-alarms-{number}"
        rule, permission = resources[f"Alarms{number}"], resources[f"AllowAlarms{number}"]["Properties"]
        assert rule["Properties"]["Name"] == {"Fn::Sub": name}
        assert permission["Principal"] == "events.amazonaws.com"
        assert permission["SourceArn"] == {"Fn::Sub": f"{ARN}rule/{name}"}
        assert f"AllowAlarms{number}" in rule["DependsOn"]
        assert rule["Properties"]["EventPattern"]["detail"]["alarmName"] == list(names)
        (target,) = rule["Properties"]["Targets"]
        queue, function = ({"Fn::GetAtt": [one, "Arn"]} for one in ("Queue", "Function"))
        assert target["Arn"] == {"Fn::If": ["IsFleet", queue, function]}
        assert target["DeadLetterConfig"] == {"Arn": DEAD_LETTERS}
        assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}


def test_a_fleets_rule_matches_contributors_too_and_keeps_what_it_cannot_deliver(resources: Any) -> None:
    rule = resources["Rule"]["Properties"]
    pattern = {**rule["EventPattern"], "detail": {"alarmName": [{"prefix": "train-"}]}}
    assert pattern == build_fleet_pattern("train-", [OLD])
    assert "CloudWatch Alarm Contributor State Change" in pattern["detail-type"]
    assert rule["Targets"][0]["DeadLetterConfig"] == {"Arn": DEAD_LETTERS}
    assert "resources" not in loads(render_template(()))["Resources"]["Rule"]["Properties"]["EventPattern"]


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
    statements = [
        statement
        for name in ("DeadLettersPolicy", "QueuePolicy")
        for statement in resources[name]["Properties"]["PolicyDocument"]["Statement"]
    ]
    senders = [one["Principal"]["Service"] for one in statements]
    assert senders == ["sns.amazonaws.com", "events.amazonaws.com", "events.amazonaws.com"]
    assert {one["Action"] for one in statements} == {"sqs:SendMessage"}
    for statement in statements[1:]:
        sources = statement["Condition"]["ArnLike"]["aws:SourceArn"]
        assert [one["Fn::Sub"] for one in sources] == [ARN + name for name in FROM_RULES]


def test_the_role_has_exactly_the_rights_that_policy_prints(resources: Any) -> None:
    place = StackLocation("cwnotify", "123456789012", "ap-northeast-2")
    arn = "arn:aws:{}:ap-northeast-2:123456789012:{}".format
    role = resources["Role"]["Properties"]
    assert "ManagedPolicyArns" not in role
    (policy,) = role["Policies"]
    rights = written(
        policy["PolicyDocument"],
        WebhookName=place.webhook_parameter,
        Log=arn("logs", "log-group:/aws/lambda/cwnotify:*"),
        DeadLetters=arn("sqs", "cwnotify-undelivered"),
        Queue=arn("sqs", "cwnotify-changes"),
    )
    for statement in rights["Statement"]:
        for key in ("Action", "Resource"):
            statement[key] = statement[key] if isinstance(statement[key], list) else [statement[key]]
    assert rights == build_function_policy(place)


def test_the_environment_names_where_the_webhook_is_kept(resources: Any) -> None:
    variables = resources["Function"]["Properties"]["Environment"]["Variables"]
    assert variables["hookUrl"] == {"Fn::Sub": "${WebhookStore}:${WebhookName}"}


def test_summaries_are_left_out_only_because_every_rule_brings_the_contributors(resources: Any) -> None:
    rules = [one["Properties"] for one in resources.values() if one["Type"] == "AWS::Events::Rule"]
    about_alarms = [one["EventPattern"] for one in rules if "aws.cloudwatch" in one["EventPattern"]["source"]]
    assert about_alarms
    for pattern in about_alarms:
        assert "CloudWatch Alarm Contributor State Change" in pattern["detail-type"]
    variables = resources["Function"]["Properties"]["Environment"]["Variables"]
    assert variables[lambda_function.CONTRIBUTOR_EVENTS_VARIABLE] == "true"


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
