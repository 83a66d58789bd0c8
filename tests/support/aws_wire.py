"""What boto3 and AWS say to each other on the wire, on 127.0.0.1: JSON for CloudWatch, forms and XML for EC2.

Of the protocols that CloudWatch has, the botocore of today picks JSON (`botocore.utils`, the list of protocols by
priority); that of some years ago would send forms, which this does not take.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

RequestParameters = Mapping[str, Any]


@dataclass(eq=False)
class Fault(Exception):  # noqa: N818  (it is AWS's, not a test's)
    """What AWS refuses a request with; `operation` is the only one that is refused, if it is said."""

    code: str
    message: str = ""
    status: int = 400
    operation: str = ""


@dataclass(eq=False)
class Hang(Exception):  # noqa: N818  (likewise)
    """The request is taken and never answered."""

    operation: str = ""


OperationHandler = Callable[[str, RequestParameters, str], Mapping[str, Any]]


class AwsServer:
    """The server; a context manager.

    Parameters
    ----------
    answer
        Called with an operation (``cloudwatch:GetMetricData``), what it was asked with, and the access key; gives what
        the operation answers with, or raises a `Fault` or `Hang`.
    """

    def __init__(self, answer: OperationHandler) -> None:
        self._stopped = stopped = Event()

        class Handler(_Handler):
            def answer(self, operation: str, asked: RequestParameters, key: str) -> Mapping[str, Any]:
                try:
                    return answer(operation, asked, key)
                except Hang:
                    stopped.wait()
                    raise

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> AwsServer:
        Thread(target=self._server.serve_forever, args=(0.05,), name="aws", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.socket.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes; without this the second one waits for the first one's acknowledgement.
    disable_nagle_algorithm = True

    def answer(self, operation: str, asked: RequestParameters, key: str) -> Mapping[str, Any]:
        raise NotImplementedError

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        found = re.search(r"Credential=([^/]*)/", self.headers.get("Authorization", ""))
        key = found[1] if found else ""
        try:
            if target := self.headers.get("X-Amz-Target"):
                self._speak_json(target, json.loads(body), key)
            else:
                self._speak_xml(dict(parse_qsl(body.decode())), key)
        except (Hang, OSError):
            self.close_connection = True

    def _speak_json(self, target: str, asked: RequestParameters, key: str) -> None:
        service, _, operation = target.partition(".")
        service = {"GraniteServiceVersion20100801": "cloudwatch", "AWSEvents": "events"}.get(service, service)
        try:
            told, status, more = self.answer(f"{service}:{operation}", asked, key), 200, {}
        except Fault as fault:
            told, status = {"__type": fault.code, "message": fault.message}, fault.status
            more = {"x-amzn-query-error": f"{fault.code};Sender"}
        self._reply(status, "application/x-amz-json-1.0", json.dumps(told), more)

    def _speak_xml(self, asked: RequestParameters, key: str) -> None:
        operation = asked.get("Action", "")
        service = "ec2" if asked.get("Version") == "2016-11-15" else "sns"
        try:
            told = self.answer(f"{service}:{operation}", asked, key)
            self._reply(200, "text/xml", f"<{operation}Response>{_xml(told)}</{operation}Response>")
        except Fault as fault:
            error = f"<Error>{_xml({'Code': fault.code, 'Message': fault.message})}</Error>"
            shown = f"<Response><Errors>{error}</Errors></Response>" if service == "ec2" else f"<R>{error}</R>"
            self._reply(fault.status, "text/xml", shown)

    def _reply(self, status: int, type: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": type, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def _xml(told: Any) -> str:
    if isinstance(told, Mapping):
        return "".join(f"<{key}>{_xml(value)}</{key}>" for key, value in told.items())
    if isinstance(told, list):
        return "".join(f"<item>{_xml(one)}</item>" for one in told)
    return escape(str(told))
