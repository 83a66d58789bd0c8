"""Which instance this machine is, and whether it is about to go: a real HTTP server plays the metadata service."""

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
ME = InstanceIdentity(
    "i-0abc1234def567890", "g5.xlarge", "ap-northeast-2a", "ap-northeast-2", "123456789012", is_spot=True
)
SPOT = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"


class Metadata:
    """The service, version 2 only; `hangs` names a path, or a method, that gets no answer."""

    def __init__(self) -> None:
        self.pages = {
            "/latest/dynamic/instance-identity/document": json.dumps(DOCUMENT),
            "/latest/meta-data/instance-life-cycle": "spot",
            "/latest/meta-data/instance-id": DOCUMENT["instanceId"],
        }
        self.hangs = ""
        self.asked: list[str] = []
        self.stopped = Event()
        metadata = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._reply("token" if self.headers["X-aws-ec2-metadata-token-ttl-seconds"] else None)

            def do_GET(self) -> None:
                known = self.headers["X-aws-ec2-metadata-token"] == "token"
                self._reply(metadata.pages.get(self.path) if known else None)

            def _reply(self, text: str | None) -> None:
                metadata.asked.append(self.path)
                if metadata.hangs in (self.path, self.command):
                    metadata.stopped.wait()
                    return
                self.send_response(404 if text is None else 200)
                self.end_headers()
                self.wfile.write((text or "").encode())

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

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


def test_who_this_is(metadata: Metadata) -> None:
    assert fetch_instance_identity(metadata.environ) == ME
    assert fetch_instance_id(metadata.environ) == ME.instance_id


@pytest.mark.parametrize("life", [None, "on-demand", "scheduled"])
def test_what_is_no_spot_instance(metadata: Metadata, life: str | None) -> None:
    path = "/latest/meta-data/instance-life-cycle"
    del metadata.pages[path]
    if life:
        metadata.pages[path] = life

    found = fetch_instance_identity(metadata.environ)

    assert (found.instance_id, found.is_spot) == (ME.instance_id, False)


def test_who_may_not_be_asked_is_not_asked(metadata: Metadata) -> None:
    environ = {**metadata.environ, "AWS_EC2_METADATA_DISABLED": "True"}

    assert fetch_instance_identity(environ) == InstanceIdentity()
    assert fetch_instance_id(environ) == ""
    assert fetch_spot_notices(ME, environ) == ()
    assert metadata.asked == []


def test_no_proxy_stands_between(metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert fetch_instance_identity(metadata.environ) == ME


@pytest.mark.parametrize("document", ["", "<html>", "[]", "{}", '{"instanceId": null}', "\x00"])
def test_what_is_no_instances_document(metadata: Metadata, document: str) -> None:
    metadata.pages["/latest/dynamic/instance-identity/document"] = document

    assert fetch_instance_identity(metadata.environ) == InstanceIdentity()


@pytest.mark.parametrize(
    ("hangs", "known"),
    [
        ("PUT", False),
        ("/latest/dynamic/instance-identity/document", False),
        ("/latest/meta-data/instance-life-cycle", True),
    ],
)
def test_a_service_that_hangs_costs_a_second_at_most(metadata: Metadata, hangs: str, known: bool) -> None:
    metadata.hangs = hangs
    begun = time.monotonic()

    found = fetch_instance_identity(metadata.environ)

    # The rest is for a busy machine.
    assert time.monotonic() - begun < 1.5
    assert bool(found.instance_id) == known


def test_a_host_that_does_not_answer_costs_a_second_at_most() -> None:
    with socket.socket() as nobody:
        # A full queue: connections are neither taken nor refused, as when a hop limit eats the packets.
        nobody.bind(("127.0.0.1", 0))
        nobody.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(nobody.getsockname())
        begun = time.monotonic()
        found = fetch_instance_identity(
            {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{nobody.getsockname()[1]}"}
        )
        elapsed = time.monotonic() - begun
        for filler in fillers:
            filler.close()

    assert found == InstanceIdentity()
    assert 0.9 < elapsed < 1.5


def test_without_a_service_there_is_no_instance() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{nobody.getsockname()[1]}"}
        assert fetch_instance_identity(environ) == InstanceIdentity()
        assert fetch_spot_notices(ME, environ) == ()


@pytest.mark.parametrize("endpoint", ["127.0.0.1:80", "http://", "http://[::1", "http://h:x", "ftp://h", "nonsense"])
def test_an_endpoint_that_is_no_address_is_no_service(endpoint: str) -> None:
    assert fetch_instance_identity({"AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint}) == InstanceIdentity()


def test_it_is_asked_without_loading_certificates(metadata: Metadata) -> None:
    """They take 30 ms a request since Python 3.12; a short run had ended before its instance was known."""
    script = """
import ssl
loads = []
ssl.SSLContext.load_default_certs = lambda *args: loads.append(args)
from cwnotify.host.instance_metadata import fetch_instance_identity
print(identity().instance, len(loads))
"""
    environ = {**os.environ, **metadata.environ, "AWS_EC2_METADATA_DISABLED": ""}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)

    assert done.stdout.split() == [ME.instance_id, "0"]


def test_most_of_the_time_there_is_no_notice(metadata: Metadata) -> None:
    assert fetch_spot_notices(ME, metadata.environ) == ()
    assert metadata.asked == ["/latest/api/token", SPOT, REBALANCE]


def test_an_interruption_and_a_rebalance_recommendation(metadata: Metadata) -> None:
    metadata.pages[SPOT] = '{"action": "terminate", "time": "2026-11-22T10:02:00Z"}'
    metadata.pages[REBALANCE] = '{"noticeTime": "2026-11-22T10:00:00Z"}'
    place = {"account": "123456789012", "region": "ap-northeast-2", "partition": "aws"}

    assert fetch_spot_notices(ME, metadata.environ) == (
        InstanceNotice(NoticeKind.INTERRUPTION, ME.instance_id, "terminate", 1795341720.0, **place),
        InstanceNotice(NoticeKind.REBALANCE, ME.instance_id, "", 1795341600.0, **place),
    )


def test_a_machine_that_is_no_instance_has_no_notices(metadata: Metadata) -> None:
    assert fetch_spot_notices(InstanceIdentity(), metadata.environ) == ()
    assert metadata.asked == []
