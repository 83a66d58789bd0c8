"""Make one attempt to post to Slack with requests, in bounded time.

Exception texts are never kept, because those of requests and urllib3 contain the URL.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cwnotify.alerts.messages.block_kit import Payload
from cwnotify.settings import Secret
from cwnotify.slack.retry_policy import SlackReply, explain_connection_error

if TYPE_CHECKING:
    import requests

CONNECT_TIMEOUT = 5.0  # seconds
READ_TIMEOUT = 10.0  # seconds, for one read
# A server that sends a byte now and then never exceeds the timeout of one read.
TOTAL_TIMEOUT = 40.0  # seconds
MAX_BODY_BYTES = 512
_REQUEST_OPTIONS: Any = {"timeout": (CONNECT_TIMEOUT, READ_TIMEOUT), "allow_redirects": False, "stream": True}


def post_to_slack(webhook: Secret, payload: Payload, seconds: float = TOTAL_TIMEOUT) -> SlackReply:
    """Make one attempt. Never raises, never follows a redirect, never reveals the URL.

    Parameters
    ----------
    seconds
        Limit of the whole attempt, from the name lookup to the end of the reply.
    """
    connections = _AbortableConnections()
    timer = threading.Timer(seconds, connections.abort)
    timer.daemon = True
    try:
        timer.start()
        with _make_session() as session:
            session.mount("http://", adapter := _make_adapter(connections))
            session.mount("https://", adapter)
            with session.post(webhook.reveal(), json=payload, **_REQUEST_OPTIONS) as response:
                body = _read_body(response.raw)
        reply = SlackReply(
            response.status_code, body.decode("utf-8", "replace"), response.headers.get("Retry-After", "")
        )
    except Exception as error:
        reply = SlackReply(error=explain_connection_error(error))
    finally:
        timer.cancel()
    return SlackReply(error=f"no complete answer within {seconds:g} s") if connections.is_aborted else reply


def find_connection_problem(webhook: Secret) -> str:
    """Return why the webhook's host cannot be reached; empty if it answers. Sends nothing of the webhook's path."""
    parts = urlsplit(webhook.reveal())
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    try:
        with _make_session() as session:
            session.head(f"{parts.scheme}://{host}{port}/", **_REQUEST_OPTIONS).close()
    except ImportError:
        # A missing module is not a problem of the network.
        raise
    except Exception as error:
        return explain_connection_error(error)
    return ""


def _make_session() -> requests.Session:
    """Return a session that uses the environment's proxies and certificates, but no password from a ``.netrc``."""
    import requests

    session = requests.Session()
    session.auth = _leave_unauthenticated
    session.headers["Accept-Encoding"] = "identity"
    return session


def _read_body(raw: Any) -> bytes:
    """Return the beginning of a reply's body. Raises if the body is incomplete, which only a further read shows.

    Nothing is decompressed: urllib3 before 2.6 decompresses all of a small reply, which can be gigabytes.
    """
    body = b""
    while len(body) < MAX_BODY_BYTES and (piece := raw.read(MAX_BODY_BYTES - len(body), decode_content=False)):
        body += piece
    return body


def _leave_unauthenticated(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # Without an auth object, requests reads ~/.netrc, whose default entry applies to every host.
    return request


class _AbortableConnections:
    """The connections of one attempt, which another thread may abort."""

    def __init__(self) -> None:
        self.is_aborted = False
        self._sockets: list[socket.socket] = []

    def add(self, connection: socket.socket) -> socket.socket:
        """Track a connection."""
        self._sockets.append(connection)
        if self.is_aborted:
            self.abort()
        return connection

    def abort(self) -> None:
        """Shut all connections down, which wakes the thread that reads or writes."""
        self.is_aborted = True
        for connection in self._sockets:
            try:
                # By descriptor, because TLS may have detached the socket object.
                with socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
                    duplicate.shutdown(socket.SHUT_RDWR)
            except (OSError, ValueError):
                # It is closed already.
                continue


def _make_adapter(connections: _AbortableConnections) -> Any:
    """Return a requests transport whose sockets `connections` tracks."""
    import urllib3.connection
    from requests.adapters import HTTPAdapter

    class Plain(urllib3.connection.HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connections.add(super()._new_conn())

    class Tls(urllib3.connection.HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connections.add(super()._new_conn())

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Tls

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}

        def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
            manager = super().proxy_manager_for(*args, **kwargs)
            manager.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}
            return manager

    return Adapter()
