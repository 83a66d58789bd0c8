"""A local stand-in for AWS: ministack, in its own virtual environment, with IAM enforced.

Programs that run with `Ministack.environ` cannot reach AWS itself: the endpoint is local, the key is random, and the
user's boto3 configuration is not read. Requests without that key are rejected (see `cwnotify.demo.aws_gateway`).
"""

from __future__ import annotations

import fcntl
import http.client
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

REGION = "ap-northeast-2"
# ministack, the boto3 that Lambda functions expect, and their dependencies. Written by `make lock`.
MINISTACK_LOCK_FILE = Path(__file__).with_name("ministack.txt")
MINISTACK_ENVIRONMENT_DIR = Path(".matrix/ministack")
_GATEWAY_SCRIPT = Path(__file__).with_name("aws_gateway.py")
_START_TIMEOUT = 30.0  # seconds


def ensure_virtual_environment(
    folder: Path, *pins: str, lock: Path | None = None, modules: Sequence[Path] = ()
) -> Path:
    """Return the Python of the virtual environment in `folder`, in which `pins` and their dependencies are installed.

    The environment is created if it is missing or was made for other arguments. Concurrent callers wait for the first.
    Prints what will be installed before it starts.

    Parameters
    ----------
    lock
        A requirements file with hashes, instead of `pins`. Only wheels are installed, so no setup code runs.
    modules
        Folders to search for modules after the environment's own. Modules there are not installed again.
    """
    python, marker = folder.resolve() / "bin" / "python", folder / "made"
    lock_text = lock.read_text() if lock else ""
    names = pins or tuple(re.findall(r"^\S+==[^\s;]+", lock_text, re.MULTILINE))
    fingerprint = "\n".join((sys.version, *pins, lock_text, *map(str, modules)))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        if not marker.exists() or marker.read_text() != fingerprint:
            print(
                f"Installing {', '.join(names)} into {folder.resolve()}, from PyPI or pip's configured index"
                f"{', with hash checks' * bool(lock)}. This happens once and takes half a minute.",
                flush=True,
            )
            # Uses this Python's pip, because installing another pip takes longer than everything else.
            subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
            site_packages = next(folder.glob("lib/python*/site-packages"))
            (site_packages / "further.pth").write_text("".join(f"{path}\n" for path in modules))
            pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check"]
            locked = ["--require-hashes", "--only-binary", ":all:", "--requirement", str(lock)]
            subprocess.run([*pip, "install", *(locked if lock else pins)], check=True, stdout=subprocess.PIPE)
            marker.write_text(fingerprint)
    return python


class Ministack:
    """An empty AWS account on this machine. A context manager.

    Parameters
    ----------
    folder
        The folder of its log and other files.
    environment
        The folder of its virtual environment.
    """

    def __init__(self, folder: Path, environment: Path = MINISTACK_ENVIRONMENT_DIR) -> None:
        self._folder, self._environment = folder, environment
        # The server inherits the socket. Another user could take a port that is only reserved by number.
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._key = f"AKIA{secrets.token_hex(8).upper()}"
        self._secret = secrets.token_urlsafe(30)

    def __enter__(self) -> Self:
        bin_dir = ensure_virtual_environment(self._environment, lock=MINISTACK_LOCK_FILE).parent
        environ = {
            "PATH": f"{bin_dir}:{os.environ['PATH']}",
            "HOME": str(self._folder),
            "TMPDIR": str(self._folder),
            "AWS_ACCESS_KEY_ID": self._key,
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "GATEWAY_PORT": str(self._port),
            "MINISTACK_REGION": REGION,
            "AUTH": "true",
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.05",
            "LAMBDA_ASYNC_RETRY_MAX_SECONDS": "0.1",
        }
        with (self._folder / "ministack.log").open("wb") as log:
            # In a new session, to kill the processes of its functions with it.
            self._process = subprocess.Popen(
                [bin_dir / "python", "-I", _GATEWAY_SCRIPT, str(self._socket.fileno())],
                env=environ,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[self._socket.fileno()],
            )
        self._socket.close()
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def environ(self, key: str | None = None, secret: str | None = None) -> dict[str, str]:
        """Return the variables that give a program access to this account, as root or as the user with this key."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self._key if key is None else key,
            "AWS_SECRET_ACCESS_KEY": self._secret if secret is None else secret,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1",
        }

    def client(self, service: str) -> Any:
        """Return a boto3 client with root's key."""
        import boto3

        create_client: Any = boto3.client
        return create_client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self._key,
            aws_secret_access_key=self._secret,
        )

    def run_instance(self, **parameters: Any) -> str:
        """Start one instance with these parameters of EC2's RunInstances, and return its ID."""
        defaults = {"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1}
        response = self.client("ec2").run_instances(**{**defaults, **parameters})
        return str(response["Instances"][0]["InstanceId"])

    def list_resources(self) -> dict[str, Any]:
        """Return all resources that a deployment could create or change, by kind."""
        alarms = self.client("cloudwatch").describe_alarms()["MetricAlarms"]
        return {
            "stacks": [stack["StackName"] for stack in self.client("cloudformation").describe_stacks()["Stacks"]],
            "topics": self.client("sns").list_topics()["Topics"],
            "subscriptions": self.client("sns").list_subscriptions()["Subscriptions"],
            "functions": [function["FunctionName"] for function in self.client("lambda").list_functions()["Functions"]],
            "sources": self.client("lambda").list_event_source_mappings()["EventSourceMappings"],
            "roles": [role["RoleName"] for role in self.client("iam").list_roles()["Roles"]],
            "logs": [group["logGroupName"] for group in self.client("logs").describe_log_groups()["logGroups"]],
            "queues": self.client("sqs").list_queues().get("QueueUrls", []),
            "rules": [rule["Name"] for rule in self.client("events").list_rules()["Rules"]],
            "buckets": [bucket["Name"] for bucket in self.client("s3").list_buckets()["Buckets"]],
            "parameters": [item["Name"] for item in self.client("ssm").describe_parameters()["Parameters"]],
            "alarms": [{k: v for k, v in alarm.items() if not isinstance(v, datetime)} for alarm in alarms],
        }

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"ministack did not start: {(self._folder / 'ministack.log').read_text()}")
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        probe = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_START_TIMEOUT)
        try:
            probe.request("GET", "/")
            return probe.getresponse().status == HTTPStatus.FORBIDDEN
        except OSError:
            return False
        finally:
            probe.close()


def remove_account_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` without variables that select an AWS or Slack account or configure cwnotify."""
    prefixes = ("AWS_", "CWNOTIFY_", "SLACK_")
    return {name: value for name, value in environ.items() if not name.startswith(prefixes)}
