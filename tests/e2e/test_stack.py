"""The stack on a local AWS that enforces permissions: plan, deploy, change, failures, redrive and teardown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from cwnotify.aws.models import CloudWatchAlarm
from cwnotify.aws.session import AwsSession
from cwnotify.aws.slack_routes import SlackRouteFinder
from cwnotify.deploy import stack
from cwnotify.deploy.cloudformation import StackEvent, deploy_stack
from cwnotify.deploy.iam_policies import build_deployer_policy
from cwnotify.deploy.invoke import build_example_event
from cwnotify.deploy.spec import StackLocation, StackSpec
from cwnotify.errors import AwsError
from cwnotify.settings import Secret
from tests.support.ministack import REGION, Ministack
from tests.support.slack import WEBHOOK_REMOVED, Answer, Payload, Slack
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
TOPIC = f"arn:aws:sns:{REGION}:000000000000:cwnotify"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    with Ministack(tmp_path_factory.mktemp("ministack")) as ministack:
        yield ministack


@pytest.fixture
def slack() -> Iterator[Slack]:
    with Slack() as slack:
        yield slack


@pytest.fixture
def instance(aws: Ministack) -> str:
    return aws.run_instance()


class Cwnotify:
    """The command in an environment of its own."""

    def __init__(self, environ: dict[str, str], home: Path) -> None:
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), **environ}

    def __call__(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def fail(self, *arguments: str) -> str:
        """Run a command that must exit with 1. Return its standard error."""
        result = self.run(*arguments)
        assert result.returncode == 1, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        return result.stderr

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cwnotify", *arguments]
        return subprocess.run(
            command, env=self._environ, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )


@pytest.fixture
def cwnotify(aws: Ministack, slack: Slack, tmp_path: Path) -> Iterator[Cwnotify]:
    run = Cwnotify({**aws.environ(), "CWNOTIFY_WEBHOOK_URL": slack.url}, tmp_path)
    yield run
    run("teardown", "--yes")


def fire(aws: Ministack, alarm: str, state: str = "ALARM") -> None:
    aws.client("cloudwatch").set_alarm_state(AlarmName=alarm, StateValue=state, StateReason="a test says so")


def put_own_alarm(aws: Ministack, name: str) -> None:
    aws.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        AlarmDescription="an alarm of the user",
        Namespace="Mine",
        MetricName="loss",
        Dimensions=[{"Name": "run", "Value": "7"}],
        Statistic="Average",
        Period=60,
        EvaluationPeriods=3,
        DatapointsToAlarm=2,
        Threshold=0.5,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
        OKActions=["arn:aws:sns:ap-northeast-2:000000000000:other"],
    )


def describe_alarm(aws: Ministack, name: str) -> Any:
    """Return everything that CloudWatch stores about an alarm, including times."""
    kinds = ["MetricAlarm", "CompositeAlarm"]
    reply = aws.client("cloudwatch").describe_alarms(AlarmNames=[name], AlarmTypes=kinds)
    return reply["MetricAlarms"] + reply["CompositeAlarms"]


def matches(aws: Ministack, rule: str, event: str) -> bool:
    """Return whether a rule's pattern matches an event."""
    events = aws.client("events")
    pattern = events.describe_rule(Name=rule)["EventPattern"]
    return bool(events.test_event_pattern(EventPattern=pattern, Event=event)["Result"])


def create_user(aws: Ministack, name: str, policy: dict[str, Any]) -> dict[str, str]:
    """Create a user with `policy`. Return the environment with its key."""
    iam = aws.client("iam")
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="it", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return aws.environ(key["AccessKeyId"], key["SecretAccessKey"])


