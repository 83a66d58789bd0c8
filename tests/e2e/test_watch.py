"""``cwnotify watch`` against an AWS emulator: its snapshots, its Slack messages and its reports of AWS errors."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cwnotify.deploy.iam_policies import build_notebook_policy
from cwnotify.deploy.spec import StackLocation
from cwnotify.view.snapshot import Snapshot
from tests.support.aws_wire import Fault, Hang
from tests.support.cloudwatch import CloudWatch
from tests.support.datapoints import cpu_metric, wave_datapoints
from tests.support.kernel import World
from tests.support.ministack import REGION, Ministack
from tests.support.slack import Slack
from tests.support.watching import WatchProcess

POLL_SECONDS = "0.5"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    with Ministack(tmp_path_factory.mktemp("ministack")) as ministack:
        yield ministack


@pytest.fixture
def instance(aws: Ministack) -> str:
    reply = aws.client("ec2").run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, InstanceType="g5.xlarge")
    return str(reply["Instances"][0]["InstanceId"])


class WatchWorld(World):
    """A world that knows its Slack stand-in."""

    def __init__(self, folder: Path, slack: Slack) -> None:
        super().__init__(folder, slack.url)
        self.slack = slack


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WatchWorld]:
    with Slack() as slack:
        world = WatchWorld(tmp_path, slack)
        with world:
            yield world


def put_datapoints(aws: Ministack, instance: str, *values: float) -> None:
    """Store one datapoint per minute. The last is now."""
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


def put_alarm(aws: Ministack, name: str, instance: str, **more: Any) -> None:
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


def start_watch(world: WatchWorld, aws: Ministack, *options: str, **environ: str) -> WatchProcess:
    return WatchProcess(world, *options, environ={**aws.environ(), "CWNOTIFY_ROUND": POLL_SECONDS, **environ})


def has_state(name: str, state: str) -> Callable[[Snapshot], bool]:
    return lambda snapshot: (name, state) in [(alarm.name, alarm.state) for alarm in snapshot.alarms]


def test_watch_shows_instance_cpu_and_alarms(aws: Ministack, world: WatchWorld, instance: str) -> None:
    put_datapoints(aws, instance, 10, 20, 90)
    put_alarm(aws, f"{instance}-busy", instance)
    put_alarm(aws, "of-another", "i-00000000000000001")

    with start_watch(world, aws, "--instance", instance) as watch:
        snapshot = watch.wait_for_snapshot(lambda snapshot: snapshot.lines and snapshot.alarms, "CPU and alarms")

        (subject,) = snapshot.subjects
        assert (subject.instance, subject.instance_type, subject.state) == (instance, "g5.xlarge", "running")
        assert (subject.monitoring, subject.region) == ("detailed", "ap-northeast-2")
        assert [value for _, value in snapshot.lines[0].points][-1] == 90.0
        assert [alarm.name for alarm in snapshot.alarms] == [f"{instance}-busy"]
        assert snapshot.alarms[0].threshold == 99.5
        assert not snapshot.problems

        put_datapoints(aws, instance, 33)
        watch.wait_for_snapshot(lambda snapshot: snapshot.lines[0].points[-1][1] != 90.0, "the new datapoint")


def test_change_is_sent_once_to_many_watchers(aws: Ministack, world: WatchWorld, instance: str) -> None:
    name = f"{instance}-busy"
    put_alarm(aws, name, instance)
    with (
        start_watch(world, aws, "--instance", instance) as first,
        start_watch(world, aws, "--instance", instance) as second,
    ):
        for watch in (first, second):
            watch.wait_for_snapshot(lambda snapshot: snapshot.alarms, "the alarm")
        set_state(aws, name, "ALARM")
        for watch in (first, second):
            watch.wait_for_snapshot(has_state(name, "ALARM"), "the change")
        world.slack.wait_for(1)
        first.kill()
        set_state(aws, name, "OK")
        second.wait_for_snapshot(has_state(name, "OK"), "the recovery")
        world.slack.wait_for(2)

    world.wait_for_sidecars_to_exit()
    texts = [str(payload["text"]) for payload in world.slack.payloads]
    assert len(texts) == 2
    assert "is in ALARM" in texts[0]
    assert "is OK again" in texts[1]


def test_missed_change_is_sent_with_late_note(aws: Ministack, world: WatchWorld, instance: str) -> None:
    name = f"{instance}-off"
    put_alarm(aws, name, instance)
    with start_watch(world, aws, "--instance", instance) as watch:
        watch.wait_for_snapshot(lambda snapshot: snapshot.alarms, "the alarm")
    world.wait_for_sidecars_to_exit()
    set_state(aws, name, "OK")
    set_state(aws, name, "ALARM")
    age_last_poll(world, 3600)

    with start_watch(world, aws, "--instance", instance) as watch:
        watch.wait_for_snapshot(has_state(name, "ALARM"), "the alarm as it is now")
        world.slack.wait_for(1)

    world.wait_for_sidecars_to_exit()
    payloads = world.slack.payloads
    assert all("No watch was running" in str(payload["blocks"]) for payload in payloads)
    assert "in ALARM" in str(payloads[-1]["text"])


def age_last_poll(world: WatchWorld, seconds: float) -> None:
    """Move the last poll into the past."""
    with closing(sqlite3.connect(world.state_dir / "outbox.sqlite3")) as db, db:
        db.execute("UPDATE alarms SET seen = seen - ?", (seconds,))


@pytest.mark.parametrize(("policy", "expected_count"), [("auto", 0), ("never", 0), ("always", 1)])
def test_routed_alarm_is_not_sent_again(
    aws: Ministack, world: WatchWorld, instance: str, policy: str, expected_count: int
) -> None:
    topic = create_stack_topic(aws)
    name = f"{instance}-busy"
    put_alarm(aws, name, instance, AlarmActions=[topic])
    with start_watch(world, aws, "--instance", instance, "--alarm-slack", policy) as watch:
        watch.wait_for_snapshot(lambda snapshot: snapshot.alarms, "the alarm")
        set_state(aws, name, "ALARM")
        watch.wait_for_snapshot(has_state(name, "ALARM"), "the change")

    world.wait_for_sidecars_to_exit()
    assert len(world.slack.payloads) == expected_count


def test_fleet_alarm_is_not_sent_again(aws: Ministack, world: WatchWorld, instance: str) -> None:
    events = aws.client("events")
    pattern = {"source": ["aws.cloudwatch"], "detail": {"alarmName": [{"prefix": f"{instance}-fleet"}]}}
    events.put_rule(Name="vision", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="vision", Targets=[{"Id": "1", "Arn": f"arn:aws:sqs:{REGION}:000000000000:vision-changes"}])
    names = f"{instance}-fleet-busy", f"{instance}-busy"
    for name in names:
        put_alarm(aws, name, instance)
    with start_watch(world, aws, "--instance", instance) as watch:
        watch.wait_for_snapshot(lambda snapshot: len(snapshot.alarms) == 2, "the alarms")
        for name in names:
            set_state(aws, name, "ALARM")
            watch.wait_for_snapshot(has_state(name, "ALARM"), "the change")

    world.wait_for_sidecars_to_exit()
    assert [f"{instance}-busy" in payload["text"] for payload in world.slack.payloads] == [True]


def create_stack_topic(aws: Ministack) -> str:
    """Create a topic that invokes a function with its name, as ``cwnotify deploy`` does."""
    sns = aws.client("sns")
    topic = str(sns.create_topic(Name="cwnotify")["TopicArn"])
    function = topic.replace(":sns:", ":lambda:").replace(":cwnotify", ":function:cwnotify")
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function)
    return topic


def test_missing_permission_is_named_and_recovers(aws: Ministack, world: WatchWorld, instance: str) -> None:
    put_datapoints(aws, instance, 10, 20)
    key = create_user(aws, "notebook")
    with start_watch(world, aws, "--instance", instance, **aws.environ(*key)) as watch:
        snapshot = watch.wait_for_snapshot(lambda snapshot: snapshot.problems, "the problem")
        texts = " ".join(problem.text for problem in snapshot.problems)
        assert "cloudwatch:GetMetricData" in texts
        assert "cwnotify policy notebook" in texts

        allow_notebook_policy(aws, "notebook")
        watch.wait_for_snapshot(lambda snapshot: snapshot.lines and not snapshot.problems, "the recovery")


def create_user(aws: Ministack, name: str) -> tuple[str, str]:
    iam = aws.client("iam")
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


def allow_notebook_policy(aws: Ministack, name: str) -> None:
    policy = build_notebook_policy(StackLocation("cwnotify", "000000000000", "ap-northeast-2"))
    aws.client("iam").put_user_policy(UserName=name, PolicyName="watch", PolicyDocument=json.dumps(policy))


def test_credentials_added_during_run_are_used(
    aws: Ministack, world: WatchWorld, instance: str, tmp_path: Path
) -> None:
    put_datapoints(aws, instance, 10, 20)
    file = tmp_path / "credentials"
    environ = {name: value for name, value in aws.environ().items() if "KEY" not in name}
    environ["AWS_SHARED_CREDENTIALS_FILE"] = str(file)
    with WatchProcess(world, "--instance", instance, environ={**environ, "CWNOTIFY_ROUND": POLL_SECONDS}) as watch:
        problem = watch.wait_for_snapshot(lambda snapshot: snapshot.problems, "the problem").problems[0]
        assert "credentials" in problem.text

        key, secret = (aws.environ()[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
        watch.wait_for_snapshot(lambda snapshot: snapshot.lines and not snapshot.problems, "the recovery")


def test_unknown_instance_is_reported(aws: Ministack, world: WatchWorld) -> None:
    with start_watch(world, aws, "--instance", "i-00000000000000042") as watch:
        problem = watch.wait_for_snapshot(lambda snapshot: snapshot.problems, "the problem").problems[0]

    assert "there is no instance i-00000000000000042 in ap-northeast-2" in problem.text.lower()


def test_watch_without_aws_shows_host(world: WatchWorld) -> None:
    environ = {"AWS_EC2_METADATA_DISABLED": "true"}
    with WatchProcess(world, environ=environ) as watch:
        snapshot = watch.wait_for_snapshot(lambda snapshot: snapshot.lines, "this host's load")

    assert [line.label for line in snapshot.lines] == ["this host, live"]
    assert not snapshot.problems


# Calls that only add details to an alert do not delay it
BUSY, WATCHED = "train-busy", "i-0abc1234def567890"
AWS_FAULTS: dict[str, Fault | Hang] = {
    "500": Fault("InternalFailure", "internal error", 500, "DescribeAlarmHistory"),
    "throttled": Fault("Throttling", "Rate exceeded", 400, "DescribeAlarmHistory"),
    "denied": Fault("AccessDenied", "not authorized", 403, "DescribeAlarmHistory"),
    "hangs": Hang("DescribeAlarmHistory"),
    "instances 500": Fault("InternalError", "internal error", 500, "DescribeInstances"),
    "datapoints hang": Hang("GetMetricData"),
    "routes hang": Hang("ListRules"),
}
# The watches wait most of the time. More of them at once would delay alerts on two cores.
MAX_PARALLEL_WATCHES = 4
T = TypeVar("T")


@dataclass(frozen=True)
class CloudScene:
    """A strict CloudWatch with one alarm, and a world that watches it."""

    cloud: CloudWatch
    world: WatchWorld

    def watch(self) -> WatchProcess:
        environ = {**self.cloud.environ(), "CWNOTIFY_ROUND": POLL_SECONDS}
        return WatchProcess(self.world, "--instance", WATCHED, environ=environ)

    def wait_for_polls(self, watch: WatchProcess) -> None:
        """Wait until every postponed call has been made."""
        calls = self.cloud.calls["cloudwatch:DescribeAlarms"]
        watch.wait_for_snapshot(
            lambda _: self.cloud.calls["cloudwatch:DescribeAlarms"] > calls + 8, "further polls", 40
        )

    def messages(self) -> list[str]:
        return [str(payload["text"]) for payload in self.world.slack.payloads]


@contextmanager
def open_cloud_scene(folder: Path) -> Iterator[CloudScene]:
    with CloudWatch() as cloud, Slack() as slack:
        cloud.put_instance(WATCHED)
        cloud.add_datapoints(cpu_metric(WATCHED), wave_datapoints(time.time() - 3600, time.time(), 60))
        cloud.put_alarm(
            BUSY,
            Namespace="AWS/EC2",
            MetricName="CPUUtilization",
            Dimensions=[{"Name": "InstanceId", "Value": WATCHED}],
            AlarmActions=["arn:aws:sns:ap-northeast-2:123456789012:mine"],
        )
        world = WatchWorld(folder, slack)
        with world:
            yield CloudScene(cloud, world)


def run_in_parallel(folder: Path, names: Iterable[str], act: Callable[[Path, Fault | Hang], T]) -> dict[str, T]:
    """Run `act` for each fault with these names at the same time, and return the results by name."""
    with ThreadPoolExecutor(MAX_PARALLEL_WATCHES) as pool:
        futures = {name: pool.submit(act, folder / name.replace(" ", "-"), AWS_FAULTS[name]) for name in names}
    return {name: future.result() for name, future in futures.items()}


def change_three_times(folder: Path, fault: Fault | Hang) -> tuple[list[float], list[str]]:
    """Change an alarm during the fault. Return the seconds until each alert, and the texts of all alerts."""
    seconds = []
    with open_cloud_scene(folder) as scene:
        cloud, slack = scene.cloud, scene.world.slack
        with scene.watch() as watch:
            watch.wait_for_snapshot(lambda snapshot: snapshot.lines and snapshot.alarms, "CPU and the alarm")
            cloud.fault = fault
            for count, state in enumerate(("ALARM", "OK", "ALARM"), 1):
                start = time.monotonic()
                cloud.set_state(BUSY, state, reason="a test says so")
                slack.wait_for(count, seconds=10)
                seconds.append(time.monotonic() - start)
            cloud.fault = None
            watch.wait_for_snapshot(has_state(BUSY, "ALARM"), "the alarm")
            scene.wait_for_polls(watch)
        scene.world.wait_for_sidecars_to_exit()
        return seconds, scene.messages()


def test_change_arrives_within_poll_despite_aws_failure(tmp_path: Path) -> None:
    for name, (seconds, texts) in run_in_parallel(tmp_path, AWS_FAULTS, change_three_times).items():
        # One poll, plus the longest wait for details.
        assert max(seconds) < 8, f"{name}: {seconds}"
        assert ["is in ALARM" in text for text in texts] == [True, False, True], name


def change_unseen(folder: Path, fault: Fault | Hang) -> tuple[list[str], str]:
    """Change an alarm between two polls while its history fails. Return the texts and the last payload."""
    with open_cloud_scene(folder) as scene:
        cloud, slack = scene.cloud, scene.world.slack
        with scene.watch() as first, scene.watch() as second:
            for watch in (first, second):
                watch.wait_for_snapshot(lambda snapshot: snapshot.lines and snapshot.alarms, "CPU and the alarm")
            cloud.fault = fault
            at = time.time()
            for ago, before, after in (
                (0.3, "OK", "ALARM"),
                (0.2, "ALARM", "OK"),
                (0.1, "OK", "ALARM"),
                (0.0, "ALARM", "OK"),
            ):
                data = {"oldState": {"stateValue": before}, "newState": {"stateValue": after}}
                cloud.add_history(BUSY, at - ago, json.dumps(data))
            # A poll only sees a newer OK.
            cloud.set_state(BUSY, "OK", at, in_history=False)
            slack.wait_for(1, seconds=6)
            cloud.set_state(BUSY, "ALARM")
            slack.wait_for(2, seconds=6)
            cloud.fault = None
            slack.wait_for(3, seconds=30)
            scene.wait_for_polls(first)
        scene.world.wait_for_sidecars_to_exit()
        return scene.messages(), str(slack.payloads[2])


def test_missed_changes_are_sent_once_when_history_returns(tmp_path: Path) -> None:
    for name, (texts, last_payload) in run_in_parallel(tmp_path, ("500", "hangs"), change_unseen).items():
        assert len(texts) == 3, name
        assert "OK" in texts[0], name
        assert "ALARM" in texts[1], name
        assert "is now in ALARM" in texts[2], name
        assert last_payload.count("→ ALARM") == 2, name
