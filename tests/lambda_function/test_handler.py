"""The handler in this process, over real sockets: Slack's answers, batches, and where the webhook is stored."""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from cwnotify import lambda_function
from cwnotify.lambda_function import lambda_handler
from cwnotify.slack.deadline_http import post_with_deadline
from cwnotify.slack.retry_policy import SlackReply
from cwnotify.slack.webhook_sender import NotDeliveredError, WebhookSender, deliver_payload
from tests.support.slack import LOGIN_PAGE, RATE_LIMITED, REDIRECT, WEBHOOK_REMOVED, Answer, Slack
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


INVALID = Answer(400, "invalid_blocks")


class Context:
    """The context of an invocation, with a real clock."""

    aws_request_id = ""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._end - time.monotonic()) * 1000))


@pytest.fixture(autouse=True)
def _cold_start() -> None:
    lambda_function._look_up_webhook.cache_clear()
    lambda_function._accepted.clear()


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slack]:
    with Slack() as running:
        monkeypatch.setenv("hookUrl", running.url)
        yield running


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws_environ(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the handler use the AWS on this machine."""
    for name, value in {
        "AWS_ENDPOINT_URL": aws,
        "AWS_DEFAULT_REGION": "ap-northeast-2",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_LAMBDA_FUNCTION_NAME": "cwnotify",
    }.items():
        monkeypatch.setenv(name, value)


def change(name: str = "train-3", state: str = "ALARM", at: str = "2026-11-22T10:00:00.000+0000") -> dict[str, Any]:
    return {
        "AlarmName": name,
        "NewStateValue": state,
        "OldStateValue": "OK",
        "NewStateReason": "Threshold Crossed",
        "StateChangeTime": at,
        "AlarmArn": f"arn:aws:cloudwatch:ap-northeast-2:123456789012:alarm:{name}",
    }


def sns(*changes: object) -> dict[str, Any]:
    return {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(change)}} for change in changes]}


def sqs(**changes: object) -> dict[str, Any]:
    records = [
        {"eventSource": "aws:sqs", "messageId": id, "receiptHandle": "x", "body": json.dumps(change)}
        for id, change in changes.items()
    ]
    return {"Records": records}


def count(slack: Slack, at_least: int) -> int:
    """Wait for `at_least` messages and return how many were delivered. Slack records a message after its answer."""
    return len(slack.wait_for(at_least))


# Slack's answers


def test_alarm_is_sent_as_one_message(slack: Slack) -> None:
    assert lambda_handler(sns(change()), Context(10)) == {"messages": 1, "batchItemFailures": []}
    (payload,) = slack.wait_for(1)
    assert "train-3" in payload["text"]
    assert payload["attachments"][0]["color"] == "#eb4034"
    assert "channel" not in payload


def test_late_event_reports_its_delay(slack: Slack) -> None:
    fresh = datetime.now(UTC).isoformat()
    lambda_handler(sns(change(at="2020-11-17T04:05:06.130+0000")), Context(10))
    lambda_handler(sns(*(change(f"cpu-{n}", at=f"2020-11-17T04:05:0{n}.130+0000") for n in range(7))), Context(10))
    lambda_handler(sns(change("now", at=fresh)), Context(10))

    old, digest, new = (payload["text"] for payload in slack.wait_for(3))
    assert re.search(r"\n:hourglass: [\d,]+ days late: this happened at 2020-11-17 04:05 UTC$", old)
    assert "*7 alarms changed* within 6 s: 7 in ALARM\n:hourglass: " in digest
    assert "late" not in new


@pytest.mark.parametrize(
    "first",
    [Answer(500, "rollup_error"), RATE_LIMITED, Answer(mode="reset"), Answer(mode="late_reset"), Answer(503, "")],
)
def test_temporary_failure_is_retried(slack: Slack, first: Answer) -> None:
    slack.next_answers.append(first)
    lambda_handler(sns(change()), Context(10))
    assert count(slack, 1) == 1
    assert len(slack.received) >= 2


def test_retry_after_is_respected(slack: Slack) -> None:
    slack.next_answers.append(RATE_LIMITED)
    lambda_handler(sns(change()), Context(10))
    first, second = (request.at for request in slack.received)
    assert second - first >= 1.0


def test_wait_longer_than_the_remaining_time_is_skipped(slack: Slack) -> None:
    slack.answer = Answer(429, "rate_limited", {"Retry-After": "30"})
    start = time.monotonic()
    with pytest.raises(NotDeliveredError, match="429"):
        lambda_handler(sns(change()), Context(10))
    assert time.monotonic() - start < 2
    assert len(slack.received) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (WEBHOOK_REMOVED, "404 no_service"),
        (Answer(403, "action_prohibited"), "403"),
        (Answer(410, "channel_is_archived"), "410"),
        (Answer(500, "rollup_error"), "500"),
        (RATE_LIMITED, "429"),
        (LOGIN_PAGE, "other than Slack"),
        (REDIRECT, "301"),
        (Answer(200, "no_text"), "200"),
        (Answer(mode="hang"), "no answer in time"),
        (Answer(mode="silent"), "no answer in time"),
        (Answer(mode="reset"), "reset"),
        (Answer(mode="cut"), "200"),
    ],
)
def test_failure_is_raised_in_time_without_the_url(
    slack: Slack, answer: Answer, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    slack.answer = answer
    start = time.monotonic()
    with pytest.raises(NotDeliveredError, match=reason) as raised:
        lambda_handler(sns(change()), Context(3))
    assert time.monotonic() - start < 3
    output = "".join((str(raised.value), repr(raised.value.__cause__), *capsys.readouterr()))
    assert slack.canary not in output
    assert not slack.delivered


def test_refused_connection_is_raised(slack: Slack) -> None:
    slack.refuse_connections()
    with pytest.raises(NotDeliveredError, match="refused"):
        lambda_handler(sns(change()), Context(2))


def test_unreadable_blocks_are_dropped(slack: Slack) -> None:
    slack.next_answers.append(Answer(400, "invalid_blocks"))
    lambda_handler(sns(change()), Context(10))
    first, second = slack.received
    assert "blocks" in first.payload
    assert second.payload.keys() == {"text"}


def test_other_event_keeps_its_content_without_blocks(slack: Slack) -> None:
    slack.answer_by_payload = lambda payload: INVALID if "blocks" in payload else None
    lambda_handler({"Records": [{"Sns": {"Subject": "Nightly job", "Message": "it was 7 °C"}}]}, Context(10))
    (payload,) = slack.wait_for(1)
    assert payload.keys() == {"text"}
    assert "Nightly job" in payload["text"]
    assert "it was 7 °C" in payload["text"]


def test_redirect_is_not_followed(slack: Slack) -> None:
    with Slack() as elsewhere:
        slack.answer = Answer(307, "", {"Location": elsewhere.url})
        with pytest.raises(NotDeliveredError):
            lambda_handler(sns(change()), Context(2))
        assert not elsewhere.received


@pytest.mark.parametrize(("login", "header"), [("", None), ("me:p%40ss@", "Basic bWU6cEBzcw==")])
def test_proxy_is_used(monkeypatch: pytest.MonkeyPatch, login: str, header: str | None) -> None:
    requests: list[str] = []

    def proxy(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            requests.append(connection.recv(65536).decode())
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=proxy, args=(listener,))
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://{login}127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "example.com")
        reply = post_with_deadline("https://hooks.slack.invalid/services/canary", {"text": "x"}, 5.0)
        thread.join()
    assert reply.status is None
    assert requests[0].startswith("CONNECT hooks.slack.invalid:443 ")
    assert (f"Proxy-Authorization: {header}" in requests[0]) == (header is not None)
    assert "canary" not in requests[0] + reply.error


# Batches


def test_batch_is_sent_with_copies_once(slack: Slack) -> None:
    lambda_handler(sns(change("a"), change("b"), change("a")), Context(10))
    assert count(slack, 2) == 2


def test_queue_keeps_only_failed_records(slack: Slack) -> None:
    slack.next_answers.extend([Answer(), WEBHOOK_REMOVED])
    result = lambda_handler(sqs(m1=change("a"), m2=change("b"), m3=change("b")), Context(10))
    assert result == {"messages": 1, "batchItemFailures": [{"itemIdentifier": "m2"}, {"itemIdentifier": "m3"}]}


def test_queue_without_any_delivery_is_raised(slack: Slack) -> None:
    slack.answer = WEBHOOK_REMOVED
    with pytest.raises(NotDeliveredError, match="2 of 2"):
        lambda_handler(sqs(m1=change("a"), m2=change("b")), Context(10))


def test_hanging_slack_ends_in_time_and_fails_all_records(slack: Slack) -> None:
    slack.answer = Answer(mode="hang")
    start = time.monotonic()
    with pytest.raises(NotDeliveredError, match="4 of 4"):
        lambda_handler(sqs(**{f"m{i}": change(f"a{i}") for i in range(4)}), Context(2))
    assert time.monotonic() - start < 2
    assert len(slack.received) < 4


def test_storm_is_a_digest_that_names_every_alarm(slack: Slack) -> None:
    storm = {f"m{i}": change(f"train-{i:04}") for i in range(1000)}
    assert lambda_handler(sqs(**storm), Context(20))["batchItemFailures"] == []
    text = json.dumps(slack.wait_for(lambda payloads: f"train-{999:04}" in json.dumps(payloads)))
    assert len(slack.delivered) < 20
    assert all(f"train-{i:04}" in text for i in range(1000))


def failures(result: dict[str, object]) -> set[str]:
    """Return the ids of the records that stay in the queue."""
    items: Any = result["batchItemFailures"]
    return {item["itemIdentifier"] for item in items}


def reject_names(*names: str, answer: Answer = INVALID) -> Callable[[dict[str, Any]], Answer | None]:
    """Return a rule that answers messages with one of `names` with `answer`, with or without blocks."""
    return lambda payload: answer if any(name in json.dumps(payload) for name in names) else None


def arrived_once(slack: Slack, *names: str) -> bool:
    """Return whether each name arrived, and in exactly one message."""

    def counts(payloads: list[dict[str, Any]]) -> list[int]:
        texts = [json.dumps(payload) for payload in payloads]
        return [sum(re.search(rf"\b{name}[>*`]", text) is not None for text in texts) for name in names]

    return counts(slack.wait_for(lambda payloads: all(counts(payloads)))) == [1] * len(names)


def test_rejected_page_fails_only_its_alarms(slack: Slack) -> None:
    names = [f"{'x' * 200}-{i:03}" for i in range(600)]
    slack.next_answers.extend([Answer(), WEBHOOK_REMOVED])
    failed = failures(lambda_handler(sqs(**{name: change(name) for name in names}), Context(20)))
    assert 0 < len(failed) < len(names)
    # Slack records a page after its answer.
    until(lambda: [name for name in names if f"|{name}>" not in json.dumps(slack.payloads)] == sorted(failed), 5, "it")


def test_rejected_record_stays_alone_and_digest_is_sent_once(slack: Slack) -> None:
    slack.answer_by_payload = reject_names("poison")
    batch = {f"m{i}": change(f"cpu-{i}") for i in range(7)} | {"bad": {"job": "poison"}}
    assert failures(lambda_handler(sqs(**batch), Context(10))) == {"bad"}
    for _ in range(20):
        with pytest.raises(NotDeliveredError, match="400 invalid_blocks"):
            lambda_handler(sqs(bad=batch["bad"]), Context(10))
    assert len(slack.delivered) == 1


@pytest.mark.parametrize("alarms", [2, 5, 6, 40, 300])
def test_rejected_alarm_does_not_block_others(slack: Slack, alarms: int) -> None:
    slack.answer_by_payload = reject_names("poison")
    names = [f"cpu-{i:03}" for i in range(alarms)]
    batch = {name: change(name) for name in names[: alarms // 2]}
    batch |= {"bad": change("poison")} | {name: change(name) for name in names[alarms // 2 :]}
    assert failures(lambda_handler(sqs(**batch), Context(30))) == {"bad"}
    assert arrived_once(slack, *names)


def test_many_rejected_alarms_do_not_block_others(slack: Slack) -> None:
    slack.answer_by_payload = reject_names("aaa")
    bad = [f"aaa-{i:03}" for i in range(40)]
    good = [f"cpu-{i:03}" for i in range(40)]
    batch = {name: change(name) for pair in zip(bad, good, strict=True) for name in pair}
    for _ in range(5):
        batch = {name: batch[name] for name in failures(lambda_handler(sqs(**batch), Context(30)))}
        if batch.keys() <= set(bad):
            break
    assert batch.keys() == set(bad)
    assert arrived_once(slack, *good)


def test_slack_that_rejects_everything_gets_few_requests(slack: Slack) -> None:
    slack.answer = INVALID
    with pytest.raises(NotDeliveredError):
        lambda_handler(sqs(**{f"m{i}": change(f"cpu-{i:04}") for i in range(500)}), Context(30))
    assert len(slack.received) < 100


def test_digest_as_text_names_every_alarm(slack: Slack) -> None:
    slack.answer_by_payload = lambda payload: INVALID if "blocks" in payload else None
    names = [f"cpu-{i}" for i in range(30)]
    assert failures(lambda_handler(sqs(**{name: change(name) for name in names}), Context(10))) == set()
    (payload,) = slack.wait_for(1)
    assert payload.keys() == {"text"}
    assert all(f"|{name}>" in payload["text"] for name in names)


@pytest.mark.parametrize(
    ("answer", "seconds"), [(Answer(500, "rollup_error"), 4), (Answer(mode="hang"), 4), (Answer(mode="hang"), 2)]
)
def test_message_without_verdict_does_not_delay_others(slack: Slack, answer: Answer, seconds: float) -> None:
    slack.answer_by_payload = reject_names("first", answer=answer)
    start = time.monotonic()
    batch = {"first": change("first"), **{f"m{i}": change(f"cpu-{i}") for i in range(4)}}
    assert failures(lambda_handler(sqs(**batch), Context(seconds))) == {"first"}
    assert time.monotonic() - start < seconds
    assert count(slack, 4) == 4


def test_only_unsent_records_fail_when_time_runs_out(slack: Slack) -> None:
    slack.next_answers.extend([Answer(), Answer(), Answer(429, "rate_limited", {"Retry-After": "30"})])
    batch = {f"m{i}": change(f"cpu-{i}") for i in range(5)}
    start = time.monotonic()
    assert failures(lambda_handler(sqs(**batch), Context(10))) == {"m2", "m3", "m4"}
    assert time.monotonic() - start < 2
    assert len(slack.received) == 3


def test_slack_outage_mid_batch_fails_the_unsent_records(slack: Slack) -> None:
    slack.answer_by_payload = lambda payload: slack.refuse_connections() if len(slack.received) == 2 else None
    batch = {f"m{i}": change(f"cpu-{i}") for i in range(5)}
    failed = failures(lambda_handler(sqs(**batch), Context(3)))
    slack.answer_by_payload = lambda payload: None
    slack.accept_connections()
    assert failures(lambda_handler(sqs(**{id: batch[id] for id in failed}), Context(3))) == set()
    assert arrived_once(slack, *(f"cpu-{i}" for i in range(5)))


def test_changes_of_one_alarm_stay_in_order(slack: Slack) -> None:
    slack.next_answers.extend([Answer(500, ""), Answer(500, "")])
    batch = sqs(a=change("a"), b=change("a", "OK", "2026-11-22T10:05:00Z"), c=change("c"))
    assert lambda_handler(batch, Context(20))["batchItemFailures"] == []
    messages = [message for message in slack.wait_for(3) if "alarm/a" in json.dumps(message)]
    assert [message["attachments"][0]["color"] for message in messages] == ["#eb4034", "#30db3f"]


def test_copies_in_a_batch_are_one_message(slack: Slack) -> None:
    slack.answer_by_payload = reject_names("bad")
    batch = sqs(a=change("a"), b=change("bad"), c=change("a"), d=change("bad"), e=change("e"))
    assert failures(lambda_handler(batch, Context(10))) == {"b", "d"}
    assert arrived_once(slack, "a", "e")


def test_record_with_several_events_repeats_only_unsent_ones(slack: Slack) -> None:
    slack.answer_by_payload = reject_names("bad")
    batch = sqs(both=[change("good"), change("bad")], other=change("other"))
    assert failures(lambda_handler(batch, Context(10))) == {"both"}
    for _ in range(5):
        with pytest.raises(NotDeliveredError):
            lambda_handler(sqs(both=[change("good"), change("bad")]), Context(10))
    slack.answer_by_payload = lambda payload: None
    assert failures(lambda_handler(sqs(both=[change("good"), change("bad")]), Context(10))) == set()
    assert arrived_once(slack, "good", "bad", "other")


def test_record_on_two_pages_fails_with_one_page(slack: Slack) -> None:
    names = [f"{'x' * 200}-{i:03}" for i in range(600)]
    batch = {"both": [change(names[0]), change(names[-1])], **{name: change(name) for name in names[1:-1]}}
    slack.answer_by_payload = reject_names(names[-1], answer=WEBHOOK_REMOVED)
    assert "both" in failures(lambda_handler(sqs(**batch), Context(20)))


def test_repeated_sns_event_skips_the_accepted_part(slack: Slack) -> None:
    slack.answer_by_payload = reject_names("bad")
    first, again = Context(10), Context(10)
    first.aws_request_id = again.aws_request_id = "the-same-id"
    with pytest.raises(NotDeliveredError, match="1 of 2"):
        lambda_handler(sns(change("good"), change("bad")), first)
    slack.answer_by_payload = lambda payload: None
    lambda_handler(sns(change("good"), change("bad")), again)
    assert arrived_once(slack, "good", "bad")


RECORDS = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(RECORDS, st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)), st.integers(0, 40))
def test_record_succeeds_exactly_when_slack_accepts_all_of_it(
    records: list[list[int]], rejected: set[int], hanging: set[int], attempts: int
) -> None:
    now, accepted = 0.0, set[int]()

    def answer(url: str, payload: dict[str, Any], seconds: float) -> SlackReply:
        nonlocal now, attempts
        now, attempts = now + 0.5, attempts - 1
        names = {int(name) for name in re.findall(r"cpu-(\d)", json.dumps(payload))}
        if attempts < 0 or names & hanging:
            return SlackReply(error="no answer in time")
        if names & rejected:
            return SlackReply(400, "invalid_blocks")
        accepted.update(names)
        return SlackReply(200, "ok")

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    batch = sqs(**{f"m{i}": [change(f"cpu-{n}") for n in events] for i, events in enumerate(records)})
    sender = WebhookSender(lambda again: "", lambda: 60 - now, lambda: now, sleep, answer)
    lambda_function._accepted.clear()
    try:
        failed = failures(lambda_function.handle_event(batch, {}, sender))
    except NotDeliveredError:
        failed = {f"m{i}" for i in range(len(records))}
        assert not accepted
    assert failed == {f"m{i}" for i, events in enumerate(records) if not set(events) <= accepted}
    if not hanging and attempts > 0:
        assert accepted == {n for events in records for n in events} - rejected


@pytest.mark.parametrize(
    "event",
    [
        {
            "source": "aws.cloudwatch",
            "alarmArn": "arn:aws:cloudwatch:us-east-1:1:alarm:a",
            "alarmData": {"alarmName": "a"},
        },
        {"detail-type": "CloudWatch Alarm State Change", "detail": {"alarmName": "a", "state": {"value": "ALARM"}}},
        {"Records": [{"Sns": {"Message": "Ping"}}]},
        {"Records": []},
        {},
        None,
        "text",
    ],
)
def test_any_event_becomes_one_message(slack: Slack, event: object) -> None:
    lambda_handler(event, None)
    assert count(slack, 1) == 1


# The environment


def load_envelope(name: str) -> dict[str, Any]:
    path = ROOT / "tests" / "data" / "envelopes" / f"{name}.json"
    event: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return event


def test_summary_is_sent_unless_contributors_follow(slack: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, both = load_envelope("case_insights_summary_without_names"), load_envelope("contributor_beside_summary")
    assert lambda_handler(summary, Context(30)) == {"messages": 1, "batchItemFailures": []}
    assert lambda_handler(both, Context(30)) == {"messages": 1, "batchItemFailures": []}
    assert "orders" in slack.payloads[-1]["text"]
    # Each rule of the stack now brings the contributors too, in separate calls.
    monkeypatch.setenv("contributorEvents", "true")
    assert lambda_handler(summary, Context(30)) == {"messages": 0, "batchItemFailures": []}
    contributor = load_envelope("eventbridge_contributor")
    assert lambda_handler(contributor, Context(30)) == {"messages": 1, "batchItemFailures": []}
    # Events from SNS and from an alarm's Lambda action are always sent.
    published = {"AlarmName": "a", "NewStateValue": "ALARM", "NewStateReason": summary["detail"]["state"]["reason"]}
    assert lambda_handler(sns(published), Context(30)) == {"messages": 1, "batchItemFailures": []}


@pytest.mark.parametrize("name", ["https_function_url", "https_api_gateway_v1", "https_load_balancer"])
def test_http_request_gets_a_response_for_api_gateway(slack: Slack, name: str) -> None:
    answer = lambda_handler(load_envelope(name), Context(30))
    assert answer.keys() == {"statusCode", "headers", "body", "isBase64Encoded"}
    assert (answer["statusCode"], json.loads(str(answer["body"]))["messages"]) == (200, 1)
    assert "train-3-busy" in slack.payloads[-1]["text"]


def test_http_request_fails_if_slack_rejects_it(slack: Slack) -> None:
    slack.answer = WEBHOOK_REMOVED
    with pytest.raises(NotDeliveredError):
        lambda_handler(load_envelope("https_function_url"), Context(5))


def test_failed_function_record_is_not_an_http_request(slack: Slack) -> None:
    assert "messages" in lambda_handler(load_envelope("failure_event_age"), Context(30))


def test_language_zone_and_channel_are_applied(slack: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"lang": "ko", "timeZone": "Asia/Tokyo", "slackChannel": "#alarms"}.items():
        monkeypatch.setenv(name, value)
    lambda_handler(sns(change()), Context(10))
    (payload,) = slack.wait_for(1)
    assert payload["channel"] == "#alarms"
    assert "경보" in json.dumps(payload, ensure_ascii=False)
    assert "JST" in json.dumps(payload)


@pytest.mark.parametrize(
    ("hook", "reason"),
    [("", "neither"), ("http://example.com/x", "https"), ("https:///x", "https"), ("https://[", "not a URL")],
)
def test_unusable_webhook_is_raised(monkeypatch: pytest.MonkeyPatch, hook: str, reason: str) -> None:
    monkeypatch.setenv("hookUrl", hook)
    with pytest.raises(NotDeliveredError, match=reason):
        lambda_handler(sns(change()), Context(2))


def test_webhook_without_scheme_uses_https(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("hookUrl", f"127.0.0.1:{closed.getsockname()[1]}/services/x")
        with pytest.raises(NotDeliveredError, match="refused"):
            lambda_handler(sns(change()), Context(1))
    assert lambda_function._look_up_webhook("hooks.slack.com/services/x", "") == "https://hooks.slack.com/services/x"


@pytest.mark.parametrize("context", [{"LambdaFunctionName": "cwnotify"}, {}])
@pytest.mark.usefixtures("aws_environ")
def test_webhook_encrypted_by_kms_is_used(
    slack: Slack, monkeypatch: pytest.MonkeyPatch, context: dict[str, str]
) -> None:
    kms = boto3.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    plaintext = f'{{"webhook": "{slack.url}", "channel": "#ml"}}' if context else f" {slack.url}\n"
    blob = kms.encrypt(KeyId=key, Plaintext=plaintext.encode(), EncryptionContext=context)["CiphertextBlob"]
    monkeypatch.delenv("hookUrl")
    monkeypatch.setenv("kmsEncryptedHookUrl", base64.b64encode(blob).decode())
    lambda_handler(sns(change()), Context(10))
    assert count(slack, 1) == 1


@pytest.mark.usefixtures("aws_environ")
def test_webhook_in_parameter_store_is_cached_until_slack_rejects_it(
    slack: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssm = boto3.client("ssm")
    ssm.put_parameter(Name="/team/webhook", Value=slack.url, Type="SecureString")
    monkeypatch.setenv("hookUrl", "ssm:/team/webhook")
    lambda_handler(sns(change()), Context(10))
    with Slack() as newer:
        ssm.put_parameter(Name="/team/webhook", Value=newer.url, Type="SecureString", Overwrite=True)
        lambda_handler(sns(change()), Context(10))
        assert (count(slack, 2), count(newer, 0)) == (2, 0)
        slack.answer = WEBHOOK_REMOVED
        lambda_handler(sns(change()), Context(10))
        assert (count(slack, 2), count(newer, 1)) == (2, 1)


@pytest.mark.parametrize(
    "secret",
    [
        {"SecretString": "{}"},
        {"SecretString": '{{"webhook": "{}"}}'},
        {"SecretString": '{{"user": "me", "webhook": "<{}>", "docs": "https://example.com"}}'},
        {"SecretString": "\ufeffexport HOOK='{}'\r\n"},
        {"SecretBinary": " {}\n"},
        {"SecretBinary": '{{"webhook": "{}", "channel": "#ml"}}'},
    ],
)
@pytest.mark.usefixtures("aws_environ")
def test_webhook_in_secrets_manager_is_used(
    slack: Slack, monkeypatch: pytest.MonkeyPatch, secret: dict[str, str]
) -> None:
    name = f"webhook-{time.monotonic_ns()}"
    values: Any = {kind: shape.format(slack.url) for kind, shape in secret.items()}
    boto3.client("secretsmanager").create_secret(Name=name, **values)
    monkeypatch.setenv("hookUrl", f"'secretsmanager:{name}' ")
    lambda_handler(sns(change()), Context(10))
    assert count(slack, 1) == 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("https://hooks.slack.com/triggers/T0/1/canary", "Slack Workflow webhook.*cwnotify manifest"),
        ('{"a": "https://hooks.slack.com/services/canary1", "b": "https://hooks.slack.com/services/canary2"}', "a, b"),
        ('{"user": "canary", "port": 5432}', "keys: user, port"),
        ("ssm:/canary", "contains another reference"),
    ],
)
@pytest.mark.usefixtures("aws_environ")
def test_unusable_stored_webhook_reports_the_reason_without_its_value(
    monkeypatch: pytest.MonkeyPatch, value: str, reason: str
) -> None:
    boto3.client("ssm").put_parameter(Name="/unusable", Value=value, Type="SecureString", Overwrite=True)
    monkeypatch.setenv("hookUrl", "ssm:/unusable")
    with pytest.raises(NotDeliveredError, match=reason) as raised:
        lambda_handler(sns(change()), Context(10))
    assert "canary" not in str(raised.value)
    assert "ssm:/unusable" in str(raised.value)


@pytest.mark.usefixtures("aws_environ")
def test_failed_lookup_reports_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("hookUrl", "ssm:/nowhere")
    with pytest.raises(NotDeliveredError, match="ParameterNotFound"):
        lambda_handler(sns(change()), Context(10))


def test_deliver_payload_retries_and_reports_rejection(slack: Slack) -> None:
    slack.next_answers.append(RATE_LIMITED)
    deliver_payload({"text": "again"}, slack.url)
    assert [payload["text"] for payload in slack.wait_for(1)] == ["again"]
    slack.answer = WEBHOOK_REMOVED
    with pytest.raises(NotDeliveredError, match="404 no_service"):
        deliver_payload({"text": "again"}, slack.url)


def test_handler_imports_only_light_modules() -> None:
    code = "import sys, cwnotify.lambda_function; print(' '.join(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(process.stdout.split())
    own = {name for name in loaded if name.startswith("cwnotify")}
    assert not {"boto3", "botocore", "requests"} & loaded
    assert own <= {
        "cwnotify",
        "cwnotify.lambda_function",
        "cwnotify.slack",
        "cwnotify.slack.deadline_http",
        "cwnotify.slack.retry_policy",
        "cwnotify.slack.webhook_sender",
    } | {name for name in own if name.startswith("cwnotify.alerts")}
