"""Slack on this machine: takes what a webhook takes, answers what Slack answers, shows it as Slack does.

Standard library and `cwnotify.preview` only. Listens on 127.0.0.1 alone, which every user of the machine can reach. So
the webhook's path is a secret, as Slack's own is, and so is the page's: neither is in any log. Requests are refused
unless they name this very server as their host, lest a stranger's web page read it by pointing its own name at
127.0.0.1 (DNS rebinding), and when a page of another site sent them.

The page has its token in the path and not in a cookie: a browser sends a cookie to every port of 127.0.0.1, and another
user may have one of them.
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

_MOST_BODY = 1 << 20
_PATIENCE = 10.0
_TITLE = "Slack on this machine"
_LEAD = "What your webhook receives, drawn as Slack draws it. Nothing here leaves this machine."
_ABOVE = (
    '<p class="status" id="status" role="status"></p>'
    '<noscript><p class="status">Reload this page to see what has arrived since.</p></noscript>'
)
_SCRIPT = """
const list = document.getElementById("messages"), status = document.getElementById("status");
let seen = list.children.length;
function say(words) { if (status.textContent !== words) status.textContent = words; }
async function look() {
  try {
    const news = await (await fetch(`messages?after=${seen}`)).json();
    for (const entry of news) list.insertAdjacentHTML("beforeend", entry);
    seen += news.length;
    say("New messages appear by themselves.");
  } catch {
    say("The stand-in has stopped. What had arrived stays here.");
  }
  setTimeout(look, 1000);
}
look();
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
    """A message that was accepted, and when (in this machine's time zone)."""

    payload: dict[str, Any]
    received_at: datetime


def _local_now() -> datetime:
    return datetime.now().astimezone()


class FakeSlack:
    """A local Slack for one webhook; a context manager.

    Parameters
    ----------
    port
        0 takes a free one.
    now
        The clock, with a time zone.

    Attributes
    ----------
    webhook_url
        Where to post. Its path is a secret.
    page_url
        Where a browser sees the messages arrive. Its path is a secret too, but not the webhook's.
    """

    def __init__(self, port: int = 0, now: Callable[[], datetime] = _local_now) -> None:
        self._now = now
        self._changed = Condition()
        self._messages: tuple[ReceivedMessage, ...] = ()
        self._refusals: tuple[WebhookResponse, ...] = ()
        self._path = f"/services/T{_random_id()}/B{_random_id()}/{secrets.token_urlsafe(18)}"
        self._server = _Server(("127.0.0.1", port), partial(_Handler, self))
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), name="slack-stand-in", daemon=True)
        self.page_path = f"/{secrets.token_urlsafe(18)}/"
        self._address = f"http://127.0.0.1:{self._server.server_port}"
        self.page_url = f"{self._address}{self.page_path}"
        self.webhook_url = f"{self._address}{self._path}"

    def __repr__(self) -> str:
        return f"<SlackStandIn at {self._address}>"

    def start(self) -> FakeSlack:
        """Begin to answer; once in a life."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering and free the port; the messages stay readable."""
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
        """Every message accepted so far, oldest first."""
        with self._changed:
            return self._messages

    @property
    def rejections(self) -> tuple[WebhookResponse, ...]:
        """Every answer but ``ok``, oldest first, each with the reason that Slack would keep to itself."""
        with self._changed:
            return self._refusals

    def wait_for_message(
        self, predicate: Callable[[ReceivedMessage], bool], deadline_seconds: float
    ) -> ReceivedMessage:
        """Wait for the first message of which `predicate` holds, whether it is here already or yet to come.

        Raises
        ------
        TimeoutError
            If none has come after so many seconds.
        """

        def first() -> ReceivedMessage | None:
            return next(filter(predicate, self._messages), None)

        with self._changed:
            found = self._changed.wait_for(first, deadline_seconds)
            if found is None:
                raise TimeoutError(
                    f"no such message within {deadline_seconds:g} s; "
                    f"{len(self._messages)} others came, {len(self._refusals)} were refused"
                )
            return found

    def handle_post(self, path: str, body: bytes) -> WebhookResponse:
        """What Slack answers to `body` posted to `path`; an accepted message is kept."""
        if not secrets.compare_digest(path.encode(), self._path.encode()):
            return WebhookResponse(HTTPStatus.NOT_FOUND, "no_service", "the path is not this webhook's")
        reply = respond_to_webhook(body)
        with self._changed:
            if reply.payload is None:
                self._refusals += (reply,)
            else:
                self._messages += (ReceivedMessage(reply.payload, self._now()),)
                self._changed.notify_all()
        return reply


def _random_id() -> str:
    """Ten letters and digits, as Slack's own ids have."""
    return secrets.token_hex(5).upper()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # with the library's 5, a burst of senders is reset

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in mid-request is no news, and a traceback would show the secret path."""


class _Handler(BaseHTTPRequestHandler):
    # One request a connection: none that was kept alive is answered after `stop`.
    protocol_version = "HTTP/1.0"
    server_version = "cwnotify-slack-stand-in"
    sys_version = ""
    timeout = _PATIENCE

    def __init__(self, slack: FakeSlack, *args: Any) -> None:
        self._slack = slack
        super().__init__(*args)

    def do_GET(self) -> None:
        """The page, and the messages that a page does not have yet."""
        if not self._is_asked_by_name():
            return
        parts = urlsplit(self.path)
        folder, _, name = parts.path.rpartition("/")
        if not secrets.compare_digest(f"{folder}/".encode(), self._slack.page_path.encode()):
            self._reply(HTTPStatus.FORBIDDEN, "the page's whole address is where this server was started")
        elif name == "":
            shown = [(message.payload, message.received_at) for message in self._slack.messages]
            self._reply(
                HTTPStatus.OK, render_page_html(shown, _TITLE, subtitle=_LEAD, html_above_messages=_ABOVE, script=_SCRIPT), "text/html"
            )
        elif name == "messages":
            news = self._slack.messages[_number(parse_qs(parts.query).get("after", ["0"])[0]) :]
            entries = [render_entry_html(message.payload, message.received_at) for message in news]
            self._reply(HTTPStatus.OK, json.dumps(entries), "application/json")
        else:
            self._reply(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        """The webhook."""
        if not self._is_asked_by_name():
            return
        length = _number(self.headers.get("Content-Length", ""))
        body = self.rfile.read(length) if length <= _MOST_BODY else b""
        reply = self._slack.handle_post(self.path, body)
        self._reply(reply.status, reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: a request's path may be the secret."""

    def _is_asked_by_name(self) -> bool:
        port = urlsplit(self._slack.page_url).port
        own = (f"127.0.0.1:{port}", f"localhost:{port}")
        if self.headers.get("Host", "").lower() not in own:
            self._reply(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to its own address alone")
            return False
        # Absent where no page is behind the request; "none" where a person typed the address or followed a link
        # from outside the browser.
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "none")
        if origin not in (None, *(f"http://{one}" for one in own)) or site not in ("none", "same-origin"):
            self._reply(HTTPStatus.FORBIDDEN, "this server answers no page but its own")
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


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
