"""The evaluation of checks: pure functions, one case a line."""

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


def test_error_becomes_text_and_todo() -> None:
    finding = report_error(
        "x", AwsError("AWS denies a:B", hint="have it added to your policy: cwnotify policy notebook")
    )
    bare = report_error("x", SettingsError("the file is empty"))

    assert (finding.text, finding.todo) == ("AWS denies a:B", "have it added to your policy: cwnotify policy notebook")
    assert (bare.text, bare.todo) == ("the file is empty", "")


@pytest.mark.parametrize(("n", "text"), [(0, "no alarm"), (1, "1 alarm"), (2, "2 alarms")])
def test_count_has_the_right_plural(n: int, text: str) -> None:
    assert format_count(n, "alarm") == text


# This machine


def test_missing_packages_are_named_with_the_install_command() -> None:
    finding = local.evaluate_packages({"boto3": ""}, ["boto3", "psutil"])

    assert finding.state is FindingState.WRONG
    assert finding.todo.endswith("-m pip install boto3 psutil")


@pytest.mark.parametrize(
    ("front_end", "state", "text"),
    [
        (local.FrontEnd("VS Code", has_own_widgets=True), FindingState.GOOD, "widgets of its own"),
        (local.FrontEnd("JupyterLab 4.6.6", "/v", "5.0.16"), FindingState.GOOD, "shows widgets (5.0.16)"),
        (local.FrontEnd("JupyterLab 4.6.6", "/v", "3.1.7"), FindingState.WRONG, "only those of ipywidgets 7 (3.1.7)"),
        (local.FrontEnd("Notebook 7.6.5", "/v", ""), FindingState.WRONG, "no widgets, and so no panel"),
        (local.FrontEnd(prefix="/v"), FindingState.NOTE, "no JupyterLab or Notebook"),
    ],
)
def test_front_end_needs_widgets_of_version_8(front_end: local.FrontEnd, state: FindingState, text: str) -> None:
    finding = local.evaluate_front_end(front_end)

    assert finding.state is state
    assert text in finding.text
    command = "/v/bin/python -m pip install -U jupyterlab_widgets"
    assert state is not FindingState.WRONG or finding.todo.startswith(command)


def test_sidecar_without_answer_is_a_problem() -> None:
    assert local.evaluate_sidecar(0.2, Path("/s/sidecar.log")).state is FindingState.GOOD
    assert local.evaluate_sidecar(None, Path("/s/sidecar.log")).todo == "see /s/sidecar.log"


def make_message(state: str, destination: str = "mine", reason: str = "") -> OutboxMessage:
    return OutboxMessage(
        "1", destination, state, {"text": "x"}, 0.0, 0.0, 1, text_only=False, reason=reason, settled=0.0
    )


@pytest.mark.parametrize(
    ("status", "states", "text"),
    [
        (
            local.StateDirectoryStatus(Path("/s"), 1 << 30),
            [FindingState.GOOD, FindingState.GOOD],
            "nothing is pending, and nothing is dead",
        ),
        (local.StateDirectoryStatus(Path("/s"), 1 << 20), [FindingState.WRONG, FindingState.GOOD], "only 1 MiB free"),
        (
            local.StateDirectoryStatus(
                Path("/s"), 1 << 30, dead=(make_message("dead"), make_message("dead", reason="404 no_service"))
            ),
            [FindingState.GOOD, FindingState.WRONG],
            "2 alerts could not be delivered; the last one because: 404 no_service",
        ),
        (
            local.StateDirectoryStatus(
                Path("/s"), 1 << 30, (make_message("pending"), make_message("pending", "other", "no reply")), (), "mine"
            ),
            [FindingState.GOOD, FindingState.NOTE],
            "2 alerts waiting, 1 of them for another webhook: no reply",
        ),
    ],
)
def test_state_directory_needs_space_and_no_dead_alerts(
    status: local.StateDirectoryStatus, states: list[FindingState], text: str
) -> None:
    findings = list(local.evaluate_state_directory(status))

    assert [finding.state for finding in findings] == states
    assert any(text in finding.text for finding in findings)


