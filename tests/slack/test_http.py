"""One attempt to post with requests: bounded in time, never redirected, through proxies, without revealing the URL."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from cwnotify.settings import Secret
from cwnotify.slack.http import find_connection_problem, post_to_slack
from cwnotify.slack.retry_policy import Attempt, Delivered, DeliveryDecision, RetryAt, SlackReply, decide_retry
from tests.support.slack import OK, Answer, Mode, Slack

PAYLOAD = {"text": "hello"}


@pytest.fixture
def slack() -> Iterator[Slack]:
    with Slack() as running:
        yield running


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def decide(reply: SlackReply) -> DeliveryDecision:
    return decide_retry(reply, Attempt(1, 0.0, 0.0, 1.0))


def test_slow_ok_is_read_completely(slack: Slack) -> None:
    assert post_to_slack(Secret(slack.url), PAYLOAD).body == "ok"
    slack.answer = Answer(mode="drip")
    reply = post_to_slack(Secret(slack.url), PAYLOAD)

    assert (reply.status, reply.body, reply.error) == (200, "ok", "")
    assert [request.payload for request in slack.received] == [PAYLOAD] * 2


@pytest.mark.parametrize("mode", ["drip", "hang", "silent"])
def test_slow_answer_ends_at_the_deadline(mode: Mode, slack: Slack) -> None:
    slack.answer = Answer(mode=mode)
    start = time.monotonic()
    reply = post_to_slack(Secret(slack.url), PAYLOAD, seconds=0.3)

    assert time.monotonic() - start < 3
    assert reply.status is None
    assert reply.error == "no complete answer within 0.3 s"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(status: int, slack: Slack) -> None:
    with Slack() as elsewhere:
        slack.answer = Answer(status, "", {"Location": elsewhere.url})
        reply = post_to_slack(Secret(slack.url), PAYLOAD)

        assert reply.status == status
        assert elsewhere.received == []
    decision = decide(reply)
    assert isinstance(decision, RetryAt)
    assert "something other than Slack answered" in decision.reason


@pytest.mark.parametrize(
    "header", ["absurd", "-5", "1e99", "inf", "nan", "9" * 400, "", "Mon, 99 Foo 2026 99:99:99 GMT"]
)
def test_invalid_retry_after_is_ignored(header: str, slack: Slack) -> None:
    slack.answer = Answer(429, "rate_limited", {"Retry-After": header})
    reply = post_to_slack(Secret(slack.url), PAYLOAD)
    decision = decide(reply)

    assert reply.status == 429
    assert isinstance(decision, RetryAt)
    assert 0 < decision.at <= 3601


# TLS and names


def answer_once(connection: socket.socket, answer: bytes, requests: list[bytes]) -> None:
    """Record the request and answer it. Wait for the client to close, because unread data would reset the answer."""
    requests.append(connection.recv(65536))
    connection.sendall(answer)
    while connection.recv(65536):
        pass


@contextmanager
def tls_server(folder: Path) -> Iterator[tuple[str, str]]:
    """Run a server with an untrusted certificate. Yield its URL and the certificate authority's path."""
    authority = trustme.CA()
    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                # A client that does not trust the certificate reports it or closes.
                with suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                    answer_once(secure, OK_RESPONSE, [])

        threading.Thread(target=serve, daemon=True).start()
        yield f"https://localhost:{listener.getsockname()[1]}/services/canary", str(ca)


def test_certificate_is_accepted_only_if_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tls_server(tmp_path) as (url, ca):
        untrusted = post_to_slack(Secret(url), PAYLOAD)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca)
        trusted = post_to_slack(Secret(url), PAYLOAD)

    assert untrusted.error == "TLS failed; does this machine trust the certificate?"
    assert trusted.body == "ok"


def test_plain_http_server_fails_tls() -> None:
    with proxy(OK_RESPONSE) as (url, _):
        assert "TLS failed" in post_to_slack(Secret(url.replace("http:", "https:") + "/services/canary"), PAYLOAD).error


def test_unknown_host_is_reported() -> None:
    reply = post_to_slack(Secret("https://no-such-host.invalid/services/canary"), PAYLOAD)

    assert reply.error == "the host name could not be resolved"


# Proxies


@contextmanager
def proxy(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Run a proxy with one answer to every request. Yield its URL and the requests."""
    requests: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with suppress(OSError), connection:
                    answer_once(connection, answer, requests)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests


PROXY_AUTH_RESPONSE = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
OK_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def test_proxy_that_requires_a_password_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy(PROXY_AUTH_RESPONSE) as (url, requests):
        monkeypatch.setenv("HTTPS_PROXY", url)
        reply = post_to_slack(Secret("https://hooks.slack.example/services/canary"), PAYLOAD)

    assert reply.error == "the proxy rejected the connection"
    assert len(requests) == 1
    assert b"canary" not in requests[0], "the proxy sees only the host"
    assert isinstance(decide(reply), RetryAt)


def test_proxy_is_used_unless_excluded(monkeypatch: pytest.MonkeyPatch, slack: Slack) -> None:
    with proxy(OK_RESPONSE) as (url, requests):
        monkeypatch.setenv("HTTP_PROXY", url)
        reply = post_to_slack(Secret(slack.url), PAYLOAD)
        assert decide(reply) == Delivered()
        assert len(requests) == 1
        assert slack.received == []

        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        post_to_slack(Secret(slack.url), PAYLOAD)
        assert len(requests) == 1
    assert [request.answer for request in slack.received] == [OK]


@pytest.mark.parametrize(
    "send", [lambda url: post_to_slack(Secret(url), PAYLOAD), lambda url: find_connection_problem(Secret(url))]
)
def test_netrc_password_is_not_sent_and_proxy_password_is(
    send: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login alice password netrc-canary\nmachine 127.0.0.1 login bob password netrc-canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with proxy(OK_RESPONSE) as (url, received):
        send(f"{url}/services/canary")
        monkeypatch.setenv("HTTP_PROXY", url.replace("//", "//user:word@"))
        send(f"{url}/services/canary")

    assert len(received) == 2
    assert b"\r\nauthorization:" not in b"".join(received).lower()
    assert b"Proxy-Authorization: Basic dXNlcjp3b3Jk" in received[1]


@pytest.mark.parametrize("encoding", [b"gzip", b"gzip, gzip", b"deflate", b"br", b"zstd"])
def test_compressed_reply_is_not_decompressed(encoding: bytes) -> None:
    packed = gzip.compress(gzip.compress(bytes(1 << 26)))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding, len(packed))
    with proxy(head + packed) as (url, received):
        tracemalloc.start()
        reply = post_to_slack(Secret(f"{url}/services/canary"), PAYLOAD)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert b"Accept-Encoding: identity" in received[0]
    assert (reply.status, reply.error) == (200, "")
    assert reply.body.encode("utf-8", "replace").startswith(b"\x1f")
    assert len(reply.body) <= 512
    assert peak < 8e6
    assert isinstance(decide(reply), RetryAt)


@pytest.mark.parametrize("answer", [Answer(mode="reset"), Answer(mode="late_reset"), Answer(mode="cut")])
def test_connection_error_does_not_reveal_the_url(answer: Answer, slack: Slack) -> None:
    slack.answer = answer
    reply = post_to_slack(Secret(slack.url), PAYLOAD)

    assert slack.canary not in repr(reply)
    assert "127.0.0.1" not in repr(reply)
    assert isinstance(decide(reply), RetryAt)
