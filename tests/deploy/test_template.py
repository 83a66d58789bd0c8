"""The template: clean to cfn-lint, small, and with exactly the permissions that the way to Slack needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cwnotify import lambda_function
from cwnotify.deploy.alarm_rules import AlarmRule, build_fleet_pattern
from cwnotify.deploy.iam_policies import build_function_policy
from cwnotify.deploy.spec import InstanceWatch, StackLocation
from cwnotify.deploy.template import (
    MAX_TEMPLATE_BODY_BYTES,
    Template,
    build_template,
    dump_template,
    has_metadata,
    list_changed_resources,
    parse_alarm_rules,
    parse_instance_watches,
)
from cwnotify.errors import UsageError

WATCHES = (InstanceWatch("i-0abc1234567890def"), InstanceWatch("i-0123456789abcdef0", 62.5, 5.0, 60, 3, 3))
RULES = (AlarmRule(1, ("mine", '경보 😀 "x" \\ # @a: [b], c')), AlarmRule(3, ("yours",)))
EXCLUDED_ARN = "arn:aws:cloudwatch:ap-northeast-2:123456789012:alarm:train-옛"
DEAD_LETTERS = {"Fn::GetAtt": ["DeadLetters", "Arn"]}
PSEUDO_PARAMETERS = {"AWS::Partition": "aws", "AWS::Region": "ap-northeast-2", "AWS::AccountId": "123456789012"}
EVENTS_ARN = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:"
RULE_NAMES = ["rule/${AWS::StackName}", "rule/${AWS::StackName}-alarms-*"]


@pytest.fixture(scope="module")
def resources() -> Any:
    return json.loads(dump_template(build_template(WATCHES, RULES, [EXCLUDED_ARN])))["Resources"]


def resolve(value: Any, **values: str) -> Any:
    """Return `value` with its functions evaluated, for a fleet whose webhook is a parameter."""
    if isinstance(value, list):
        return [resolve(item, **values) for item in value]
    if not isinstance(value, dict):
        return value
    if "Fn::If" in value:
        return resolve(value["Fn::If"][1], **values)
    if "Fn::Sub" in value:
        text = str(value["Fn::Sub"])
        for name, replacement in {**PSEUDO_PARAMETERS, **values}.items():
            text = text.replace(f"${{{name}}}", replacement)
        return text
    if "Fn::GetAtt" in value:
        return values[value["Fn::GetAtt"][0]]
    return {key: resolve(item, **values) for key, item in value.items()}


@pytest.mark.parametrize(
    "template",
    # cfn-lint reads JSON as YAML, which has no surrogate pairs: no emoji in these names.
    [build_template(()), build_template(WATCHES, [AlarmRule(1, ('경보 "x" \\ # @a: [b], c',))], [EXCLUDED_ARN])],
)
def test_template_passes_cfn_lint(template: Template, tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    path.write_text(dump_template(template))
    cfn_lint = Path(sys.executable).with_name("cfn-lint")
    command = [str(cfn_lint), "--include-checks", "I", "--", str(path)]
    lint = subprocess.run(command, capture_output=True, text=True)
    assert (lint.returncode, lint.stdout) == (0, "")


def test_template_of_twenty_instances_needs_no_bucket() -> None:
    watches = [InstanceWatch(f"i-{number:017x}") for number in range(20)]
    assert len(dump_template(build_template(watches)).encode()) < MAX_TEMPLATE_BODY_BYTES


def test_metadata_records_instances_and_rules() -> None:
    template = json.loads(dump_template(build_template(WATCHES, RULES)))
    assert has_metadata(template)
    assert parse_instance_watches(template) == WATCHES
    assert parse_alarm_rules(template) == RULES


def test_template_without_metadata_records_nothing() -> None:
    template = {key: value for key, value in build_template(WATCHES, RULES).items() if key != "Metadata"}
    assert not has_metadata(template)
    assert parse_instance_watches(template) == ()
    assert parse_alarm_rules(template) == ()


def test_template_text_is_ascii() -> None:
    # GetTemplate returns a question mark for any other character, so the template would always seem to have changed.
    text = dump_template(build_template(WATCHES, RULES, [EXCLUDED_ARN]))
    assert text.isascii()
    alarm = json.loads(text)["Resources"]["OffI0ABC1234567890DEF"]["Properties"]
    assert alarm["AlarmDescription"]["Fn::If"][1].startswith("i-0abc1234567890def 인스턴스의 학습이 끝났습니다")


def test_parsed_text_equals_the_template() -> None:
    template = build_template(WATCHES, RULES, [EXCLUDED_ARN])
    assert json.loads(dump_template(template)) == template


def test_changed_resources_are_those_that_differ() -> None:
    assert list_changed_resources(build_template(WATCHES), build_template(WATCHES)) == ()
    assert list_changed_resources(build_template(WATCHES[:1]), build_template(WATCHES)) == (
        "BusyI0123456789ABCDEF0",
        "OffI0123456789ABCDEF0",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"instance": "i-nope"},
        {"idle": 60.0},
        {"threshold": 100.0},
        {"period": 90},
        {"datapoints": 4},
        {"period": 3600, "evaluated": 25},
    ],
)
def test_instance_watch_rejects_values_out_of_range(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        InstanceWatch(**{"instance": "i-0abc1234567890def", **fields})


# The way from an alarm to Slack


def test_only_topic_and_rules_may_call_the_function(resources: Any) -> None:
    permission = resources["Permission"]["Properties"]
    assert permission == {
        "FunctionName": {"Ref": "Function"},
        "Action": "lambda:InvokeFunction",
        "Principal": "sns.amazonaws.com",
        "SourceArn": {"Ref": "Topic"},
    }
    permissions = [name for name, resource in resources.items() if resource["Type"] == "AWS::Lambda::Permission"]
    assert permissions == ["Permission", "AllowAlarms1", "AllowAlarms3"]
    subscription = resources["Subscription"]
    assert subscription["Properties"]["Endpoint"] == {"Fn::GetAtt": ["Function", "Arn"]}
    assert "Permission" in subscription["DependsOn"]


def test_only_alarms_of_allowed_accounts_may_publish(resources: Any) -> None:
    own, others = resources["TopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    condition, other, otherwise = others["Fn::If"]
    assert (condition, otherwise) == ("HasAccounts", {"Ref": "AWS::NoValue"})
    accounts = {"Fn::Split": [",", {"Ref": "Accounts"}]}
    for statement, account in ((own, {"Ref": "AWS::AccountId"}), (other, accounts)):
        assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
        permission = statement["Effect"], statement["Action"], statement["Resource"]
        assert permission == ("Allow", "sns:Publish", {"Ref": "Topic"})
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": account}}


def test_key_encrypts_the_topic(resources: Any) -> None:
    key = {"Fn::If": ["IsEncrypted", {"Ref": "KmsKey"}, {"Ref": "AWS::NoValue"}]}
    assert resources["Topic"]["Properties"]["KmsMasterKeyId"] == key


def test_rule_may_call_the_function_and_keeps_undelivered_events(resources: Any) -> None:
    for number, names in ((1, RULES[0].alarms), (3, RULES[1].alarms)):
        name = f"${{AWS::StackName}}-alarms-{number}"
        rule, permission = resources[f"Alarms{number}"], resources[f"AllowAlarms{number}"]["Properties"]
        assert rule["Properties"]["Name"] == {"Fn::Sub": name}
        assert permission["Principal"] == "events.amazonaws.com"
        assert permission["SourceArn"] == {"Fn::Sub": f"{EVENTS_ARN}rule/{name}"}
        assert f"AllowAlarms{number}" in rule["DependsOn"]
        assert rule["Properties"]["EventPattern"]["detail"]["alarmName"] == list(names)
        (target,) = rule["Properties"]["Targets"]
        queue, function = ({"Fn::GetAtt": [resource, "Arn"]} for resource in ("Queue", "Function"))
        assert target["Arn"] == {"Fn::If": ["IsFleet", queue, function]}
        assert target["DeadLetterConfig"] == {"Arn": DEAD_LETTERS}
        assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}


def test_fleet_rule_matches_contributors_and_keeps_undelivered_events(resources: Any) -> None:
    rule = resources["Rule"]["Properties"]
    pattern = {**rule["EventPattern"], "detail": {"alarmName": [{"prefix": "train-"}]}}
    assert rule["EventPattern"]["detail"] == {"alarmName": [{"prefix": {"Ref": "Prefix"}}]}
    assert pattern == build_fleet_pattern("train-", [EXCLUDED_ARN])
    assert "CloudWatch Alarm Contributor State Change" in pattern["detail-type"]
    assert rule["Targets"][0]["DeadLetterConfig"] == {"Arn": DEAD_LETTERS}
    assert "resources" not in build_template(())["Resources"]["Rule"]["Properties"]["EventPattern"]


def test_every_undelivered_message_goes_to_the_dead_letter_queue(resources: Any) -> None:
    assert resources["Function"]["Properties"]["DeadLetterConfig"] == {"TargetArn": DEAD_LETTERS}
    assert resources["Subscription"]["Properties"]["RedrivePolicy"] == {"deadLetterTargetArn": DEAD_LETTERS}
    redrive = resources["Queue"]["Properties"]["RedrivePolicy"]
    visibility_timeout = resources["Queue"]["Properties"]["VisibilityTimeout"]
    assert redrive["deadLetterTargetArn"] == DEAD_LETTERS
    # AWS wants six times the function's timeout, and Slack may be down for hours.
    assert visibility_timeout >= 6 * resources["Function"]["Properties"]["Timeout"]
    assert redrive["maxReceiveCount"] * visibility_timeout >= 12 * 3600
    assert resources["DeadLettersAlarm"]["Properties"]["Threshold"] == 0
    statements = [
        statement
        for name in ("DeadLettersPolicy", "QueuePolicy")
        for statement in resources[name]["Properties"]["PolicyDocument"]["Statement"]
    ]
    senders = [statement["Principal"]["Service"] for statement in statements]
    assert senders == ["sns.amazonaws.com", "events.amazonaws.com", "events.amazonaws.com"]
    assert {statement["Action"] for statement in statements} == {"sqs:SendMessage"}
    assert statements[0]["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Ref": "Topic"}}}
    for statement in statements[1:]:
        sources = statement["Condition"]["ArnLike"]["aws:SourceArn"]
        assert [source["Fn::Sub"] for source in sources] == [EVENTS_ARN + name for name in RULE_NAMES]


def test_role_equals_the_printed_policy(resources: Any) -> None:
    place = StackLocation("cwnotify", "123456789012", "ap-northeast-2")
    arn = "arn:aws:{}:ap-northeast-2:123456789012:{}".format
    role = resources["Role"]["Properties"]
    assert "ManagedPolicyArns" not in role
    assert role["PermissionsBoundary"] == {"Fn::If": ["HasBoundary", {"Ref": "Boundary"}, {"Ref": "AWS::NoValue"}]}
    (policy,) = role["Policies"]
    document = resolve(
        policy["PolicyDocument"],
        WebhookName=place.webhook_parameter,
        Log=arn("logs", "log-group:/aws/lambda/cwnotify:*"),
        DeadLetters=arn("sqs", "cwnotify-undelivered"),
        Queue=arn("sqs", "cwnotify-changes"),
    )
    for statement in document["Statement"]:
        for key in ("Action", "Resource"):
            statement[key] = statement[key] if isinstance(statement[key], list) else [statement[key]]
    assert document == build_function_policy(place)


def test_environment_names_the_stored_webhook(resources: Any) -> None:
    variables = resources["Function"]["Properties"]["Environment"]["Variables"]
    assert variables["hookUrl"] == {"Fn::Sub": "${WebhookStore}:${WebhookName}"}


def test_summaries_are_skipped_only_if_every_rule_matches_contributors(resources: Any) -> None:
    rules = [resource["Properties"] for resource in resources.values() if resource["Type"] == "AWS::Events::Rule"]
    patterns = [rule["EventPattern"] for rule in rules if "aws.cloudwatch" in rule["EventPattern"]["source"]]
    assert patterns
    for pattern in patterns:
        assert "CloudWatch Alarm Contributor State Change" in pattern["detail-type"]
    variables = resources["Function"]["Properties"]["Environment"]["Variables"]
    assert variables[lambda_function.CONTRIBUTOR_EVENTS_VARIABLE] == "true"


def test_instance_has_two_alarms(resources: Any) -> None:
    busy, off = (resources[f"{kind}I0ABC1234567890DEF"]["Properties"] for kind in ("Busy", "Off"))
    assert (busy["ComparisonOperator"], busy["Threshold"]) == ("GreaterThanThreshold", 50)
    assert (off["ComparisonOperator"], off["Threshold"]) == ("LessThanThreshold", 10)
    # A stopped instance sends no datapoints.
    assert (busy["TreatMissingData"], off["TreatMissingData"]) == ("notBreaching", "breaching")
    assert off["AlarmName"] == {"Fn::Sub": "${Prefix}i-0abc1234567890def-off"}
    for alarm in (busy, off):
        assert (alarm["Period"], alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (300, 2, 3)
        assert alarm["Dimensions"] == [{"Name": "InstanceId", "Value": "i-0abc1234567890def"}]
        # An alarm that used both ways would send each change twice.
        assert alarm["AlarmActions"] == {"Fn::If": ["IsFleet", {"Ref": "AWS::NoValue"}, [{"Ref": "Topic"}]]}
