"""The stack's whole life on an AWS of this machine, its rights enforced: plan, deploy, change, trouble, teardown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cwnotify.aws.client import Aws
from cwnotify.aws.formation import Progress, deploy_stack
from cwnotify.aws.function import PING
from cwnotify.aws.policies import deployer
from cwnotify.aws.wishes import Place
from cwnotify.errors import AwsError
from tests.support.ministack import REGION, Ministack
from tests.support.slack import REMOVED, Answer, Slack
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    with Ministack(tmp_path_factory.mktemp("ministack")) as running:
        yield running


@pytest.fixture
def slack() -> Iterator[Slack]:
    with Slack() as running:
        yield running


@pytest.fixture
def instance(aws: Ministack) -> str:
    return aws.run_instance()


class Cwnotify:
    """The command, as somebody with this environment would run it."""

    def __init__(self, environ: dict[str, str], home: Path) -> None:
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), **environ}

    def __call__(self, *arguments: str) -> str:
        done = self._run(arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *arguments: str) -> str:
        done = self._run(arguments)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def _run(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
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


def own_alarm(aws: Ministack, name: str) -> None:
    aws.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        AlarmDescription="somebody's own",
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


def user(aws: Ministack, name: str, policy: dict[str, Any]) -> dict[str, str]:
    """The environment of a user who may do what `policy` says."""
    iam = aws.client("iam")
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="it", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return aws.environ(key["AccessKeyId"], key["SecretAccessKey"])


def test_its_whole_life(aws: Ministack, slack: Slack, instance: str, cwnotify: Cwnotify) -> None:
    own_alarm(aws, "my own alarm")
    before = aws.inventory()

    assert "'Seoul' is no time zone; one is Asia/Seoul" in cwnotify.refused("deploy", "--timezone", "Seoul", "--plan")
    planned = cwnotify("deploy", "--instance", instance, "--plan")
    assert f"+ alarm     cwnotify-{instance}-off" in planned
    assert "Nothing was changed" in planned
    assert aws.inventory() == before

    made = cwnotify("deploy", "--instance", instance)
    assert "Function  create_complete" in made
    deployed = aws.inventory()
    assert "Nothing to do" in cwnotify("deploy", "--instance", instance)
    assert aws.inventory() == deployed

    fire(aws, f"cwnotify-{instance}-off")
    (payload,) = slack.wait_for(1, seconds=30)
    assert instance in payload["text"]
    assert payload["attachments"][0]["color"] == "#30db3f"

    assert "my own alarm" in cwnotify("deploy", "--alarm", "my own alarm", "--threshold", "70", "--instance", instance)
    fire(aws, "my own alarm")
    slack.wait_for(2, seconds=30)
    shown = json.loads(cwnotify("stack", "--json"))
    assert shown["attached"] == [["my own alarm", "ALARM"]]
    assert shown["undelivered"] == 0
    fire(aws, "my own alarm", "INSUFFICIENT_DATA")

    pinged = cwnotify("test", "--lambda")
    assert "delivered:" in pinged
    assert "The function came to a good end" in pinged
    assert "Ping" in json.dumps(slack.wait_for(3)[2])

    secret = json.dumps(
        [
            aws.client("cloudformation").get_template(StackName="cwnotify"),
            aws.client("cloudformation").describe_stacks(StackName="cwnotify"),
            aws.client("cloudformation").describe_stack_events(StackName="cwnotify"),
            aws.client("lambda").get_function(FunctionName="cwnotify"),
        ],
        default=str,
    )
    assert slack.canary not in secret + planned + made
    assert "ssm:/cwnotify/cwnotify/webhook" in secret

    assert "look with --plan, then say --yes" in cwnotify.refused("teardown")
    assert aws.inventory()["stacks"] == ["cwnotify"]
    assert "Nothing is left." in cwnotify("teardown", "--yes")
    after = aws.inventory()
    assert {**after, "alarms": []} == {**before, "alarms": []}
    assert [without_state(one) for one in after["alarms"]] == [without_state(one) for one in before["alarms"]]
    assert "Nothing to do" in cwnotify("teardown")


def test_a_function_that_fails_says_why_and_one_that_is_not_there_too(
    aws: Ministack, slack: Slack, instance: str, cwnotify: Cwnotify
) -> None:
    assert "no stack cwnotify is deployed" in cwnotify.refused("test", "--lambda")
    cwnotify("deploy", "--instance", instance)
    slack.answer = REMOVED
    told = cwnotify.refused("test", "--lambda")
    assert "the function failed" in told
    assert "404 no_service" in told
    assert slack.canary not in told


def test_a_change_is_sent_again_to_a_webhook_that_is_kept_in_aws(
    aws: Ministack, slack: Slack, instance: str, cwnotify: Cwnotify, tmp_path: Path
) -> None:
    cwnotify("deploy", "--instance", instance)
    fire(aws, f"cwnotify-{instance}-busy")
    slack.wait_for(1, seconds=30)
    kept = Cwnotify({**aws.environ(), "CWNOTIFY_WEBHOOK_URL": "ssm:/cwnotify/cwnotify/webhook"}, tmp_path)
    assert "Slack said ok" in kept("replay", f"cwnotify-{instance}-busy", "--send")
    published, replayed = slack.wait_for(2)
    assert replayed["text"] == published["text"]
    assert replayed["attachments"][0]["color"] == published["attachments"][0]["color"] == "#eb4034"


def without_state(alarm: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in alarm.items() if not key.startswith("State") and value != []}


def test_a_deployer_needs_the_policy_that_is_printed_and_no_more(
    aws: Ministack, slack: Slack, instance: str, cwnotify: Cwnotify, tmp_path: Path
) -> None:
    policy = deployer(Place("cwnotify", "000000000000", REGION))
    webhook = {"CWNOTIFY_WEBHOOK_URL": slack.url}
    allowed = Cwnotify({**user(aws, "deployer", policy), **webhook}, tmp_path)
    lacking = json.loads(json.dumps(policy).replace('"cloudformation:CreateStack", ', ""))
    denied = Cwnotify({**user(aws, "nearly", lacking), **webhook}, tmp_path)

    told = denied.refused("deploy", "--instance", instance)
    assert "AWS denies cloudformation:CreateStack" in told
    assert "cwnotify policy deployer" in told
    assert "Done" in allowed("deploy", "--instance", instance)
    fire(aws, f"cwnotify-{instance}-busy")
    slack.wait_for(1, seconds=30)
    assert "is in ALARM" in allowed("replay", f"cwnotify-{instance}-busy")
    assert "Nothing is left." in allowed("teardown", "--yes")


def test_what_slack_did_not_take_is_kept_and_sent_again(
    aws: Ministack, slack: Slack, instance: str, cwnotify: Cwnotify
) -> None:
    cwnotify("deploy", "--instance", instance)
    functions, queues = aws.client("lambda"), aws.client("sqs")
    queue = queues.get_queue_url(QueueName="cwnotify-undelivered")["QueueUrl"]
    arn = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    # The template says so too (see test_template.py), but this CloudFormation passes it over.
    functions.update_function_configuration(FunctionName="cwnotify", DeadLetterConfig={"TargetArn": arn})
    slack.answer = REMOVED
    # As SNS calls it; this one's own SNS does not try again.
    functions.invoke(FunctionName="cwnotify", InvocationType="Event", Payload=json.dumps(PING).encode())

    def kept() -> bool:
        found = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"])
        return found["Attributes"]["ApproximateNumberOfMessages"] == "1"

    until(kept, 60, "the dead letter")
    assert len(slack.received) == 3
    assert "undelivered  1; send them again: cwnotify redrive" in cwnotify("stack")
    told = cwnotify.refused("redrive")
    assert "0 delivered, 1 not; about 1 left in the queue" in told
    slack.answer = Answer()
    assert "1 delivered, and nothing is left in the queue." in cwnotify("redrive")
    slack.wait_for(1)
    assert "Nothing is undelivered." in cwnotify("redrive")


def test_what_is_sent_again_keeps_the_order_of_the_events(
    aws: Ministack, slack: Slack, instance: str, cwnotify: Cwnotify
) -> None:
    cwnotify("deploy", "--instance", instance)
    queues = aws.client("sqs")
    queue = queues.get_queue_url(QueueName="cwnotify-undelivered")["QueueUrl"]
    shuffled = [17, 3, 22, 9, 0, 14, 5, 20, 11, 1, 8, 19, 24, 6, 13, 2, 16, 10, 21, 4, 23, 7, 12, 18, 15]
    for number in shuffled:
        body = changed(f"again-{number:02}", f"2026-11-22T10:{number:02}:00Z")
        # As SNS's asynchronous call leaves it there, or as the fleet's queue does.
        event = {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": body}}]} if number % 2 else json.loads(body)
        queues.send_message(QueueUrl=queue, MessageBody=json.dumps(event))
    queues.send_message(QueueUrl=queue, MessageBody="no JSON at all: again-xx")
    slack.judge = lambda payload: Answer(400, "invalid_blocks") if "again-07" in json.dumps(payload) else None
    assert "25 delivered, 1 not; about 1 left in the queue" in cwnotify.refused("redrive")
    said = [json.dumps(payload) for payload in slack.wait_for(25)]
    came = [int(found[1]) for one in said if (found := re.search(r"again-(\d\d)", one))]
    assert came == [number for number in range(25) if number != 7]

    for number in (30, 26, 28):
        queues.send_message(QueueUrl=queue, MessageBody=changed(f"again-{number:02}", f"2026-11-22T10:{number}:00Z"))
    slack.judge = lambda payload: None
    assert "4 delivered, and nothing is left in the queue." in cwnotify("redrive")
    said = [json.dumps(payload) for payload in slack.wait_for(29)[25:]]
    assert [re.search(r"again-(\d\d)", one)[1] for one in said] == ["07", "26", "28", "30"]  # type: ignore[index]


def test_when_slack_takes_nothing_the_queue_stays_as_it_is(
    aws: Ministack, slack: Slack, instance: str, cwnotify: Cwnotify
) -> None:
    cwnotify("deploy", "--instance", instance)
    queues = aws.client("sqs")
    queue = queues.get_queue_url(QueueName="cwnotify-undelivered")["QueueUrl"]
    for number in range(5):
        queues.send_message(QueueUrl=queue, MessageBody=changed(f"kept-{number}", f"2026-11-22T10:0{number}:00Z"))
    slack.answer = REMOVED
    assert "0 delivered, 3 not; about 5 left in the queue" in cwnotify.refused("redrive")
    slack.answer = Answer()
    assert "5 delivered, and nothing is left in the queue." in cwnotify("redrive")
    said = [json.dumps(payload) for payload in slack.wait_for(5)]
    assert [re.search(r"kept-(\d)", one)[1] for one in said] == list("01234")  # type: ignore[index]


def test_a_fleet_hears_of_every_alarm_with_its_prefix(
    aws: Ministack, slack: Slack, instance: str, cwnotify: Cwnotify
) -> None:
    aws.client("ec2").create_tags(Resources=[instance], Tags=[{"Key": "team", "Value": "ml"}])
    cwnotify("deploy", "--fleet", "--prefix", "train-", "--tag", "team=ml")
    assert f"train-{instance}-busy" in cwnotify("stack")
    assert "Nothing to do" in cwnotify("deploy", "--fleet", "--tag", "team=ml")
    pattern = aws.client("events").describe_rule(Name="cwnotify")["EventPattern"]

    def wanted(event: str) -> bool:
        return bool(aws.client("events").test_event_pattern(EventPattern=pattern, Event=event)["Result"])

    assert wanted(changed("train-7"))
    assert not wanted(changed("other-7"))
    # Only AWS itself may speak for CloudWatch on its bus, here as there; so the rule's part is played.
    queue = aws.client("sqs").get_queue_url(QueueName="cwnotify-changes")["QueueUrl"]
    entries = [{"Id": str(i), "MessageBody": changed(f"train-{i}")} for i in range(8)]
    aws.client("sqs").send_message_batch(QueueUrl=queue, Entries=entries)
    slack.wait_for(lambda seen: all(f"train-{i}" in json.dumps(seen) for i in range(8)), seconds=60)


def test_a_template_too_long_to_be_sent_comes_from_the_bucket(aws: Ministack, cwnotify: Cwnotify) -> None:
    tags = {"ResourceType": "instance", "Tags": [{"Key": "many", "Value": "yes"}]}
    made = aws.client("ec2").run_instances(ImageId="ami-12345678", MinCount=40, MaxCount=40, TagSpecifications=[tags])
    cwnotify("deploy", "--tag", "many=yes")
    shown = json.loads(cwnotify("stack", "--json"))
    assert len(shown["alarms"]) == 2 * len(made["Instances"]) + 1
    assert "Nothing to do" in cwnotify("deploy", "--tag", "many=yes")


def changed(alarm: str, at: str = "2026-11-22T10:00:00Z") -> str:
    """What EventBridge carries."""
    return json.dumps(
        {
            "version": "0",
            "id": alarm,
            "account": "123456789012",
            "time": at,
            "region": REGION,
            "resources": [f"arn:aws:cloudwatch:{REGION}:123456789012:alarm:{alarm}"],
            "source": "aws.cloudwatch",
            "detail-type": "CloudWatch Alarm State Change",
            "detail": {"alarmName": alarm, "state": {"value": "ALARM", "timestamp": at}},
        }
    )


# Its second bucket cannot be made, for the first is called so.
BROKEN = """
Resources:
  First: {Type: AWS::S3::Bucket, Properties: {BucketName: one-and-the-same}}
  Second: {Type: AWS::S3::Bucket, DependsOn: First, Properties: {BucketName: one-and-the-same}}
  Third: {Type: AWS::SQS::Queue, DependsOn: Second}
"""


def test_the_first_cause_of_a_stack_that_was_rolled_back(aws: Ministack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.environ().items():
        monkeypatch.setenv(name, value)
    before, told = aws.inventory(), list[Progress]()
    with pytest.raises(AwsError, match=r"stack broken was rolled back: Second \(AWS::S3::Bucket\): .*already exists"):
        deploy_stack(Aws(), "broken", {"TemplateBody": BROKEN}, {}, True, told.append)
    assert [one.status for one in told if one.resource == "Second"][:2] == ["CREATE_IN_PROGRESS", "CREATE_FAILED"]
    until(lambda: aws.inventory() == before, 10, "nothing left")
