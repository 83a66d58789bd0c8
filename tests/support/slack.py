"""A scriptable Slack stand-in: a real HTTP server on 127.0.0.1 that can also misbehave.

::

    with Slack() as slack:
        slack.answer = Answer(503)                 # from now on
        slack.next_answers += [RATE_LIMITED, OK]   # first, one for each request
        slack.refuse_connections(); ...; slack.accept_connections()
        (payload,) = slack.wait_for(1)             # requests answered with 200 ok
"""

from __future__ import annotations

import json
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Any, Literal

Payload = dict[str, Any]
# hang: reads the request and never answers. silent: does not read it. drip: sends the answer byte by byte.
# reset: RST before the body is read. late_reset: RST after it, when Slack may have the message. cut: half of the body.
Mode = Literal["normal", "hang", "silent", "drip", "reset", "late_reset", "cut"]
DRIP_INTERVAL = 0.01


@dataclass(frozen=True)
class Answer:
    """How the stand-in answers a request."""

    status: int = 200
    body: str = "ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    mode: Mode = "normal"

    @property
    def is_delivered(self) -> bool:
        """Whether a client may treat the message as delivered."""
        return self.status == 200 and self.body == "ok" and self.mode in ("normal", "drip")


OK = Answer()
RATE_LIMITED = Answer(429, "rate_limited", {"Retry-After": "1"})
WEBHOOK_REMOVED = Answer(404, "no_service")
REDIRECT = Answer(301, "", {"Location": "http://127.0.0.1:9/elsewhere"})
LOGIN_PAGE = Answer(200, "<!doctype html><title>Sign in</title>", {"Content-Type": "text/html"})


@dataclass(frozen=True)
class ReceivedRequest:
    """One request and its answer."""

    at: float
    payload: Payload
    headers: dict[str, str]
    answer: Answer


class Slack:
    """The Slack stand-in; a context manager.

    Attributes
    ----------
    url
        The webhook. `canary` is its secret part, which must not appear anywhere else.
    answer
        The answer once `next_answers` is empty.
    answer_by_payload
        May return an answer for a payload; None leaves it to `answer`.
    received
        All requests, oldest first.
    """

    def __init__(self, answer: Answer = OK) -> None:
        self.answer = answer
        self.next_answers: deque[Answer] = deque()
        self.answer_by_payload: Callable[[Payload], Answer | None] = lambda payload: None
        self.received: list[ReceivedRequest] = []
        self._delivered: list[ReceivedRequest] = []
        self.canary = f"canary{secrets.token_hex(12)}"
        self.path = f"/services/T0000TEST/B0000TEST/{self.canary}"
        self._changed = Condition()
        self._stopped = Event()
        self._connections: set[socket.socket] = set()
        self._listener = _bound(0)
        self._port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}{self.path}"

    def __enter__(self) -> Slack:
        self.accept_connections()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        _close(self._listener)
        with self._changed:
            for connection in list(self._connections):
                _close(connection)

    def refuse_connections(self) -> None:
        """Refuse connections and keep the port."""
        _close(self._listener)
        self._listener = _bound(self._port)

    def accept_connections(self) -> None:
        """Accept connections, on the same port as before."""
        self._listener.listen(64)
        Thread(target=self._take, args=(self._listener,), name="slack", daemon=True).start()

    def wait_for(self, wanted: int | Callable[[list[Payload]], object], seconds: float = 10.0) -> list[Payload]:
        """Wait until `wanted` messages are delivered, or `wanted` returns True for them. Return all of them.

        Raises
        ------
        AssertionError
            If that takes longer than `seconds`.
        """

        def enough() -> bool:
            return len(self.delivered) >= wanted if isinstance(wanted, int) else bool(wanted(self.payloads))

        with self._changed:
            if not self._changed.wait_for(enough, seconds):
                texts = [payload.get("text") for payload in self.payloads]
                raise AssertionError(
                    f"not delivered within {seconds:g} s; {len(self.received)} requests arrived, delivered: {texts}"
                )
            return self.payloads

    @property
    def delivered(self) -> list[ReceivedRequest]:
        """The requests answered with 200 ``ok``, oldest first. A client that has its answer is in this list."""
        with self._changed:
            return list(self._delivered)

    @property
    def payloads(self) -> list[Payload]:
        """The payloads of `delivered`."""
        return [request.payload for request in self.delivered]

    # Connections, one thread each

    def _take(self, listener: socket.socket) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._changed:
                self._connections.add(connection)
            Thread(target=self._serve, args=(connection,), name="slack-connection", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            self._converse(connection)
        except OSError:
            # The client disconnected, or the test is over.
            pass
        finally:
            with self._changed:
                self._connections.discard(connection)
            _close(connection)

    def _converse(self, connection: socket.socket) -> None:
        with self._changed:
            answer = self.next_answers.popleft() if self.next_answers else self.answer
        if answer.mode == "silent":
            self._stopped.wait()
            return
        head, rest = _read_head(connection)
        line, *lines = head.split("\r\n")
        headers = {name.title(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
        if answer.mode == "reset":
            self._note(ReceivedRequest(time.time(), {}, headers, answer))
            _reset(connection)
            return
        body = _read_body(connection, rest, int(headers.get("Content-Length", "0")))
        if line.split()[1] != self.path:
            answer = WEBHOOK_REMOVED
        payload = _json(body)
        answer = self.answer_by_payload(payload) or answer
        request = ReceivedRequest(time.time(), payload, headers, answer)
        self._note(request)
        if answer.mode == "late_reset":
            _reset(connection)
        elif answer.mode == "hang":
            while connection.recv(1):
                pass
        elif answer.is_delivered and answer.mode == "normal":
            # Under the lock: the client must not have its answer before `delivered` holds the request.
            with self._changed:
                _send(connection, answer, self._stopped)
                self._delivered.append(request)
                self._changed.notify_all()
        else:
            _send(connection, answer, self._stopped)
            if answer.is_delivered:
                with self._changed:
                    self._delivered.append(request)
                    self._changed.notify_all()

    def _note(self, request: ReceivedRequest) -> None:
        with self._changed:
            self.received.append(request)
            self._changed.notify_all()


def _bound(port: int) -> socket.socket:
    """Return a socket that holds the port without listening, so connections are refused."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _close(connection: socket.socket) -> None:
    """Close the socket, and wake threads that wait on it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()


def _reset(connection: socket.socket) -> None:
    """Close with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _read_head(connection: socket.socket) -> tuple[str, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionResetError("the client disconnected during the request")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.decode("latin-1"), rest


def _read_body(connection: socket.socket, body: bytes, length: int) -> bytes:
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionResetError("the client disconnected during the request")
        body += piece
    return body


def _json(body: bytes) -> Payload:
    try:
        value = json.loads(body)
    except ValueError:
        return {"not json": body.decode("latin-1")}
    return value if isinstance(value, dict) else {"not an object": value}


def _send(connection: socket.socket, answer: Answer, stopped: Event) -> None:
    body = answer.body.encode()
    headers = {"Content-Type": "text/plain", **answer.headers, "Content-Length": str(len(body)), "Connection": "close"}
    phrase = HTTPStatus(answer.status).phrase
    head = f"HTTP/1.1 {answer.status} {phrase}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers.items()) + "\r\n"
    data = head.encode("latin-1") + body
    if answer.mode == "cut":
        data = data[: len(data) - (len(body) + 1) // 2]
    if answer.mode != "drip":
        connection.sendall(data)
        return
    for byte in data:
        connection.sendall(bytes([byte]))
        if stopped.wait(DRIP_INTERVAL):
            return
