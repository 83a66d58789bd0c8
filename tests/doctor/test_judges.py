"""What the doctor says of what was seen: pure, a case a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cwnotify.aws.models import CloudWatchAlarm, Ec2Instance, InstanceIdentity, Metric, MetricSeries
from cwnotify.doctor import aws, cost, local, slack
from cwnotify.doctor.findings import FindingState, format_count, report_error
from cwnotify.errors import AwsError, AwsErrorKind, SettingsError
from cwnotify.settings import Secret
from cwnotify.slack.retry_policy import SlackReply
from cwnotify.store.schema import OutboxMessage

ME = "i-0abc12f9d8e7a6b54"


def test_an_error_is_told_apart_from_what_to_do():
    found = report_error("x", AwsError("AWS denies a:B", hint="have it added to your policy: cwnotify policy notebook"))
    bare = report_error("x", SettingsError("it is so"))

    assert (found.text, found.todo) == ("AWS denies a:B", "have it added to your policy: cwnotify policy notebook")
    assert (bare.text, bare.todo) == ("it is so", "")


@pytest.mark.parametrize(("n", "words"), [(0, "no alarm"), (1, "1 alarm"), (2, "2 alarms")])
def test_things_are_counted_as_a_person_would(n, words):
    assert format_count(n, "alarm") == words


# This machine


def test_missing_packages_are_named_with_the_command_that_brings_them():
    found = local.evaluate_packages({"boto3": ""}, ["boto3", "psutil"])

    assert found.state is FindingState.WRONG
    assert found.todo.endswith("-m pip install boto3 psutil")


@pytest.mark.parametrize(
    ("seen", "state", "text"),
    [
        (local.FrontEnd("VS Code", has_own_widgets=True), FindingState.GOOD, "widgets of its own"),
        (local.FrontEnd("JupyterLab 4.6.6", "/v", "5.0.16"), FindingState.GOOD, "shows widgets (5.0.16)"),
        (local.FrontEnd("JupyterLab 4.6.6", "/v", "3.1.7"), FindingState.WRONG, "only those of ipywidgets 7 (3.1.7)"),
        (local.FrontEnd("Notebook 7.6.5", "/v", ""), FindingState.WRONG, "no widgets, and so no panel"),
        (local.FrontEnd(prefix="/v"), FindingState.NOTE, "no JupyterLab or Notebook"),
    ],
)
def test_a_front_end_is_judged_by_the_widgets_that_it_shows(seen, state, text):
    found = local.evaluate_front_end(seen)

    assert found.state is state
    assert text in found.text
    assert state is not FindingState.WRONG or found.todo.startswith(
        "/v/bin/python -m pip install -U jupyterlab_widgets"
    )


def test_a_sidecar_that_stays_silent_is_wrong():
    assert local.evaluate_sidecar(0.2, Path("/s/sidecar.log")).state is FindingState.GOOD
    assert local.evaluate_sidecar(None, Path("/s/sidecar.log")).todo == "look into /s/sidecar.log"


def message(state: str, destination: str = "mine", reason: str = "") -> OutboxMessage:
    return OutboxMessage(
        "1", destination, state, {"text": "x"}, 0.0, 0.0, 1, text_only=False, reason=reason, settled=0.0
    )


@pytest.mark.parametrize(
    ("kept", "states", "text"),
    [
        (
            local.StateDirectoryStatus(Path("/s"), 1 << 30),
            [FindingState.GOOD, FindingState.GOOD],
            "nothing waits, and nothing is dead",
        ),
        (local.StateDirectoryStatus(Path("/s"), 1 << 20), [FindingState.WRONG, FindingState.GOOD], "only 1 MiB free"),
        (
            local.StateDirectoryStatus(
                Path("/s"), 1 << 30, dead=(message("dead"), message("dead", reason="404 no_service"))
            ),
            [FindingState.GOOD, FindingState.WRONG],
            "2 alerts could not be delivered; the last one because: 404 no_service",
        ),
        (
            local.StateDirectoryStatus(
                Path("/s"), 1 << 30, (message("pending"), message("pending", "other", "no reply")), (), "mine"
            ),
            [FindingState.GOOD, FindingState.NOTE],
            "2 alerts waiting, 1 of them for another webhook: no reply",
        ),
    ],
)
def test_the_state_is_judged_by_its_room_and_by_what_was_not_told(kept, states, text):
    found = list(local.evaluate_state_directory(kept))

    assert [one.state for one in found] == states
    assert any(text in one.text for one in found)


# Slack


@pytest.mark.parametrize(
    ("url", "state"),
    [
        ("https://hooks.slack.com/services/T0123/B0123/abcDEF", FindingState.GOOD),
        ("https://hooks.slack-gov.com/services/T0123/B0123/abcDEF", FindingState.GOOD),
        ("https://hooks.slack.com/services/T0123/B0123", FindingState.WRONG),
        ("https://hooks.slack.com/", FindingState.WRONG),
        ("https://hooks.slack.com/workflows/T0/A0/1/abc", FindingState.WRONG),
        ("https://hooks.slack.com/triggers/T0/1/abc", FindingState.WRONG),
        ("https://chat.example.com/hooks/abc", FindingState.NOTE),
        ("http://127.0.0.1:8080/services/T0/B0/x", FindingState.NOTE),
    ],
)
def test_a_webhook_is_judged_by_its_shape(url, state):
    found = slack.evaluate_webhook(Secret(url), "shown")

    assert found.state is state
    assert found.text.startswith("shown")
    assert "abc" not in found.text + found.todo


def test_what_slack_says_to_a_greeting_is_explained():
    assert slack.evaluate_greeting(SlackReply(200, "ok")).state is FindingState.GOOD
    removed = slack.evaluate_greeting(SlackReply(404, "no_service"))
    assert removed.state is FindingState.WRONG
    assert removed.todo.endswith("then: cwnotify login")


def test_a_way_that_is_closed_is_wrong():
    assert slack.evaluate_reachability("").state is FindingState.GOOD
    assert "the connection was refused" in slack.evaluate_reachability("the connection was refused").text


# AWS


def test_without_aws_all_is_well_where_nothing_is_to_be_watched():
    none = AwsError("no AWS credentials can be used", hint="try: aws configure", kind=AwsErrorKind.CREDENTIALS)

    assert aws.evaluate_missing_setup(none, is_required=False).state is FindingState.NOTE
    assert aws.evaluate_missing_setup(none, is_required=True).todo == "try: aws configure"


def test_of_an_account_only_the_end_is_told():
    arn = "arn:aws:sts::123456789012:assumed-role/notebook/i-1"
    found = aws.evaluate_credentials("iam-role", aws.ActionResult("sts:GetCallerIdentity", arn))

    assert found.text == "arn:aws:sts::********9012:assumed-role/notebook/i-1, from iam-role"


def test_the_permissions_that_lack_are_named_in_one_line_and_other_troubles_in_their_own():
    errors = {
        one: AwsError(f"AWS denies {one}", "AccessDenied", AwsErrorKind.DENIED, one, hint="have it added")
        for one in ("a:B", "a:D")
    }
    errors["a:C"] = AwsError("AWS cannot be reached", hint="look at the network")
    tried = [aws.ActionResult("a:A", 1), *(aws.ActionResult(one, error=errors[one]) for one in ("a:B", "a:C", "a:D"))]
    found = list(aws.evaluate_permissions(tried))

    assert [(one.state, one.text, one.todo) for one in found] == [
        (FindingState.GOOD, "allowed: a:A", ""),
        (FindingState.WRONG, "AWS denies a:B, a:D", "have it added"),
        (FindingState.WRONG, "AWS cannot be reached", "look at the network"),
    ]


def test_an_instance_is_judged_by_whether_it_is_there_and_how_often_it_is_measured():
    detailed = Ec2Instance("i-1", state="running", has_detailed_monitoring=True)
    basic = Ec2Instance("i-2", state="running", has_detailed_monitoring=False)

    found = list(aws.evaluate_instances(["i-1", "i-2", "i-3"], [detailed, basic], "eu-west-1"))

    assert [one.state for one in found] == [FindingState.GOOD, FindingState.NOTE, FindingState.WRONG]
    assert found[1].todo.endswith("aws ec2 monitor-instances --instance-ids i-2")
    assert found[2].text == "there is no instance i-3 in eu-west-1"


def test_datapoints_are_judged_by_their_age():
    metric = Metric("AWS/EC2", "CPUUtilization", (("InstanceId", ME),))

    old, none = aws.evaluate_datapoints([MetricSeries(metric, ((0.0, 37.2),)), MetricSeries(metric)], 600.0)

    assert old.text == f"{ME}: 37 % CPU, 10 min old"
    assert none.state is FindingState.NOTE


def alarm(name: str, instance: str = "") -> CloudWatchAlarm:
    return CloudWatchAlarm(name, f"arn:{name}", "OK", 0.0, dimensions=(("InstanceId", instance),) if instance else ())


@pytest.mark.parametrize(
    ("ids", "wanted", "state", "text"),
    [
        ([ME], [], FindingState.GOOD, "busy (OK)"),
        ([], ["bu*"], FindingState.GOOD, "busy (OK)"),
        ([ME], ["disk"], FindingState.GOOD, "disk (OK)"),
        ([ME], ["bus", "disk"], FindingState.WRONG, "there is no alarm bus here"),
        (["i-9"], [], FindingState.NOTE, "none is about i-9"),
        ([], [], FindingState.NOTE, "2 alarms in the region; none is watched"),
    ],
)
def test_alarms_are_those_of_the_instances_or_those_that_are_named(ids, wanted, state, text):
    found = aws.evaluate_alarms([alarm("busy", ME), alarm("disk")], ids, wanted)

    assert (found.state, found.text) == (state, text)


@pytest.mark.parametrize(
    ("tried", "state"),
    [
        (aws.ActionResult("x", ("CREATE_COMPLETE", 0)), FindingState.GOOD),
        (aws.ActionResult("x", ("UPDATE_COMPLETE", 3)), FindingState.WRONG),
        (aws.ActionResult("x", ("UPDATE_ROLLBACK_COMPLETE", 0)), FindingState.WRONG),
        (aws.ActionResult("x", ("CREATE_IN_PROGRESS", 0)), FindingState.WRONG),
        (aws.ActionResult("x", None), FindingState.NOTE),
        (
            aws.ActionResult(
                "x", error=AwsError("no", kind=AwsErrorKind.DENIED, action="cloudformation:DescribeStacks")
            ),
            FindingState.NOTE,
        ),
        (aws.ActionResult("x", error=AwsError("no", hint="wait", kind=AwsErrorKind.THROTTLED)), FindingState.WRONG),
    ],
)
def test_a_stack_is_judged_by_its_status_and_by_what_it_could_not_tell(tried, state):
    assert aws.evaluate_stack(tried).state is state


@pytest.mark.parametrize(
    ("tried", "state"),
    [
        (
            aws.ActionResult("x", {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:*"}]}),
            FindingState.GOOD,
        ),
        (aws.ActionResult("x", {"Statement": []}), FindingState.WRONG),
        (
            aws.ActionResult("x", error=AwsError("no", kind=AwsErrorKind.DENIED, action="kms:DescribeKey")),
            FindingState.NOTE,
        ),
        (aws.ActionResult("x", error=AwsError("AWS refused kms:DescribeKey: gone")), FindingState.WRONG),
    ],
)
def test_a_topics_key_has_to_let_cloudwatch_use_it(tried, state):
    found = aws.evaluate_topic_key("arn:aws:kms:ap-northeast-2:123456789012:alias/mine", tried)

    assert found.state is state
    assert "123456789012" not in found.text
    if tried.given is None and tried.error.kind != AwsErrorKind.DENIED:
        return
    assert ("cloudwatch.amazonaws.com" in found.todo) == (state is not FindingState.GOOD)


def test_this_machine_is_an_instance_or_none():
    assert (
        "i-1, g5.xlarge in a, a Spot"
        in aws.evaluate_identity(InstanceIdentity("i-1", "g5.xlarge", "a", is_spot=True)).text
    )
    assert aws.evaluate_identity(InstanceIdentity()).state is FindingState.NOTE


# What it costs


def test_only_metrics_and_what_is_beyond_a_million_requests_cost():
    assert cost.compute_daily_cost(1000, 0, 0) == pytest.approx(0.01)
    assert cost.compute_daily_cost(0, 2880, 2880 * 30) == 0.0
    assert cost.compute_daily_cost(0, 100_000, 2_000_000) == pytest.approx(0.5)


def test_the_cost_of_a_day_so_far_and_at_most():
    calls = {"cloudwatch:GetMetricData": 20, "cloudwatch:DescribeAlarms": 100, "ec2:DescribeInstances": 5}

    assert cost.count_billed_requests(calls) == 100
    told = cost.evaluate_cost(calls, 40, 30.0, 60.0).text
    assert "125 calls and 40 metrics: $0.0004" in told
    assert "at most 1,440 times: $0.0144" in told
    assert "with basic monitoring little more than 288 times" in told
    assert "today (UTC): none" in cost.evaluate_cost({}, 0, 30.0, 60.0).text
