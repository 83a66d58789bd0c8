"""The AWS stand-in accepts only its key: other users of the machine and pages in its browser are rejected."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import multiprocessing
import os
import re
import shutil
import socket
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwnotify.demo.aws_gateway import RejectedRequestError, check_signature, join_headers
from tests.support.lab import CHROMIUM_FLAGS
from tests.support.ministack import REGION, Ministack

UNPRIVILEGED_ID = 65534  # user and group
CODE = (
    "import pathlib\ndef handler(event, context):\n    pathlib.Path({marker!r}).write_text('ran')\n    return 'ran'\n"
)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    with Ministack(tmp_path_factory.mktemp("ministack")) as aws:
        trust = {"Statement": {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "*"}}
        aws.client("iam").create_role(RoleName="any", AssumeRolePolicyDocument=json.dumps(trust))
        yield aws


def build_zip(marker: Path) -> bytes:
    """Return the zip of a function that writes `marker`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("code.py", CODE.format(marker=str(marker)))
    return packed.getvalue()


def run_code(client: Any, marker: Path, name: str) -> str:
    """Create and invoke a function that writes `marker`, with a Lambda client."""
    client.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="code.handler",
        Code={"ZipFile": build_zip(marker)},
    )
    return str(client.invoke(FunctionName=name)["StatusCode"])


def create_client(url: str, key: str, secret: str, token: str | None, service: str) -> Any:
    """Return a boto3 client with any key."""
    import boto3
    from botocore.config import Config

    create: Any = boto3.session.Session().client
    return create(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20),
    )


