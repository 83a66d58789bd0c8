"""The smallest IAM policies that do: for who deploys, for the notebook's instance, for the function. Pure.

Where an action can be narrowed to what belongs to one stack, it is. The function's own is what stack.yaml gives it; it
is told here for those who make its role by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cwnotify.aws.wishes import Place

Policy = dict[str, Any]


def deployer(place: Place, prefix: str | None = None) -> Policy:
    """For who runs deploy, stack, teardown, test --lambda, replay and redrive.

    Parameters
    ----------
    prefix
        How the names of the stack's own alarms begin; None for the stack's name and a hyphen.
    """
    arn, name = _arns(place), place.name
    own = f"{name}-" if prefix is None else prefix
    return _policy(
        _allow(
            "Stack",
            (
                *("cloudformation:CreateStack", "cloudformation:UpdateStack", "cloudformation:DeleteStack"),
                *("cloudformation:DescribeStacks", "cloudformation:DescribeStackEvents", "cloudformation:GetTemplate"),
            ),
            arn("cloudformation", f"stack/{name}/*"),
        ),
        _allow(
            "Code",
            (
                *("s3:CreateBucket", "s3:DeleteBucket", "s3:ListBucket"),
                *("s3:GetObject", "s3:PutObject", "s3:DeleteObject"),
            ),
            *(f"arn:{place.partition}:s3:::{place.bucket}{rest}" for rest in ("", f"/{place.keys}*")),
        ),
        _allow(
            "Webhook",
            ("ssm:GetParameter", "ssm:PutParameter", "ssm:DeleteParameter"),
            arn("ssm", f"parameter{place.parameter}"),
        ),
        _allow(
            "Role",
            (
                *("iam:CreateRole", "iam:DeleteRole", "iam:GetRole", "iam:UpdateRole", "iam:UpdateRoleDescription"),
                *("iam:PutRolePolicy", "iam:GetRolePolicy", "iam:DeleteRolePolicy", "iam:PassRole"),
            ),
            f"arn:{place.partition}:iam::{place.account}:role/{name}-Role-*",
        ),
        _allow(
            "Function",
            (
                *("lambda:CreateFunction", "lambda:DeleteFunction", "lambda:GetFunction"),
                *("lambda:UpdateFunctionCode", "lambda:UpdateFunctionConfiguration", "lambda:InvokeFunction"),
                *("lambda:AddPermission", "lambda:RemovePermission", "lambda:GetPolicy"),
            ),
            arn("lambda", f"function:{name}"),
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
        # The stack's own alarms. Those that existed before are routed by rules, and never written.
        _allow("Alarms", ("cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms"), arn("cloudwatch", f"alarm:{own}*")),
        _allow(
            "Rules",
            ("events:PutRule", "events:DeleteRule", "events:DescribeRule", "events:PutTargets", "events:RemoveTargets"),
            *(arn("events", f"rule/{name}{rest}") for rest in ("", "-alarms-*")),
        ),
        # What AWS does not narrow to one resource.
        _allow(
            "All",
            (
                *("cloudwatch:DescribeAlarms", "cloudwatch:DescribeAlarmHistory"),
                *("ec2:DescribeInstances", "logs:DescribeLogGroups"),
                *("lambda:CreateEventSourceMapping", "lambda:UpdateEventSourceMapping"),
                *("lambda:DeleteEventSourceMapping", "lambda:GetEventSourceMapping"),
            ),
            "*",
        ),
    )


def notebook(place: Place) -> Policy:
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
        _allow("Webhook", ("ssm:GetParameter",), arn("ssm", f"parameter{place.parameter}")),
    )


def function(place: Place) -> Policy:
    """For the function's role, its queue for a fleet included."""
    arn, name = _arns(place), place.name
    return _policy(
        _allow(
            "WriteItsLog",
            ("logs:CreateLogStream", "logs:PutLogEvents"),
            arn("logs", f"log-group:/aws/lambda/{name}:*"),
        ),
        _allow("ReadTheWebhook", ("ssm:GetParameter",), arn("ssm", f"parameter{place.parameter}")),
        _allow("KeepTheUndelivered", ("sqs:SendMessage",), arn("sqs", f"{name}-undelivered")),
        _allow(
            "TakeFromTheQueue",
            ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"),
            arn("sqs", f"{name}-changes"),
        ),
    )


POLICIES = {"deployer": deployer, "notebook": notebook, "function": function}


def _arns(place: Place) -> Any:
    def arn(service: str, resource: str) -> str:
        return f"arn:{place.partition}:{service}:{place.region}:{place.account}:{resource}"

    return arn


def _policy(*statements: Policy) -> Policy:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(sid: str, actions: Iterable[str], *resources: str) -> Policy:
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
