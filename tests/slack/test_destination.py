"""A webhook stored in AWS: looked up in the background, and again after Slack rejects it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cwnotify.settings import Secret
from cwnotify.slack.destination import WebhookResolver
from tests.support.kernel import Kernel, World
from tests.support.post import DeliveryHarness
from tests.support.slack import WEBHOOK_REMOVED, Slack
from tests.support.waiting import until

AWS_ENVIRON = {
    "AWS_DEFAULT_REGION": "ap-northeast-2",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}
REFERENCE = "ssm:/team/slack"


@pytest.fixture(scope="module")
def aws_url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def environ(aws_url: str) -> dict[str, str]:
    return {**AWS_ENVIRON, "AWS_ENDPOINT_URL": aws_url}


@pytest.fixture
def aws(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    yield
    make_client("ssm").delete_parameters(Names=["/team/slack"])


@pytest.fixture
def slack() -> Iterator[Slack]:
    with Slack() as running:
        yield running


def make_client(service: str) -> Any:
    make: Any = boto3.client
    return make(service)


def store_webhook(url: str) -> None:
    make_client("ssm").put_parameter(Name="/team/slack", Value=url, Type="SecureString", Overwrite=True)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[DeliveryHarness]:
    with DeliveryHarness(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def hanging_aws_url() -> Iterator[str]:
    """Return the URL of an AWS that accepts connections and never answers.

    It exists until the end of the session, because boto3 retries and another test must not get its port.
    """
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.usefixtures("aws")
def test_stored_webhook_is_cached_until_slack_rejects_it(harness: DeliveryHarness, slack: Slack) -> None:
    store_webhook(slack.url)
    harness.delivery.add_webhook(Secret(REFERENCE), "stored")
    harness.put("first", "stored")
    harness.wait_for_state("first", "done")
    with Slack() as newer:
        store_webhook(newer.url)
        harness.put("second", "stored")
        harness.wait_for_state("second", "done")
        assert [payload["text"] for payload in slack.payloads] == ["first", "second"]
        slack.answer = WEBHOOK_REMOVED
        harness.put("third", "stored")
        harness.wait_for_state("third", "done")
        assert [payload["text"] for payload in newer.payloads] == ["third"]


@pytest.mark.usefixtures("aws")
def test_rejected_webhook_without_replacement_is_dead_with_its_reference(
    harness: DeliveryHarness, slack: Slack
) -> None:
    store_webhook(slack.url)
    slack.answer = WEBHOOK_REMOVED
    harness.delivery.add_webhook(Secret(REFERENCE), "stored")
    for id in ("first", "second"):
        harness.put(id, "stored")
    for id in ("first", "second"):
        harness.wait_for_state(id, "dead")
        assert "404 no_service" in harness.find_message(id).reason
        assert f"{REFERENCE} still holds this one" in harness.find_message(id).reason
    assert slack.delivered == []


@pytest.mark.usefixtures("aws")
def test_alert_waits_for_a_missing_webhook_with_the_reason(harness: DeliveryHarness, slack: Slack) -> None:
    harness.delivery.add_webhook(Secret(REFERENCE), "stored")
    harness.put("early", "stored")
    reason = until(lambda: harness.find_message("early").reason, 15, "a reason")
    assert "the webhook in ssm:/team/slack could not be looked up: ap-northeast-2 has nothing of this name" in reason
    assert "aws ssm put-parameter" in reason
    assert harness.find_message("early").state == "pending"
    store_webhook(slack.url)
    harness.wait_for_state("early", "done")


def test_hanging_aws_does_not_delay_other_destinations(
    harness: DeliveryHarness, slack: Slack, hanging_aws_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**AWS_ENVIRON, "AWS_ENDPOINT_URL": hanging_aws_url}.items():
        monkeypatch.setenv(name, value)
    harness.delivery.add_webhook(Secret("ssm:/behind/it"), "stored")
    harness.delivery.add_webhook(Secret(slack.url), "plain")
    harness.put("held", "stored")
    harness.put("free", "plain")
    harness.wait_for_state("free", "done", seconds=5)
    assert harness.find_message("held").state == "pending"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("template", "text", "reason"),
    [
        ("secretsmanager:slack-{n}", '{{"webhook": "{url}"}}', ""),
        ("secretsmanager:slack-{n}", "{url}", ""),
        ("secretsmanager:slack-{n}", '{{"one": "{url}", "two": "x"}}', ""),
        ("secretsmanager:slack-{n}", "\ufeffexport HOOK='{url}'\r\n", ""),
        ("secretsmanager:binary-{n}", '{{"one": "{url}", "two": "x"}}', ""),
        ("secretsmanager:slack-{n}", '{{"a": "{url}", "b": "{url}{canary}"}}', r"several values .* \(keys: a, b\)"),
        ("ssm:/slack-{n}", " <{url}> ", ""),
        ("ssm:/slack-{n}", "https://hooks.slack.com/triggers/T0/1/{canary}", "Slack Workflow webhook"),
        ("secretsmanager:slack-{n}", '{{"a": "https://hooks.slack.com/workflows/T0/{canary}"}}', "cwnotify manifest"),
        ("secretsmanager:nowhere-{n}", "", "has nothing of this name; put it there with: aws secretsmanager"),
        ("ssm:/slack-{n}", "ssm:/slack", "the name of another place"),
        ("ssm:/slack-{n}", "http://example.com/{canary}", "must begin with https://"),
    ],
)
def test_stored_text_is_resolved_or_rejected(template: str, text: str, reason: str, slack: Slack) -> None:
    reference = template.format(n=time.monotonic_ns())
    value, (kind, _, name) = text.format(url=slack.url, canary=slack.canary), reference.partition(":")
    if kind == "ssm":
        make_client("ssm").put_parameter(Name=name, Value=value, Type="SecureString")
    elif name.startswith("binary"):
        make_client("secretsmanager").create_secret(Name=name, SecretBinary=value.encode())
    elif value:
        make_client("secretsmanager").create_secret(Name=name, SecretString=value)
    webhook = WebhookResolver(Secret(reference)).wait_until_resolved()
    if not reason:
        assert webhook.get_url().reveal() == slack.url
        return
    with pytest.raises(Exception, match=reason) as raised:
        webhook.get_url()
    assert slack.canary not in str(raised.value)


@pytest.mark.usefixtures("aws")
def test_kernel_and_commands_use_a_stored_webhook(slack: Slack, environ: dict[str, str], tmp_path: Path) -> None:
    with World(tmp_path, REFERENCE, **environ) as world:
        process = world.execute("cwnotify", "test")
        assert process.returncode == 1
        assert "put it there with: aws ssm put-parameter --type SecureString --name /team/slack" in process.stderr
        store_webhook(slack.url)
        with Kernel(world) as kernel:
            kernel.run("%load_ext cwnotify")
            assert kernel.run("%%notify_on_finish train\n1").status == "ok"
            assert "finished" in slack.wait_for(1)[0]["text"]

        assert world.execute("cwnotify", "login", "--stdin", input=REFERENCE).returncode == 0
        assert world.execute("cwnotify", "test", "--alarm", "--lang", "ko").returncode == 0
        assert "학습이 끝났어요" in slack.wait_for(3)[2]["text"]
        slack.answer = WEBHOOK_REMOVED
        world.execute("cwnotify", "run", "--name", "undelivered", "--", "true")
        until(lambda: world.outbox_messages("dead"), 15, "giving up")
        with Slack() as newer:
            store_webhook(newer.url)
            process = world.execute("cwnotify", "outbox", "retry", "--all")
            assert "1 sent again" in process.stdout, process.stdout + process.stderr
            assert "undelivered" in newer.wait_for(1)[0]["text"]
        world.wait_for_sidecars_to_exit()