def run_unprivileged(attack: Callable[[], object], outcomes: Any) -> None:
    """Drop root's rights, run `attack` and put its outcome into the queue."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(UNPRIVILEGED_ID)
        os.setuid(UNPRIVILEGED_ID)
    try:
        outcomes.put(f"done: {attack()}")
    except BaseException as error:
        outcomes.put(f"{type(error).__name__}: {error}")


def run_as_other_user(attack: Callable[[], object]) -> str:
    """Run `attack` in a process of another user, and return its outcome."""
    context = multiprocessing.get_context("fork")
    outcomes = context.SimpleQueue()
    process = context.Process(target=run_unprivileged, args=(attack, outcomes))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    return str(outcomes.get())


# ministack alone accepts these as root: its default key, any account number and any unknown key.
KEYS = ["test", "000000000000", "123456789012", "AKIAIOSFODNN7EXAMPLE"]


@pytest.mark.parametrize("key", KEYS)
def test_other_user_cannot_run_code(aws: Ministack, key: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    client = create_client(aws.url, key, "test", None, "lambda")
    # The other user may not read the modules that boto3 imports for its first call.
    aws.client("lambda").list_functions()
    "x".encode("idna")

    outcome = run_as_other_user(partial(run_code, client, marker, f"attacker-{key}"))

    assert not marker.exists(), outcome
    assert "UnrecognizedClientException" in outcome
    assert f"attacker-{key}" not in str(aws.list_resources())


PAGE = """<!doctype html><title>attack</title>
<form id=form method=post target=frame action="URL/?Action=CreateUser&UserName=attacker-form">
<input name=Action value=CreateUser><input name=UserName value=attacker-form></form>
<form id=plain method=post enctype="text/plain" target=frame2 action="URL/2015-03-31/functions">
<input name='BODY_START' value='BODY_END'></form>
<iframe name=frame></iframe><iframe name=frame2></iframe>
<script>
async function attack() {
  const json = BODY, functions = "URL/2015-03-31/functions", outcomes = [];
  const send = async (url, options) => {
    outcomes.push(await fetch(url, options).then(reply => reply.type + reply.status, () => "failed"));
  };
  for (const body of [json, new Blob([json], {type: "text/plain"})]) {
    await send(functions, {method: "POST", mode: "no-cors", body});
    await send(functions + "/attacker-page/invocations", {method: "POST", mode: "no-cors", body: "{}"});
  }
  await send(functions + "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=test%2F20261128%2Fus-east-1%2Flambda"
    + "%2Faws4_request&X-Amz-Signature=0", {method: "POST", mode: "no-cors", body: json});
  await send(functions, {method: "POST", headers: {Authorization: "AWS4-HMAC-SHA256 Credential=test/x"}, body: json});
  await send("URL/_ministack/reset", {method: "POST", mode: "no-cors"});
  document.getElementById("form").submit();
  document.getElementById("plain").submit();
  outcomes.push(await new Promise(done => {
    const socket = new WebSocket("URL".replace("http", "ws") + "/");
    socket.onopen = () => done("open");
    socket.onerror = () => done("no socket");
  }));
  await new Promise(done => setTimeout(done, 500));
  document.title = "over";
  return outcomes;
}
</script>"""


@contextmanager
def serve_attacking_page(url: str, marker: Path) -> Iterator[str]:
    """Serve a web page that attacks `url`, and yield its address."""
    body = {
        "FunctionName": "attacker-page",
        "Runtime": "python3.12",
        "Role": "arn:aws:iam::000000000000:role/any",
        "Handler": "code.handler",
        "Code": {"ZipFile": base64.b64encode(build_zip(marker)).decode()},
    }
    start, _, end = json.dumps({**body, "FunctionName": "attacker-form", "Description": "="}).partition("=")
    html = PAGE.replace("BODY_START", start).replace("BODY_END", end).replace("BODY", json.dumps(json.dumps(body)))
    html = html.replace("URL", url)

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = Thread(target=site.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{site.server_port}/"
    finally:
        site.shutdown()
        thread.join()
        site.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
def test_page_in_browser_cannot_run_code(aws: Ministack, host: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    marker = tmp_path / "marker"
    before = aws.list_resources()
    users = aws.client("iam").list_users()["Users"]
    flags = [*CHROMIUM_FLAGS.split(), "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    with sync_playwright() as playwright, serve_attacking_page(aws.url, marker) as site:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page()
        page.goto(site.replace("127.0.0.1", host))
        outcomes = page.evaluate("attack()")
        browser.close()

    assert not marker.exists(), outcomes
    assert "open" not in outcomes
    assert (aws.list_resources(), aws.client("iam").list_users()["Users"]) == (before, users)


def send_request(aws: Ministack, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> int:
    connection = http.client.HTTPConnection(urlsplit(aws.url).netloc, timeout=10)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def sign_headers(
    aws: Ministack, method: str, path: str, body: bytes = b"", host: str = "", service: str = "lambda", **headers: str
) -> dict[str, str]:
    """Return the headers of a request that botocore signed with root's key."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    environ = aws.environ()
    unsigned_request = AWSRequest(method, f"http://{host or urlsplit(aws.url).netloc}{path}", headers, body)
    key = Credentials(environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(key, service, REGION).add_auth(unsigned_request)
    return {"Host": host or urlsplit(aws.url).netloc, **dict(unsigned_request.headers)}


LIST_PATH = "/2015-03-31/functions"


def test_signed_request_is_accepted_only_with_our_host_and_without_browser_headers(aws: Ministack) -> None:
    port = urlsplit(aws.url).port
    assert send_request(aws, "GET", LIST_PATH, sign_headers(aws, "GET", LIST_PATH)) == 200
    assert send_request(aws, "GET", LIST_PATH, sign_headers(aws, "GET", LIST_PATH, host=f"localhost:{port}")) == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.:{port}", "[::1]"):
        assert send_request(aws, "GET", LIST_PATH, sign_headers(aws, "GET", LIST_PATH, host=host)) == 403, host
    for name, value in (
        ("Origin", "null"),
        ("Origin", aws.url),
        ("Sec-Fetch-Site", "none"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "no-cors"),
    ):
        assert send_request(aws, "GET", LIST_PATH, sign_headers(aws, "GET", LIST_PATH) | {name: value}) == 403, name


def test_request_without_valid_signature_is_rejected(aws: Ministack) -> None:
    good = sign_headers(aws, "GET", LIST_PATH)
    authorization = good["Authorization"]
    unsigned = {name: value for name, value in good.items() if name != "Authorization"}
    old = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y%m%dT%H%M%SZ")
    changed = [
        unsigned,
        good | {"Authorization": authorization[:-1] + ("0" if authorization[-1] != "0" else "1")},
        good | {"Authorization": authorization.replace("Signature=", "Signature=0")},
        good | {"Authorization": re.sub(r"SignedHeaders=[^,]*", "SignedHeaders=x-amz-date", authorization)},
        good | {"Authorization": re.sub("AKIA[0-9A-F]*", "test", authorization)},
        good | {"Authorization": re.sub("AKIA[0-9A-F]*", "", authorization)},
        good | {"Authorization": f"AWS {authorization.split('=')[1].split('/')[0]}:c2lnbmF0dXJl"},
        good | {"Authorization": "Bearer x"},
        good | {"X-Amz-Date": old},
    ]
    for headers in changed:
        assert send_request(aws, "GET", LIST_PATH, headers) == 403, headers
    assert send_request(aws, "POST", LIST_PATH, good) == 403
    assert send_request(aws, "GET", f"{LIST_PATH}?MaxItems=1", good) == 403
    assert send_request(aws, "GET", "/2015-03-31/event-source-mappings", good) == 403
    assert send_request(aws, "GET", LIST_PATH, good, b"{}") == 403
    # ministack serves its own paths and signed URLs without checking the key.
    for path in ("/_ministack/health", "/_localstack/health", "/health", f"{LIST_PATH}?X-Amz-Signature=0"):
        assert send_request(aws, "GET", path, {}) == 403, path
    assert send_request(aws, "POST", "/_ministack/reset", {}) == 403
    assert send_request(aws, "OPTIONS", LIST_PATH, {"Access-Control-Request-Method": "POST"}) == 403


def test_function_key_is_not_derived_from_its_name(aws: Ministack) -> None:
    # ministack alone derives the key from the names of the function and the role.
    function, role = f"arn:aws:lambda:{REGION}:000000000000:function:own", "arn:aws:iam::000000000000:role/any"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(
            "code.py",
            "import boto3, os\ndef handler(event, context):\n"
            "    return boto3.client('sts').get_caller_identity()['Arn'] + ' ' + os.environ['AWS_ACCESS_KEY_ID']\n",
        )
    client = aws.client("lambda")
    client.create_function(
        FunctionName="own",
        Runtime="python3.12",
        Role=role,
        Handler="code.handler",
        Code={"ZipFile": packed.getvalue()},
        Timeout=60,
    )
    output = json.loads(client.invoke(FunctionName="own")["Payload"].read())

    assert output.split()[0] == "arn:aws:sts::000000000000:assumed-role/any/own"
    digest = hashlib.sha256(f"{function}:{role}".encode()).hexdigest()
    derived = f"ASIA{digest[:16].upper()}"
    secret, token = (hashlib.sha256(f"{kind}:{digest}".encode()).hexdigest() for kind in ("secret", "token"))
    assert output.split()[1] != derived
    with pytest.raises(Exception, match=r"InvalidClientTokenId|UnrecognizedClientException"):
        create_client(aws.url, derived, secret, token, "sts").get_caller_identity()


def test_accounts_have_different_keys(aws: Ministack, tmp_path: Path) -> None:
    with Ministack(tmp_path) as other:
        keys = [account.environ()["AWS_ACCESS_KEY_ID"] for account in (aws, other)]
        secrets = [account.environ()["AWS_SECRET_ACCESS_KEY"] for account in (aws, other)]
        assert len({*keys, *secrets}) == 4
        with pytest.raises(Exception, match="UnrecognizedClientException"):
            create_client(aws.url, keys[1], secrets[1], None, "lambda").list_functions()
        with pytest.raises(Exception, match="SignatureDoesNotMatch"):
            create_client(aws.url, keys[0], secrets[1], None, "lambda").list_functions()


def test_key_and_secret_are_not_in_arguments_or_logs(aws: Ministack) -> None:
    environ = aws.environ()
    process = aws._process.pid
    exposed = Path(f"/proc/{process}/cmdline").read_text() + (aws._folder / "ministack.log").read_text()
    assert environ["AWS_SECRET_ACCESS_KEY"] not in exposed
    assert environ["AWS_ACCESS_KEY_ID"] not in exposed


def test_only_the_gateway_port_is_open(aws: Ministack) -> None:
    # A second listener of ministack would not check signatures.
    inodes = set()
    for fd in Path(f"/proc/{aws._process.pid}/fd").iterdir():
        try:
            target = str(fd.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{aws._process.pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    assert ports == {urlsplit(aws.url).port}


@pytest.mark.parametrize("length", ["99999999999", "-1", "x"])
def test_long_body_without_signature_is_not_read(aws: Ministack, length: str) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(aws.url).port or 0), timeout=10) as client:
        client.sendall(
            f"POST / HTTP/1.1\r\nHost: {urlsplit(aws.url).netloc}\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        assert client.recv(64).split()[1] in (b"403", b"400")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["lambda", "s3", "iam"]),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=12),
    st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=3),
    st.binary(max_size=40),
)
def test_botocore_signatures_are_accepted(service: str, name: str, query: dict[str, str], body: bytes) -> None:
    from botocore.auth import S3SigV4Auth, SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    # Only S3 has paths with empty or dot segments.
    path = "/" + quote(name.replace("/", "").strip("."), safe="~-_.")
    request = AWSRequest("PUT", f"http://127.0.0.1:1{path}", {"X-Any": "  a   b "}, body, params=query)
    sign = S3SigV4Auth if service == "s3" else SigV4Auth
    sign(Credentials("AKIA", "secret", "token"), service, REGION).add_auth(request)
    prepared = request.prepare()
    _, _, raw_query = prepared.url.partition("?")
    raw = [
        (key.encode(), value.encode("latin-1") if isinstance(value, str) else value)
        for key, value in prepared.headers.items()
    ]
    headers = join_headers([*raw, (b"host", b"127.0.0.1:1")])
    arguments = ("PUT", urlsplit(prepared.url).path.encode(), raw_query.encode(), headers, body)
    check_signature(*arguments, "secret", datetime.now(UTC))
    for secret, now in (("Secret", datetime.now(UTC)), ("secret", datetime.now(UTC) + timedelta(minutes=20))):
        with pytest.raises(RejectedRequestError):
            check_signature(*arguments, secret, now)
