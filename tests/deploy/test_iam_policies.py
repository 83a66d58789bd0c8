"""The policies: as narrow as IAM allows, and with every action that the code calls."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner

import cwnotify
from cwnotify.aws.error_messages import IAM_ACTION_NAMES
from cwnotify.cli import cwnotify as command
from cwnotify.deploy.iam_policies import POLICY_BUILDERS, Policy, build_deployer_policy, build_notebook_policy
from cwnotify.deploy.spec import StackLocation

PLACE = StackLocation("cwnotify", "123456789012", "ap-northeast-2")
DEPLOYER_MODULES = (
    "aws/alarm_actions",
    "aws/alarm_history",
    "aws/ec2",
    "aws/session",
    "deploy/cloudformation",
    "deploy/invoke",
    "deploy/redrive",
    "deploy/replay",
    "deploy/stack",
    "deploy/storage",
)
SERVICES = ("cloudformation", "cloudwatch", "ec2", "events", "iam", "lambda", "s3", "sns", "sqs", "ssm")
NOTEBOOK_MODULES = ("aws/cloudwatch", "aws/alarm_history", "aws/ec2", "aws/slack_routes")


def list_called_actions(modules: Iterable[str] = DEPLOYER_MODULES) -> set[str]:
    """Return the actions that calls in our own source need: a service and an operation, side by side."""
    actions = set()
    for name in modules:
        for node in ast.walk(ast.parse(Path(cwnotify.__path__[0], f"{name}.py").read_text())):
            if isinstance(node, ast.Call):
                texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
                is_s3 = getattr(node.func, "id", "") == "_call_as_owner"
                service = "s3" if is_s3 else texts.pop(0) if len(texts) > 1 else ""
                if service in SERVICES and texts:
                    actions.add(to_iam_action(service, texts[0]))
    return actions


def list_allowed_actions(policy: Policy) -> set[str]:
    return {action for statement in policy["Statement"] for action in statement["Action"]}


def to_iam_action(service: str, operation: str) -> str:
    client = boto3.client(service, region_name="ap-northeast-2")  # type: ignore[call-overload]
    name = f"{service}:{client.meta.method_to_api_mapping[operation]}"
    return IAM_ACTION_NAMES.get(name, name)


def test_deployer_policy_allows_every_called_action() -> None:
    assert len(list_called_actions()) > 20
    assert list_called_actions() <= list_allowed_actions(build_deployer_policy(PLACE))


def test_deployer_policy_limits_every_action_that_changes_something() -> None:
    for statement in build_deployer_policy(PLACE)["Statement"]:
        assert all("*" not in action for action in statement["Action"])
        assert (statement["Resource"] == ["*"]) == (statement["Sid"] in ("All", "Source"))
        if statement["Resource"] == ["*"] and "Condition" not in statement:
            assert all(re.match(r"\w+:(Describe|Get|List)", action) for action in statement["Action"])


def test_notebook_policy_only_reads() -> None:
    actions = list_allowed_actions(build_notebook_policy(PLACE))
    assert all(action.partition(":")[2].startswith(("Describe", "Get", "List")) for action in actions)


def test_notebook_policy_allows_exactly_the_called_actions() -> None:
    called = list_called_actions(NOTEBOOK_MODULES) | {"cloudwatch:DescribeAlarms", "ssm:GetParameter"}
    assert called == list_allowed_actions(build_notebook_policy(PLACE))


@pytest.mark.parametrize("name", POLICY_BUILDERS)
def test_command_prints_a_policy_that_iam_accepts(name: str) -> None:
    result = CliRunner().invoke(command, ["policy", name, "--account", PLACE.account, "--region", PLACE.region])
    assert json.loads(result.output) == POLICY_BUILDERS[name](PLACE)
    # A managed policy holds 6144 characters without whitespace.
    assert len("".join(result.output.split())) < 6144
