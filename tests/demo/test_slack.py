"""The Slack stand-in over real sockets: responses, the page of messages, and the secrecy of its paths."""

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


def send_request(
    slack: FakeSlack, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    """Send one request on a new connection, and return the status, body and headers."""
    connection = http.client.HTTPConnection(urlsplit(slack.page_url).netloc, timeout=10)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        connection.close()


def post(slack: FakeSlack, payload: object) -> tuple[int, str]:
    return send_request(slack, "POST", urlsplit(slack.webhook_url).path, json.dumps(payload).encode())[:2]


def test_posted_message_is_stored_with_its_time() -> None:
    with FakeSlack(now=lambda: AT) as slack:
        assert post(slack, {"text": "hello"}) == (200, "ok")
        assert slack.messages == (ReceivedMessage({"text": "hello"}, AT),)
        assert slack.rejections == ()


def test_rejected_message_is_recorded_but_not_stored(slack: FakeSlack) -> None:
    assert post(slack, {"blocks": [b.section("x" * 3001)]}) == (400, "invalid_blocks")
    assert slack.messages == ()
    assert slack.rejections[0].reason == "blocks[0].text.text: has 3001 characters, must have 1 to 3000"


def test_only_the_webhook_path_accepts_posts(slack: FakeSlack) -> None:
    path = urlsplit(slack.webhook_url).path
    for wrong in ("/", "/services/T0/B0/x", path[:-1], f"{path}x", "/%EB%81%9D"):
        assert send_request(slack, "POST", wrong, b'{"text": "x"}')[:2] == (404, "no_service")
    assert send_request(slack, "GET", path)[0] == 403
    assert slack.messages == ()


def test_secret_paths_are_long_distinct_and_never_shown(slack: FakeSlack, capfd: Any) -> None:
    path = urlsplit(slack.webhook_url).path
    secret = path.rsplit("/", 1)[1]
    assert len(secret) >= 24
    with FakeSlack() as other:
        assert path != urlsplit(other.webhook_url).path
    post(slack, {"text": "hello"})
    token = urlsplit(slack.page_url).path
    for path_to_page in ("/", f"{token}", f"{token}messages", f"{token}nothing"):
        assert secret not in send_request(slack, "GET", path_to_page)[1]
    printed = repr(slack) + "".join(capfd.readouterr())
    assert secret not in printed
    assert token not in printed
    assert len(token) >= 24
    assert secret not in token


def test_messages_cannot_be_read_without_the_page_token(slack: FakeSlack) -> None:
    post(slack, {"text": "private"})
    token = urlsplit(slack.page_url).path
    with FakeSlack() as other:
        other_token = urlsplit(other.page_url).path
    for path in (
        "/",
        "/messages",
        "/messages?after=0",
        "//",
        token[:-2] + "/",
        other_token,
        f"{other_token}messages",
        "/%2F",
    ):
        status, body, headers = send_request(slack, "GET", path)
        assert (status, "private" in body) == (403, False), path
        assert "Set-Cookie" not in headers
    assert send_request(slack, "GET", token)[0] == send_request(slack, "GET", f"{token}messages")[0] == 200


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
def test_requests_from_pages_of_other_sites_are_rejected(slack: FakeSlack, header: dict[str, str]) -> None:
    post(slack, {"text": "private"})
    assert send_request(slack, "GET", urlsplit(slack.page_url).path, None, **header)[0] == 403
    assert send_request(slack, "POST", urlsplit(slack.webhook_url).path, b'{"text": "x"}', **header)[0] == 403
    assert len(slack.messages) == 1


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", ""])
def test_requests_with_another_host_are_rejected(slack: FakeSlack, host: str) -> None:
    post(slack, {"text": "private"})
    host = host.format(port=urlsplit(slack.page_url).port)
    for path in (urlsplit(slack.page_url).path, f"{urlsplit(slack.page_url).path}messages"):
        status, body, _ = send_request(slack, "GET", path, Host=host)
        assert (status, "private" in body) == (421, False)
    assert send_request(slack, "POST", urlsplit(slack.webhook_url).path, b'{"text": "x"}', Host=host)[0] == 421
    assert len(slack.messages) == 1


def test_page_shows_messages_without_javascript(slack: FakeSlack) -> None:
    path = urlsplit(slack.page_url).path
    assert "No messages yet." in send_request(slack, "GET", path)[1]
    post(slack, {"text": "hello <script>alert(1)</script>"})
    _, html, headers = send_request(slack, "GET", path)
    assert "hello &lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "https://app.slack.com/block-kit-builder/#" in html
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers


def test_messages_after_a_count_are_returned(slack: FakeSlack) -> None:
    for text in ("first", "second"):
        post(slack, {"text": text})
    for after, count in (("0", 2), ("1", 1), ("2", 0), ("9", 0), ("-1", 2), ("x", 2)):
        assert (
            len(json.loads(send_request(slack, "GET", f"{urlsplit(slack.page_url).path}messages?after={after}")[1]))
            == count
        )


def test_wait_for_message_returns_match_or_times_out(slack: FakeSlack) -> None:
    with pytest.raises(TimeoutError, match=r"within 0\.05 s; 0 others arrived"):
        slack.wait_for_message(lambda message: True, 0.05)
    later = Thread(target=post, args=(slack, {"text": "it is lost"}))
    post(slack, {"text": "it has begun"})
    later.start()
    message = slack.wait_for_message(lambda received: "lost" in received.payload["text"], 10)
    later.join()
    assert message.payload == {"text": "it is lost"}
    assert slack.wait_for_message(lambda message: "begun" in message.payload["text"], 0) == slack.messages[0]


def test_concurrent_posts_are_all_stored(slack: FakeSlack) -> None:
    threads = [Thread(target=post, args=(slack, {"text": str(i)})) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {message.payload["text"] for message in slack.messages} == {str(i) for i in range(40)}


def test_malformed_requests_print_nothing_and_stop_nothing(slack: FakeSlack, capfd: Any) -> None:
    path = urlsplit(slack.webhook_url).path
    head = f"POST {path} HTTP/1.1\r\nHost: {urlsplit(slack.page_url).netloc}\r\n"
    for request in (f"{head}Content-Length: 99\r\n\r\n{{", "\x00\r\n\r\n", f"{head}Content-Length: x\r\n\r\n{{}}", ""):
        with socket.create_connection(("127.0.0.1", urlsplit(slack.page_url).port or 0), timeout=10) as client:
            client.sendall(request.encode())
    assert send_request(slack, "PUT", path, b"{}")[0] == 501
    assert send_request(slack, "POST", path, b"{}", **{"Content-Length": "9" * 9})[:2] == (400, "invalid_payload")
    assert post(slack, {"text": "still here"}) == (200, "ok")
    assert capfd.readouterr() == ("", "")


def test_stopped_server_keeps_its_messages() -> None:
    with FakeSlack() as slack:
        post(slack, {"text": "hello"})
    with pytest.raises(ConnectionRefusedError):
        post(slack, {"text": "again"})
    assert len(slack.messages) == 1
    slack.stop()


def test_browser_shows_new_messages_and_the_stop(slack: FakeSlack) -> None:
    from playwright.sync_api import expect, sync_playwright

    post(slack, {"text": "first"})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        tab = browser.new_page()
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(slack.page_url)
        expect(tab.get_by_role("article")).to_have_count(1)
        post(slack, {"text": "second <https://a.b|link>"})
        expect(tab.get_by_role("article")).to_have_count(2)
        expect(tab.get_by_role("article", name="second link").get_by_role("link")).to_have_attribute(
            "href", "https://a.b"
        )
        expect(tab.get_by_role("status")).to_have_text("New messages appear automatically.")
        slack.stop()
        expect(tab.get_by_role("status")).to_contain_text("has stopped")
        assert errors == []
        browser.close()
