"""The Slack stand-in over real sockets: it answers as Slack does, shows what it took, and keeps its secret."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from cwnotify.alerts.messages import block_kit as b
from cwnotify.demo.slack import FakeSlack, ReceivedMessage

CHROMIUM = shutil.which("chromium")
AT = datetime(2026, 11, 22, 15, 16, tzinfo=UTC)


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with FakeSlack() as running:
        yield running


def ask(
    slack: FakeSlack, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(slack.page_url).netloc, timeout=10)
    try:
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.read().decode(), reply.headers
    finally:
        connection.close()


def post(slack: FakeSlack, payload: object) -> tuple[int, str]:
    return ask(slack, "POST", urlsplit(slack.webhook_url).path, json.dumps(payload).encode())[:2]


def test_a_posted_message_is_kept_with_its_time() -> None:
    with FakeSlack(now=lambda: AT) as slack:
        assert post(slack, {"text": "hello"}) == (200, "ok")
        assert slack.messages == (ReceivedMessage({"text": "hello"}, AT),)
        assert slack.rejections == ()


def test_a_refused_message_is_told_but_not_kept(slack: FakeSlack) -> None:
    assert post(slack, {"blocks": [b.section("x" * 3001)]}) == (400, "invalid_blocks")
    assert slack.messages == ()
    assert slack.rejections[0].reason == "blocks[0].text.text: has 3001 characters, must have 1 to 3000"


def test_only_the_webhooks_own_path_is_a_service(slack: FakeSlack) -> None:
    path = urlsplit(slack.webhook_url).path
    for wrong in ("/", "/services/T0/B0/x", path[:-1], f"{path}x", "/%EB%81%9D"):
        assert ask(slack, "POST", wrong, b'{"text": "x"}')[:2] == (404, "no_service")
    assert ask(slack, "GET", path)[0] == 403
    assert slack.messages == ()


def test_the_secret_path_is_long_its_own_and_shown_nowhere(slack: FakeSlack, capfd: Any) -> None:
    path = urlsplit(slack.webhook_url).path
    secret = path.rsplit("/", 1)[1]
    assert len(secret) >= 24
    with FakeSlack() as other:
        assert path != urlsplit(other.webhook_url).path
    post(slack, {"text": "hello"})
    token = urlsplit(slack.page_url).path
    for shown in ("/", f"{token}", f"{token}messages", f"{token}nothing"):
        assert secret not in ask(slack, "GET", shown)[1]
    printed = repr(slack) + "".join(capfd.readouterr())
    assert secret not in printed
    assert token not in printed
    assert len(token) >= 24
    assert secret not in token


def test_another_user_of_the_machine_reads_no_message_without_the_pages_token(slack: FakeSlack) -> None:
    post(slack, {"text": "private"})
    token = urlsplit(slack.page_url).path
    with FakeSlack() as other:
        others = urlsplit(other.page_url).path
    for path in ("/", "/messages", "/messages?after=0", "//", token[:-2] + "/", others, f"{others}messages", "/%2F"):
        status, body, headers = ask(slack, "GET", path)
        assert (status, "private" in body) == (403, False), path
        assert "Set-Cookie" not in headers
    assert ask(slack, "GET", token)[0] == ask(slack, "GET", f"{token}messages")[0] == 200


@pytest.mark.parametrize(
    "header",
    [
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_site_reads_and_posts_nothing(slack: FakeSlack, header: dict[str, str]) -> None:
    post(slack, {"text": "private"})
    assert ask(slack, "GET", urlsplit(slack.page_url).path, **header)[0] == 403
    assert ask(slack, "POST", urlsplit(slack.webhook_url).path, b'{"text": "x"}', **header)[0] == 403
    assert len(slack.messages) == 1


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", ""])
def test_a_stranger_who_points_its_name_here_reads_and_posts_nothing(slack: FakeSlack, host: str) -> None:
    post(slack, {"text": "private"})
    host = host.format(port=urlsplit(slack.page_url).port)
    for path in (urlsplit(slack.page_url).path, f"{urlsplit(slack.page_url).path}messages"):
        status, body, _ = ask(slack, "GET", path, Host=host)
        assert (status, "private" in body) == (421, False)
    assert ask(slack, "POST", urlsplit(slack.webhook_url).path, b'{"text": "x"}', Host=host)[0] == 421
    assert len(slack.messages) == 1


def test_the_page_shows_the_messages_without_javascript(slack: FakeSlack) -> None:
    path = urlsplit(slack.page_url).path
    assert "No message has arrived yet." in ask(slack, "GET", path)[1]
    post(slack, {"text": "hello <script>alert(1)</script>"})
    _, shown, headers = ask(slack, "GET", path)
    assert "hello &lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "https://app.slack.com/block-kit-builder/#" in shown
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers


def test_a_page_asks_only_for_what_it_does_not_have(slack: FakeSlack) -> None:
    for text in ("first", "second"):
        post(slack, {"text": text})
    for after, count in (("0", 2), ("1", 1), ("2", 0), ("9", 0), ("-1", 2), ("x", 2)):
        assert len(json.loads(ask(slack, "GET", f"{urlsplit(slack.page_url).path}messages?after={after}")[1])) == count


def test_waiting_ends_with_the_message_or_at_the_deadline(slack: FakeSlack) -> None:
    with pytest.raises(TimeoutError, match=r"within 0\.05 s; 0 others came"):
        slack.wait_for_message(lambda message: True, 0.05)
    later = Thread(target=post, args=(slack, {"text": "it is lost"}))
    post(slack, {"text": "it has begun"})
    later.start()
    found = slack.wait_for_message(lambda message: "lost" in message.payload["text"], 10)
    later.join()
    assert found.payload == {"text": "it is lost"}
    assert slack.wait_for_message(lambda message: "begun" in message.payload["text"], 0) == slack.messages[0]


def test_many_at_once_are_all_kept(slack: FakeSlack) -> None:
    threads = [Thread(target=post, args=(slack, {"text": str(i)})) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {message.payload["text"] for message in slack.messages} == {str(i) for i in range(40)}


def test_rude_clients_harm_nobody_and_leave_no_trace(slack: FakeSlack, capfd: Any) -> None:
    path = urlsplit(slack.webhook_url).path
    head = f"POST {path} HTTP/1.1\r\nHost: {urlsplit(slack.page_url).netloc}\r\n"
    for rude in (f"{head}Content-Length: 99\r\n\r\n{{", "\x00\r\n\r\n", f"{head}Content-Length: x\r\n\r\n{{}}", ""):
        with socket.create_connection(("127.0.0.1", urlsplit(slack.page_url).port or 0), timeout=10) as client:
            client.sendall(rude.encode())
    assert ask(slack, "PUT", path, b"{}")[0] == 501
    assert ask(slack, "POST", path, b"{}", **{"Content-Length": "9" * 9})[:2] == (400, "invalid_payload")
    assert post(slack, {"text": "still here"}) == (200, "ok")
    assert capfd.readouterr() == ("", "")


def test_a_stopped_stand_in_answers_no_more_and_keeps_what_it_has() -> None:
    with FakeSlack() as slack:
        post(slack, {"text": "hello"})
    with pytest.raises(ConnectionRefusedError):
        post(slack, {"text": "again"})
    assert len(slack.messages) == 1
    slack.stop()


def test_a_browser_sees_messages_arrive_and_the_end(slack: FakeSlack) -> None:
    from playwright.sync_api import expect, sync_playwright

    post(slack, {"text": "first"})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        tab = browser.new_page()
        complaints: list[str] = []
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(slack.page_url)
        expect(tab.get_by_role("article")).to_have_count(1)
        post(slack, {"text": "second <https://a.b|link>"})
        expect(tab.get_by_role("article")).to_have_count(2)
        expect(tab.get_by_role("article", name="second link").get_by_role("link")).to_have_attribute(
            "href", "https://a.b"
        )
        expect(tab.get_by_role("status")).to_have_text("New messages appear by themselves.")
        slack.stop()
        expect(tab.get_by_role("status")).to_contain_text("has stopped")
        assert complaints == []
        browser.close()
