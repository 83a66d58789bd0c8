"""One attempt of the function ends within its time limit, whatever the peer does, over real sockets."""

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
    """Yield the port of a server that calls `talk` with each connection."""
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
    """Send `text`, then a byte every 0.1 s for ten seconds, so that no single read times out."""

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text)
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.1)

    return talk


def ignore(connection: socket.socket) -> None:
    """Read nothing and send nothing."""
    connection.settimeout(10)
    time.sleep(3)


def attempt(url: str, payload: dict[str, object] = PAYLOAD) -> str:  # type: ignore[assignment]
    start = time.monotonic()
    reply = post_with_deadline(url, payload, SECONDS)
    assert time.monotonic() - start < SECONDS + 1.0
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
def test_dripping_server_times_out(text: bytes) -> None:
    with server(drip(text)) as port:
        assert attempt(f"http://127.0.0.1:{port}/services/T/B/x") == "no answer in time"


def test_server_that_does_not_read_times_out() -> None:
    with server(ignore) as port:
        assert attempt(f"http://127.0.0.1:{port}/x", {"text": "x" * 8_000_000}) == "no answer in time"


def test_dripping_handshake_times_out() -> None:
    with server(drip(b"\x16\x03\x03\x40\x00\x02")) as port:
        assert attempt(f"https://127.0.0.1:{port}/x") in (
            "no answer in time",
            "TLS failed; does this machine trust the certificate?",
        )


@pytest.mark.parametrize("text", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_dripping_proxy_times_out(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with server(drip(text)) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        assert attempt("https://hooks.slack.invalid/x") == "no answer in time"


def test_several_addresses_share_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    # A listener with a full queue accepts no connection, and each address could take the whole time limit.
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname())
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [address] * 5)
        assert attempt(f"http://hooks.slack.invalid:{full.getsockname()[1]}/x") == "no answer in time"


def test_slow_reply_within_the_time_limit_is_read() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":
            connection.sendall(bytes([byte]))
            time.sleep(0.005)

    with server(talk) as port:
        reply = post_with_deadline(f"http://127.0.0.1:{port}/x", PAYLOAD, 5.0)
    assert (reply.status, reply.body, reply.error) == (200, "ok", "")
