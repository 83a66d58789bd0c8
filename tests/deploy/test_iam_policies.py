"""The policies: as narrow as AWS lets them be, and with every action that the code asks for."""

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
from cwnotify.deploy.iam_policies import POLICY_BUILDERS, build_deployer_policy, build_notebook_policy
from cwnotify.deploy.spec import StackLocation

PLACE = StackLocation("cwnotify", "123456789012", "ap-northeast-2")
ASKERS = (
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
WATCHERS = ("aws/cloudwatch", "aws/alarm_history", "aws/ec2", "aws/slack_routes")


def asked(modules: Iterable[str] = ASKERS) -> set[str]:
    """Every action that a call in our own source needs: a service and an operation, side by side."""
    found = set()
    for name in modules:
        for node in ast.walk(ast.parse(Path(cwnotify.__path__[0], f"{name}.py").read_text())):
            if isinstance(node, ast.Call):
                words = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
                service = "s3" if getattr(node.func, "id", "") == "_ask_own" else words.pop(0) if len(words) > 1 else ""
                if service in SERVICES and words:
                    found.add(action(service, words[0]))
    return found


def action(service: str, operation: str) -> str:
    client = boto3.client(service, region_name="ap-northeast-2")  # type: ignore[call-overload]
    name = f"{service}:{client.meta.method_to_api_mapping[operation]}"
    return IAM_ACTION_NAMES.get(name, name)


def test_the_deployer_may_do_all_that_the_code_asks_for() -> None:
    allowed = {one for statement in build_deployer_policy(PLACE)["Statement"] for one in statement["Action"]}
    assert len(asked()) > 20
    assert asked() <= allowed


def test_the_deployer_has_no_right_without_bounds_that_could_have_some() -> None:
    for statement in build_deployer_policy(PLACE)["Statement"]:
        assert all("*" not in one for one in statement["Action"])
        assert (statement["Resource"] == ["*"]) == (statement["Sid"] in ("All", "Source"))
        if statement["Resource"] == ["*"] and "Condition" not in statement:
            assert all(re.match(r"\w+:(Describe|Get|List)", one) for one in statement["Action"])


def test_the_notebook_only_reads() -> None:
    allowed = {one for statement in build_notebook_policy(PLACE)["Statement"] for one in statement["Action"]}
    assert all(one.partition(":")[2].startswith(("Describe", "Get", "List")) for one in allowed)


def test_the_notebook_may_do_all_that_watching_asks_for() -> None:
    allowed = {one for statement in build_notebook_policy(PLACE)["Statement"] for one in statement["Action"]}
    # The history's module is shared with replay; nothing of what is asked for is in vain, either.
    assert asked(WATCHERS) | {"cloudwatch:DescribeAlarms", "ssm:GetParameter"} == allowed


@pytest.mark.parametrize("who", POLICY_BUILDERS)
def test_the_command_prints_what_iam_takes(who: str) -> None:
    printed = CliRunner().invoke(command, ["policy", who, "--account", PLACE.account, "--region", PLACE.region])
    assert json.loads(printed.output) == POLICY_BUILDERS[who](PLACE)
    # An inline policy of a user holds 2048 characters, a managed one 6144, blanks not counted.
    assert len("".join(printed.output.split())) < 6144
