"""AWS's refusals in plain words: what happened, why, what to do next. And which instance this is."""

from __future__ import annotations

import re
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from cwnotify.aws.error_messages import to_aws_error
from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError
from cwnotify.host.instance_metadata import fetch_instance_id


def answered(code: str, message: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@pytest.mark.parametrize(
    ("error", "service", "told"),
    [
        (NoCredentialsError(), "sts", "aws configure"),
        (answered("ExpiredToken", "", "CreateStack"), "cloudformation", "sign in again"),
        (answered("InvalidClientTokenId", "", "GetCallerIdentity"), "sts", "does not know these credentials"),
        (
            answered("AccessDenied", "User: x is not authorized to perform: iam:CreateRole on y", "CreateStack"),
            "cloudformation",
            "AWS denies iam:CreateRole",
        ),
        (answered("403", "Forbidden", "HeadBucket"), "s3", "AWS denies s3:ListBucket"),
        (answered("AccessDeniedException", "no", "Invoke"), "lambda", "AWS denies lambda:InvokeFunction"),
        (
            answered("LimitExceeded", "Too many", "CreateStack"),
            "cloudformation",
            "CreateStack: Too many",
        ),
    ],
)
def test_each_refusal_says_what_to_do(error: Exception, service: str, told: str) -> None:
    assert told in str(to_aws_error(error, service))


def test_no_region(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/none")
    with pytest.raises(AwsError, match="no AWS region is set; set AWS_DEFAULT_REGION"):
        AwsSession().call("cloudformation", "describe_stacks")


class Metadata(BaseHTTPRequestHandler):
    """The instance metadata service, version 2."""

    def do_PUT(self) -> None:
        self._reply(200 if self.headers["X-aws-ec2-metadata-token-ttl-seconds"] else 400, "token")

    def do_GET(self) -> None:
        self._reply(200 if self.headers["X-aws-ec2-metadata-token"] == "token" else 401, "i-0abc1234567890def")

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def _reply(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())


def test_this_instance() -> None:
    with HTTPServer(("127.0.0.1", 0), Metadata) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert fetch_instance_id({"AWS_EC2_METADATA_SERVICE_ENDPOINT": url}) == "i-0abc1234567890def"
        assert fetch_instance_id({"AWS_EC2_METADATA_SERVICE_ENDPOINT": url, "AWS_EC2_METADATA_DISABLED": "true"}) == ""
        server.shutdown()


def test_no_instance() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        assert fetch_instance_id({"AWS_EC2_METADATA_SERVICE_ENDPOINT": url}) == ""


def test_the_variable_that_is_named_sets_the_region(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with pytest.raises(AwsError) as refused:
        _ = AwsSession().region
    (variable,) = re.findall(r"set (AWS_\w+)", str(refused.value))
    monkeypatch.setenv(variable, "eu-west-3")

    assert AwsSession().region == "eu-west-3"
