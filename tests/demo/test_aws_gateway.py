"""The AWS stand-in serves only who has its key: not another user of the machine, not a page in its browser."""

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

NOBODY = 65534
CODE = (
    "import pathlib\ndef handler(event, context):\n    pathlib.Path({marker!r}).write_text('ran')\n    return 'ran'\n"
)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    with Ministack(tmp_path_factory.mktemp("ministack")) as running:
        trust = {"Statement": {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "*"}}
        running.client("iam").create_role(RoleName="any", AssumeRolePolicyDocument=json.dumps(trust))
        yield running


def code(marker: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("code.py", CODE.format(marker=str(marker)))
    return packed.getvalue()


def run_code(function: Any, marker: Path, name: str) -> str:
    """Create a function that writes `marker`, and invoke it with `function`, a client of Lambda."""
    function.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="code.handler",
        Code={"ZipFile": code(marker)},
    )
    return str(function.invoke(FunctionName=name)["StatusCode"])


def strangers_client(url: str, key: str, secret: str, token: str | None, service: str) -> Any:
    import boto3
    from botocore.config import Config

    make: Any = boto3.session.Session().client
    return make(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20),
    )


def as_nobody(attack: Callable[[], object], answers: Any) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        answers.put(f"done: {attack()}")
    except BaseException as error:
        answers.put(f"{type(error).__name__}: {error}")


def another_user(attack: Callable[[], object]) -> str:
    """What came of `attack` in a process of the user nobody."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=as_nobody, args=(attack, answers))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    return str(answers.get())


# Root of ministack, if nothing is in front of it: its default key, any account's number, and no key that it knows.
KEYS = ["test", "000000000000", "123456789012", "AKIAIOSFODNN7EXAMPLE"]


@pytest.mark.parametrize("key", KEYS)
def test_another_user_runs_no_code(aws: Ministack, key: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    function = strangers_client(aws.url, key, "test", None, "lambda")
    # What boto3 imports for its first call, nobody may not read.
    aws.client("lambda").list_functions()
    "x".encode("idna")

    outcome = another_user(partial(run_code, function, marker, f"stranger-{key}"))

    assert not marker.exists(), outcome
    assert "UnrecognizedClientException" in outcome
    assert f"stranger-{key}" not in str(aws.list_resources())


PAGE = """<!doctype html><title>attack</title>
<form id=form method=post target=frame action="URL/?Action=CreateUser&UserName=stranger-form">
<input name=Action value=CreateUser><input name=UserName value=stranger-form></form>
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
    await send(functions + "/stranger-page/invocations", {method: "POST", mode: "no-cors", body: "{}"});
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
def page_of_a_stranger(url: str, marker: Path) -> Iterator[str]:
    """A web site whose page attacks `url`."""
    body = {
        "FunctionName": "stranger-page",
        "Runtime": "python3.12",
        "Role": "arn:aws:iam::000000000000:role/any",
        "Handler": "code.handler",
        "Code": {"ZipFile": base64.b64encode(code(marker)).decode()},
    }
    start, _, end = json.dumps({**body, "FunctionName": "stranger-form", "Description": "="}).partition("=")
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
    serving = Thread(target=site.serve_forever)
    serving.start()
    try:
        yield f"http://127.0.0.1:{site.server_port}/"
    finally:
        site.shutdown()
        serving.join()
        site.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
