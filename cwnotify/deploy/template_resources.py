"""The parts of the CloudFormation template as data: parameters, conditions, resources and outputs. Pure.

EventBridge does not retry a delivery that it is not permitted to make, so rules and the subscription depend on the
permissions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cwnotify.deploy.alarm_rules import AlarmRule, build_fleet_pattern
from cwnotify.deploy.spec import InstanceWatch

Resources = dict[str, dict[str, Any]]

DAY = 86_400  # seconds
FUNCTION_TIMEOUT = 60  # seconds
# AWS wants a message hidden for at least six times the function's timeout:
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
VISIBILITY_TIMEOUT = 6 * FUNCTION_TIMEOUT  # seconds
# Slack may be down for a day: 240 attempts, six minutes apart.
MAX_RECEIVES = 240
MESSAGE_RETENTION = 14 * DAY  # seconds; SQS keeps a message no longer
_POLICY_VERSION = "2012-10-17"
_DELETED = {"DeletionPolicy": "Delete", "UpdateReplacePolicy": "Delete"}
_RETRY_POLICY = {"MaximumEventAgeInSeconds": DAY, "MaximumRetryAttempts": 185}


def _ref(name: str) -> dict[str, str]:
    return {"Ref": name}


def _arn(resource: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [resource, "Arn"]}


def _sub(text: str) -> dict[str, str]:
    return {"Fn::Sub": text}


def _if(condition: str, value: object, otherwise: object) -> dict[str, list[object]]:
    return {"Fn::If": [condition, value, otherwise]}


def _is_empty(parameter: str) -> dict[str, object]:
    return {"Fn::Equals": [_ref(parameter), ""]}


_NO_VALUE = _ref("AWS::NoValue")
_DEAD_LETTERS = _arn("DeadLetters")
# An alarm acts on the topic unless the fleet's rule sends its changes; both would send each change twice.
_ALARM_ACTIONS = _if("IsFleet", _NO_VALUE, [_ref("Topic")])
_RULE_ARNS = [
    _sub("arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:rule/${AWS::StackName}"),
    _sub("arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:rule/${AWS::StackName}-alarms-*"),
]

PARAMETERS: dict[str, dict[str, object]] = {
    "WebhookStore": {
        "Type": "String",
        "Default": "ssm",
        "AllowedValues": ["ssm", "secretsmanager"],
        "Description": "Where the Slack webhook is stored.",
    },
    "WebhookName": {
        "Type": "String",
        "AllowedPattern": "[a-zA-Z0-9/_+=.@-]+",
        "Description": "The name of the stored webhook; for ssm the whole path. Never the URL itself.",
    },
    "CodeBucket": {"Type": "String", "Description": "The bucket that contains the function's code."},
    "CodeKey": {"Type": "String", "Description": "The key of the code in the bucket. It contains a hash of the code."},
    "Prefix": {
        "Type": "String",
        "Default": "cwnotify-",
        "Description": "Prefix of the names of this stack's alarms; a fleet's rule matches every alarm with it.",
    },
    "Fleet": {
        "Type": "String",
        "Default": "no",
        "AllowedValues": ["yes", "no"],
        "Description": "Whether alarms reach the function in batches, through EventBridge and a queue, not SNS.",
    },
    "Lang": {"Type": "String", "Default": "en", "AllowedPattern": "[A-Za-z]+"},
    "TimeZone": {
        "Type": "String",
        "Default": "",
        "Description": "IANA name of the time zone in messages; empty for the language's default.",
    },
    "Channel": {"Type": "String", "Default": "", "Description": "Only legacy webhooks support this."},
    "KmsKey": {
        "Type": "String",
        "Default": "",
        "Description": "Encrypts the topic; empty for none. Its policy must allow cloudwatch.amazonaws.com to use it.",
    },
    "Accounts": {
        "Type": "String",
        "Default": "",
        "Description": "Other accounts whose alarms may publish to the topic, separated by commas.",
    },
    "Boundary": {
        "Type": "String",
        "Default": "",
        "Description": "ARN of the role's permissions boundary; empty for none (only administrators may deploy that).",
    },
}

CONDITIONS: dict[str, dict[str, object]] = {
    "IsFleet": {"Fn::Equals": [_ref("Fleet"), "yes"]},
    "IsEncrypted": {"Fn::Not": [_is_empty("KmsKey")]},
    "HasAccounts": {"Fn::Not": [_is_empty("Accounts")]},
    "HasBoundary": {"Fn::Not": [_is_empty("Boundary")]},
    "IsKorean": {"Fn::Equals": [_ref("Lang"), "ko"]},
    "IsParameter": {"Fn::Equals": [_ref("WebhookStore"), "ssm"]},
}

OUTPUTS: dict[str, dict[str, object]] = {
    "Topic": {"Description": "An alarm whose action is this topic reaches Slack.", "Value": _ref("Topic")},
    "Function": {"Value": _ref("Function")},
    "DeadLetters": {"Description": "Queue of the messages that were not delivered.", "Value": _ref("DeadLetters")},
}


def build_stack_resources(excluded: Sequence[str]) -> Resources:
    """Return the resources of every stack, those of a fleet included; `excluded` as for `build_fleet_pattern`."""
    return {
        **_build_topic(),
        **_build_function(),
        **_build_topic_subscription(),
        **_build_dead_letters(),
        **_build_fleet(excluded),
    }


def build_rule_resources(rule: AlarmRule) -> Resources:
    """Return a rule for alarms that existed before the stack, and its permission to call the function."""
    name = f"${{AWS::StackName}}-alarms-{rule.number}"
    arn = f"arn:${{AWS::Partition}}:events:${{AWS::Region}}:${{AWS::AccountId}}:rule/{name}"
    return {
        f"AllowAlarms{rule.number}": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "FunctionName": _ref("Function"),
                "Action": "lambda:InvokeFunction",
                "Principal": "events.amazonaws.com",
                "SourceArn": _sub(arn),
            },
        },
        f"Alarms{rule.number}": {
            "Type": "AWS::Events::Rule",
            "DependsOn": [f"AllowAlarms{rule.number}", "DeadLettersPolicy"],
            "Properties": {
                "Name": _sub(name),
                "Description": 'State changes of the alarms that were named with "cwnotify deploy --alarm".',
                "EventPattern": rule.event_pattern,
                "Targets": [_target("cwnotify", _if("IsFleet", _arn("Queue"), _arn("Function")))],
            },
        },
    }


def build_alarm_resources(watch: InstanceWatch) -> Resources:
    """Return the two alarms of an instance."""
    instance, threshold, idle = watch.instance, f"{watch.threshold:g}", f"{watch.idle:g}"
    suffix = instance.replace("-", "").upper()
    busy, off = watch.alarm_name_suffixes
    return {
        f"Busy{suffix}": _cpu_alarm(
            watch,
            busy,
            description=_if(
                "IsKorean",
                f"{instance} 인스턴스가 바쁩니다: CPU 사용률이 {threshold} %를 넘었습니다",
                f"{instance} is busy: its CPU is above {threshold} %",
            ),
            comparison="GreaterThanThreshold",
            threshold=watch.threshold,
            missing_data="notBreaching",
        ),
        f"Off{suffix}": _cpu_alarm(
            watch,
            off,
            description=_if(
                "IsKorean",
                f"{instance} 인스턴스의 학습이 끝났습니다: "
                f"CPU 사용률이 {idle} % 아래로 내려갔거나 인스턴스가 중지되었습니다",
                f"Training on {instance} has ended: its CPU is below {idle} %, or it was stopped",
            ),
            comparison="LessThanThreshold",
            threshold=watch.idle,
            # A stopped instance sends no datapoints, and its training has ended.
            missing_data="breaching",
        ),
    }


def _cpu_alarm(
    watch: InstanceWatch, name: str, *, description: object, comparison: str, threshold: float, missing_data: str
) -> dict[str, Any]:
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": _sub(f"${{Prefix}}{name}"),
            "AlarmDescription": description,
            "Namespace": "AWS/EC2",
            "MetricName": "CPUUtilization",
            "Dimensions": [{"Name": "InstanceId", "Value": watch.instance}],
            "Statistic": "Average",
            "Period": watch.period,
            "DatapointsToAlarm": watch.datapoints,
            "EvaluationPeriods": watch.evaluated,
            "ComparisonOperator": comparison,
            "Threshold": int(threshold) if float(threshold).is_integer() else threshold,
            "TreatMissingData": missing_data,
            "AlarmActions": _ALARM_ACTIONS,
        },
    }


def _build_topic() -> Resources:
    publish = {
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": _ref("Topic"),
    }
    accounts = {"Fn::Split": [",", _ref("Accounts")]}
    own_alarms = {
        "Sid": "AlarmsOfThisAccount",
        **publish,
        "Condition": {"StringEquals": {"aws:SourceAccount": _ref("AWS::AccountId")}},
    }
    other_alarms = {
        "Sid": "AlarmsOfOtherAccounts",
        **publish,
        "Condition": {"StringEquals": {"aws:SourceAccount": accounts}},
    }
    return {
        "Topic": {
            "Type": "AWS::SNS::Topic",
            "Properties": {
                "TopicName": _ref("AWS::StackName"),
                "KmsMasterKeyId": _if("IsEncrypted", _ref("KmsKey"), _NO_VALUE),
            },
        },
        "TopicPolicy": {
            "Type": "AWS::SNS::TopicPolicy",
            "Properties": {
                "Topics": [_ref("Topic")],
                "PolicyDocument": _policy(own_alarms, _if("HasAccounts", other_alarms, _NO_VALUE)),
            },
        },
    }


def _build_function() -> Resources:
    return {
        "Log": {
            "Type": "AWS::Logs::LogGroup",
            **_DELETED,
            "Properties": {"LogGroupName": _sub("/aws/lambda/${AWS::StackName}"), "RetentionInDays": 30},
        },
        "Role": _build_role(),
        "Function": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "FunctionName": _ref("AWS::StackName"),
                "Description": "Sends CloudWatch alarms to Slack.",
                "Runtime": "python3.13",
                "Handler": "lambda_function.lambda_handler",
                "Code": {"S3Bucket": _ref("CodeBucket"), "S3Key": _ref("CodeKey")},
                "Role": _arn("Role"),
                "MemorySize": 256,
                "Timeout": FUNCTION_TIMEOUT,
                "LoggingConfig": {"LogGroup": _ref("Log")},
                "DeadLetterConfig": {"TargetArn": _DEAD_LETTERS},
                "Environment": {
                    "Variables": {
                        "hookUrl": _sub("${WebhookStore}:${WebhookName}"),
                        "slackChannel": _ref("Channel"),
                        "lang": _ref("Lang"),
                        "timeZone": _ref("TimeZone"),
                        # Every rule of the stack also matches the changes of contributors, so their summary is skipped.
                        "contributorEvents": "true",
                    }
                },
            },
        },
    }


def _build_role() -> dict[str, Any]:
    assume = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    parameter = _sub("arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter${WebhookName}")
    # AWS appends random characters to a secret's ARN.
    secret = _sub("arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${WebhookName}-??????")
    receive = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
    rights = _policy(
        _allow("WriteItsLog", ["logs:CreateLogStream", "logs:PutLogEvents"], _arn("Log")),
        # AWS's own key, which encrypts by default, needs no permission of its own.
        _allow(
            "ReadTheWebhook",
            _if("IsParameter", "ssm:GetParameter", "secretsmanager:GetSecretValue"),
            _if("IsParameter", parameter, secret),
        ),
        _allow("KeepTheUndelivered", "sqs:SendMessage", _DEAD_LETTERS),
        _if("IsFleet", _allow("TakeFromTheQueue", receive, _arn("Queue")), _NO_VALUE),
    )
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "Description": "Permissions of the function that sends alarms to Slack.",
            "PermissionsBoundary": _if("HasBoundary", _ref("Boundary"), _NO_VALUE),
            "AssumeRolePolicyDocument": _policy(assume),
            "Policies": [{"PolicyName": "function", "PolicyDocument": rights}],
        },
    }


def _build_topic_subscription() -> Resources:
    return {
        "Permission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "FunctionName": _ref("Function"),
                "Action": "lambda:InvokeFunction",
                "Principal": "sns.amazonaws.com",
                "SourceArn": _ref("Topic"),
            },
        },
        "Subscription": {
            "Type": "AWS::SNS::Subscription",
            "DependsOn": ["Permission", "DeadLettersPolicy"],
            "Properties": {
                "TopicArn": _ref("Topic"),
                "Protocol": "lambda",
                "Endpoint": _arn("Function"),
                "RedrivePolicy": {"deadLetterTargetArn": _DEAD_LETTERS},
            },
        },
    }


def _build_dead_letters() -> Resources:
    """Return the queue of everything that was not delivered, whichever way it came, and its alarm."""
    from_topic = _allow_sending("WhatTheTopicCouldNotDeliver", "sns", _DEAD_LETTERS, {"ArnEquals": _ref("Topic")})
    from_rules = _allow_sending("WhatTheRulesCouldNotDeliver", "events", _DEAD_LETTERS, {"ArnLike": _RULE_ARNS})
    return {
        "DeadLetters": {
            "Type": "AWS::SQS::Queue",
            **_DELETED,
            "Properties": {
                "QueueName": _sub("${AWS::StackName}-undelivered"),
                "MessageRetentionPeriod": MESSAGE_RETENTION,
                "SqsManagedSseEnabled": True,
            },
        },
        "DeadLettersPolicy": {
            "Type": "AWS::SQS::QueuePolicy",
            "Properties": {"Queues": [_ref("DeadLetters")], "PolicyDocument": _policy(from_topic, from_rules)},
        },
        "DeadLettersAlarm": {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                "AlarmName": _sub("${Prefix}undelivered"),
                "AlarmDescription": _if(
                    "IsKorean",
                    "Slack에 전하지 못한 경보가 있습니다. 다시 보내려면 cwnotify redrive",
                    "Some alarms could not be delivered to Slack. To send them again, cwnotify redrive",
                ),
                "Namespace": "AWS/SQS",
                "MetricName": "ApproximateNumberOfMessagesVisible",
                "Dimensions": [{"Name": "QueueName", "Value": {"Fn::GetAtt": ["DeadLetters", "QueueName"]}}],
                "Statistic": "Maximum",
                "Period": 300,
                "EvaluationPeriods": 1,
                "ComparisonOperator": "GreaterThanThreshold",
                "Threshold": 0,
                "TreatMissingData": "notBreaching",
                "AlarmActions": _ALARM_ACTIONS,
            },
        },
    }


def _build_fleet(excluded: Sequence[str]) -> Resources:
    """Return what sends all changes of alarms with the prefix in batches, so that a storm becomes a digest."""
    sending = _allow_sending("ChangesOfAlarms", "events", _arn("Queue"), {"ArnLike": _RULE_ARNS})
    return {
        "Rule": {
            "Type": "AWS::Events::Rule",
            "Condition": "IsFleet",
            "DependsOn": ["QueuePolicy", "DeadLettersPolicy"],
            "Properties": {
                "Name": _ref("AWS::StackName"),
                "Description": "State changes of the alarms that cwnotify sends to Slack.",
                "EventPattern": build_fleet_pattern(_ref("Prefix"), excluded),
                "Targets": [_target("queue", _arn("Queue"))],
            },
        },
        "Queue": {
            "Type": "AWS::SQS::Queue",
            "Condition": "IsFleet",
            **_DELETED,
            "Properties": {
                "QueueName": _sub("${AWS::StackName}-changes"),
                "VisibilityTimeout": VISIBILITY_TIMEOUT,
                "MessageRetentionPeriod": MESSAGE_RETENTION,
                "SqsManagedSseEnabled": True,
                "RedrivePolicy": {"deadLetterTargetArn": _DEAD_LETTERS, "maxReceiveCount": MAX_RECEIVES},
            },
        },
        "QueuePolicy": {
            "Type": "AWS::SQS::QueuePolicy",
            "Condition": "IsFleet",
            "Properties": {"Queues": [_ref("Queue")], "PolicyDocument": _policy(sending)},
        },
        "Source": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Condition": "IsFleet",
            "Properties": {
                "EventSourceArn": _arn("Queue"),
                "FunctionName": _ref("Function"),
                "BatchSize": 1000,
                "MaximumBatchingWindowInSeconds": 20,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                # Slack accepts one message a second, however many functions send; AWS allows no smaller number here.
                "ScalingConfig": {"MaximumConcurrency": 2},
            },
        },
    }


def _target(id: str, arn: object) -> dict[str, object]:
    return {"Id": id, "Arn": arn, "RetryPolicy": _RETRY_POLICY, "DeadLetterConfig": {"Arn": _DEAD_LETTERS}}


def _policy(*statements: object) -> dict[str, object]:
    return {"Version": _POLICY_VERSION, "Statement": list(statements)}


def _allow(sid: str, action: object, resource: object) -> dict[str, object]:
    return {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource}


def _allow_sending(sid: str, service: str, queue: object, source: dict[str, object]) -> dict[str, object]:
    """Let an AWS service send to `queue` for the sources whose ARNs match: ``{operator: ARNs}``."""
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"Service": f"{service}.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {operator: {"aws:SourceArn": arns} for operator, arns in source.items()},
    }
