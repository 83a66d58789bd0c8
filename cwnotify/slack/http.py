"""One attempt to hand Slack a message, in bounded time.

No exception's text is ever kept, since those of requests and urllib3 hold the URL.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cwnotify.alerts.messages.block_kit import Payload
from cwnotify.settings import Secret
from cwnotify.slack.retry_policy import SlackReply

if TYPE_CHECKING:
    import requests

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 10.0
# A server that sends a byte now and then would never run into the time for one read.
TOTAL_TIMEOUT = 40.0
MAX_BODY_BYTES = 512
_ONCE: Any = {"timeout": (CONNECT_TIMEOUT, READ_TIMEOUT), "allow_redirects": False, "stream": True}


def post_to_slack(webhook: Secret, payload: Payload, seconds: float = TOTAL_TIMEOUT) -> SlackReply:
    """Make one attempt. Never raises, never follows a redirect, and tells nothing of the URL.

    Parameters
    ----------
    seconds
        How long the attempt may take, from the name's look-up to the reply's end.
    """
    line = _Line()
    alarm = threading.Timer(seconds, line.cut)
    alarm.daemon = True
    try:
        alarm.start()
        with _session() as session:
            session.mount("http://", adapter := _adapter(line))
            session.mount("https://", adapter)
            with session.post(webhook.reveal(), json=payload, **_ONCE) as response:
                body = _read(response.raw)
        reply = SlackReply(
            response.status_code, body.decode("utf-8", "replace"), response.headers.get("Retry-After", "")
        )
    except Exception as error:
        reply = SlackReply(error=_trouble(error))
    finally:
        alarm.cancel()
    return SlackReply(error=f"no whole answer within {seconds:g} s") if line.is_cut else reply


def find_connection_problem(webhook: Secret) -> str:
    """What keeps us from the webhook's host; empty if it answers. Nothing of the webhook but its host is used."""
    parts = urlsplit(webhook.reveal())
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    try:
        with _session() as session:
            session.head(f"{parts.scheme}://{host}{port}/", **_ONCE).close()
    except Exception as error:
        return _trouble(error)
    return ""


def _session() -> requests.Session:
    """A session that takes proxies and certificates from the environment, but no password from a ``.netrc``."""
    import requests

    session = requests.Session()
    session.auth = _without_password
    session.headers["Accept-Encoding"] = "identity"
    return session


def _read(raw: Any) -> bytes:
    """The beginning of a reply's body; raises if the body was cut off, which shows only at a further read.

    It is never unpacked: urllib3 before 2.6 unpacks all of a small reply, which can be gigabytes.
    """
    body = b""
    while len(body) < MAX_BODY_BYTES and (piece := raw.read(MAX_BODY_BYTES - len(body), decode_content=False)):
        body += piece
    return body


def _without_password(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # With none at all, requests looks into ~/.netrc, whose default entry is for any host.
    return request


class _Line:
    """The connection of one attempt, which another thread may cut."""

    def __init__(self) -> None:
        self.is_cut = False
        self._sockets: list[socket.socket] = []

    def hold(self, connection: socket.socket) -> socket.socket:
        """Note a connection."""
        self._sockets.append(connection)
        if self.is_cut:
            self.cut()
        return connection

    def cut(self) -> None:
        """Wake whoever reads or writes; nothing comes through any more."""
        self.is_cut = True
        for connection in self._sockets:
            try:
                # By its number, for TLS may have taken the object over.
                with socket.socket(fileno=os.dup(connection.fileno())) as same:
                    same.shutdown(socket.SHUT_RDWR)
            except (OSError, ValueError):
                # It has ended by itself.
                continue


def _adapter(line: _Line) -> Any:
    """A transport of requests' whose connections `line` holds."""
    import urllib3.connection
    from requests.adapters import HTTPAdapter

    class Plain(urllib3.connection.HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return line.hold(super()._new_conn())

    class Tls(urllib3.connection.HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return line.hold(super()._new_conn())

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


def _trouble(error: BaseException) -> str:
    """What kept the reply away, from the exceptions' types alone."""
    import requests
    import urllib3

    chain: list[BaseException] = []
    todo: list[object] = [error]
    while todo and len(chain) < 20:
        link = todo.pop()
        if isinstance(link, BaseException) and link not in chain:
            chain.append(link)
            todo += [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
    signs: list[tuple[type | tuple[type, ...], str]] = [
        ((requests.exceptions.ProxyError, urllib3.exceptions.ProxyError), "the proxy did not let it through"),
        (requests.exceptions.SSLError, "TLS failed; is the certificate one that this machine trusts?"),
        (urllib3.exceptions.NameResolutionError, "its name could not be resolved"),
        (ConnectionRefusedError, "the connection was refused"),
        (requests.exceptions.ConnectTimeout, f"no connection within {CONNECT_TIMEOUT:.0f} s"),
        ((TimeoutError, requests.exceptions.Timeout, urllib3.exceptions.TimeoutError), "no answer in time"),
        ((ConnectionResetError, BrokenPipeError), "the connection was reset"),
        (requests.exceptions.ConnectionError, "the connection broke"),
        (requests.exceptions.InvalidSchema, "the proxy is of a kind that is not known; for SOCKS: pip install pysocks"),
        ((requests.exceptions.InvalidURL, UnicodeError), "the webhook is no valid URL"),
    ]
    for kind, words in signs:
        if any(isinstance(link, kind) for link in chain):
            return words
    return type(error).__name__
