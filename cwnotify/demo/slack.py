"""A local stand-in for Slack: accepts what a webhook accepts, responds as Slack does and shows the messages.

Imports the standard library, `demo.slack_rules` and `preview`.

The server listens on 127.0.0.1, which every user of the machine can reach. Therefore the paths of the webhook and the
page are secrets and never logged. Requests must name this server as their host, because another site's page could
otherwise read it through its own host name (DNS rebinding). Requests from pages of other sites are rejected.

The page's token is in its path, not in a cookie, because browsers send a cookie to every port of 127.0.0.1, including
those of other users.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cwnotify.demo.slack_rules import WebhookResponse, respond_to_webhook
from cwnotify.preview import render_entry_html, render_page_html

MAX_REQUEST_BYTES = 1 << 20
_REQUEST_TIMEOUT = 10.0  # seconds
_TITLE = "Slack on this machine"
_SUBTITLE = "The messages your webhook receives, as they look in Slack. Nothing leaves this machine."
_STATUS_HTML = (
    '<p class="status" id="status" role="status"></p>'
    '<noscript><p class="status">Reload this page to see new messages.</p></noscript>'
)
_SCRIPT = """
const list = document.getElementById("messages"), status = document.getElementById("status");
let count = list.children.length;
function setStatus(text) { if (status.textContent !== text) status.textContent = text; }
async function poll() {
  try {
    const entries = await (await fetch(`messages?after=${count}`)).json();
    for (const entry of entries) list.insertAdjacentHTML("beforeend", entry);
    count += entries.length;
    setStatus("New messages appear automatically.");
  } catch {
    setStatus("The server has stopped. The messages that arrived remain here.");
  }
  setTimeout(poll, 1000);
}
poll();
"""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class ReceivedMessage:
    """An accepted message and when it arrived (in this machine's time zone)."""

    payload: dict[str, Any]
    received_at: datetime


def _local_now() -> datetime:
    return datetime.now().astimezone()


class FakeSlack:
    """A local Slack with one webhook. A context manager.

    Parameters
    ----------
    port
        The port to listen on; 0 selects a free one.
    now
        Returns the current time with a time zone.

    Attributes
    ----------
    webhook_url
        Where to post messages. Its path is a secret.
    page_url
        The page that shows the messages in a browser. Its path is another secret.
    """

    def __init__(self, port: int = 0, now: Callable[[], datetime] = _local_now) -> None:
        self._now = now
        self._changed = Condition()
        self._messages: tuple[ReceivedMessage, ...] = ()
        self._rejections: tuple[WebhookResponse, ...] = ()
        self._webhook_path = f"/services/T{_random_id()}/B{_random_id()}/{secrets.token_urlsafe(18)}"
        self._server = _Server(("127.0.0.1", port), partial(_Handler, self))
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), name="slack-stand-in", daemon=True)
        self.page_path = f"/{secrets.token_urlsafe(18)}/"
        self._address = f"http://127.0.0.1:{self._server.server_port}"
        self.page_url = f"{self._address}{self.page_path}"
        self.webhook_url = f"{self._address}{self._webhook_path}"

    def __repr__(self) -> str:
        return f"<FakeSlack at {self._address}>"

    def start(self) -> FakeSlack:
        """Start to answer requests. Call it only once."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering and free the port. The messages remain readable."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> FakeSlack:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def messages(self) -> tuple[ReceivedMessage, ...]:
        """All accepted messages, oldest first."""
        with self._changed:
            return self._messages

    @property
    def rejections(self) -> tuple[WebhookResponse, ...]:
        """All responses except ``ok``, oldest first, each with a reason that Slack itself does not send."""
        with self._changed:
            return self._rejections

    def wait_for_message(
        self, predicate: Callable[[ReceivedMessage], bool], deadline_seconds: float
    ) -> ReceivedMessage:
        """Return the first message that matches `predicate`, and wait for it if it has not arrived.

        Raises
        ------
        TimeoutError
            If none arrives within `deadline_seconds`.
        """

        def find_first() -> ReceivedMessage | None:
            return next(filter(predicate, self._messages), None)

        with self._changed:
            message = self._changed.wait_for(find_first, deadline_seconds)
            if message is None:
                raise TimeoutError(
                    f"no matching message within {deadline_seconds:g} s; "
                    f"{len(self._messages)} others arrived, {len(self._rejections)} were rejected"
                )
            return message

    def handle_post(self, path: str, body: bytes) -> WebhookResponse:
        """Return Slack's response to `body` posted to `path`, and store an accepted message."""
        if not secrets.compare_digest(path.encode(), self._webhook_path.encode()):
            return WebhookResponse(HTTPStatus.NOT_FOUND, "no_service", "the path is not the webhook's")
        reply = respond_to_webhook(body)
        with self._changed:
            if reply.payload is None:
                self._rejections += (reply,)
            else:
                self._messages += (ReceivedMessage(reply.payload, self._now()),)
                self._changed.notify_all()
        return reply


