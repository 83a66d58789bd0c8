"""The smallest sufficient IAM policies of the deployer, the notebook's instance and the function. Pure.

Each action is limited to the resources of one stack if IAM allows that. The function's policy is the one that the
template gives its role; it is here for users who create the role themselves.

The deployer creates a role and the code that runs with it. Without a permissions boundary that equals an
administrator's rights, so every role and role policy that the deployer writes must have the boundary:
https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from cwnotify.deploy.spec import StackLocation

Policy = dict[str, Any]


def build_deployer_policy(place: StackLocation, prefix: str | None = None, boundary: str | None = None) -> Policy:
    """Return the policy for deploy, stack, teardown, test --lambda, replay and redrive.

    Parameters
    ----------
    prefix
        Prefix of the names of the stack's own alarms; None for the stack's name and a hyphen.
    boundary
        ARN of the permissions boundary that every role must have; None for the stack's own.
    """
    arn, name = _make_arn_builder(place), place.name
    alarm_prefix = _escape_wildcards(f"{name}-" if prefix is None else prefix)
    role = f"arn:{place.partition}:iam::{place.account}:role/{name}-Role-*"
    boundary = boundary or place.boundary_arn
    has_boundary = {"StringLike" if "*" in boundary else "StringEquals": {"iam:PermissionsBoundary": boundary}}
    rules = [arn("events", f"rule/{name}{suffix}") for suffix in ("", "-alarms-*")]
    function, changes = arn("lambda", f"function:{name}"), arn("sqs", f"{name}-changes")
    return _policy(
        _allow(
            "Stack",
            (
                *("cloudformation:CreateStack", "cloudformation:UpdateStack", "cloudformation:DeleteStack"),
                *("cloudformation:DescribeStacks", "cloudformation:DescribeStackEvents", "cloudformation:GetTemplate"),
            ),
            arn("cloudformation", f"stack/{name}/*"),
        ),
        # Bucket and code are two statements, because a wildcard in the bucket's name would match its keys too.
        _allow(
            "Bucket",
            (
                *("s3:CreateBucket", "s3:DeleteBucket", "s3:ListBucket"),
                *("s3:PutBucketPublicAccessBlock", "s3:PutBucketOwnershipControls"),
            ),
            f"arn:{place.partition}:s3:::{place.default_bucket}",
        ),
        _allow(
            "Code",
            ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"),
            f"arn:{place.partition}:s3:::{place.default_bucket}/{place.key_prefix}*",
        ),
        _allow(
            "Webhook",
            ("ssm:GetParameter", "ssm:PutParameter", "ssm:DeleteParameter"),
            arn("ssm", f"parameter{place.webhook_parameter}"),
        ),
        # Only roles with the boundary can be created or given rights. No action here removes or replaces the boundary.
        _allow(
            "BoundedRole",
            ("iam:CreateRole", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary"),
            role,
            condition=has_boundary,
        ),
        _allow(
            "Role",
            (
                *("iam:DeleteRole", "iam:GetRole", "iam:UpdateRole", "iam:UpdateRoleDescription"),
                *("iam:GetRolePolicy", "iam:DeleteRolePolicy"),
            ),
            role,
        ),
        _allow(
            "PassTheRole",
            ("iam:PassRole",),
            role,
            condition={"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}},
        ),
        _allow("SeeTheBoundary", ("iam:GetPolicy",), boundary),
        _allow(
            "Function",
            (
                *("lambda:CreateFunction", "lambda:DeleteFunction", "lambda:GetFunction"),
                *("lambda:UpdateFunctionCode", "lambda:UpdateFunctionConfiguration", "lambda:InvokeFunction"),
                *("lambda:AddPermission", "lambda:RemovePermission", "lambda:GetPolicy"),
            ),
            function,
        ),
        _allow(
            "Log",
            ("logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:PutRetentionPolicy", "logs:DeleteRetentionPolicy"),
            arn("logs", f"log-group:/aws/lambda/{name}:*"),
        ),
        _allow(
            "Topic",
            (
                *("sns:CreateTopic", "sns:DeleteTopic", "sns:GetTopicAttributes", "sns:SetTopicAttributes"),
                *("sns:Subscribe", "sns:Unsubscribe", "sns:GetSubscriptionAttributes"),
                *("sns:SetSubscriptionAttributes", "sns:ListSubscriptionsByTopic"),
            ),
            *(arn("sns", f"{name}{suffix}") for suffix in ("", ":*")),
        ),
        _allow(
            "Queues",
            (
                *("sqs:CreateQueue", "sqs:DeleteQueue", "sqs:GetQueueAttributes", "sqs:SetQueueAttributes"),
                *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"),
            ),
            *(arn("sqs", f"{name}-{queue}") for queue in ("undelivered", "changes")),
        ),
        # Other alarms with the prefix are never written. The conditions keep an alarm from stopping an instance, and a
        # rule from reading other events or calling other targets.
        _allow(
            "Alarms",
            ("cloudwatch:PutMetricAlarm",),
            *_list_alarm_arns(arn, alarm_prefix),
            condition={"ForAllValues:StringLike": {"cloudwatch:AlarmActions": arn("sns", name)}},
        ),
        _allow("RemoveAlarms", ("cloudwatch:DeleteAlarms",), *_list_alarm_arns(arn, alarm_prefix)),
        _allow(
            "Rules",
            ("events:DeleteRule", "events:DescribeRule", "events:RemoveTargets"),
            *rules,
        ),
        _allow(
            "AlarmRules",
            ("events:PutRule",),
            *rules,
            condition={
                "ForAllValues:StringEquals": {"events:source": "aws.cloudwatch"},
                "Null": {"events:source": "false"},
            },
        ),
        _allow(
            "Targets",
            ("events:PutTargets",),
            *rules,
            condition={"ForAllValues:ArnLike": {"events:TargetArn": [function, changes]}},
        ),
        # A mapping that does not exist yet has no ARN, so the function that it calls is a condition.
        _allow(
            "Source",
            (
                *("lambda:CreateEventSourceMapping", "lambda:UpdateEventSourceMapping"),
                "lambda:DeleteEventSourceMapping",
            ),
            "*",
            condition={"ArnLike": {"lambda:FunctionArn": function}},
        ),
        # IAM cannot limit these actions to one resource.
        _allow(
            "All",
            (
                *("cloudwatch:DescribeAlarms", "cloudwatch:DescribeAlarmHistory"),
                *("ec2:DescribeInstances", "logs:DescribeLogGroups", "lambda:GetEventSourceMapping"),
            ),
            "*",
        ),
    )


def build_notebook_policy(place: StackLocation) -> Policy:
    """Return the policy of an instance whose notebook watches alarms and CPU, with the webhook in Parameter Store."""
    arn, name = _make_arn_builder(place), place.name
    return _policy(
        _allow(
            "Watch",
            (
                *("cloudwatch:DescribeAlarms", "cloudwatch:DescribeAlarmHistory"),
                *("cloudwatch:GetMetricData", "cloudwatch:ListMetrics", "ec2:DescribeInstances"),
            ),
            "*",
        ),
        # These show which alarms reach Slack already, so that they are not sent twice.
        _allow("SeeTheTopic", ("sns:ListSubscriptionsByTopic",), arn("sns", name)),
        _allow("SeeFleets", ("events:ListRules", "events:ListTargetsByRule"), arn("events", "rule/*")),
        _allow("Webhook", ("ssm:GetParameter",), arn("ssm", f"parameter{place.webhook_parameter}")),
    )


def build_boundary_policy(place: StackLocation, webhook: str = "") -> Policy:
    """Return the permissions boundary: the most that the function's role may be allowed.

    Parameters
    ----------
    webhook
        ``ssm:/name`` or ``secretsmanager:name`` if the webhook is stored under the user's own name.
    """
    return build_function_policy(place, webhook)


def build_function_policy(place: StackLocation, webhook: str = "") -> Policy:
    """Return the policy of the function's role, with a fleet's queue; `webhook` as for `build_boundary_policy`."""
    arn, name = _make_arn_builder(place), place.name
    store, _, stored_name = webhook.partition(":")
    parameter = _escape_wildcards(stored_name or place.webhook_parameter)
    action, resource = "ssm:GetParameter", arn("ssm", f"parameter{parameter}")
    if store == "secretsmanager":
        # AWS appends random characters to a secret's ARN.
        secret = _escape_wildcards(stored_name)
        action, resource = "secretsmanager:GetSecretValue", arn("secretsmanager", f"secret:{secret}-??????")
    return _policy(
        _allow(
            "WriteItsLog",
            ("logs:CreateLogStream", "logs:PutLogEvents"),
            arn("logs", f"log-group:/aws/lambda/{name}:*"),
        ),
        _allow("ReadTheWebhook", (action,), resource),
        _allow("KeepTheUndelivered", ("sqs:SendMessage",), arn("sqs", f"{name}-undelivered")),
        _allow(
            "TakeFromTheQueue",
            ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"),
            arn("sqs", f"{name}-changes"),
        ),
    )


POLICY_BUILDERS = {
    "deployer": build_deployer_policy,
    "notebook": build_notebook_policy,
    "function": build_function_policy,
    "boundary": build_boundary_policy,
}


def _make_arn_builder(place: StackLocation) -> Callable[[str, str], str]:
    def arn(service: str, resource: str) -> str:
        return f"arn:{place.partition}:{service}:{place.region}:{place.account}:{resource}"

    return arn


def _policy(*statements: Policy) -> Policy:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _list_alarm_arns(arn: Callable[[str, str], str], prefix: str) -> tuple[str, ...]:
    return tuple(arn("cloudwatch", f"alarm:{prefix}{suffix}") for suffix in ("i-*-busy", "i-*-off", "undelivered"))


def _escape_wildcards(text: str) -> str:
    """Return `text` for an ARN's pattern. An unescaped wildcard or variable would widen the policy."""
    return re.sub(r"[*?$]", lambda match: f"${{{match[0]}}}", text)


def _allow(sid: str, actions: Iterable[str], *resources: str, condition: Policy | None = None) -> Policy:
    statement = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return statement | {"Condition": condition} if condition else statement
