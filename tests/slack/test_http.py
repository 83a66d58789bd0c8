"""One attempt at Slack: bounded, never redirected, through proxies, and silent about the URL."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest
import trustme

from cwnotify.settings import Secret
from cwnotify.slack.http import find_connection_problem, post_to_slack
from cwnotify.slack.retry_policy import Delivered, RetryAt, decide_retry
from tests.support.slack import OK, Answer, Slack

PAYLOAD = {"text": "hello"}


@pytest.fixture
def slack() -> Iterator[Slack]:
    with Slack() as one:
        yield one


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_ok_is_read_also_when_it_comes_byte_by_byte(slack: Slack):
    assert post_to_slack(Secret(slack.url), PAYLOAD).body == "ok"
    slack.answer = Answer(mode="drip")
    reply = post_to_slack(Secret(slack.url), PAYLOAD)

    assert (reply.status, reply.body, reply.error) == (200, "ok", "")
    assert [one.payload for one in slack.received] == [PAYLOAD] * 2


@pytest.mark.parametrize("mode", ["drip", "hang", "silent"])
def test_an_attempt_ends_in_time_however_the_answer_dawdles(mode, slack: Slack):
    slack.answer = Answer(mode=mode)
    since = time.monotonic()
    reply = post_to_slack(Secret(slack.url), PAYLOAD, seconds=0.3)

    assert time.monotonic() - since < 3
    assert reply.status is None
    assert reply.error == "no whole answer within 0.3 s"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(status, slack: Slack):
    with Slack() as elsewhere:
        slack.answer = Answer(status, "", {"Location": elsewhere.url})
        reply = post_to_slack(Secret(slack.url), PAYLOAD)

        assert reply.status == status
        assert elsewhere.received == []
    assert "something other than Slack answered" in decide_retry(reply, 1, 0, 0, 0, False).reason


@pytest.mark.parametrize(
    "asked", ["absurd", "-5", "1e99", "inf", "nan", "9" * 400, "", "Mon, 99 Foo 2026 99:99:99 GMT"]
)
def test_a_pause_that_makes_no_sense_is_none(asked, slack: Slack):
    slack.answer = Answer(429, "rate_limited", {"Retry-After": asked})
    reply = post_to_slack(Secret(slack.url), PAYLOAD)
    decision = decide_retry(reply, 1, 0.0, 0.0, 1.0, False)

    assert reply.status == 429
    assert isinstance(decision, RetryAt)
    assert 0 < decision.at <= 3601


# TLS and names


def answer_once(connection: socket.socket, answer: bytes, asked: list[bytes]) -> None:
    """Note what came first, and answer it. It leaves after the client does: what is unread would reset the answer."""
    asked.append(connection.recv(65536))
    connection.sendall(answer)
    while connection.recv(65536):
        pass


@contextmanager
def tls_server(folder) -> Iterator[tuple[str, str]]:
    """A Slack with a certificate that nobody knows; gives its URL and the certificate's path."""
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
                # Whoever does not trust the certificate says so, or just leaves.
                with suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                    answer_once(secure, TOOK, [])

        threading.Thread(target=serve, daemon=True).start()
        yield f"https://localhost:{listener.getsockname()[1]}/services/canary", str(ca)


def test_a_certificate_that_is_not_trusted_is_refused_and_one_of_ones_own_is_taken(tmp_path, monkeypatch):
    with tls_server(tmp_path) as (url, ca):
        refused = post_to_slack(Secret(url), PAYLOAD)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca)
        taken = post_to_slack(Secret(url), PAYLOAD)

    assert refused.error == "TLS failed; is the certificate one that this machine trusts?"
    assert taken.body == "ok"


def test_plain_text_where_tls_should_be_is_no_tls():
    with proxy(TOOK) as (url, _):
        assert "TLS failed" in post_to_slack(Secret(url.replace("http:", "https:") + "/services/canary"), PAYLOAD).error


def test_a_name_that_nobody_knows_is_told_as_that():
    reply = post_to_slack(Secret("https://no-such-host.invalid/services/canary"), PAYLOAD)

    assert reply.error == "its name could not be resolved"


# Proxies


@contextmanager
def proxy(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that gives one answer to all; gives its URL and what it was asked."""
    asked: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with suppress(OSError), connection:
                    answer_once(connection, answer, asked)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked


DENIED = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
TOOK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def test_a_proxy_that_wants_a_password_is_named(monkeypatch):
    with proxy(DENIED) as (url, asked):
        monkeypatch.setenv("HTTPS_PROXY", url)
        reply = post_to_slack(Secret("https://hooks.slack.example/services/canary"), PAYLOAD)

    assert reply.error == "the proxy did not let it through"
    assert len(asked) == 1
    assert b"canary" not in asked[0], "a proxy sees the host alone"
    assert isinstance(decide_retry(reply, 1, 0, 0, 0, False), RetryAt)


def test_a_proxy_is_used_but_where_it_should_not_be(monkeypatch, slack: Slack):
    with proxy(TOOK) as (url, asked):
        monkeypatch.setenv("HTTP_PROXY", url)
        reply = post_to_slack(Secret(slack.url), PAYLOAD)
        assert decide_retry(reply, 1, 0, 0, 0, False) == Delivered()
        assert len(asked) == 1
        assert slack.received == []

        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        post_to_slack(Secret(slack.url), PAYLOAD)
        assert len(asked) == 1
    assert [one.answer for one in slack.received] == [OK]


@pytest.mark.parametrize(
    "ask", [lambda url: post_to_slack(Secret(url), PAYLOAD), lambda url: find_connection_problem(Secret(url))]
)
def test_no_password_of_a_netrc_is_sent_and_a_proxy_still_gets_its_own(ask, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login alice password netrc-canary\nmachine 127.0.0.1 login bob password netrc-canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with proxy(TOOK) as (url, received):
        ask(f"{url}/services/canary")
        monkeypatch.setenv("HTTP_PROXY", url.replace("//", "//user:word@"))
        ask(f"{url}/services/canary")

    assert len(received) == 2
    assert b"\r\nauthorization:" not in b"".join(received).lower()
    assert b"Proxy-Authorization: Basic dXNlcjp3b3Jk" in received[1]


@pytest.mark.parametrize("encoding", [b"gzip", b"gzip, gzip", b"deflate", b"br", b"zstd"])
def test_a_reply_is_never_unpacked(encoding):
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
    assert isinstance(decide_retry(reply, 1, 0, 0, 0, False), RetryAt)


@pytest.mark.parametrize("answer", [Answer(mode="reset"), Answer(mode="late_reset"), Answer(mode="cut")])
def test_no_trouble_tells_anything_of_the_url(answer, slack: Slack):
    slack.answer = answer
    reply = post_to_slack(Secret(slack.url), PAYLOAD)

    assert slack.canary not in repr(reply)
    assert "127.0.0.1" not in repr(reply)
    assert isinstance(decide_retry(reply, 1, 0, 0, 0, False), RetryAt)