def test_a_page_in_the_machines_browser_runs_no_code(aws: Ministack, host: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    marker = tmp_path / "marker"
    before = aws.list_resources()
    users = aws.client("iam").list_users()["Users"]
    flags = [*CHROMIUM_FLAGS.split(), "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    with sync_playwright() as playwright, page_of_a_stranger(aws.url, marker) as site:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page()
        page.goto(site.replace("127.0.0.1", host))
        outcomes = page.evaluate("attack()")
        browser.close()

    assert not marker.exists(), outcomes
    assert "open" not in outcomes
    assert (aws.list_resources(), aws.client("iam").list_users()["Users"]) == (before, users)


def request(aws: Ministack, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> int:
    connection = http.client.HTTPConnection(urlsplit(aws.url).netloc, timeout=10)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def signed(
    aws: Ministack, method: str, path: str, body: bytes = b"", host: str = "", service: str = "lambda", **more: str
) -> dict[str, str]:
    """The headers of a request as root, signed by botocore."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    environ = aws.environ()
    prepared = AWSRequest(method, f"http://{host or urlsplit(aws.url).netloc}{path}", more, body)
    key = Credentials(environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(key, service, REGION).add_auth(prepared)
    return {"Host": host or urlsplit(aws.url).netloc, **dict(prepared.headers)}


LIST = "/2015-03-31/functions"


def test_what_is_signed_is_taken_only_from_a_client_that_names_this_server(aws: Ministack) -> None:
    port = urlsplit(aws.url).port
    assert request(aws, "GET", LIST, signed(aws, "GET", LIST)) == 200
    assert request(aws, "GET", LIST, signed(aws, "GET", LIST, host=f"localhost:{port}")) == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.:{port}", "[::1]"):
        assert request(aws, "GET", LIST, signed(aws, "GET", LIST, host=host)) == 403, host
    for name, value in (
        ("Origin", "null"),
        ("Origin", aws.url),
        ("Sec-Fetch-Site", "none"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "no-cors"),
    ):
        assert request(aws, "GET", LIST, signed(aws, "GET", LIST) | {name: value}) == 403, name


def test_what_is_not_signed_by_the_key_is_refused(aws: Ministack) -> None:
    good = signed(aws, "GET", LIST)
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
        assert request(aws, "GET", LIST, headers) == 403, headers
    assert request(aws, "POST", LIST, good) == 403
    assert request(aws, "GET", f"{LIST}?MaxItems=1", good) == 403
    assert request(aws, "GET", "/2015-03-31/event-source-mappings", good) == 403
    assert request(aws, "GET", LIST, good, b"{}") == 403
    # ministack serves its own paths, and what a signed URL leads to, without looking for a key.
    for path in ("/_ministack/health", "/_localstack/health", "/health", f"{LIST}?X-Amz-Signature=0"):
        assert request(aws, "GET", path, {}) == 403, path
    assert request(aws, "POST", "/_ministack/reset", {}) == 403
    assert request(aws, "OPTIONS", LIST, {"Access-Control-Request-Method": "POST"}) == 403


def test_a_functions_key_is_not_derived_from_its_name(aws: Ministack) -> None:
    """ministack's own can be computed by whoever knows the function's and the role's name."""
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
    answer = json.loads(client.invoke(FunctionName="own")["Payload"].read())

    assert answer.split()[0] == "arn:aws:sts::000000000000:assumed-role/any/own"
    digest = hashlib.sha256(f"{function}:{role}".encode()).hexdigest()
    derived = f"ASIA{digest[:16].upper()}"
    secret, token = (hashlib.sha256(f"{kind}:{digest}".encode()).hexdigest() for kind in ("secret", "token"))
    assert answer.split()[1] != derived
    with pytest.raises(Exception, match=r"InvalidClientTokenId|UnrecognizedClientException"):
        strangers_client(aws.url, derived, secret, token, "sts").get_caller_identity()


def test_two_accounts_have_keys_of_their_own(aws: Ministack, tmp_path: Path) -> None:
    with Ministack(tmp_path) as other:
        keys = [one.environ()["AWS_ACCESS_KEY_ID"] for one in (aws, other)]
        secrets = [one.environ()["AWS_SECRET_ACCESS_KEY"] for one in (aws, other)]
        assert len({*keys, *secrets}) == 4
        with pytest.raises(Exception, match="UnrecognizedClientException"):
            strangers_client(aws.url, keys[1], secrets[1], None, "lambda").list_functions()
        with pytest.raises(Exception, match="SignatureDoesNotMatch"):
            strangers_client(aws.url, keys[0], secrets[1], None, "lambda").list_functions()


def test_neither_key_nor_secret_is_in_an_argument_or_a_log(aws: Ministack) -> None:
    environ = aws.environ()
    process = aws._process.pid
    shown = Path(f"/proc/{process}/cmdline").read_text() + (aws._folder / "ministack.log").read_text()
    assert environ["AWS_SECRET_ACCESS_KEY"] not in shown
    assert environ["AWS_ACCESS_KEY_ID"] not in shown


def test_only_the_guarded_port_is_open(aws: Ministack) -> None:
    """A second listener of ministack's would be open to all."""
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
def test_a_strangers_long_body_is_not_read(aws: Ministack, length: str) -> None:
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
def test_what_botocore_signs_is_taken(service: str, name: str, query: dict[str, str], body: bytes) -> None:
    from botocore.auth import S3SigV4Auth, SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    # Neither AWS nor its clients send such a path to a service other than S3.
    path = "/" + quote(name.replace("/", "").strip("."), safe="~-_.")
    request = AWSRequest("PUT", f"http://127.0.0.1:1{path}", {"X-Any": "  a   b "}, body, params=query)
    sign = S3SigV4Auth if service == "s3" else SigV4Auth
    sign(Credentials("AKIA", "secret", "token"), service, REGION).add_auth(request)
    sent = request.prepare()
    _, _, raw_query = sent.url.partition("?")
    raw = [
        (key.encode(), value.encode("latin-1") if isinstance(value, str) else value)
        for key, value in sent.headers.items()
    ]
    headers = join_headers([*raw, (b"host", b"127.0.0.1:1")])
    arguments = ("PUT", urlsplit(sent.url).path.encode(), raw_query.encode(), headers, body)
    check_signature(*arguments, "secret", datetime.now(UTC))
    for secret, now in (("Secret", datetime.now(UTC)), ("secret", datetime.now(UTC) + timedelta(minutes=20))):
        with pytest.raises(RejectedRequestError):
            check_signature(*arguments, secret, now)
