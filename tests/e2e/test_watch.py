"""The watch against an emulator of AWS: what it sees, what Slack hears, and what it says when AWS refuses."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cwnotify.deploy.iam_policies import build_notebook_policy
from cwnotify.deploy.spec import StackLocation
from tests.support.aws_wire import Fault, Hang
from tests.support.cloudwatch import CloudWatch
from tests.support.datapoints import cpu_metric, wave_datapoints
from tests.support.kernel import World
from tests.support.ministack import REGION, Ministack
from tests.support.slack import Slack
from tests.support.watching import WatchProcess

ROUND = "0.5"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    with Ministack(tmp_path_factory.mktemp("ministack")) as ministack:
        yield ministack


@pytest.fixture
def instance(aws: Ministack) -> str:
    reply = aws.client("ec2").run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, InstanceType="g5.xlarge")
    return str(reply["Instances"][0]["InstanceId"])


class WatchWorld(World):
    """A world with its Slack stand-in."""

    def __init__(self, folder: Path, slack: Slack) -> None:
        super().__init__(folder, slack.url)
        self.slack = slack


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WatchWorld]:
    with Slack() as slack, WatchWorld(tmp_path, slack) as world:
        yield world


def feed(aws: Ministack, instance: str, *values: float) -> None:
    """Datapoints of the last minutes, the last of them now."""
    now = time.time()
    data = [
        {
            "MetricName": "CPUUtilization",
            "Dimensions": [{"Name": "InstanceId", "Value": instance}],
            "Timestamp": now - 60 * (len(values) - 1 - i),
            "Value": value,
        }
        for i, value in enumerate(values)
    ]
    aws.client("cloudwatch").put_metric_data(Namespace="AWS/EC2", MetricData=data)


def alarm(aws: Ministack, name: str, instance: str, **more: Any) -> None:
    settings = {
        "Namespace": "AWS/EC2",
        "MetricName": "CPUUtilization",
        "Dimensions": [{"Name": "InstanceId", "Value": instance}],
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 99.5,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    aws.client("cloudwatch").put_metric_alarm(AlarmName=name, **(settings | more))


def set_state(aws: Ministack, name: str, state: str) -> None:
    aws.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue=state, StateReason=f"a test says {state}")


def watching(world: WatchWorld, aws: Ministack, *options: str, **environ: str) -> WatchProcess:
    return WatchProcess(world, *options, environ={**aws.environ(), "CWNOTIFY_ROUND": ROUND, **environ})


def state_of(name: str, state: str) -> Any:
    return lambda snapshot: (name, state) in [(one.name, one.state) for one in snapshot.alarms]


def test_watch_shows_instance_cpu_and_alarms(aws: Ministack, world: WatchWorld, instance: str) -> None:
    feed(aws, instance, 10, 20, 90)
    alarm(aws, f"{instance}-busy", instance)
    alarm(aws, "of-another", "i-00000000000000001")

    with watching(world, aws, "--instance", instance) as watch:
        snapshot = watch.wait_for_snapshot(lambda one: one.lines and one.alarms, "CPU and alarms")

        (subject,) = snapshot.subjects
        assert (subject.instance, subject.instance_type, subject.state) == (instance, "g5.xlarge", "running")
        assert (subject.monitoring, subject.region) == ("detailed", "ap-northeast-2")
        assert [value for _, value in snapshot.lines[0].points][-1] == 90.0
        assert [one.name for one in snapshot.alarms] == [f"{instance}-busy"]
        assert snapshot.alarms[0].threshold == 99.5
        assert not snapshot.problems

        feed(aws, instance, 33)
        watch.wait_for_snapshot(lambda one: one.lines[0].points[-1][1] != 90.0, "the new datapoint")


def test_change_is_sent_once_to_many_watchers(aws: Ministack, world: WatchWorld, instance: str) -> None:
    name = f"{instance}-busy"
    alarm(aws, name, instance)
    with watching(world, aws, "--instance", instance) as one, watching(world, aws, "--instance", instance) as two:
        for watch in (one, two):
            watch.wait_for_snapshot(lambda snapshot: snapshot.alarms, "the alarm")
        set_state(aws, name, "ALARM")
        for watch in (one, two):
            watch.wait_for_snapshot(state_of(name, "ALARM"), "the change")
        world.slack.wait_for(1)
        one.kill()
        set_state(aws, name, "OK")
        two.wait_for_snapshot(state_of(name, "OK"), "the way back")
        world.slack.wait_for(2)

    world.wait_for_sidecars_to_exit()
    texts = [str(payload["text"]) for payload in world.slack.payloads]
    assert len(texts) == 2
    assert "is in ALARM" in texts[0]
    assert "is OK again" in texts[1]


def test_missed_change_is_sent_with_late_note(aws: Ministack, world: WatchWorld, instance: str) -> None:
    name = f"{instance}-off"
    alarm(aws, name, instance)
    with watching(world, aws, "--instance", instance) as watch:
        watch.wait_for_snapshot(lambda snapshot: snapshot.alarms, "the alarm")
    world.wait_for_sidecars_to_exit()
    set_state(aws, name, "OK")
    set_state(aws, name, "ALARM")
    _age(world, 3600)

    with watching(world, aws, "--instance", instance) as watch:
        watch.wait_for_snapshot(state_of(name, "ALARM"), "the alarm as it is now")
        world.slack.wait_for(1)

    world.wait_for_sidecars_to_exit()
    told = world.slack.payloads
    assert all("No watch was running" in str(payload["blocks"]) for payload in told)
    assert "in ALARM" in str(told[-1]["text"])


def _age(world: WatchWorld, seconds: float) -> None:
    """Let it have been so long ago that anybody watched."""
    with closing(sqlite3.connect(world.state_dir / "outbox.sqlite3")) as db, db:
        db.execute("UPDATE alarms SET seen = seen - ?", (seconds,))


@pytest.mark.parametrize(("policy", "told"), [("auto", 0), ("never", 0), ("always", 1)])
def test_routed_alarm_is_not_sent_again(
    aws: Ministack, world: WatchWorld, instance: str, policy: Any, told: Any
) -> None:
    topic = _topic_of_a_stack(aws)
    name = f"{instance}-busy"
    alarm(aws, name, instance, AlarmActions=[topic])
    with watching(world, aws, "--instance", instance, "--alarm-slack", policy) as watch:
        watch.wait_for_snapshot(lambda snapshot: snapshot.alarms, "the alarm")
        set_state(aws, name, "ALARM")
        watch.wait_for_snapshot(state_of(name, "ALARM"), "the change")

    world.wait_for_sidecars_to_exit()
    assert len(world.slack.payloads) == told


def test_fleet_alarm_is_not_sent_again(aws: Ministack, world: WatchWorld, instance: str) -> None:
    events = aws.client("events")
    pattern = {"source": ["aws.cloudwatch"], "detail": {"alarmName": [{"prefix": f"{instance}-fleet"}]}}
    events.put_rule(Name="vision", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="vision", Targets=[{"Id": "1", "Arn": f"arn:aws:sqs:{REGION}:000000000000:vision-changes"}])
    names = f"{instance}-fleet-busy", f"{instance}-busy"
    for name in names:
        alarm(aws, name, instance)
    with watching(world, aws, "--instance", instance) as watch:
        watch.wait_for_snapshot(lambda snapshot: len(snapshot.alarms) == 2, "the alarms")
        for name in names:
            set_state(aws, name, "ALARM")
            watch.wait_for_snapshot(state_of(name, "ALARM"), "the change")

    world.wait_for_sidecars_to_exit()
    assert [f"{instance}-busy" in payload["text"] for payload in world.slack.payloads] == [True]


def _topic_of_a_stack(aws: Ministack) -> str:
    """A topic that feeds a function of the same name, as `cwnotify deploy` makes them."""
    sns = aws.client("sns")
    topic = str(sns.create_topic(Name="cwnotify")["TopicArn"])
    function = topic.replace(":sns:", ":lambda:").replace(":cwnotify", ":function:cwnotify")
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function)
    return topic


def test_missing_permission_is_named_and_recovers(aws: Ministack, world: WatchWorld, instance: str) -> None:
    feed(aws, instance, 10, 20)
    key = _a_user(aws, "notebook")
    with watching(world, aws, "--instance", instance, **aws.environ(*key)) as watch:
        troubled = watch.wait_for_snapshot(lambda snapshot: snapshot.problems, "the trouble")
        texts = " ".join(trouble.text for trouble in troubled.problems)
        assert "cloudwatch:GetMetricData" in texts
        assert "cwnotify policy notebook" in texts

        _allow(aws, "notebook")
        watch.wait_for_snapshot(lambda snapshot: snapshot.lines and not snapshot.problems, "the recovery")


def _a_user(aws: Ministack, name: str) -> tuple[str, str]:
    iam = aws.client("iam")
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


def _allow(aws: Ministack, name: str) -> None:
    policy = build_notebook_policy(StackLocation("cwnotify", "000000000000", "ap-northeast-2"))
    aws.client("iam").put_user_policy(UserName=name, PolicyName="watch", PolicyDocument=json.dumps(policy))


def test_credentials_added_during_run_are_used(
    aws: Ministack, world: WatchWorld, instance: str, tmp_path: Path
) -> None:
    feed(aws, instance, 10, 20)
    file = tmp_path / "credentials"
    environ = {name: value for name, value in aws.environ().items() if "KEY" not in name}
    environ["AWS_SHARED_CREDENTIALS_FILE"] = str(file)
    with WatchProcess(world, "--instance", instance, environ={**environ, "CWNOTIFY_ROUND": ROUND}) as watch:
        trouble = watch.wait_for_snapshot(lambda snapshot: snapshot.problems, "the trouble").problems[0]
        assert "credentials" in trouble.text

        key, secret = (aws.environ()[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
        watch.wait_for_snapshot(lambda snapshot: snapshot.lines and not snapshot.problems, "the recovery")


def test_unknown_instance_is_reported(aws: Ministack, world: WatchWorld) -> None:
    with watching(world, aws, "--instance", "i-00000000000000042") as watch:
        trouble = watch.wait_for_snapshot(lambda snapshot: snapshot.problems, "the trouble").problems[0]

    assert "there is no instance i-00000000000000042 in ap-northeast-2" in trouble.text.lower()


def test_watch_without_aws_shows_host(world: WatchWorld) -> None:
    quiet = {"AWS_EC2_METADATA_DISABLED": "true"}
    with WatchProcess(world, environ=quiet) as watch:
        snapshot = watch.wait_for_snapshot(lambda one: one.lines, "this host's load")

    assert [line.label for line in snapshot.lines] == ["this host, live"]
    assert not snapshot.problems


# What only adds to an alert does not delay it


BUSY, WATCHED = "train-busy", "i-0abc1234def567890"
REFUSALS = {
    "500": Fault("InternalFailure", "internal error", 500, "DescribeAlarmHistory"),
    "throttled": Fault("Throttling", "Rate exceeded", 400, "DescribeAlarmHistory"),
    "denied": Fault("AccessDenied", "not authorized", 403, "DescribeAlarmHistory"),
    "hangs": Hang("DescribeAlarmHistory"),
    "instances 500": Fault("InternalError", "internal error", 500, "DescribeInstances"),
    "datapoints hang": Hang("GetMetricData"),
    "routes hang": Hang("ListRules"),
}


@pytest.fixture
def cloud() -> Iterator[CloudWatch]:
    with CloudWatch() as cloud:
        cloud.put_instance(WATCHED)
        cloud.add_datapoints(cpu_metric(WATCHED), wave_datapoints(time.time() - 3600, time.time(), 60))
        cloud.put_alarm(
            BUSY,
            Namespace="AWS/EC2",
            MetricName="CPUUtilization",
            Dimensions=[{"Name": "InstanceId", "Value": WATCHED}],
            AlarmActions=["arn:aws:sns:ap-northeast-2:123456789012:mine"],
        )
        yield cloud


def seen_in_outbox(world: WatchWorld) -> list[tuple[str, float]]:
    with closing(sqlite3.connect(world.state_dir / "outbox.sqlite3")) as db:
        return list(db.execute("SELECT state, since FROM alarms"))


def messages(world: WatchWorld) -> list[str]:
    return [str(payload["text"]) for payload in world.slack.payloads]


@pytest.mark.parametrize("name", REFUSALS)
def test_change_arrives_within_poll_despite_aws_failure(world: WatchWorld, cloud: Any, name: str) -> None:
    with WatchProcess(world, "--instance", WATCHED, environ={**cloud.environ(), "CWNOTIFY_ROUND": ROUND}) as watch:
        watch.wait_for_snapshot(lambda one: one.lines and one.alarms, "CPU and the alarm")
        cloud.fault = REFUSALS[name]
        for count, state in enumerate(("ALARM", "OK", "ALARM"), 1):
            began = time.monotonic()
            cloud.set_state(BUSY, state, reason="a test says so")
            world.slack.wait_for(count, seconds=10)
            took = time.monotonic() - began
            # A poll, and the longest that one waits for what is only shown.
            assert took < 8, f"{state} took {took:.1f} s"
        cloud.fault = None
        watch.wait_for_snapshot(state_of(BUSY, "ALARM"), "the alarm")
        # Long enough for everything that was put off.
        calls = cloud.calls["cloudwatch:DescribeAlarms"]
        watch.wait_for_snapshot(lambda one: cloud.calls["cloudwatch:DescribeAlarms"] > calls + 8, "further polls", 40)

    world.wait_for_sidecars_to_exit()
    assert len(messages(world)) == 3
    assert ["is in ALARM" in one for one in messages(world)] == [True, False, True]


@pytest.mark.parametrize("name", ["500", "hangs"])
def test_missed_changes_are_sent_once_when_history_returns(world: WatchWorld, cloud: Any, name: str) -> None:
    with (
        WatchProcess(world, "--instance", WATCHED, environ={**cloud.environ(), "CWNOTIFY_ROUND": ROUND}) as one,
        WatchProcess(world, "--instance", WATCHED, environ={**cloud.environ(), "CWNOTIFY_ROUND": ROUND}) as two,
    ):
        for watch in (one, two):
            watch.wait_for_snapshot(lambda snapshot: snapshot.lines and snapshot.alarms, "CPU and the alarm")
        cloud.fault = REFUSALS[name]
        at = time.time()
        for ago, before, after in (
            (0.3, "OK", "ALARM"),
            (0.2, "ALARM", "OK"),
            (0.1, "OK", "ALARM"),
            (0.0, "ALARM", "OK"),
        ):
            data = {"oldState": {"stateValue": before}, "newState": {"stateValue": after}}
            cloud.note(BUSY, at - ago, json.dumps(data))
        # What a poll sees of it: still OK, but since another time.
        cloud.set_state(BUSY, "OK", at, noted=False)
        world.slack.wait_for(1, seconds=6)
        cloud.set_state(BUSY, "ALARM")
        world.slack.wait_for(2, seconds=6)
        cloud.fault = None
        world.slack.wait_for(3, seconds=30)
        calls = cloud.calls["cloudwatch:DescribeAlarms"]
        one.wait_for_snapshot(
            lambda snapshot: cloud.calls["cloudwatch:DescribeAlarms"] > calls + 8, "further polls", 40
        )

    world.wait_for_sidecars_to_exit()
    first, second, third = messages(world)
    assert "OK" in first
    assert "ALARM" in second
    assert "is now in ALARM" in third
    assert str(world.slack.payloads[2]).count("→ ALARM") == 2