def test_stack_from_plan_to_teardown(aws: Ministack, slack: Slack, instance: str, cwnotify: Cwnotify) -> None:
    put_own_alarm(aws, "my own alarm")
    before = aws.list_resources()

    problem = "'Seoul' is not a time zone; use a name such as Asia/Seoul"
    assert problem in cwnotify.fail("deploy", "--timezone", "Seoul", "--plan")
    assert "no stack cwnotify is deployed" in cwnotify.fail("test", "--lambda")
    plan = cwnotify("deploy", "--instance", instance, "--plan")
    assert f"+ alarm     cwnotify-{instance}-off" in plan
    assert "Nothing was changed" in plan
    assert aws.list_resources() == before

    output = cwnotify("deploy", "--instance", instance)
    assert "Function  create_complete" in output
    resources = aws.list_resources()
    assert "Nothing to do" in cwnotify("deploy", "--instance", instance)
    assert aws.list_resources() == resources

    fire(aws, f"cwnotify-{instance}-off")
    (payload,) = slack.wait_for(1, seconds=30)
    assert instance in payload["text"]
    assert payload["attachments"][0]["color"] == "#30db3f"

    own_alarm = describe_alarm(aws, "my own alarm")
    changes = cwnotify("deploy", "--alarm", "my own alarm", "--threshold", "70", "--instance", instance)
    assert "+ route     my own alarm" in changes
    assert describe_alarm(aws, "my own alarm") == own_alarm
    stack_json = json.loads(cwnotify("stack", "--json"))
    assert stack_json["attached"] == [["my own alarm", "INSUFFICIENT_DATA"]]
    assert stack_json["undelivered"] == 0

    test_output = cwnotify("test", "--lambda")
    assert "delivered:" in test_output
    assert "The function succeeded" in test_output
    example = json.dumps(slack.wait_for(2)[1])
    assert "Example alarm name" in example
    assert "Ping" in example

    template_and_events = json.dumps(
        [
            aws.client("cloudformation").get_template(StackName="cwnotify"),
            aws.client("cloudformation").describe_stacks(StackName="cwnotify"),
            aws.client("cloudformation").describe_stack_events(StackName="cwnotify"),
            aws.client("lambda").get_function(FunctionName="cwnotify"),
        ],
        default=str,
    )
    assert slack.canary not in template_and_events + plan + output
    assert "ssm:/cwnotify/cwnotify/webhook" in template_and_events

    assert "review with --plan, then pass --yes" in cwnotify.fail("teardown")
    assert aws.list_resources()["stacks"] == ["cwnotify"]
    assert "Nothing is left." in cwnotify("teardown", "--yes")
    assert aws.list_resources() == before
    assert "Nothing to do" in cwnotify("teardown")


@dataclass(frozen=True)
class DeployedStack:
    """A stack with the alarms of one instance, whose webhook is that of `slack`."""

    cwnotify: Cwnotify
    slack: Slack
    instance: str
    home: Path

    def queue_url(self, aws: Ministack) -> str:
        """Return the queue of undelivered messages."""
        return str(aws.client("sqs").get_queue_url(QueueName="cwnotify-undelivered")["QueueUrl"])


def numbers_in(payloads: list[Payload], prefix: str) -> list[int]:
    """Return the number after `prefix` in each message that has one."""
    matches = [re.search(rf"{prefix}-(\d+)", json.dumps(payload)) for payload in payloads]
    return [int(match[1]) for match in matches if match]


@pytest.fixture(scope="class")
def deployed(aws: Ministack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedStack]:
    home = tmp_path_factory.mktemp("home")
    with Slack() as slack:
        cwnotify = Cwnotify({**aws.environ(), "CWNOTIFY_WEBHOOK_URL": slack.url}, home)
        instance = aws.run_instance()
        cwnotify("deploy", "--instance", instance)
        yield DeployedStack(cwnotify, slack, instance, home)
        cwnotify.run("teardown", "--yes")


