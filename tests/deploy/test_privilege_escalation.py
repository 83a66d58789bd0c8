"""What the deployer's policy must not allow: known ways to more rights, each beside what `deploy` needs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from cwnotify.cli import cwnotify as command
from cwnotify.deploy.iam_policies import build_boundary_policy, build_deployer_policy, build_function_policy
from cwnotify.deploy.spec import StackLocation
from cwnotify.deploy.template import render_template
from tests.support.iam import is_allowed

PLACE = StackLocation("cwnotify", "123456789012", "ap-northeast-2")
ANYWHERE = StackLocation("cwnotify", "*", "*")
IAM = "arn:aws:iam::123456789012"
ROLE = f"{IAM}:role/cwnotify-Role-1A2B"
LAMBDA = "arn:aws:lambda:ap-northeast-2:123456789012"
FUNCTION = f"{LAMBDA}:function:cwnotify"
EVENTS = "arn:aws:events:ap-northeast-2:123456789012"
ALARM = "arn:aws:cloudwatch:ap-northeast-2:123456789012:alarm"
TOPIC = "arn:aws:sns:ap-northeast-2:123456789012:cwnotify"
QUEUE = "arn:aws:sqs:ap-northeast-2:123456789012:cwnotify-changes"
SSM = "arn:aws:ssm:ap-northeast-2:123456789012:parameter"

# Action, resource, and what the request's context holds.
NEEDED: list[tuple[str, str, dict[str, Any]]] = [
    ("iam:CreateRole", ROLE, {"iam__PermissionsBoundary": PLACE.boundary_arn}),
    ("iam:PutRolePolicy", ROLE, {"iam__PermissionsBoundary": PLACE.boundary_arn}),
    ("iam:PutRolePermissionsBoundary", ROLE, {"iam__PermissionsBoundary": PLACE.boundary_arn}),
    ("iam:DeleteRolePolicy", ROLE, {}),
    ("iam:DeleteRole", ROLE, {}),
    ("iam:PassRole", ROLE, {"iam__PassedToService": "lambda.amazonaws.com"}),
    ("iam:GetPolicy", PLACE.boundary_arn, {}),
    ("lambda:UpdateFunctionCode", FUNCTION, {}),
    ("lambda:CreateEventSourceMapping", "*", {"lambda__FunctionArn": FUNCTION}),
    ("events:PutRule", f"{EVENTS}:rule/cwnotify-alarms-1", {"events__source": ["aws.cloudwatch"]}),
    ("events:PutTargets", f"{EVENTS}:rule/cwnotify", {"events__TargetArn": [QUEUE]}),
    ("events:PutTargets", f"{EVENTS}:rule/cwnotify-alarms-1", {"events__TargetArn": [FUNCTION]}),
    ("cloudwatch:PutMetricAlarm", f"{ALARM}:cwnotify-i-0abc-busy", {"cloudwatch__AlarmActions": [TOPIC]}),
    ("cloudwatch:PutMetricAlarm", f"{ALARM}:cwnotify-undelivered", {}),
    ("cloudwatch:DeleteAlarms", f"{ALARM}:cwnotify-i-0abc-off", {}),
    ("s3:PutObject", f"arn:aws:s3:::{PLACE.default_bucket}/cwnotify/cwnotify/1.zip", {}),
    ("ssm:PutParameter", f"{SSM}/cwnotify/cwnotify/webhook", {}),
]
ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"
# https://rhinosecuritylabs.com/aws/aws-privilege-escalation-methods-mitigation/ and what is kin to them.
ESCALATIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("iam:CreateRole", ROLE, {}),
    ("iam:CreateRole", ROLE, {"iam__PermissionsBoundary": ADMIN}),
    ("iam:CreateRole", f"{IAM}:role/admin", {"iam__PermissionsBoundary": PLACE.boundary_arn}),
    ("iam:PutRolePolicy", ROLE, {}),
    ("iam:PutRolePolicy", ROLE, {"iam__PermissionsBoundary": ADMIN}),
    ("iam:PutRolePolicy", f"{IAM}:role/admin", {"iam__PermissionsBoundary": PLACE.boundary_arn}),
    ("iam:AttachRolePolicy", ROLE, {"iam__PermissionsBoundary": PLACE.boundary_arn, "iam__PolicyARN": ADMIN}),
    ("iam:DeleteRolePermissionsBoundary", ROLE, {"iam__PermissionsBoundary": PLACE.boundary_arn}),
    ("iam:PutRolePermissionsBoundary", ROLE, {"iam__PermissionsBoundary": ADMIN}),
    ("iam:UpdateAssumeRolePolicy", ROLE, {}),
    ("sts:AssumeRole", ROLE, {}),
    *((f"iam:{one}", PLACE.boundary_arn, {}) for one in ("CreatePolicy", "CreatePolicyVersion", "DeletePolicy")),
    *((f"iam:{one}", PLACE.boundary_arn, {}) for one in ("SetDefaultPolicyVersion", "DeletePolicyVersion")),
    *((f"iam:{one}", f"{IAM}:user/me", {}) for one in ("PutUserPolicy", "AttachUserPolicy", "CreateAccessKey")),
    ("iam:PassRole", ROLE, {}),
    *(
        ("iam:PassRole", ROLE, {"iam__PassedToService": f"{service}.amazonaws.com"})
        for service in ("ec2", "cloudformation", "events", "glue", "sagemaker", "scheduler")
    ),
    ("iam:PassRole", f"{IAM}:role/admin", {"iam__PassedToService": "lambda.amazonaws.com"}),
    *(
        (f"lambda:{one}", f"{LAMBDA}:function:{name}", {})
        for one in ("UpdateFunctionCode", "UpdateFunctionConfiguration", "InvokeFunction", "AddPermission")
        for name in ("payroll", "cwnotify-2", "my-cwnotify")
    ),
    ("lambda:CreateEventSourceMapping", "*", {"lambda__FunctionArn": f"{LAMBDA}:function:payroll"}),
    ("lambda:UpdateEventSourceMapping", "*", {"lambda__FunctionArn": f"{LAMBDA}:function:payroll"}),
    ("lambda:CreateEventSourceMapping", "*", {}),
    ("events:PutTargets", f"{EVENTS}:rule/cwnotify", {"events__TargetArn": [f"{LAMBDA}:function:payroll"]}),
    ("events:PutTargets", f"{EVENTS}:rule/cwnotify", {"events__TargetArn": [QUEUE, f"{LAMBDA}:function:payroll"]}),
    ("events:PutTargets", f"{EVENTS}:rule/payroll", {"events__TargetArn": [FUNCTION]}),
    ("events:PutRule", f"{EVENTS}:rule/cwnotify", {"events__source": ["aws.s3"]}),
    ("events:PutRule", f"{EVENTS}:rule/cwnotify", {}),
    ("cloudwatch:PutMetricAlarm", f"{ALARM}:cwnotify-i-0-busy", {"cloudwatch__AlarmActions": ["arn:aws:automate:…"]}),
    ("cloudwatch:PutMetricAlarm", f"{ALARM}:theirs", {}),
    ("cloudwatch:DeleteAlarms", f"{ALARM}:cwnotify-of-another-team", {}),
    ("s3:GetObject", "arn:aws:s3:::payroll/salaries.csv", {}),
    ("s3:PutObject", f"arn:aws:s3:::{PLACE.default_bucket}/other/1.zip", {}),
    ("s3:PutBucketPolicy", f"arn:aws:s3:::{PLACE.default_bucket}", {}),
    ("ssm:PutParameter", f"{SSM}/prod/database", {}),
    ("ssm:GetParameter", f"{SSM}/prod/database", {}),
    ("cloudformation:UpdateStack", "arn:aws:cloudformation:ap-northeast-2:123456789012:stack/payroll/1", {}),
    ("logs:DeleteLogGroup", "arn:aws:logs:ap-northeast-2:123456789012:log-group:/aws/lambda/payroll:*", {}),
    ("sns:SetTopicAttributes", "arn:aws:sns:ap-northeast-2:123456789012:payroll", {}),
]


@pytest.mark.parametrize("place", [PLACE, ANYWHERE])
@pytest.mark.parametrize(("action", "resource", "context"), NEEDED)
def test_what_a_deployment_needs_is_allowed(
    place: StackLocation, action: str, resource: str, context: dict[str, Any]
) -> None:
    assert is_allowed(build_deployer_policy(place), action, resource, **context)


@pytest.mark.parametrize("place", [PLACE, ANYWHERE])
@pytest.mark.parametrize(("action", "resource", "context"), ESCALATIONS)
def test_a_way_to_more_rights_is_closed(
    place: StackLocation, action: str, resource: str, context: dict[str, Any]
) -> None:
    assert not is_allowed(build_deployer_policy(place), action, resource, **context)


@pytest.mark.parametrize("prefix", ["", "*", "train-", "train-?", "${aws:username}"])
def test_a_prefix_opens_no_alarm_of_others(prefix: str) -> None:
    policy = build_deployer_policy(PLACE, prefix)
    for action in ("cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms"):
        assert is_allowed(policy, action, f"{ALARM}:{prefix}i-0abc-off")
        assert not is_allowed(policy, action, f"{ALARM}:theirs")
        assert not is_allowed(policy, action, f"{ALARM}:{prefix}loss")
        assert not is_allowed(policy, action, f"{ALARM}:train-x-i-0abc-off") or prefix == "train-x-"


@pytest.mark.parametrize("webhook", ["", "ssm:/team/slack", "secretsmanager:team/slack"])
def test_the_boundary_allows_what_the_function_needs_and_no_more(webhook: str) -> None:
    limit = build_boundary_policy(PLACE, webhook)
    assert limit == build_function_policy(PLACE, webhook)
    secret = "arn:aws:secretsmanager:ap-northeast-2:123456789012:secret"
    reads = [
        ("ssm:GetParameter", f"{SSM}/cwnotify/cwnotify/webhook", webhook == ""),
        ("ssm:GetParameter", f"{SSM}/team/slack", webhook.startswith("ssm")),
        ("secretsmanager:GetSecretValue", f"{secret}:team/slack-a1B2c3", webhook.startswith("secrets")),
        ("secretsmanager:GetSecretValue", f"{secret}:payroll-a1B2c3", False),
        ("ssm:GetParameter", f"{SSM}/prod/database", False),
        ("iam:PutUserPolicy", f"{IAM}:user/me", False),
        ("s3:GetObject", "arn:aws:s3:::payroll/salaries.csv", False),
        ("sqs:ReceiveMessage", QUEUE, True),
    ]
    for action, resource, expected in reads:
        assert is_allowed(limit, action, resource) == expected, action


def test_the_role_of_the_template_has_the_boundary() -> None:
    assert "PermissionsBoundary: !If [HasBoundary, !Ref Boundary, !Ref AWS::NoValue]" in render_template((), ())


def test_the_command_prints_the_boundary_for_a_webhook_of_ones_own() -> None:
    run = CliRunner()
    asked = ["policy", "boundary", "--account", PLACE.account, "--region", PLACE.region, "--webhook"]
    assert json.loads(run.invoke(command, [*asked, "ssm:/team/slack"]).stdout) == build_boundary_policy(
        PLACE, "ssm:/team/slack"
    )
    assert run.invoke(command, [*asked, "https://hooks.slack.com/services/T/B/canary"]).exit_code == 2
    own = "arn:aws:iam::123456789012:policy/limits/of-the-company"
    printed = json.loads(run.invoke(command, ["policy", "deployer", "--boundary", own]).stdout)
    assert is_allowed(printed, "iam:CreateRole", ROLE, iam__PermissionsBoundary=own)
    assert not is_allowed(printed, "iam:CreateRole", ROLE, iam__PermissionsBoundary=PLACE.boundary_arn)
