"""An EC2 instance metadata service, version 2: a real HTTP server that requires a token."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType

IDENTITY_DOCUMENT = {
    "instanceId": "i-0abc12f9d8e7a6b54",
    "instanceType": "g5.xlarge",
    "availabilityZone": "ap-northeast-2a",
    "region": "ap-northeast-2",
    "accountId": "123456789012",
}
IDENTITY_DOCUMENT_PATH = "/latest/dynamic/instance-identity/document"
LIFE_CYCLE_PATH = "/latest/meta-data/instance-life-cycle"
INSTANCE_ACTION_PATH = "/latest/meta-data/spot/instance-action"
REBALANCE_PATH = "/latest/meta-data/events/recommendations/rebalance"


class Imds:
    """The service; a context manager. `responses` has the text of each path. Other paths return 404.

    Parameters
    ----------
    life
        The life cycle of the instance: ``on-demand`` or ``spot``.
    delay
        Seconds until it returns a token.
    """

    def __init__(self, life: str = "on-demand", delay: float = 0.0) -> None:
        self._delay, self._stopped = delay, Event()
        self.responses = {IDENTITY_DOCUMENT_PATH: json.dumps(IDENTITY_DOCUMENT), LIFE_CYCLE_PATH: life}
        self._token = secrets.token_hex(16)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}"}

    def __enter__(self) -> Imds:
        Thread(target=self._server.serve_forever, args=(0.02,), name="imds", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def announce_interruption(self, action: str = "terminate") -> None:
        """Announce that AWS reclaims the instance in two minutes."""
        self.responses[INSTANCE_ACTION_PATH] = json.dumps({"action": action, "time": _aws_time_in(120)})

    def announce_rebalance(self) -> None:
        """Announce that the risk of an interruption is high."""
        self.responses[REBALANCE_PATH] = json.dumps({"noticeTime": _aws_time_in(0)})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        imds = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                if imds._stopped.wait(imds._delay):
                    # The client has left. A response would print a traceback after pytest's last line.
                    return
                has_lifetime = "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
                is_valid = self.path == "/latest/api/token" and has_lifetime
                self._respond(200 if is_valid else 400, imds._token if is_valid else "")

            def do_GET(self) -> None:
                if self.headers.get("X-aws-ec2-metadata-token") != imds._token:
                    self._respond(401, "")
                else:
                    text = imds.responses.get(self.path)
                    self._respond(200 if text is not None else 404, text or "")

            def _respond(self, status: int, body: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def _aws_time_in(seconds: float) -> str:
    """Return the time `seconds` from now in AWS's format. cwnotify would report an older time as late."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
