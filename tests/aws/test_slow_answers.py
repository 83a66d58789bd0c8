"""One attempt of the function ends in its time, whatever the other side does: real sockets, real TLS, a real proxy."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from cwnotify.slack.deadline_http import post_with_deadline

SECONDS = 1.0
PAYLOAD = {"text": "hello"}
Talk = Callable[[socket.socket], None]


@contextlib.contextmanager
def server(talk: Talk) -> Iterator[int]:
    """The port of a server that does `talk` with each connection until the client is gone."""
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                talk(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
    thread.join(20)


def drip(text: bytes) -> Talk:
    """Send `text`, then a byte each 0.1 s for ten seconds: none of them comes late."""

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text)
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.1)

    return talk


def wait(connection: socket.socket) -> None:
    """Read nothing and send nothing."""
    connection.settimeout(10)
    time.sleep(3)


def attempt(url: str, payload: dict[str, object] = PAYLOAD) -> str:  # type: ignore[assignment]
    began = time.monotonic()
    reply = post_with_deadline(url, payload, SECONDS)
    assert time.monotonic() - began < SECONDS + 1.0
    assert reply.status == 0 or reply.status is None or reply.error
    return reply.error


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 ",
    ],
)
def test_a_dripping_server(text: bytes) -> None:
    with server(drip(text)) as port:
        assert attempt(f"http://127.0.0.1:{port}/services/T/B/x") == "no answer in time"


def test_a_server_that_does_not_read() -> None:
    with server(wait) as port:
        assert attempt(f"http://127.0.0.1:{port}/x", {"text": "x" * 8_000_000}) == "no answer in time"


def test_a_handshake_that_drips() -> None:
    with server(drip(b"\x16\x03\x03\x40\x00\x02")) as port:
        assert attempt(f"https://127.0.0.1:{port}/x") in (
            "no answer in time",
            "TLS failed; does this machine trust the certificate?",
        )


@pytest.mark.parametrize("text", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_a_proxy_that_drips(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with server(drip(text)) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        assert attempt("https://hooks.slack.invalid/x") == "no answer in time"


def test_several_addresses_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Listeners whose queue is full take no connection: each address would have its own timeout.
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        place = (socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname())
        monkeypatch.setattr(socket, "getaddrinfo", lambda *ignored, **named: [place] * 5)
        assert attempt(f"http://hooks.slack.invalid:{full.getsockname()[1]}/x") == "no answer in time"


def test_an_answer_that_is_slow_but_in_time() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":
            connection.sendall(bytes([byte]))
            time.sleep(0.005)

    with server(talk) as port:
        reply = post_with_deadline(f"http://127.0.0.1:{port}/x", PAYLOAD, 5.0)
    assert (reply.status, reply.body, reply.error) == (200, "ok", "")
