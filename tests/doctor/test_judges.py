"""What the doctor says of what was seen: pure, a case a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cwnotify.aws.models import AlarmReading, Identity, InstanceReading, Metric, Series
from cwnotify.doctor import aws, cost, local, slack
from cwnotify.doctor.findings import State, count, fault
from cwnotify.errors import AwsError, AwsErrorKind, SettingsError
from cwnotify.settings import Secret
from cwnotify.slack.retry_policy import Reply
from cwnotify.store.schema import Message

ME = "i-0abc12f9d8e7a6b54"


def test_an_error_is_told_apart_from_what_to_do():
    found = fault("x", AwsError("AWS denies a:B", hint="have it added to your policy: cwnotify policy notebook"))
    bare = fault("x", SettingsError("it is so"))

    assert (found.text, found.todo) == ("AWS denies a:B", "have it added to your policy: cwnotify policy notebook")
    assert (bare.text, bare.todo) == ("it is so", "")


@pytest.mark.parametrize(("n", "words"), [(0, "no alarm"), (1, "1 alarm"), (2, "2 alarms")])
def test_things_are_counted_as_a_person_would(n, words):
    assert count(n, "alarm") == words


# This machine


def test_missing_packages_are_named_with_the_command_that_brings_them():
    found = local.judge_packages({"boto3": ""}, ["boto3", "psutil"])

    assert found.state is State.WRONG
    assert found.todo.endswith("-m pip install boto3 psutil")


@pytest.mark.parametrize(
    ("seen", "state", "text"),
    [
        (local.FrontEnd("VS Code", brings_widgets=True), State.GOOD, "widgets of its own"),
        (local.FrontEnd("JupyterLab 4.6.6", "/v", "5.0.16"), State.GOOD, "shows widgets (5.0.16)"),
        (local.FrontEnd("JupyterLab 4.6.6", "/v", "3.1.7"), State.WRONG, "only those of ipywidgets 7 (3.1.7)"),
        (local.FrontEnd("Notebook 7.6.5", "/v", ""), State.WRONG, "no widgets, and so no panel"),
        (local.FrontEnd(prefix="/v"), State.NOTE, "no JupyterLab or Notebook"),
    ],
)
def test_a_front_end_is_judged_by_the_widgets_that_it_shows(seen, state, text):
    found = local.judge_front_end(seen)

    assert found.state is state
    assert text in found.text
    assert state is not State.WRONG or found.todo.startswith("/v/bin/python -m pip install -U jupyterlab_widgets")


def test_a_sidecar_that_stays_silent_is_wrong():
    assert local.judge_sidecar(0.2, Path("/s/sidecar.log")).state is State.GOOD
    assert local.judge_sidecar(None, Path("/s/sidecar.log")).todo == "look into /s/sidecar.log"


def message(state: str, destination: str = "mine", reason: str = "") -> Message:
    return Message("1", destination, state, {"text": "x"}, 0.0, 0.0, 1, text_only=False, reason=reason, settled=0.0)


@pytest.mark.parametrize(
    ("kept", "states", "text"),
    [
        (local.Kept(Path("/s"), 1 << 30), [State.GOOD, State.GOOD], "nothing waits, and nothing is dead"),
        (local.Kept(Path("/s"), 1 << 20), [State.WRONG, State.GOOD], "only 1 MiB free"),
        (
            local.Kept(Path("/s"), 1 << 30, dead=(message("dead"), message("dead", reason="404 no_service"))),
            [State.GOOD, State.WRONG],
            "2 alerts could not be delivered; the last one because: 404 no_service",
        ),
        (
            local.Kept(Path("/s"), 1 << 30, (message("pending"), message("pending", "other", "no reply")), (), "mine"),
            [State.GOOD, State.NOTE],
            "2 alerts waiting, 1 of them for another webhook: no reply",
        ),
    ],
)
def test_the_state_is_judged_by_its_room_and_by_what_was_not_told(kept, states, text):
    found = list(local.judge_state(kept))

    assert [one.state for one in found] == states
    assert any(text in one.text for one in found)


# Slack


@pytest.mark.parametrize(
    ("url", "state"),
    [
        ("https://hooks.slack.com/services/T0123/B0123/abcDEF", State.GOOD),
        ("https://hooks.slack-gov.com/services/T0123/B0123/abcDEF", State.GOOD),
        ("https://hooks.slack.com/services/T0123/B0123", State.WRONG),
        ("https://hooks.slack.com/", State.WRONG),
        ("https://hooks.slack.com/workflows/T0/A0/1/abc", State.WRONG),
        ("https://hooks.slack.com/triggers/T0/1/abc", State.WRONG),
        ("https://chat.example.com/hooks/abc", State.NOTE),
        ("http://127.0.0.1:8080/services/T0/B0/x", State.NOTE),
    ],
)
def test_a_webhook_is_judged_by_its_shape(url, state):
    found = slack.judge_webhook(Secret(url), "shown")

    assert found.state is state
    assert found.text.startswith("shown")
    assert "abc" not in found.text + found.todo


def test_what_slack_says_to_a_greeting_is_explained():
    assert slack.judge_greeting(Reply(200, "ok")).state is State.GOOD
    removed = slack.judge_greeting(Reply(404, "no_service"))
    assert removed.state is State.WRONG
    assert removed.todo.endswith("then: cwnotify login")


def test_a_way_that_is_closed_is_wrong():
    assert slack.judge_way("").state is State.GOOD
    assert "the connection was refused" in slack.judge_way("the connection was refused").text


# AWS


def test_without_aws_all_is_well_where_nothing_is_to_be_watched():
    none = AwsError("no AWS credentials can be used", hint="try: aws configure", kind=AwsErrorKind.CREDENTIALS)

    assert aws.judge_absence(none, wanted=False).state is State.NOTE
    assert aws.judge_absence(none, wanted=True).todo == "try: aws configure"


def test_of_an_account_only_the_end_is_told():
    arn = "arn:aws:sts::123456789012:assumed-role/notebook/i-1"
    found = aws.judge_credentials("iam-role", aws.Tried("sts:GetCallerIdentity", arn))

    assert found.text == "arn:aws:sts::********9012:assumed-role/notebook/i-1, from iam-role"


def test_the_permissions_that_lack_are_named_in_one_line_and_other_troubles_in_their_own():
    errors = {
        one: AwsError(f"AWS denies {one}", "AccessDenied", AwsErrorKind.DENIED, one, hint="have it added")
        for one in ("a:B", "a:D")
    }
    errors["a:C"] = AwsError("AWS cannot be reached", hint="look at the network")
    tried = [aws.Tried("a:A", 1), *(aws.Tried(one, error=errors[one]) for one in ("a:B", "a:C", "a:D"))]
    found = list(aws.judge_permissions(tried))

    assert [(one.state, one.text, one.todo) for one in found] == [
        (State.GOOD, "allowed: a:A", ""),
        (State.WRONG, "AWS denies a:B, a:D", "have it added"),
        (State.WRONG, "AWS cannot be reached", "look at the network"),
    ]


def test_an_instance_is_judged_by_whether_it_is_there_and_how_often_it_is_measured():
    detailed = InstanceReading("i-1", state="running", detailed=True)
    basic = InstanceReading("i-2", state="running", detailed=False)

    found = list(aws.judge_instances(["i-1", "i-2", "i-3"], [detailed, basic], "eu-west-1"))

    assert [one.state for one in found] == [State.GOOD, State.NOTE, State.WRONG]
    assert found[1].todo.endswith("aws ec2 monitor-instances --instance-ids i-2")
    assert found[2].text == "there is no instance i-3 in eu-west-1"


def test_datapoints_are_judged_by_their_age():
    metric = Metric("AWS/EC2", "CPUUtilization", (("InstanceId", ME),))

    old, none = aws.judge_datapoints([Series(metric, ((0.0, 37.2),)), Series(metric)], 600.0)

    assert old.text == f"{ME}: 37 % CPU, 10 min old"
    assert none.state is State.NOTE


def alarm(name: str, instance: str = "") -> AlarmReading:
    return AlarmReading(name, f"arn:{name}", "OK", 0.0, dimensions=(("InstanceId", instance),) if instance else ())


@pytest.mark.parametrize(
    ("ids", "wanted", "state", "text"),
    [
        ([ME], [], State.GOOD, "busy (OK)"),
        ([], ["bu*"], State.GOOD, "busy (OK)"),
        ([ME], ["disk"], State.GOOD, "disk (OK)"),
        ([ME], ["bus", "disk"], State.WRONG, "there is no alarm bus here"),
        (["i-9"], [], State.NOTE, "none is about i-9"),
        ([], [], State.NOTE, "2 alarms in the region; none is watched"),
    ],
)
def test_alarms_are_those_of_the_instances_or_those_that_are_named(ids, wanted, state, text):
    found = aws.judge_alarms([alarm("busy", ME), alarm("disk")], ids, wanted)

    assert (found.state, found.text) == (state, text)


@pytest.mark.parametrize(
    ("tried", "state"),
    [
        (aws.Tried("x", ("CREATE_COMPLETE", 0)), State.GOOD),
        (aws.Tried("x", ("UPDATE_COMPLETE", 3)), State.WRONG),
        (aws.Tried("x", ("UPDATE_ROLLBACK_COMPLETE", 0)), State.WRONG),
        (aws.Tried("x", ("CREATE_IN_PROGRESS", 0)), State.WRONG),
        (aws.Tried("x", None), State.NOTE),
        (
            aws.Tried("x", error=AwsError("no", kind=AwsErrorKind.DENIED, action="cloudformation:DescribeStacks")),
            State.NOTE,
        ),
        (aws.Tried("x", error=AwsError("no", hint="wait", kind=AwsErrorKind.THROTTLED)), State.WRONG),
    ],
)
def test_a_stack_is_judged_by_its_status_and_by_what_it_could_not_tell(tried, state):
    assert aws.judge_stack(tried).state is state


@pytest.mark.parametrize(
    ("tried", "state"),
    [
        (aws.Tried("x", {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:*"}]}), State.GOOD),
        (aws.Tried("x", {"Statement": []}), State.WRONG),
        (aws.Tried("x", error=AwsError("no", kind=AwsErrorKind.DENIED, action="kms:DescribeKey")), State.NOTE),
        (aws.Tried("x", error=AwsError("AWS refused kms:DescribeKey: gone")), State.WRONG),
    ],
)
def test_a_topics_key_has_to_let_cloudwatch_use_it(tried, state):
    found = aws.judge_key("arn:aws:kms:ap-northeast-2:123456789012:alias/mine", tried)

    assert found.state is state
    assert "123456789012" not in found.text
    if tried.given is None and tried.error.kind != AwsErrorKind.DENIED:
        return
    assert ("cloudwatch.amazonaws.com" in found.todo) == (state is not State.GOOD)


def test_this_machine_is_an_instance_or_none():
    assert "i-1, g5.xlarge in a, a Spot" in aws.judge_identity(Identity("i-1", "g5.xlarge", "a", is_spot=True)).text
    assert aws.judge_identity(Identity()).state is State.NOTE


# What it costs


def test_only_metrics_and_what_is_beyond_a_million_requests_cost():
    assert cost.dollars(1000, 0, 0) == pytest.approx(0.01)
    assert cost.dollars(0, 2880, 2880 * 30) == 0.0
    assert cost.dollars(0, 100_000, 2_000_000) == pytest.approx(0.5)


def test_the_cost_of_a_day_so_far_and_at_most():
    calls = {"cloudwatch:GetMetricData": 20, "cloudwatch:DescribeAlarms": 100, "ec2:DescribeInstances": 5}

    assert cost.requests(calls) == 100
    told = cost.judge(calls, 40, 30.0, 60.0).text
    assert "125 calls and 40 metrics: $0.0004" in told
    assert "at most 1,440 times: $0.0144" in told
    assert "with basic monitoring little more than 288 times" in told
    assert "today (UTC): none" in cost.judge({}, 0, 30.0, 60.0).text