# Slack


def test_missing_webhook_is_a_problem_with_a_hint() -> None:
    (finding,) = slack.diagnose_webhook({}, send=False, host="train")

    assert (finding.state, finding.text) == (FindingState.WRONG, "no Slack webhook is configured")
    assert "cwnotify login" in finding.todo


def test_problem_with_a_setting_is_reported_in_full() -> None:
    (finding,) = slack.diagnose_settings(("CWNOTIFY_LANG: lang takes en, ko; not 'fr'",))

    assert (finding.state, finding.text) == (FindingState.WRONG, "CWNOTIFY_LANG: lang takes en, ko; not 'fr'")
    assert "cwnotify config" in finding.todo


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
def test_webhook_needs_the_form_of_slacks_urls(url: str, state: FindingState) -> None:
    finding = slack.evaluate_webhook(Secret(url), "masked")

    assert finding.state is state
    assert finding.text.startswith("masked")
    assert "abc" not in finding.text + finding.todo


def test_rejected_greeting_is_explained() -> None:
    assert slack.evaluate_greeting(SlackReply(200, "ok")).state is FindingState.GOOD
    removed = slack.evaluate_greeting(SlackReply(404, "no_service"))
    assert removed.state is FindingState.WRONG
    assert removed.todo.endswith("then: cwnotify login")


def test_unreachable_host_is_a_problem() -> None:
    assert slack.evaluate_reachability("").state is FindingState.GOOD
    assert "the connection was refused" in slack.evaluate_reachability("the connection was refused").text


# AWS


def test_missing_aws_setup_is_a_problem_only_if_it_is_required() -> None:
    error = AwsError("no AWS credentials can be used", hint="try: aws configure", kind=AwsErrorKind.CREDENTIALS)

    assert aws.evaluate_missing_setup(error, is_required=False).state is FindingState.NOTE
    assert aws.evaluate_missing_setup(error, is_required=True).todo == "try: aws configure"


def test_account_is_masked() -> None:
    arn = "arn:aws:sts::123456789012:assumed-role/notebook/i-1"
    finding = aws.evaluate_credentials("iam-role", aws.ActionResult("sts:GetCallerIdentity", arn))

    assert finding.text == "arn:aws:sts::********9012:assumed-role/notebook/i-1, from iam-role"


def test_denied_actions_share_a_finding_and_other_errors_have_their_own() -> None:
    errors = {
        action: AwsError(f"AWS denies {action}", "AccessDenied", AwsErrorKind.DENIED, action, hint="have it added")
        for action in ("a:B", "a:D")
    }
    errors["a:C"] = AwsError("AWS cannot be reached", hint="look at the network")
    failed = (aws.ActionResult(action, error=errors[action]) for action in ("a:B", "a:C", "a:D"))
    findings = list(aws.evaluate_permissions([aws.ActionResult("a:A", 1), *failed]))

    assert [(finding.state, finding.text, finding.todo) for finding in findings] == [
        (FindingState.GOOD, "allowed: a:A", ""),
        (FindingState.WRONG, "AWS denies a:B, a:D", "have it added"),
        (FindingState.WRONG, "AWS cannot be reached", "look at the network"),
    ]


def test_missing_instance_is_a_problem_and_basic_monitoring_a_note() -> None:
    detailed = Ec2Instance("i-1", state="running", has_detailed_monitoring=True)
    basic = Ec2Instance("i-2", state="running", has_detailed_monitoring=False)

    findings = list(aws.evaluate_instances(["i-1", "i-2", "i-3"], [detailed, basic], "eu-west-1"))

    assert [finding.state for finding in findings] == [FindingState.GOOD, FindingState.NOTE, FindingState.WRONG]
    assert findings[1].todo.endswith("aws ec2 monitor-instances --instance-ids i-2")
    assert findings[2].text == "there is no instance i-3 in eu-west-1"


