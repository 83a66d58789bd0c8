"""Make one attempt to post within a deadline, without requests, which AWS Lambda does not have.

Imports the standard library and `slack.retry_policy` only.
"""

from __future__ import annotations

import http.client  # urllib.request alone would double the import time of the Lambda function
import io
import json
import os
import socket
import time
import urllib.parse

from cwnotify.slack.retry_policy import SlackReply, explain_connection_error

TYPE_CHECKING = False  # the import of `typing` takes 5 ms
if TYPE_CHECKING:
    from typing import Any

    from cwnotify.alerts.messages.block_kit import Payload

MIN_ATTEMPT_SECONDS = 0.25
MAX_BODY_BYTES = 512
# Bytes sent under one timeout: a TLS record.
_CHUNK_SIZE = 16_384


def post_with_deadline(url: str, payload: Payload, seconds: float) -> SlackReply:
    """Make one attempt that ends within `seconds`. Never raises, never follows a redirect, never reveals the URL."""
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "cwnotify"}
    try:
        parts = urllib.parse.urlsplit(url)
        connection = make_connection(parts, time.monotonic() + max(seconds, MIN_ATTEMPT_SECONDS))
        try:
            connection.connect()
            connection.request("POST", parts._replace(scheme="", netloc="").geturl(), json.dumps(payload), headers)
            response = connection.getresponse()
            body = response.read(MAX_BODY_BYTES).decode(errors="replace")
            return SlackReply(response.status, body, response.getheader("Retry-After", ""))
        finally:
            connection.close()
    except Exception as error:
        return SlackReply(error=explain_connection_error(error))


def make_connection(parts: urllib.parse.SplitResult, deadline: float) -> http.client.HTTPConnection:
    """Return a connection to the URL's host, or its proxy, that ends at `deadline` (monotonic seconds)."""
    host = parts.hostname or ""
    proxy = None if parts.scheme == "http" else _find_proxy(host)
    base = http.client.HTTPConnection if parts.scheme == "http" else http.client.HTTPSConnection
    connection_class: Any = type("DeadlineConnection", (_DeadlineMixin, base), {"deadline": deadline})
    connection: http.client.HTTPConnection
    if proxy is None:
        connection = connection_class(host, parts.port)
    else:
        connection = connection_class(proxy.hostname or "", proxy.port or 80)
        connection.set_tunnel(host, parts.port, _make_proxy_headers(proxy))
    # http.client sets an instance attribute of this name, which hides the method.
    connection._create_connection = _DeadlineMixin._create_connection.__get__(connection)  # type: ignore[attr-defined]
    return connection


class _DeadlineMixin:
    """Make an `http.client` connection end at `deadline`, however slowly the server answers or reads.

    A socket's timeout limits one operation; a server that sends a byte a second never exceeds it.
    The lookup of the host name is not limited; the resolver has its own timeout.
    """

    deadline: float
    sock: Any

    def seconds_left(self) -> float:
        """Return the seconds until the deadline, for a socket's timeout."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def _create_connection(self, address: tuple[str, int], *_: object) -> socket.socket:
        """Connect to the host's first address that answers. Each address gets its share of the time."""
        candidates, last_error = socket.getaddrinfo(*address, type=socket.SOCK_STREAM), OSError()
        for index, (family, kind, protocol, _name, candidate) in enumerate(candidates):
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(self.seconds_left() / (len(candidates) - index))
                connection.connect(candidate)
                connection.settimeout(self.seconds_left())
                return connection
            except OSError as error:
                last_error = error
                connection.close()
        raise last_error

    def send(self, data: Any) -> None:
        """Send `data` in chunks, because TLS applies the socket's timeout to each record."""
        for start in range(0, len(data), _CHUNK_SIZE):
            self.sock.settimeout(self.seconds_left())
            self.sock.sendall(data[start : start + _CHUNK_SIZE])

    def response_class(self, sock: Any, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        """Return a response that reads until the deadline."""
        response = http.client.HTTPResponse(sock, *args, **kwargs)
        response.fp = io.BufferedReader(_DeadlineReader(self, sock, response.fp.detach()))
        return response


class _DeadlineReader(io.RawIOBase):
    def __init__(self, connection: _DeadlineMixin, sock: Any, raw: Any) -> None:
        self._connection, self._sock, self._raw = connection, sock, raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._connection.seconds_left())
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        # The socket closes after its readers.
        self._raw.close()
        super().close()


def _find_proxy(host: str) -> urllib.parse.SplitResult | None:
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    if not proxy:
        return None
    from urllib.request import proxy_bypass

    return None if proxy_bypass(host) else urllib.parse.urlsplit(proxy if "://" in proxy else f"//{proxy}")


def _make_proxy_headers(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    import base64

    credentials = ":".join(map(urllib.parse.unquote, (proxy.username, proxy.password or "")))
    return {"Proxy-Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}
