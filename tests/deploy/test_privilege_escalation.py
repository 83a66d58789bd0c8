"""The deployer's policy allows what `deploy` needs, and none of the known privilege escalations."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from cwnotify.cli import cwnotify as command
from cwnotify.deploy.iam_policies import build_boundary_policy, build_deployer_policy, build_function_policy
from cwnotify.deploy.spec import StackLocation
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

# Action, resource, and the request's context.
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
# https://rhinosecuritylabs.com/aws/aws-privilege-escalation-methods-mitigation/, and related ones.
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
    *((f"iam:{action}", PLACE.boundary_arn, {}) for action in ("CreatePolicy", "CreatePolicyVersion", "DeletePolicy")),
    *((f"iam:{action}", PLACE.boundary_arn, {}) for action in ("SetDefaultPolicyVersion", "DeletePolicyVersion")),
    *((f"iam:{action}", f"{IAM}:user/me", {}) for action in ("PutUserPolicy", "AttachUserPolicy", "CreateAccessKey")),
    ("iam:PassRole", ROLE, {}),
    *(
        ("iam:PassRole", ROLE, {"iam__PassedToService": f"{service}.amazonaws.com"})
        for service in ("ec2", "cloudformation", "events", "glue", "sagemaker", "scheduler")
    ),
    ("iam:PassRole", f"{IAM}:role/admin", {"iam__PassedToService": "lambda.amazonaws.com"}),
    *(
        (f"lambda:{action}", f"{LAMBDA}:function:{name}", {})
        for action in ("UpdateFunctionCode", "UpdateFunctionConfiguration", "InvokeFunction", "AddPermission")
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
def test_needed_action_is_allowed(place: StackLocation, action: str, resource: str, context: dict[str, Any]) -> None:
    assert is_allowed(build_deployer_policy(place), action, resource, **context)


@pytest.mark.parametrize("place", [PLACE, ANYWHERE])
@pytest.mark.parametrize(("action", "resource", "context"), ESCALATIONS)
def test_privilege_escalation_is_denied(
    place: StackLocation, action: str, resource: str, context: dict[str, Any]
) -> None:
    assert not is_allowed(build_deployer_policy(place), action, resource, **context)


@pytest.mark.parametrize("prefix", ["", "*", "train-", "train-?", "${aws:username}"])
def test_prefix_allows_no_other_alarms(prefix: str) -> None:
    policy = build_deployer_policy(PLACE, prefix)
    for action in ("cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms"):
        assert is_allowed(policy, action, f"{ALARM}:{prefix}i-0abc-off")
        assert not is_allowed(policy, action, f"{ALARM}:theirs")
        assert not is_allowed(policy, action, f"{ALARM}:{prefix}loss")
        assert not is_allowed(policy, action, f"{ALARM}:train-x-i-0abc-off") or prefix == "train-x-"


@pytest.mark.parametrize("webhook", ["", "ssm:/team/slack", "secretsmanager:team/slack"])
def test_boundary_allows_exactly_what_the_function_needs(webhook: str) -> None:
    boundary = build_boundary_policy(PLACE, webhook)
    assert boundary == build_function_policy(PLACE, webhook)
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
        assert is_allowed(boundary, action, resource) == expected, action


def test_command_prints_the_boundary_for_a_stored_webhook() -> None:
    runner = CliRunner()
    arguments = ["policy", "boundary", "--account", PLACE.account, "--region", PLACE.region, "--webhook"]
    result = runner.invoke(command, [*arguments, "ssm:/team/slack"])
    assert json.loads(result.stdout) == build_boundary_policy(PLACE, "ssm:/team/slack")
    assert runner.invoke(command, [*arguments, "https://hooks.slack.com/services/T/B/canary"]).exit_code == 2


def test_command_limits_roles_to_the_users_boundary() -> None:
    boundary = "arn:aws:iam::123456789012:policy/limits/of-the-company"
    policy = json.loads(CliRunner().invoke(command, ["policy", "deployer", "--boundary", boundary]).stdout)
    assert is_allowed(policy, "iam:CreateRole", ROLE, iam__PermissionsBoundary=boundary)
    assert not is_allowed(policy, "iam:CreateRole", ROLE, iam__PermissionsBoundary=PLACE.boundary_arn)
