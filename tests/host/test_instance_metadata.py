"""Instance metadata, read from a real HTTP server that plays the metadata service."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from cwnotify.alerts.events.alarms import InstanceNotice, NoticeKind
from cwnotify.aws.models import InstanceIdentity
from cwnotify.host.instance_metadata import fetch_instance_id, fetch_instance_identity, fetch_spot_notices

DOCUMENT = {
    "instanceId": "i-0abc1234def567890",
    "instanceType": "g5.xlarge",
    "availabilityZone": "ap-northeast-2a",
    "region": "ap-northeast-2",
    "accountId": "123456789012",
    "pendingTime": "2026-11-22T10:00:00Z",
}
IDENTITY = InstanceIdentity(
    "i-0abc1234def567890", "g5.xlarge", "ap-northeast-2a", "ap-northeast-2", "123456789012", is_spot=True
)
SPOT = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"


class Metadata:
    """The metadata service, version 2 only. A request whose path or method equals `hangs` gets no response."""

    def __init__(self) -> None:
        self.pages = {
            "/latest/dynamic/instance-identity/document": json.dumps(DOCUMENT),
            "/latest/meta-data/instance-life-cycle": "spot",
            "/latest/meta-data/instance-id": DOCUMENT["instanceId"],
        }
        self.hangs = ""
        self.requested_paths: list[str] = []
        self.stopped = Event()
        metadata = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._reply("token" if self.headers["X-aws-ec2-metadata-token-ttl-seconds"] else None)

            def do_GET(self) -> None:
                has_token = self.headers["X-aws-ec2-metadata-token"] == "token"
                self._reply(metadata.pages.get(self.path) if has_token else None)

            def _reply(self, text: str | None) -> None:
                metadata.requested_paths.append(self.path)
                if metadata.hangs in (self.path, self.command):
                    metadata.stopped.wait()
                    return
                self.send_response(404 if text is None else 200)
                self.end_headers()
                self.wfile.write((text or "").encode())

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{self.server.server_port}/"}


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    service = Metadata()
    Thread(target=service.server.serve_forever, args=(0.05,), daemon=True).start()
    yield service
    service.stopped.set()
    service.server.shutdown()
    service.server.socket.close()


def test_identity_is_read(metadata: Metadata) -> None:
    assert fetch_instance_identity(metadata.environ) == IDENTITY
    assert fetch_instance_id(metadata.environ) == IDENTITY.instance_id


@pytest.mark.parametrize("life_cycle", [None, "on-demand", "scheduled"])
def test_other_life_cycle_is_no_spot_instance(metadata: Metadata, life_cycle: str | None) -> None:
    path = "/latest/meta-data/instance-life-cycle"
    del metadata.pages[path]
    if life_cycle:
        metadata.pages[path] = life_cycle

    identity = fetch_instance_identity(metadata.environ)

    assert (identity.instance_id, identity.is_spot) == (IDENTITY.instance_id, False)


def test_disabled_service_gets_no_request(metadata: Metadata) -> None:
    environ = {**metadata.environ, "AWS_EC2_METADATA_DISABLED": "True"}

    assert fetch_instance_identity(environ) == InstanceIdentity()
    assert fetch_instance_id(environ) == ""
    assert fetch_spot_notices(IDENTITY, environ) == ()
    assert metadata.requested_paths == []


def test_requests_ignore_proxy_variables(metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert fetch_instance_identity(metadata.environ) == IDENTITY


@pytest.mark.parametrize("document", ["", "<html>", "[]", "{}", '{"instanceId": null}', "\x00"])
def test_invalid_identity_document_gives_empty_identity(metadata: Metadata, document: str) -> None:
    metadata.pages["/latest/dynamic/instance-identity/document"] = document

    assert fetch_instance_identity(metadata.environ) == InstanceIdentity()


@pytest.mark.parametrize(
    ("hangs", "has_identity"),
    [
        ("PUT", False),
        ("/latest/dynamic/instance-identity/document", False),
        ("/latest/meta-data/instance-life-cycle", True),
    ],
)
def test_hanging_service_takes_one_second(metadata: Metadata, hangs: str, has_identity: bool) -> None:
    metadata.hangs = hangs
    started = time.monotonic()

    identity = fetch_instance_identity(metadata.environ)

    # The timeout is 1 s; the rest is for a busy machine.
    assert time.monotonic() - started < 1.5
    assert bool(identity.instance_id) == has_identity


def test_unresponsive_host_takes_one_second() -> None:
    with socket.socket() as listener:
        # With a full queue the kernel neither accepts nor resets connections, as when a hop limit drops the packets.
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        started = time.monotonic()
        identity = fetch_instance_identity(
            {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}"}
        )
        elapsed = time.monotonic() - started
        for filler in fillers:
            filler.close()

    assert identity == InstanceIdentity()
    assert 0.9 < elapsed < 1.5


def test_closed_port_gives_empty_identity() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}"}
        assert fetch_instance_identity(environ) == InstanceIdentity()
        assert fetch_spot_notices(IDENTITY, environ) == ()


@pytest.mark.parametrize("endpoint", ["127.0.0.1:80", "http://", "http://[::1", "http://h:x", "ftp://h", "nonsense"])
def test_invalid_endpoint_gives_empty_identity(endpoint: str) -> None:
    assert fetch_instance_identity({"AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint}) == InstanceIdentity()


def test_request_loads_no_certificates(metadata: Metadata) -> None:
    """Since Python 3.12 urllib loads them for each request, in 30 ms: too slow for a short run."""
    script = """
import ssl
loads = []
ssl.SSLContext.load_default_certs = lambda *args: loads.append(args)
from cwnotify.host.instance_metadata import fetch_instance_identity
print(fetch_instance_identity().instance_id, len(loads))
"""
    environ = {**os.environ, **metadata.environ, "AWS_EC2_METADATA_DISABLED": ""}
    result = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)

    assert result.stdout.split() == [IDENTITY.instance_id, "0"]


def test_instance_without_notice_returns_none(metadata: Metadata) -> None:
    assert fetch_spot_notices(IDENTITY, metadata.environ) == ()
    assert metadata.requested_paths == ["/latest/api/token", SPOT, REBALANCE]


def test_interruption_and_rebalance_notices_are_read(metadata: Metadata) -> None:
    metadata.pages[SPOT] = '{"action": "terminate", "time": "2026-11-22T10:02:00Z"}'
    metadata.pages[REBALANCE] = '{"noticeTime": "2026-11-22T10:00:00Z"}'
    place = {"account": "123456789012", "region": "ap-northeast-2", "partition": "aws"}

    assert fetch_spot_notices(IDENTITY, metadata.environ) == (
        InstanceNotice(NoticeKind.INTERRUPTION, IDENTITY.instance_id, "terminate", 1795341720.0, **place),
        InstanceNotice(NoticeKind.REBALANCE, IDENTITY.instance_id, "", 1795341600.0, **place),
    )


def test_machine_outside_ec2_sends_no_request(metadata: Metadata) -> None:
    assert fetch_spot_notices(InstanceIdentity(), metadata.environ) == ()
    assert metadata.requested_paths == []
