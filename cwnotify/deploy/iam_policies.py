"""The smallest IAM policies that do: for who deploys, for the notebook's instance, for the function. Pure.

Where an action can be narrowed to what belongs to one stack, it is. The function's own is what stack.yaml gives it; it
is told here for those who make its role by hand.

The deployer creates a role and the code that runs with it. Without a permissions boundary that is an administrator's
right: every role and role policy that the deployer writes has to carry the boundary.
https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from cwnotify.deploy.spec import StackLocation

Policy = dict[str, Any]


def build_deployer_policy(place: StackLocation, prefix: str | None = None, boundary: str | None = None) -> Policy:
    """For who runs deploy, stack, teardown, test --lambda, replay and redrive.

    Parameters
    ----------
    prefix
        How the names of the stack's own alarms begin; None for the stack's name and a hyphen.
    boundary
        ARN of the policy that every role has to have as its permissions boundary; None for the stack's own.
    """
    arn, name = _arns(place), place.name
    own = _literal(f"{name}-" if prefix is None else prefix)
    role = f"arn:{place.partition}:iam::{place.account}:role/{name}-Role-*"
    limit = boundary or place.boundary_arn
    bounded = {"StringLike" if "*" in limit else "StringEquals": {"iam:PermissionsBoundary": limit}}
    rules = [arn("events", f"rule/{name}{rest}") for rest in ("", "-alarms-*")]
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
        # Two statements: a wildcard in the bucket's name would match its keys too.
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
        # Only roles with the boundary can be made or given rights, and nothing here removes or replaces it.
        _allow(
            "BoundedRole",
            ("iam:CreateRole", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary"),
            role,
            condition=bounded,
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
        _allow("SeeTheBoundary", ("iam:GetPolicy",), limit),
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
            *(arn("sns", f"{name}{rest}") for rest in ("", ":*")),
        ),
        _allow(
            "Queues",
            (
                *("sqs:CreateQueue", "sqs:DeleteQueue", "sqs:GetQueueAttributes", "sqs:SetQueueAttributes"),
                *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"),
            ),
            *(arn("sqs", f"{name}-{queue}") for queue in ("undelivered", "changes")),
        ),
        # The stack's own alarms and no others with its prefix: those are routed by rules, and never written. Conditions
        # keep an alarm from stopping an instance, and a rule from reading other events or calling other targets.
        _allow(
            "Alarms",
            ("cloudwatch:PutMetricAlarm",),
            *_own_alarms(arn, own),
            condition={"ForAllValues:StringLike": {"cloudwatch:AlarmActions": arn("sns", name)}},
        ),
        _allow("RemoveAlarms", ("cloudwatch:DeleteAlarms",), *_own_alarms(arn, own)),
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
        # The API has no resource for a mapping that does not exist yet; the function that it calls is a condition.
        _allow(
            "Source",
            (
                *("lambda:CreateEventSourceMapping", "lambda:UpdateEventSourceMapping"),
                "lambda:DeleteEventSourceMapping",
            ),
            "*",
            condition={"ArnLike": {"lambda:FunctionArn": function}},
        ),
        # What AWS does not narrow to one resource.
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
    """For the role of an instance whose notebook watches alarms and CPU, and takes the webhook from Parameter Store."""
    arn, name = _arns(place), place.name
    return _policy(
        _allow(
            "Watch",
            (
                *("cloudwatch:DescribeAlarms", "cloudwatch:DescribeAlarmHistory"),
                *("cloudwatch:GetMetricData", "cloudwatch:ListMetrics", "ec2:DescribeInstances"),
            ),
            "*",
        ),
        # So that an alarm which speaks in Slack by itself is not told twice.
        _allow("SeeTheTopic", ("sns:ListSubscriptionsByTopic",), arn("sns", name)),
        _allow("SeeFleets", ("events:ListRules", "events:ListTargetsByRule"), arn("events", "rule/*")),
        _allow("Webhook", ("ssm:GetParameter",), arn("ssm", f"parameter{place.webhook_parameter}")),
    )


def build_boundary_policy(place: StackLocation, webhook: str = "") -> Policy:
    """The permissions boundary: the most that the function's role may be allowed.

    Parameters
    ----------
    webhook
        ``ssm:/name`` or ``secretsmanager:name`` if the webhook is stored under a name of your own.
    """
    return build_function_policy(place, webhook)


def build_function_policy(place: StackLocation, webhook: str = "") -> Policy:
    """For the function's role, its queue for a fleet included; `webhook` as for `build_boundary_policy`."""
    arn, name = _arns(place), place.name
    store, _, stored = webhook.partition(":")
    read = ("ssm:GetParameter", arn("ssm", f"parameter{_literal(stored or place.webhook_parameter)}"))
    if store == "secretsmanager":
        # A secret's ARN ends at random.
        read = ("secretsmanager:GetSecretValue", arn("secretsmanager", f"secret:{_literal(stored)}-??????"))
    return _policy(
        _allow(
            "WriteItsLog",
            ("logs:CreateLogStream", "logs:PutLogEvents"),
            arn("logs", f"log-group:/aws/lambda/{name}:*"),
        ),
        _allow("ReadTheWebhook", read[:1], read[1]),
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


def _arns(place: StackLocation) -> Any:
    def arn(service: str, resource: str) -> str:
        return f"arn:{place.partition}:{service}:{place.region}:{place.account}:{resource}"

    return arn


def _policy(*statements: Policy) -> Policy:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _own_alarms(arn: Any, prefix: str) -> tuple[str, ...]:
    return tuple(arn("cloudwatch", f"alarm:{prefix}{rest}") for rest in ("i-*-busy", "i-*-off", "undelivered"))


def _literal(text: str) -> str:
    """`text` in an ARN's pattern, without a meaning of its own: a wildcard or a variable would widen the policy."""
    return re.sub(r"[*?$]", lambda mark: f"${{{mark[0]}}}", text)


def _allow(sid: str, actions: Iterable[str], *resources: str, condition: Policy | None = None) -> Policy:
    allowed = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return allowed | {"Condition": condition} if condition else allowed
