"""Code that another user of the account put in the place of ours, and attempts to use a deployer's key for more."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cwnotify.aws.session import AwsSession
from cwnotify.deploy import stack, storage
from cwnotify.deploy.bundle import make_zip
from cwnotify.deploy.iam_policies import build_boundary_policy, build_deployer_policy
from cwnotify.deploy.invoke import fetch_deployed_sha256
from cwnotify.deploy.spec import StackLocation, StackSpec
from cwnotify.errors import AwsError
from cwnotify.settings import Secret
from tests.support.ministack import REGION, Ministack
from tests.support.slack import Slack

LOCATION = StackLocation("cwnotify", "000000000000", REGION)
OWN_SHA256 = hashlib.sha256(make_zip()).hexdigest()


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    with Ministack(tmp_path_factory.mktemp("ministack")) as ministack:
        yield ministack


@pytest.fixture
def slack() -> Iterator[Slack]:
    with Slack() as slack:
        yield slack


def planted_zip() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("lambda_function.py", "def lambda_handler(event, context): return 'planted'\n")
    return content.getvalue()


@pytest.fixture
def client(aws: Ministack, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsSession]:
    for name, value in aws.environ().items():
        monkeypatch.setenv(name, value)
    yield AwsSession()
    stack.apply_plan(
        AwsSession(), stack.prepare_teardown_plan(AwsSession(), "cwnotify"), lambda change: None, lambda progress: None
    )


def deploy(client: AwsSession, slack: Slack, instance: str) -> list[str]:
    steps = stack.prepare_deploy_plan(client, StackSpec(webhook=Secret(slack.url), instances=(instance,)))
    stack.apply_plan(client, steps, lambda change: None, lambda progress: None)
    return [f"{change.sign} {change.kind} {change.name} {change.detail}" for step in steps for change in step.changes]


def deployed_code_key(aws: Ministack) -> str:
    (stack,) = aws.client("cloudformation").describe_stacks(StackName="cwnotify")["Stacks"]
    parameters: dict[str, str] = {item["ParameterKey"]: item["ParameterValue"] for item in stack["Parameters"]}
    return parameters["CodeKey"]


def test_existing_bucket_and_object_are_not_deployed(aws: Ministack, slack: Slack, client: AwsSession) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=LOCATION.default_bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    planted = [f"{LOCATION.key_prefix}{OWN_SHA256[:16]}.zip", f"{LOCATION.key_prefix}{OWN_SHA256}.zip"]
    for key in planted:
        s3.put_object(Bucket=LOCATION.default_bucket, Key=key, Body=planted_zip(), Metadata={"sha256": OWN_SHA256})
    lines = deploy(client, slack, aws.run_instance())
    assert any(line.startswith(f"! bucket {LOCATION.default_bucket} already exists") for line in lines)
    assert any(f"in {LOCATION.default_bucket}, SHA-256 {OWN_SHA256}" in line for line in lines)
    assert fetch_deployed_sha256(client, "cwnotify") == OWN_SHA256
    assert not {*planted} & {*storage.list_object_keys(client, LOCATION.default_bucket, "")}


def test_object_overwritten_later_is_detected(aws: Ministack, slack: Slack, client: AwsSession) -> None:
    instance = aws.run_instance()
    deploy(client, slack, instance)
    assert deploy(client, slack, instance) == []
    key = deployed_code_key(aws)
    aws.client("s3").put_object(Bucket=LOCATION.default_bucket, Key=key, Body=planted_zip())
    lines = deploy(client, slack, instance)
    assert any(line.startswith(f"! code {key} holds other code") for line in lines)
    assert fetch_deployed_sha256(client, "cwnotify") == OWN_SHA256
    assert storage.read_object_sha256(client, LOCATION.default_bucket, deployed_code_key(aws)) == OWN_SHA256
    assert deploy(client, slack, instance) == []


def test_function_changed_by_others_is_detected(aws: Ministack, slack: Slack, client: AwsSession) -> None:
    instance = aws.run_instance()
    deploy(client, slack, instance)
    aws.client("lambda").update_function_code(FunctionName="cwnotify", ZipFile=planted_zip())
    assert any(line.startswith("! function cwnotify runs other code") for line in deploy(client, slack, instance))
    assert fetch_deployed_sha256(client, "cwnotify") == OWN_SHA256


def test_object_swapped_between_upload_and_read_is_detected(aws: Ministack, slack: Slack, client: AwsSession) -> None:
    steps = stack.prepare_deploy_plan(client, StackSpec(webhook=Secret(slack.url), instances=(aws.run_instance(),)))

    def swap(change: Any) -> None:
        if change.kind == "stack":
            (key,) = storage.list_object_keys(client, LOCATION.default_bucket, LOCATION.key_prefix)
            aws.client("s3").put_object(Bucket=LOCATION.default_bucket, Key=key, Body=planted_zip())

    with pytest.raises(AwsError, match=r"got other code \(SHA-256 [0-9a-f]{64}\) than was put into .*replaced"):
        stack.apply_plan(client, steps, swap, lambda progress: None)
    assert fetch_deployed_sha256(client, "cwnotify") == OWN_SHA256


def test_new_bucket_blocks_public_access(aws: Ministack, slack: Slack, client: AwsSession) -> None:
    deploy(client, slack, aws.run_instance())
    s3 = aws.client("s3")
    block = s3.get_public_access_block(Bucket=LOCATION.default_bucket)["PublicAccessBlockConfiguration"]
    assert len(block) == 4
    assert all(block.values())
    (rule,) = s3.get_bucket_ownership_controls(Bucket=LOCATION.default_bucket)["OwnershipControls"]["Rules"]
    assert rule["ObjectOwnership"] == "BucketOwnerEnforced"


def test_boundary_is_used_once_it_exists(aws: Ministack, slack: Slack, client: AwsSession) -> None:
    instance = aws.run_instance()
    assert any(line.startswith(f"! boundary {LOCATION.boundary_arn}") for line in deploy(client, slack, instance))
    document = json.dumps(build_boundary_policy(LOCATION))
    iam = aws.client("iam")
    arn = iam.create_policy(PolicyName="cwnotify-boundary", PolicyDocument=document)["Policy"]["Arn"]
    assert arn == LOCATION.boundary_arn
    assert deploy(client, slack, instance) == [f"~ stack cwnotify Boundary: none → {arn}"]
    assert deploy(client, slack, instance) == []
    iam.delete_policy(PolicyArn=arn)


def test_deployer_keys_grant_no_further_rights(aws: Ministack) -> None:
    iam = aws.client("iam")
    iam.create_user(UserName="climber")
    iam.put_user_policy(UserName="climber", PolicyName="it", PolicyDocument=json.dumps(build_deployer_policy(LOCATION)))
    key = iam.create_access_key(UserName="climber")["AccessKey"]
    import boto3

    def climber(service: str) -> Any:
        make: Any = boto3.client
        keys = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
        return make(service, endpoint_url=aws.url, region_name=REGION, **keys)

    trust = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        }
    )
    everything = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    )
    iam.create_role(RoleName="cwnotify-Role-X", AssumeRolePolicyDocument=trust)
    aws.client("s3").create_bucket(Bucket="payroll", CreateBucketConfiguration={"LocationConstraint": REGION})
    role, name = climber("iam"), "cwnotify-Role-X"
    admin = "arn:aws:iam::aws:policy/AdministratorAccess"
    attempts = [
        lambda: role.create_role(RoleName="cwnotify-Role-Y", AssumeRolePolicyDocument=trust),
        lambda: role.create_role(RoleName="admin", AssumeRolePolicyDocument=trust),
        lambda: role.put_role_policy(RoleName=name, PolicyName="admin", PolicyDocument=everything),
        lambda: role.attach_role_policy(RoleName=name, PolicyArn=admin),
        lambda: role.delete_role_permissions_boundary(RoleName=name),
        lambda: role.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=admin),
        lambda: role.update_assume_role_policy(RoleName=name, PolicyDocument=trust),
        lambda: role.put_user_policy(UserName="climber", PolicyName="admin", PolicyDocument=everything),
        lambda: role.create_access_key(UserName="climber"),
        lambda: climber("lambda").update_function_code(FunctionName="payroll", ZipFile=planted_zip()),
        lambda: climber("ssm").put_parameter(Name="/prod/database", Value="x", Type="String", Overwrite=True),
        lambda: climber("s3").put_object(Bucket="payroll", Key="x", Body=b""),
    ]
    for attempt in attempts:
        with pytest.raises(ClientError) as denied:
            attempt()
        assert denied.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")
    iam.delete_role(RoleName=name)
    aws.client("s3").delete_bucket(Bucket="payroll")


class ForeignS3(BaseHTTPRequestHandler):
    """An S3 whose buckets all belong to another account. Like S3, it rejects a request that names another owner."""

    requests: list[tuple[str, str | None]]

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        owner = self.headers.get("x-amz-expected-bucket-owner")
        self.requests.append((f"{self.command} {self.path}", owner))
        body = b"" if self.command == "HEAD" else b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        self.send_response(403 if owner else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = answer  # noqa: N815 (http.server's own names)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_bucket_of_other_account_is_never_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    handler: Any = type("Theirs", (ForeignS3,), {"requests": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    client = AwsSession()
    client.account_id = LOCATION.account
    calls = [
        lambda: storage.has_bucket(client, LOCATION.default_bucket),
        lambda: storage.list_object_keys(client, LOCATION.default_bucket, LOCATION.key_prefix),
        lambda: storage.put_object(client, LOCATION.default_bucket, "key", b"code"),
        lambda: storage.read_object_sha256(client, LOCATION.default_bucket, "key"),
        lambda: storage.delete_objects(client, LOCATION.default_bucket, ("key",)),
        lambda: storage.delete_bucket(client, LOCATION.default_bucket),
    ]
    try:
        for call in calls:
            with pytest.raises(AwsError):
                call()
        with pytest.raises(AwsError, match="belongs to another account"):
            storage.has_bucket(client, LOCATION.default_bucket)
    finally:
        server.shutdown()
        server.server_close()
    assert len(handler.requests) == len(calls) + 1
    assert {owner for _, owner in handler.requests} == {LOCATION.account}