class TestDeployedStack:
    """Tests that share one stack. Each leaves an empty queue and a Slack that accepts messages."""

    def test_failing_function_is_explained(self, deployed: DeployedStack) -> None:
        slack = deployed.slack
        slack.answer = WEBHOOK_REMOVED
        errors = deployed.cwnotify.fail("test", "--lambda")
        slack.answer = Answer()

        assert "the function failed" in errors
        assert "404 no_service" in errors
        assert slack.canary not in errors

    def test_change_is_replayed_to_stored_webhook(self, aws: Ministack, deployed: DeployedStack) -> None:
        slack, alarm = deployed.slack, f"cwnotify-{deployed.instance}-busy"
        start = len(slack.delivered)
        fire(aws, alarm)
        slack.wait_for(start + 1, seconds=30)
        stored = {**aws.environ(), "CWNOTIFY_WEBHOOK_URL": "ssm:/cwnotify/cwnotify/webhook"}
        assert "Slack said ok" in Cwnotify(stored, deployed.home)("replay", alarm, "--send")

        published, replayed = slack.wait_for(start + 2)[start:]
        assert replayed["text"] == published["text"]
        assert replayed["attachments"][0]["color"] == published["attachments"][0]["color"] == "#eb4034"

    def test_rejected_message_is_kept_and_resent(self, aws: Ministack, deployed: DeployedStack) -> None:
        cwnotify, slack = deployed.cwnotify, deployed.slack
        start, requests = len(slack.delivered), len(slack.received)
        functions, queues, queue = aws.client("lambda"), aws.client("sqs"), deployed.queue_url(aws)
        arn = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        # The template sets this too (see test_template.py), but this CloudFormation ignores it.
        functions.update_function_configuration(FunctionName="cwnotify", DeadLetterConfig={"TargetArn": arn})
        slack.answer = WEBHOOK_REMOVED
        # Invoke it asynchronously as SNS does. The SNS of this AWS does not retry.
        functions.invoke(
            FunctionName="cwnotify",
            InvocationType="Event",
            Payload=json.dumps(build_example_event(TOPIC, time.time())).encode(),
        )

        def has_dead_letter() -> bool:
            names = ["ApproximateNumberOfMessages"]
            attributes = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
            return str(attributes["ApproximateNumberOfMessages"]) == "1"

        until(has_dead_letter, 60, "the dead letter")
        assert len(slack.received) == requests + 3
        assert "undelivered  1; send them again: cwnotify redrive" in cwnotify("stack")
        assert "0 delivered, 1 not; about 1 left in the queue" in cwnotify.fail("redrive")
        slack.answer = Answer()
        assert "1 delivered, and nothing is left in the queue." in cwnotify("redrive")
        slack.wait_for(start + 1)
        assert "Nothing is undelivered." in cwnotify("redrive")

    def test_redrive_keeps_order_of_events(self, aws: Ministack, deployed: DeployedStack) -> None:
        cwnotify, slack = deployed.cwnotify, deployed.slack
        start, queues, queue = len(slack.delivered), aws.client("sqs"), deployed.queue_url(aws)
        shuffled = [17, 3, 22, 9, 0, 14, 5, 20, 11, 1, 8, 19, 24, 6, 13, 2, 16, 10, 21, 4, 23, 7, 12, 18, 15]
        for number in shuffled:
            body = alarm_event(f"again-{number:02}", at=f"2026-11-22T10:{number:02}:00Z")
            # In one half the form that SNS's asynchronous call leaves, in the other that of the fleet's queue.
            event: Any = {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": body}}]}
            queues.send_message(QueueUrl=queue, MessageBody=json.dumps(event) if number % 2 else body)
        queues.send_message(QueueUrl=queue, MessageBody="no JSON at all: again-xx")
        slack.answer_by_payload = lambda payload: (
            Answer(400, "invalid_blocks") if "again-07" in json.dumps(payload) else None
        )
        assert "25 delivered, 1 not; about 1 left in the queue" in cwnotify.fail("redrive")
        order = numbers_in(slack.wait_for(start + 25)[start:], "again")
        assert order == [number for number in range(25) if number != 7]

        for number in (30, 26, 28):
            body = alarm_event(f"again-{number:02}", at=f"2026-11-22T10:{number}:00Z")
            queues.send_message(QueueUrl=queue, MessageBody=body)
        slack.answer_by_payload = lambda payload: None
        assert "4 delivered, and nothing is left in the queue." in cwnotify("redrive")
        assert numbers_in(slack.wait_for(start + 29)[start + 25 :], "again") == [7, 26, 28, 30]

    def test_redrive_leaves_queue_if_slack_rejects_everything(self, aws: Ministack, deployed: DeployedStack) -> None:
        cwnotify, slack = deployed.cwnotify, deployed.slack
        start, queue = len(slack.delivered), deployed.queue_url(aws)
        for number in range(5):
            body = alarm_event(f"kept-{number}", at=f"2026-11-22T10:0{number}:00Z")
            aws.client("sqs").send_message(QueueUrl=queue, MessageBody=body)
        slack.answer = WEBHOOK_REMOVED
        assert "0 delivered, 3 not; about 5 left in the queue" in cwnotify.fail("redrive")
        slack.answer = Answer()
        assert "5 delivered, and nothing is left in the queue." in cwnotify("redrive")
        assert numbers_in(slack.wait_for(start + 5)[start:], "kept") == [0, 1, 2, 3, 4]


def test_printed_deployer_policy_is_sufficient_and_necessary(
    aws: Ministack, slack: Slack, instance: str, cwnotify: Cwnotify, tmp_path: Path
) -> None:
    policy = build_deployer_policy(StackLocation("cwnotify", "000000000000", REGION))
    webhook = {"CWNOTIFY_WEBHOOK_URL": slack.url}
    allowed = Cwnotify({**create_user(aws, "deployer", policy), **webhook}, tmp_path)
    lacking = json.loads(json.dumps(policy).replace('"cloudformation:CreateStack", ', ""))
    denied = Cwnotify({**create_user(aws, "nearly", lacking), **webhook}, tmp_path)

    output = denied.fail("deploy", "--instance", instance)
    assert "AWS denies cloudformation:CreateStack" in output
    assert "cwnotify policy deployer" in output
    assert "Done" in allowed("deploy", "--instance", instance)
    fire(aws, f"cwnotify-{instance}-busy")
    slack.wait_for(1, seconds=30)
    assert "is in ALARM" in allowed("replay", f"cwnotify-{instance}-busy")
    assert "Nothing is left." in allowed("teardown", "--yes")


def test_fleet_reports_every_alarm_with_prefix(aws: Ministack, slack: Slack, instance: str, cwnotify: Cwnotify) -> None:
    aws.client("ec2").create_tags(Resources=[instance], Tags=[{"Key": "team", "Value": "ml"}])
    cwnotify("deploy", "--fleet", "--prefix", "train-", "--tag", "team=ml")
    assert f"train-{instance}-busy" in cwnotify("stack")
    assert "Nothing to do" in cwnotify("deploy", "--fleet", "--tag", "team=ml")
    assert matches(aws, "cwnotify", alarm_event("train-7"))
    assert matches(aws, "cwnotify", alarm_event("train-7", "CloudWatch Alarm Contributor State Change"))
    assert not matches(aws, "cwnotify", alarm_event("other-7"))
    # Only AWS may send CloudWatch's events on the bus. Send what the rule would send.
    queue = aws.client("sqs").get_queue_url(QueueName="cwnotify-changes")["QueueUrl"]
    entries = [{"Id": str(i), "MessageBody": alarm_event(f"train-{i}")} for i in range(8)]
    aws.client("sqs").send_message_batch(QueueUrl=queue, Entries=entries)
    slack.wait_for(lambda payloads: all(f"train-{i}" in json.dumps(payloads) for i in range(8)), seconds=60)


def deploy_in_process(aws: Ministack, slack: Slack, monkeypatch: pytest.MonkeyPatch, **options: Any) -> AwsSession:
    """Deploy as ``cwnotify deploy`` does. Return the session, which counts its calls."""
    for name, value in aws.environ().items():
        monkeypatch.setenv(name, value)
    client = AwsSession()
    steps = stack.prepare_deploy_plan(client, StackSpec(webhook=Secret(slack.url), **options))
    stack.apply_plan(client, steps, lambda change: None, lambda progress: None)
    return client


def test_existing_alarm_is_routed_and_never_written(
    aws: Ministack, slack: Slack, cwnotify: Cwnotify, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["mine", '경보 😀 "x" \\ ${a} @b', "both"]
    for name in names[:2]:
        put_own_alarm(aws, name)
    aws.client("cloudwatch").put_composite_alarm(AlarmName="both", AlarmRule='ALARM("mine")', ActionsEnabled=False)
    before = [describe_alarm(aws, name) for name in names]

    client = deploy_in_process(aws, slack, monkeypatch, alarms=tuple(names))

    assert not [call for call in client.call_counts if call.startswith("cloudwatch:Put")]
    assert [describe_alarm(aws, name) for name in names] == before
    stack_json = json.loads(cwnotify("stack", "--json"))
    assert [name for name, _ in stack_json["attached"]] == names
    assert "Nothing to do" in cwnotify("deploy", *(word for name in names for word in ("--alarm", name)))
    for name in names:
        for type in ("CloudWatch Alarm State Change", "CloudWatch Alarm Contributor State Change"):
            assert matches(aws, "cwnotify-alarms-1", alarm_event(name, type))
    assert not matches(aws, "cwnotify-alarms-1", alarm_event("mine-2"))
    assert not matches(aws, "cwnotify-alarms-1", alarm_event("mine", "CloudWatch Alarm Configuration Change"))
    # Like an alarm with actions for ALARM and OK only: missing data is not reported.
    assert not matches(aws, "cwnotify-alarms-1", alarm_event("mine", state="INSUFFICIENT_DATA"))
    alarm = CloudWatchAlarm("mine", "", "OK", 0.0)
    assert SlackRouteFinder().has_slack_route(AwsSession(), alarm)
    assert not SlackRouteFinder().has_slack_route(AwsSession(), replace(alarm, name="mine-2"))

    assert "- route     both" in cwnotify("deploy", "--drop", "both")
    assert not matches(aws, "cwnotify-alarms-1", alarm_event("both"))
    assert matches(aws, "cwnotify-alarms-1", alarm_event("mine"))
    cwnotify("teardown", "--yes")
    assert [describe_alarm(aws, name) for name in names] == before
    assert aws.list_resources()["rules"] == []
    aws.client("cloudwatch").delete_alarms(AlarmNames=["both"])
    aws.client("cloudwatch").delete_alarms(AlarmNames=names[:2])


def test_routed_alarm_has_all_permissions(aws: Ministack, slack: Slack, cwnotify: Cwnotify) -> None:
    put_own_alarm(aws, "mine")
    cwnotify("deploy", "--alarm", "mine")
    events, functions, queues = aws.client("events"), aws.client("lambda"), aws.client("sqs")
    rule = events.describe_rule(Name="cwnotify-alarms-1")["Arn"]
    (target,) = events.list_targets_by_rule(Rule="cwnotify-alarms-1")["Targets"]
    assert target["Arn"] == functions.get_function(FunctionName="cwnotify")["Configuration"]["FunctionArn"]
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    assert target["DeadLetterConfig"]["Arn"].endswith(":cwnotify-undelivered")
    policy = json.loads(functions.get_policy(FunctionName="cwnotify")["Policy"])
    callers = [
        statement["Condition"]["ArnLike"]["AWS:SourceArn"]
        for statement in policy["Statement"]
        if statement["Principal"] == {"Service": "events.amazonaws.com"}
    ]
    assert callers == [rule]
    # Only AWS may send CloudWatch's events on the bus. Send what the rule would send.
    functions.invoke(FunctionName="cwnotify", InvocationType="Event", Payload=alarm_event("mine").encode())
    assert "mine" in slack.wait_for(1, seconds=30)[0]["text"]

    cwnotify("deploy", "--fleet", "--prefix", "train-")
    (target,) = events.list_targets_by_rule(Rule="cwnotify-alarms-1")["Targets"]
    assert target["Arn"].endswith(":cwnotify-changes")
    url = queues.get_queue_url(QueueName="cwnotify-changes")["QueueUrl"]
    attributes = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]
    (statement,) = json.loads(attributes["Policy"])["Statement"]
    assert any(fnmatchcase(rule, pattern) for pattern in statement["Condition"]["ArnLike"]["aws:SourceArn"])
    cwnotify("teardown", "--yes")
    aws.client("cloudwatch").delete_alarms(AlarmNames=["mine"])


def test_alarm_attached_by_older_version_is_not_sent_twice(
    aws: Ministack, slack: Slack, instance: str, cwnotify: Cwnotify
) -> None:
    cwnotify("deploy", "--instance", instance)
    aws.client("cloudwatch").put_metric_alarm(
        AlarmName="train-old", Namespace="Mine", MetricName="loss", Statistic="Average", Period=60, EvaluationPeriods=1,
        Threshold=0.5, ComparisonOperator="GreaterThanThreshold", AlarmActions=[TOPIC], OKActions=[TOPIC],
    )  # fmt: skip
    before = describe_alarm(aws, "train-old")
    output = cwnotify("deploy", "--alarm", "train-old", "--instance", instance)
    assert "! alarm     train-old  acts on the topic itself, so no rule sends it a second time" in output
    assert "Nothing to do" in output
    assert aws.list_resources()["rules"] == []
    assert "on topic     train-old" in cwnotify("stack")
    assert "remove that action in the CloudWatch console" in cwnotify.fail("deploy", "--drop", "train-old")

    cwnotify("deploy", "--fleet", "--prefix", "train-")
    assert matches(aws, "cwnotify", alarm_event("train-new"))
    assert not matches(aws, "cwnotify", alarm_event("train-old"))
    assert "Nothing to do" in cwnotify("deploy", "--fleet")
    assert "! alarm     train-old" in cwnotify("teardown", "--yes")
    assert describe_alarm(aws, "train-old") == before
    aws.client("cloudwatch").delete_alarms(AlarmNames=["train-old"])


def test_many_names_use_several_rules(aws: Ministack, cwnotify: Cwnotify) -> None:
    names = [f"train-{n:03}-{'x' * 100}" for n in range(40)]
    for name in names:
        put_own_alarm(aws, name)
    cwnotify("deploy", *(word for name in names for word in ("--alarm", name)))
    rules = aws.list_resources()["rules"]
    assert rules == ["cwnotify-alarms-1", "cwnotify-alarms-2", "cwnotify-alarms-3"]
    patterns = [aws.client("events").describe_rule(Name=rule)["EventPattern"] for rule in rules]
    assert all(len(pattern) <= 2048 for pattern in patterns)
    assert sorted(name for pattern in patterns for name in json.loads(pattern)["detail"]["alarmName"]) == names
    aws.client("cloudwatch").delete_alarms(AlarmNames=names)


def test_key_and_other_accounts_are_stored_and_removed(aws: Ministack, instance: str, cwnotify: Cwnotify) -> None:
    key = aws.client("kms").create_key()["KeyMetadata"]["Arn"]

    # This CloudFormation ignores the topic's key. test_template.py checks that the topic gets it.
    def stack_key() -> str:
        (stack,) = aws.client("cloudformation").describe_stacks(StackName="cwnotify")["Stacks"]
        parameters: dict[str, str] = {item["ParameterKey"]: item["ParameterValue"] for item in stack["Parameters"]}
        return parameters["KmsKey"]

    def allowed_accounts() -> list[Any]:
        policy = aws.client("sns").get_topic_attributes(TopicArn=TOPIC)["Attributes"]["Policy"]
        statements = json.loads(policy)["Statement"]
        return [statement["Condition"]["StringEquals"]["aws:SourceAccount"] for statement in statements]

    output = cwnotify(
        *("deploy", "--instance", instance, "--kms-key", key),
        *("--allow-account", "210987654321", "--allow-account", "111111111111"),
    )
    assert f"+ key       {key}" in output
    assert "allow cloudwatch.amazonaws.com kms:Decrypt and kms:GenerateDataKey*" in output
    assert stack_key() == key
    assert f"CloudWatch may not use arn:aws:kms:{REGION}:********0000:key" in cwnotify.run("doctor").stdout
    statement = {"Effect": "Allow", "Principal": {"Service": "cloudwatch.amazonaws.com"}, "Action": "kms:*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Resource": "*"}]})
    aws.client("kms").put_key_policy(KeyId=key, PolicyName="default", Policy=policy)
    assert "its policy lets CloudWatch use it" in cwnotify.run("doctor").stdout
    assert allowed_accounts() == ["000000000000", ["111111111111", "210987654321"]]
    assert "Nothing to do" in cwnotify("deploy", "--instance", instance)
    assert "account      210987654321" in cwnotify("stack")
    cwnotify("deploy", "--kms-key", "none", "--drop", "111111111111", "--drop", "210987654321")
    assert stack_key() == ""
    assert allowed_accounts() == ["000000000000"]
    assert "twelve digits" in cwnotify.fail("deploy", "--allow-account", "1234")


