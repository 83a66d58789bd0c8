"""The wire protocols of AWS on 127.0.0.1: JSON for CloudWatch, forms and XML for EC2 and SNS.

Current versions of botocore use JSON for CloudWatch (see the list of protocols in `botocore.utils`). Forms, which older
versions send, are not supported.
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
class Fault(Exception):  # noqa: N818  (an error of AWS, not of a test)
    """An error response. If `operation` is set, only that operation fails."""

    code: str
    message: str = ""
    status: int = 400
    operation: str = ""


@dataclass(eq=False)
class Hang(Exception):  # noqa: N818  (as above)
    """The request is read and never answered."""

    operation: str = ""


OperationHandler = Callable[[str, RequestParameters, str], Mapping[str, Any]]


class AwsServer:
    """The server; a context manager.

    Parameters
    ----------
    answer
        Called with an operation (``cloudwatch:GetMetricData``), its parameters and the access key. Returns the
        response, or raises `Fault` or `Hang`.
    """

    def __init__(self, answer: OperationHandler) -> None:
        self._stopped = stopped = Event()

        class Handler(_Handler):
            def answer(self, operation: str, parameters: RequestParameters, key: str) -> Mapping[str, Any]:
                try:
                    return answer(operation, parameters, key)
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
    # Head and body are two writes. Without this, the second waits for the acknowledgement of the first.
    disable_nagle_algorithm = True

    def answer(self, operation: str, parameters: RequestParameters, key: str) -> Mapping[str, Any]:
        raise NotImplementedError

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        credential = re.search(r"Credential=([^/]*)/", self.headers.get("Authorization", ""))
        key = credential[1] if credential else ""
        try:
            if target := self.headers.get("X-Amz-Target"):
                self._answer_json(target, json.loads(body), key)
            else:
                self._answer_xml(dict(parse_qsl(body.decode())), key)
        except (Hang, OSError):
            self.close_connection = True

    def _answer_json(self, target: str, parameters: RequestParameters, key: str) -> None:
        service, _, operation = target.partition(".")
        service = {"GraniteServiceVersion20100801": "cloudwatch", "AWSEvents": "events"}.get(service, service)
        try:
            response, status, headers = self.answer(f"{service}:{operation}", parameters, key), 200, {}
        except Fault as fault:
            response, status = {"__type": fault.code, "message": fault.message}, fault.status
            headers = {"x-amzn-query-error": f"{fault.code};Sender"}
        self._reply(status, "application/x-amz-json-1.0", json.dumps(response), headers)

    def _answer_xml(self, parameters: RequestParameters, key: str) -> None:
        operation = parameters.get("Action", "")
        service = "ec2" if parameters.get("Version") == "2016-11-15" else "sns"
        try:
            response = self.answer(f"{service}:{operation}", parameters, key)
            self._reply(200, "text/xml", f"<{operation}Response>{_xml(response)}</{operation}Response>")
        except Fault as fault:
            error = f"<Error>{_xml({'Code': fault.code, 'Message': fault.message})}</Error>"
            body = f"<Response><Errors>{error}</Errors></Response>" if service == "ec2" else f"<R>{error}</R>"
            self._reply(fault.status, "text/xml", body)

    def _reply(self, status: int, type: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": type, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def _xml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(f"<{key}>{_xml(item)}</{key}>" for key, item in value.items())
    if isinstance(value, list):
        return "".join(f"<item>{_xml(item)}</item>" for item in value)
    return escape(str(value))