def test_datapoints_show_their_age() -> None:
    metric = Metric("AWS/EC2", "CPUUtilization", (("InstanceId", ME),))

    recent, missing = aws.evaluate_datapoints([MetricSeries(metric, ((0.0, 37.2),)), MetricSeries(metric)], 600.0)

    assert recent.text == f"{ME}: 37 % CPU, 10 min old"
    assert missing.state is FindingState.NOTE


def make_alarm(name: str, instance: str = "") -> CloudWatchAlarm:
    return CloudWatchAlarm(name, f"arn:{name}", "OK", 0.0, dimensions=(("InstanceId", instance),) if instance else ())


@pytest.mark.parametrize(
    ("ids", "names", "state", "text"),
    [
        ([ME], [], FindingState.GOOD, "busy (OK)"),
        ([], ["bu*"], FindingState.GOOD, "busy (OK)"),
        ([ME], ["disk"], FindingState.GOOD, "disk (OK)"),
        ([ME], ["bus", "disk"], FindingState.WRONG, "there is no alarm bus here"),
        (["i-9"], [], FindingState.NOTE, "none is about i-9"),
        ([], [], FindingState.NOTE, "2 alarms in the region; none is watched"),
    ],
)
def test_watched_alarms_are_those_named_or_those_of_the_instances(
    ids: list[str], names: list[str], state: FindingState, text: str
) -> None:
    finding = aws.evaluate_alarms([make_alarm("busy", ME), make_alarm("disk")], ids, names)

    assert (finding.state, finding.text) == (state, text)


@pytest.mark.parametrize(
    ("result", "state"),
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
def test_stack_needs_a_good_status_and_no_undelivered_messages(result: aws.ActionResult, state: FindingState) -> None:
    assert aws.evaluate_stack(result).state is state


@pytest.mark.parametrize(
    ("result", "state"),
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
        (aws.ActionResult("x", error=AwsError("AWS rejected kms:DescribeKey: gone")), FindingState.WRONG),
    ],
)
def test_topic_key_must_allow_cloudwatch(result: aws.ActionResult, state: FindingState) -> None:
    finding = aws.evaluate_topic_key("arn:aws:kms:ap-northeast-2:123456789012:alias/mine", result)

    assert finding.state is state
    assert "123456789012" not in finding.text
    if result.error and result.error.kind != AwsErrorKind.DENIED:
        return
    assert ("cloudwatch.amazonaws.com" in finding.todo) == (state is not FindingState.GOOD)


def test_machine_is_an_instance_or_not() -> None:
    identity = InstanceIdentity("i-1", "g5.xlarge", "a", is_spot=True)
    assert "i-1, g5.xlarge in a, a Spot" in aws.evaluate_identity(identity).text
    assert aws.evaluate_identity(InstanceIdentity()).state is FindingState.NOTE


# Cost


def test_metrics_and_requests_beyond_a_million_are_billed() -> None:
    assert cost.compute_daily_cost(1000, 0, 0) == pytest.approx(0.01)
    assert cost.compute_daily_cost(0, 2880, 2880 * 30) == 0.0
    assert cost.compute_daily_cost(0, 100_000, 2_000_000) == pytest.approx(0.5)


def test_cost_finding_contains_today_and_the_maximum() -> None:
    calls = {"cloudwatch:GetMetricData": 20, "cloudwatch:DescribeAlarms": 100, "ec2:DescribeInstances": 5}

    assert cost.count_billed_requests(calls) == 100
    text = cost.evaluate_cost(calls, 40, 30.0, 60.0).text
    assert "125 calls and 40 metrics: $0.0004" in text
    assert "at most 1,440 times: $0.0144" in text
    assert "with basic monitoring little more than 288 times" in text
    assert "today (UTC): none" in cost.evaluate_cost({}, 0, 30.0, 60.0).text