def test_long_template_is_read_from_bucket(aws: Ministack, cwnotify: Cwnotify) -> None:
    tags = {"ResourceType": "instance", "Tags": [{"Key": "many", "Value": "yes"}]}
    reply = aws.client("ec2").run_instances(ImageId="ami-12345678", MinCount=40, MaxCount=40, TagSpecifications=[tags])
    cwnotify("deploy", "--tag", "many=yes")
    stack_json = json.loads(cwnotify("stack", "--json"))
    assert len(stack_json["alarms"]) == 2 * len(reply["Instances"]) + 1
    assert "Nothing to do" in cwnotify("deploy", "--tag", "many=yes")


def alarm_event(
    alarm: str, type: str = "CloudWatch Alarm State Change", state: str = "ALARM", at: str = "2026-11-22T10:00:00Z"
) -> str:
    """Return an alarm's state change as EventBridge delivers it."""
    return json.dumps(
        {
            "version": "0",
            "id": alarm,
            "account": "000000000000",
            "time": at,
            "region": REGION,
            "resources": [f"arn:aws:cloudwatch:{REGION}:000000000000:alarm:{alarm}"],
            "source": "aws.cloudwatch",
            "detail-type": type,
            "detail": {"alarmName": alarm, "state": {"value": state, "timestamp": at}},
        }
    )


# The second bucket cannot be created, because the first has its name.
BROKEN = """
Resources:
  First: {Type: AWS::S3::Bucket, Properties: {BucketName: one-and-the-same}}
  Second: {Type: AWS::S3::Bucket, DependsOn: First, Properties: {BucketName: one-and-the-same}}
  Third: {Type: AWS::SQS::Queue, DependsOn: Second}
"""


def test_first_cause_of_rollback_is_shown(aws: Ministack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.environ().items():
        monkeypatch.setenv(name, value)
    before, events = aws.list_resources(), list[StackEvent]()
    with pytest.raises(AwsError, match=r"stack broken was rolled back: Second \(AWS::S3::Bucket\): .*already exists"):
        deploy_stack(AwsSession(), "broken", {"TemplateBody": BROKEN}, {}, True, events.append)
    assert [event.status for event in events if event.resource == "Second"][:2] == [
        "CREATE_IN_PROGRESS",
        "CREATE_FAILED",
    ]
    until(lambda: aws.list_resources() == before, 10, "nothing left")
