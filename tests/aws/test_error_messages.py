"""AWS's errors: what happened, why, and what to do. And the ID of this instance."""

from __future__ import annotations

import re
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from cwnotify.aws.error_messages import to_aws_error
from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError
from cwnotify.host.instance_metadata import fetch_instance_id


def client_error(code: str, message: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@pytest.mark.parametrize(
    ("error", "service", "text"),
    [
        (NoCredentialsError(), "sts", "aws configure"),
        (client_error("ExpiredToken", "", "CreateStack"), "cloudformation", "sign in again"),
        (client_error("InvalidClientTokenId", "", "GetCallerIdentity"), "sts", "does not know these credentials"),
        (
            client_error("AccessDenied", "User: x is not authorized to perform: iam:CreateRole on y", "CreateStack"),
            "cloudformation",
            "AWS denies iam:CreateRole",
        ),
        (client_error("403", "Forbidden", "HeadBucket"), "s3", "AWS denies s3:ListBucket"),
        (client_error("AccessDeniedException", "no", "Invoke"), "lambda", "AWS denies lambda:InvokeFunction"),
        (
            client_error("LimitExceeded", "Too many", "CreateStack"),
            "cloudformation",
            "CreateStack: Too many",
        ),
    ],
)
def test_error_says_what_to_do(error: Exception, service: str, text: str) -> None:
    assert text in str(to_aws_error(error, service))


def test_missing_region_names_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
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
        """Log nothing."""

    def _reply(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())


def test_instance_id_comes_from_the_metadata_service() -> None:
    with HTTPServer(("127.0.0.1", 0), Metadata) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert fetch_instance_id({"AWS_EC2_METADATA_SERVICE_ENDPOINT": url}) == "i-0abc1234567890def"
        assert fetch_instance_id({"AWS_EC2_METADATA_SERVICE_ENDPOINT": url, "AWS_EC2_METADATA_DISABLED": "true"}) == ""
        server.shutdown()


def test_unreachable_metadata_service_means_no_instance() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert fetch_instance_id({"AWS_EC2_METADATA_SERVICE_ENDPOINT": url}) == ""


def test_named_variable_sets_the_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with pytest.raises(AwsError) as raised:
        _ = AwsSession().region
    (variable,) = re.findall(r"set (AWS_\w+)", str(raised.value))
    monkeypatch.setenv(variable, "eu-west-3")

    assert AwsSession().region == "eu-west-3"
