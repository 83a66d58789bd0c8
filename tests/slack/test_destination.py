"""A webhook that is kept in AWS: found off everybody's path, waited for, and found anew when Slack says it is gone."""

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

KEYS = {
    "AWS_DEFAULT_REGION": "ap-northeast-2",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}
KEPT = "ssm:/team/slack"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def environ(address: str) -> dict[str, str]:
    return {**KEYS, "AWS_ENDPOINT_URL": address}


@pytest.fixture
def aws(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    yield
    client("ssm").delete_parameters(Names=["/team/slack"])


@pytest.fixture
def slack() -> Iterator[Slack]:
    with Slack() as running:
        yield running


def client(service: str) -> Any:
    make: Any = boto3.client
    return make(service)


def keep(url: str) -> None:
    client("ssm").put_parameter(Name="/team/slack", Value=url, Type="SecureString", Overwrite=True)


@pytest.fixture
def post(tmp_path: Path) -> Iterator[DeliveryHarness]:
    with DeliveryHarness(tmp_path) as one:
        yield one


@pytest.fixture(scope="session")
def silent() -> Iterator[str]:
    """The address of an AWS that takes connections and never answers.

    It stays until the end: boto3 asks again, and its port must not be another test's by then.
    """
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.usefixtures("aws")
def test_a_kept_webhook_is_found_once_and_anew_when_slack_says_it_is_gone(post: DeliveryHarness, slack: Slack) -> None:
    keep(slack.url)
    post.delivery.add_webhook(Secret(KEPT), "kept")
    post.put("first", "kept")
    post.wait_for_state("first", "done")
    with Slack() as newer:
        keep(newer.url)
        post.put("second", "kept")
        post.wait_for_state("second", "done")
        assert [one["text"] for one in slack.payloads] == ["first", "second"]
        slack.answer = WEBHOOK_REMOVED
        post.put("third", "kept")
        post.wait_for_state("third", "done")
        assert [one["text"] for one in newer.payloads] == ["third"]


@pytest.mark.usefixtures("aws")
def test_a_kept_webhook_that_is_gone_for_good_is_dead_with_the_place_to_mend(
    post: DeliveryHarness, slack: Slack
) -> None:
    keep(slack.url)
    slack.answer = WEBHOOK_REMOVED
    post.delivery.add_webhook(Secret(KEPT), "kept")
    for id in ("first", "second"):
        post.put(id, "kept")
    for id in ("first", "second"):
        post.wait_for_state(id, "dead")
        assert "404 no_service" in post.find_message(id).reason
        assert f"{KEPT} still holds this one" in post.find_message(id).reason
    assert slack.delivered == []


@pytest.mark.usefixtures("aws")
def test_an_alert_waits_for_a_webhook_that_is_not_there_yet_and_says_so(post: DeliveryHarness, slack: Slack) -> None:
    post.delivery.add_webhook(Secret(KEPT), "kept")
    post.put("early", "kept")
    reason = until(lambda: post.find_message("early").reason, 15, "a reason")
    assert "the webhook in ssm:/team/slack could not be looked up: ap-northeast-2 has nothing of this name" in reason
    assert "aws ssm put-parameter" in reason
    assert post.find_message("early").state == "pending"
    keep(slack.url)
    post.wait_for_state("early", "done")


def test_an_aws_that_hangs_holds_up_nothing_else(
    post: DeliveryHarness, slack: Slack, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": silent}.items():
        monkeypatch.setenv(name, value)
    post.delivery.add_webhook(Secret("ssm:/behind/it"), "kept")
    post.delivery.add_webhook(Secret(slack.url), "plain")
    post.put("held", "kept")
    post.put("free", "plain")
    post.wait_for_state("free", "done", seconds=5)
    assert post.find_message("held").state == "pending"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("store", "text", "why"),
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
def test_what_is_kept(store: str, text: str, why: str, slack: Slack) -> None:
    reference = store.format(n=time.monotonic_ns())
    value, (kind, _, name) = text.format(url=slack.url, canary=slack.canary), reference.partition(":")
    if kind == "ssm":
        client("ssm").put_parameter(Name=name, Value=value, Type="SecureString")
    elif name.startswith("binary"):
        client("secretsmanager").create_secret(Name=name, SecretBinary=value.encode())
    elif value:
        client("secretsmanager").create_secret(Name=name, SecretString=value)
    webhook = WebhookResolver(Secret(reference)).wait_until_resolved()
    if not why:
        assert webhook.get_url().reveal() == slack.url
        return
    with pytest.raises(Exception, match=why) as raised:
        webhook.get_url()
    assert slack.canary not in str(raised.value)


@pytest.mark.usefixtures("aws")
def test_a_kernel_and_every_command_use_a_kept_webhook(slack: Slack, environ: dict[str, str], tmp_path: Path) -> None:
    with World(tmp_path, KEPT, **environ) as world:
        refused = world.execute("cwnotify", "test")
        assert refused.returncode == 1
        assert "put it there with: aws ssm put-parameter --type SecureString --name /team/slack" in refused.stderr
        keep(slack.url)
        with Kernel(world) as kernel:
            kernel.run("%load_ext cwnotify")
            assert kernel.run("%%notify_on_finish train\n1").status == "ok"
            assert "finished" in slack.wait_for(1)[0]["text"]

        assert world.execute("cwnotify", "login", "--stdin", input=KEPT).returncode == 0
        assert world.execute("cwnotify", "test", "--alarm", "--lang", "ko").returncode == 0
        assert "학습이 끝났어요" in slack.wait_for(3)[2]["text"]
        slack.answer = WEBHOOK_REMOVED
        world.execute("cwnotify", "run", "--name", "unheard", "--", "true")
        until(lambda: world.outbox_messages("dead"), 15, "giving up")
        with Slack() as newer:
            keep(newer.url)
            done = world.execute("cwnotify", "outbox", "retry", "--all")
            assert "1 sent again" in done.stdout, done.stdout + done.stderr
            assert "unheard" in newer.wait_for(1)[0]["text"]
        world.wait_for_sidecars_to_exit()