def _random_id() -> str:
    """Return ten letters and digits, the format of Slack's IDs."""
    return secrets.token_hex(5).upper()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # with the default of 5, the kernel resets bursts of connections

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect. A traceback would show the secret path."""


class _Handler(BaseHTTPRequestHandler):
    # HTTP/1.0 has no keep-alive, so no connection outlives `stop`.
    protocol_version = "HTTP/1.0"
    server_version = "cwnotify-slack-stand-in"
    sys_version = ""
    timeout = _REQUEST_TIMEOUT

    def __init__(self, slack: FakeSlack, *args: Any) -> None:
        self._slack = slack
        super().__init__(*args)

    def do_GET(self) -> None:
        """Send the page, or the messages that a page does not have yet."""
        if not self._is_same_origin():
            return
        parts = urlsplit(self.path)
        folder, _, name = parts.path.rpartition("/")
        if not secrets.compare_digest(f"{folder}/".encode(), self._slack.page_path.encode()):
            self._reply(HTTPStatus.FORBIDDEN, "the full address of this page was printed when the server started")
        elif name == "":
            messages = [(message.payload, message.received_at) for message in self._slack.messages]
            page = render_page_html(
                messages, _TITLE, subtitle=_SUBTITLE, html_above_messages=_STATUS_HTML, script=_SCRIPT
            )
            self._reply(HTTPStatus.OK, page, "text/html")
        elif name == "messages":
            count = _parse_count(parse_qs(parts.query).get("after", ["0"])[0])
            new_messages = self._slack.messages[count:]
            entries = [render_entry_html(message.payload, message.received_at) for message in new_messages]
            self._reply(HTTPStatus.OK, json.dumps(entries), "application/json")
        else:
            self._reply(HTTPStatus.NOT_FOUND, "not found")

    def do_POST(self) -> None:
        """Handle a post to the webhook."""
        if not self._is_same_origin():
            return
        length = _parse_count(self.headers.get("Content-Length", ""))
        body = self.rfile.read(length) if length <= MAX_REQUEST_BYTES else b""
        reply = self._slack.handle_post(self.path, body)
        self._reply(reply.status, reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing, because a request's path may be a secret."""

    def _is_same_origin(self) -> bool:
        port = urlsplit(self._slack.page_url).port
        hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        if self.headers.get("Host", "").lower() not in hosts:
            self._reply(HTTPStatus.MISDIRECTED_REQUEST, "the Host header is not this server's address")
            return False
        # Requests without a page lack both headers. Sec-Fetch-Site is "none" if the user typed the address or followed
        # a link from another program.
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "none")
        if origin not in (None, *(f"http://{host}" for host in hosts)) or site not in ("none", "same-origin"):
            self._reply(HTTPStatus.FORBIDDEN, "requests from pages of other sites are not accepted")
            return False
        return True

    def _reply(self, status: int, text: str, kind: str = "text/plain") -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _parse_count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
